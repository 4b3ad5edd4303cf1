"""The input watch of one partition: events are counted, windows are judged.

Windows are cut at exact events, so neither batching nor a restart changes what is said. PSI,
Jensen-Shannon and KS against the profile are context that names columns; what may open an incident
is the shift test (shift.py) and the signs of a broken pipe (pipes.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.drift.distances import jensen_shannon, kolmogorov_smirnov, psi, shares
from millstream.drift.findings import InputWindow, Moved, Position, Sign
from millstream.drift.pipes import PipeRules, PipeTests
from millstream.drift.profile import Floats, Ints, NumberFeature, Profile
from millstream.drift.shift import ShiftRules, ShiftTest
from millstream.drift.state import packed, unpacked
from millstream.drift.tally import Tally


@dataclass(frozen=True, slots=True)
class InputRules:
    """How windows are cut and judged."""

    window_events: int = 500
    """Too low sees chance; too high is late."""
    window_us: int = 1_000_000
    """A window spans at least so much event time: a fast stream is judged once a second."""
    shift: ShiftRules = field(default_factory=ShiftRules)
    pipes: PipeRules = field(default_factory=PipeRules)


class InputMonitor:
    """Counts events and judges a window as soon as it is full.

    profile: of the stream's features. partition: whose events these are.
    """

    def __init__(
        self, profile: Profile, partition: int = 0, rules: InputRules | None = None
    ) -> None:
        self._profile = profile
        self._partition = partition
        self._rules = rules or InputRules()
        self._tally = Tally(profile)
        self._numbers = np.array([isinstance(f, NumberFeature) for f in profile.features])
        self._constant = np.array([f.constant for f in profile.features])
        self._reference = _reference(profile, self._tally)
        cells = np.arange(self._tally.cells.shape[1])
        self._used = (cells < self._tally.width[:, None]).astype(np.float64)
        self._used[:, -1] = 1.0
        self._shift = ShiftTest(self._reference, ~self._constant, self._rules.shift)
        self._pipes = PipeTests(profile, self._rules.pipes)
        self._known: dict[str, set[str]] = {"schema_change": set(), "producer_change": set()}
        self._new: dict[tuple[str, str], Position] = {}
        self._first: tuple[int, int] | None = None
        self._last = (-1, -1)
        self._events = 0
        self._windows = 0

    def add(
        self,
        columns: pa.RecordBatch | Mapping[str, Any],
        offsets: Ints,
        times_us: Ints,
        schema_ids: Ints | None = None,
        producers: Sequence[str] | None = None,
    ) -> list[InputWindow]:
        """Count events in offset order; the windows that they complete, judged.

        offsets, times_us, schema_ids: int64 [n]. producers: n names, if the stream has any.
        """
        return self.add_matrix(
            self._profile.matrix(columns), offsets, times_us, schema_ids, producers
        )

    def add_matrix(
        self,
        matrix: Floats,
        offsets: Ints,
        times_us: Ints,
        schema_ids: Ints | None = None,
        producers: Sequence[str] | None = None,
    ) -> list[InputWindow]:
        """As `add`, from what `Profile.matrix` gives: [features, n]."""
        windows = []
        start, count = 0, matrix.shape[1]
        while start < count:
            end = self._end(times_us, start)
            rows = slice(start, min(end, count))
            if self._first is None:
                self._first = int(offsets[start]), int(times_us[start])
            self._tally.add(matrix[:, rows], offsets[rows], times_us[rows])
            self._meet("schema_change", schema_ids, rows, offsets, times_us)
            self._meet("producer_change", producers, rows, offsets, times_us)
            self._events += rows.stop - rows.start
            self._last = int(offsets[rows.stop - 1]), int(times_us[rows.stop - 1])
            if end <= count:
                windows.append(self._close())
            start = rows.stop
        return windows

    def _end(self, times_us: Ints, start: int) -> int:
        """One past the event that fills the window, or more than there are."""
        last = start + max(self._rules.window_events - self._events, 1) - 1
        if last >= len(times_us):
            return len(times_us) + 1
        begun = self._first[1] if self._first else int(times_us[start])
        wide = times_us[last:] - begun >= self._rules.window_us
        place = int(np.argmax(wide))
        return last + place + 1 if wide[place] else len(times_us) + 1

    def _meet(
        self,
        kind: str,
        values: Ints | Sequence[str] | None,
        rows: slice,
        offsets: Ints,
        times_us: Ints,
    ) -> None:
        """Note schema ids and producers that were not there before."""
        if values is None:
            return
        some = values[rows]
        known = self._known[kind]
        if isinstance(some, np.ndarray):
            fresh = [str(value) for value in np.unique(some) if str(value) not in known]
        else:
            fresh = sorted(set(some) - known)
        for value in fresh:
            row = rows.start + next(i for i, one in enumerate(some) if str(one) == value)
            if self._windows:
                where = Position(int(times_us[row]), self._partition, int(offsets[row]))
                self._new[kind, value] = where
            known.add(value)

    def _close(self) -> InputWindow:
        assert self._first is not None, "a window of no events was closed"
        tally, first = self._tally, self._first
        counts = tally.cells
        signs = [
            *self._pipes.step(tally, first, self._partition),
            *(
                Sign(kind, "", where, 1.0, 0.0, value)  # type: ignore[arg-type]
                for (kind, value), where in self._new.items()
            ),
        ]
        self._shift.step(counts, first)
        now, then = shares(counts), shares(self._reference)
        stability = psi(counts, self._reference, self._used)
        inner = np.where(self._numbers[:, None], counts, 0)[:, :-1]
        kept = np.where(self._numbers[:, None], self._reference, 0)[:, :-1]
        ks = kolmogorov_smirnov(shares(inner), shares(kept))
        alive = self._constant & ((counts > 0).sum(axis=1) > 1)
        names = self._profile.names
        others = counts[np.arange(len(names)), tally.width - 1]
        window = InputWindow(
            first=Position(first[1], self._partition, first[0]),
            last=Position(self._last[1], self._partition, self._last[0]),
            events=self._events,
            names=names,
            psi=stability,
            js=jensen_shannon(now, then),
            ks=np.where(self._numbers, ks, np.nan),
            nulls=counts[:, -1].copy(),
            unseen=np.where(self._numbers, 0, others),
            moved=self._moved(stability),
            signs=tuple(signs),
            came_alive=tuple(names[place] for place in np.flatnonzero(alive)),
            judged=self._shift.ready,
        )
        tally.clear()
        self._new.clear()
        self._first, self._events = None, 0
        self._windows += 1
        return window

    def _moved(self, stability: Floats) -> tuple[Moved, ...]:
        test = self._shift
        least = self._rules.shift.novel_min
        return tuple(
            Moved(
                self._profile.names[place],
                Position(int(test.first[place, 1]), self._partition, int(test.first[place, 0])),
                float(test.novelty[place] if test.is_novel[place] else test.distance[place]),
                least if test.is_novel[place] else float(test.threshold[place]),
                float(stability[place]),
            )
            for place in np.flatnonzero(test.moved)
        )

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON: for a snapshot. The profile is not in it."""
        return {
            "tally": packed(self._tally.state()),
            "shift": packed(self._shift.state()),
            "pipes": packed(self._pipes.state()),
            "known": {kind: sorted(values) for kind, values in self._known.items()},
            "new": [
                [kind, value, where.time_us, where.offset]
                for (kind, value), where in self._new.items()
            ],
            "first": self._first,
            "last": self._last,
            "events": self._events,
            "windows": self._windows,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`; the profile and the rules must be the same."""
        self._tally.restore(unpacked(state["tally"]))
        self._shift.restore(unpacked(state["shift"]))
        self._pipes.restore(unpacked(state["pipes"]))
        self._known = {kind: set(values) for kind, values in state["known"].items()}
        self._new = {
            (kind, value): Position(time_us, self._partition, offset)
            for kind, value, time_us, offset in state["new"]
        }
        first = state["first"]
        self._first = None if first is None else (first[0], first[1])
        self._last = (state["last"][0], state["last"][1])
        self._events, self._windows = state["events"], state["windows"]


def _reference(profile: Profile, tally: Tally) -> npt.NDArray[np.int64]:
    """The profile's counts as the tally has them."""
    made = np.zeros_like(tally.cells)
    for place, feature in enumerate(profile.features):
        made[place, : len(feature.counts)] = feature.counts
        made[place, -1] = feature.nulls
    return made
