"""The scorer's limit: a stream that is refused as a whole stops it and is not diverted.

Two rules, either opens it: too large a share of the newest events, and too many refusals in a row
in one partition. Replays are not judged: whoever redrives has seen what became of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from millstream.errors import Refusal, TooManyRefusals

SHARES_MAX = 100
"""The window moves on by shares of at least so many parts of it, so that its memory is bounded."""
_SETTINGS = "MILLSTREAM_SCORER_BREAKER_"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a scorer may refuse.

    ratio_max: share of the window, 0 to 1; 1 never opens.
    window_events: how many of the newest events are judged. events_min: how many there must be.
    run_max: refusals in a row in one partition; 0 never opens.
    """

    ratio_max: float
    window_events: int
    events_min: int
    run_max: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """One batch, as the breaker sees it: what it would add to the window and to the runs."""

    events: int
    causes: Counter[str]
    runs: dict[int, int]

    @property
    def refused(self) -> int:
        return self.causes.total()


@dataclass(slots=True)
class _Share:
    """A part of the window."""

    events: int = 0
    causes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Breaker:
    """Weigh a batch before it is published, keep it when it is.

    stream: its events topic, for the error.

    >>> breaker = Breaker("loans.events", Limits(0.5, 100, 10, 0))
    >>> weighed = breaker.weigh(np.zeros(8, np.int32), [])
    >>> breaker.keep(weighed)
    >>> weighed.events, weighed.refused
    (8, 0)
    """

    stream: str
    limits: Limits
    _window: deque[_Share] = field(default_factory=deque)
    _events: int = 0
    _causes: Counter[str] = field(default_factory=Counter)
    _runs: dict[int, int] = field(default_factory=dict)

    def weigh(
        self,
        partitions: npt.NDArray[np.int32],
        refusals: Sequence[Refusal],
        replays: Iterable[int] = (),
    ) -> Weighed:
        """Judge n events, of which some are refused; changes nothing.

        partitions: int32 [n], each partition's events in order. replays: rows that are not judged.
        Raises TooManyRefusals where one of the limits would be passed.
        """
        left_out = set(replays)
        judged = [refusal for refusal in refusals if refusal.row not in left_out]
        causes = Counter(f"{refusal.stage}: {refusal.name}" for refusal in judged)
        bad = np.zeros(len(partitions), bool)
        bad[[refusal.row for refusal in judged]] = True
        if left_out:
            keep = np.ones(len(partitions), bool)
            keep[list(left_out)] = False
            partitions, bad = partitions[keep], bad[keep]
        runs, longest = self._runs_after(partitions, bad)
        weighed = Weighed(len(partitions), causes, runs)
        self._judge(weighed, longest)
        return weighed

    def keep(self, weighed: Weighed) -> None:
        """The batch is durable: it counts from now on."""
        self._runs |= weighed.runs
        if not weighed.events:
            return
        if not self._window or self._window[-1].events >= self.limits.window_events // SHARES_MAX:
            self._window.append(_Share())
        share = self._window[-1]
        share.events += weighed.events
        share.causes += weighed.causes
        self._events += weighed.events
        self._causes += weighed.causes
        while self._events - self._window[0].events >= self.limits.window_events:
            oldest = self._window.popleft()
            self._events -= oldest.events
            self._causes -= oldest.causes

    def forget(self, partitions: Iterable[int]) -> None:
        """These partitions are no longer ours: their runs are cut, the window stays."""
        for partition in partitions:
            self._runs.pop(partition, None)

    def _runs_after(
        self, partitions: npt.NDArray[np.int32], bad: npt.NDArray[np.bool_]
    ) -> tuple[dict[int, int], tuple[int, int]]:
        """Each partition's run at the end of the batch, and the longest inside: (length, where)."""
        numbers = [int(number) for number in np.unique(partitions)]
        longest = (0, -1)
        if not bad.any():
            return dict.fromkeys(numbers, 0), longest
        runs: dict[int, int] = {}
        for partition in numbers:
            mine = bad[partitions == partition]
            good = np.flatnonzero(~mine)
            before = self._runs.get(partition, 0)
            if not len(good):
                runs[partition] = before + len(mine)
                longest = max(longest, (runs[partition], partition))
                continue
            runs[partition] = len(mine) - 1 - int(good[-1])
            inner = int(np.diff(good).max(initial=1)) - 1
            longest = max(longest, *((n, partition) for n in (before + int(good[0]), inner)))
            longest = max(longest, (runs[partition], partition))
        return runs, longest

    def _judge(self, weighed: Weighed, longest: tuple[int, int]) -> None:
        limits = self.limits
        if not weighed.refused:
            return
        causes = self._causes + weighed.causes
        length, partition = longest
        if limits.run_max and length > limits.run_max:
            self._open(
                f"{length:,} events in a row of {self.stream}-{partition} are refused, "
                f"breaker_run_max is {limits.run_max:,}",
                causes,
                "RUN_MAX=0",
            )
        events, refused = self._events + weighed.events, causes.total()
        if events >= limits.events_min and refused > limits.ratio_max * events:
            self._open(
                f"{refused:,} of the newest {events:,} events of {self.stream} are refused, "
                f"breaker_ratio_max is {limits.ratio_max:g}",
                causes,
                "RATIO_MAX=1",
            )

    def _open(self, what: str, causes: Counter[str], off: str) -> None:
        (cause, count), total = causes.most_common(1)[0], causes.total()
        raise TooManyRefusals(
            f"{what}; {count:,} of {total:,} because of {cause}; this batch was not committed",
            f"Mend the cause (schema, model or producer) and start the scorer again. To let them "
            f"become dead letters, set {_SETTINGS}{off}; `millstream letters redrive` brings them "
            "back",
        )
