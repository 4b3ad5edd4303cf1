"""What a program of a stream is doing, judged from the offsets that its group has committed.

A program that has nothing to read commits nothing: whether it runs cannot be told from Kafka then,
and is not claimed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from millstream.contracts import topic_table

STUCK_S: Final = 15.0
"""Records wait and nothing was committed for so long. Above a scorer's restart and a sink's slow
insert; too high tells late."""
TREND_S: Final = 10.0


class State(StrEnum):
    """What its offsets say."""

    IDLE = "up to date"  # everything there is has been read
    WORKING = "working"  # it reads, and what waits does not grow
    BEHIND = "falling behind"  # it reads, and what waits grows
    STUCK = "stuck"  # records wait, and nothing was read for STUCK_S
    NEVER = "not started"  # its group has never committed anything


@dataclass(frozen=True, slots=True)
class Reads:
    """A program: its consumer group is NAME-group, and it reads these kinds of topics.

    always: whether a stream cannot do without it.
    """

    program: str
    group: str
    kinds: tuple[str, ...]
    always: bool = False


def programs() -> tuple[Reads, ...]:
    """Every program whose progress is in Kafka. The retrainer's is in its own topic."""
    kept = tuple(kind for kind, topic in topic_table().items() if topic.table is not None)
    return (
        Reads("scorer", "scorer", ("events",), always=True),
        Reads("sink", "sink", kept, always=True),
        Reads("join", "join", ("predictions", "outcomes")),
        Reads("watch", "watch", ("events", "predictions", "labelled")),
        Reads("alerts", "alert", ("incidents",)),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """Offsets at one time. done: those committed, summed; None: nothing was ever committed.
    waiting: records that are there and not committed."""

    at_s: float
    done: int | None
    waiting: int


class Progress:
    """The newest looks at one program."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=64)
        self._moved_s: float | None = None

    def add(self, look: Look) -> State:
        """The state, after one more look."""
        last = self._looks[-1] if self._looks else None
        if last is not None and look.at_s - last.at_s > TREND_S:
            self._looks.clear()  # nobody looked in between: what was then proves nothing now
            last = None
        if last is None or last.done != look.done or look.waiting == 0:
            self._moved_s = look.at_s
        self._looks.append(look)
        return self._state(look)

    def _state(self, look: Look) -> State:
        if look.done is None:
            return State.NEVER
        if look.waiting == 0:
            return State.IDLE
        assert self._moved_s is not None, "a look was added"
        if look.at_s - self._moved_s >= STUCK_S:
            return State.STUCK
        before = [each for each in self._looks if each.at_s <= look.at_s - TREND_S]
        rate = self.rate
        # a second's worth of records is what is in hand
        grown = (
            bool(before)
            and before[-1].waiting > 0
            and look.waiting - before[-1].waiting > max(rate, 1.0)
        )
        return State.BEHIND if grown else State.WORKING

    @property
    def rate(self) -> float:
        """Records a second that were committed, over the last TREND_S."""
        newest = self._looks[-1] if self._looks else None
        if newest is None or newest.done is None:
            return 0.0
        older = [x for x in self._looks if x.at_s >= newest.at_s - TREND_S and x.done is not None]
        first = older[0]
        span = newest.at_s - first.at_s
        assert first.done is not None, "those without are left out"
        return max(0.0, (newest.done - first.done) / span) if span > 0 else 0.0


def waiting_of(
    ends: Mapping[int, int], committed: Mapping[int, int | None], lows: Mapping[int, int], *,
    in_transactions: bool,
) -> int:  # fmt: skip
    """Records of a topic that wait for a group; by partition: log ends, committed, first offsets.

    in_transactions: the last offset of a partition is then a transaction's marker, which is no
    record. Markers further inside still count: what waits is shown a little too large.

    >>> waiting_of({0: 12, 1: 5}, {0: 10, 1: None}, {0: 0, 1: 3}, in_transactions=False)
    4
    >>> waiting_of({0: 12}, {0: 11}, {0: 0}, in_transactions=True)
    0
    """
    total = 0
    for partition, end in ends.items():
        done = committed.get(partition)
        start = lows.get(partition, 0) if done is None else done
        total += max(0, end - start - (1 if in_transactions else 0))
    return total


def as_row(reads: Reads, state: State, progress: Progress, waiting: Mapping[str, int]) -> Any:
    """A program as the console shows it."""
    return {
        "program": reads.program,
        "state": state.value,
        "always": reads.always,
        "waiting": sum(waiting.values()),
        "per_s": round(progress.rate, 1),
        "topics": dict(waiting),
    }
