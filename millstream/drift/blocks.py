"""Rows cut into blocks of an exact length, whatever the batches that they came in.

Sums are whole numbers (units of 2^-30), so that no grouping of the rows rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millstream.drift.findings import Position

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ONE: Final = 1 << 30


def units(values: Floats) -> Ints:
    """Values from 0 to 1 in units of 2^-30; what is no number counts as 0."""
    clipped = np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0)
    return np.rint(clipped * ONE).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows of one model version, in the order of release.

    values: units. times_us, partitions, offsets: of their events. bins: places in a histogram, or
    None. names: of slices, n for each field, empty where a row has none; or None.
    """

    values: Ints
    times_us: Ints
    partitions: Ints
    offsets: Ints
    bins: Ints | None = None
    names: list[list[str]] | None = None

    def position(self, row: int) -> Position:
        """Of the row's event."""
        return Position(int(self.times_us[row]), int(self.partitions[row]), int(self.offsets[row]))


@dataclass(slots=True)
class Block:
    """Sums over rows. first, last: the oldest and the newest event among them, by its own time.

    bins: counts, empty where there are none. slices: name -> [events, units].
    """

    count: int = 0
    total: int = 0
    first: Position | None = None
    last: Position | None = None
    bins: list[int] = field(default_factory=list)
    slices: dict[str, list[int]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Mean of the values; 0 of none."""
        return self.total / ONE / self.count if self.count else 0.0

    def add(self, rows: Rows, start: int, stop: int, bins: int) -> None:
        """Count these rows too."""
        self.count += stop - start
        self.total += int(rows.values[start:stop].sum())
        times = rows.times_us[start:stop]
        self._reach(rows.position(start + int(times.argmin())))
        self._reach(rows.position(start + int(times.argmax())))
        if rows.bins is not None:
            found = np.bincount(rows.bins[start:stop], minlength=bins)
            self.bins = (found + (self.bins or 0)).tolist()
        for names in rows.names or ():
            for name, value in zip(
                names[start:stop], rows.values[start:stop].tolist(), strict=True
            ):
                if name:
                    sums = self.slices.setdefault(name, [0, 0])
                    sums[0] += 1
                    sums[1] += value

    def merge(self, other: Block) -> None:
        """Count another block too; slices and bins are left out."""
        self.count += other.count
        self.total += other.total
        for position in (other.first, other.last):
            if position is not None:
                self._reach(position)

    def _reach(self, position: Position) -> None:
        if self.first is None or position < self.first:
            self.first = position
        if self.last is None or position > self.last:
            self.last = position

    def state(self) -> list[Any]:
        """As JSON."""
        ends = [None if p is None else list(_plain(p)) for p in (self.first, self.last)]
        return [self.count, self.total, *ends, self.bins, self.slices]

    @classmethod
    def from_state(cls, state: list[Any]) -> Block:
        """Go on from `state()`."""
        count, total, first, last, bins, slices = state
        ends = [None if place is None else Position(*place) for place in (first, last)]
        sums = {name: list(pair) for name, pair in slices.items()}
        return cls(count, total, ends[0], ends[1], list(bins), sums)


def _plain(position: Position) -> tuple[int, int, int]:
    return position.time_us, position.partition, position.offset


class Cutter:
    """Fills blocks of `size` rows. bins: of the histogram, 0 for none."""

    def __init__(self, size: int, bins: int = 0) -> None:
        self._size = size
        self._bins = bins
        self._open = Block()

    def cut(self, rows: Rows) -> Iterator[tuple[int, Block]]:
        """The blocks that these rows complete, each with the row that completed it."""
        start, count = 0, len(rows.values)
        while start < count:
            stop = min(start + self._size - self._open.count, count)
            self._open.add(rows, start, stop, self._bins)
            if self._open.count == self._size:
                full, self._open = self._open, Block()
                yield stop - 1, full
            start = stop

    def state(self) -> list[Any]:
        """As JSON."""
        return self._open.state()

    def restore(self, state: list[Any]) -> None:
        """Go on from `state()`."""
        self._open = Block.from_state(state)


@dataclass(slots=True)
class Marks:
    """Where in the stream each time was: event time -> the first event counted then.

    Bounded: when it is full, every second mark goes, so that old times are told more coarsely.
    """

    marks_max: int = 512
    stride: int = 1
    passed: int = 0
    times: list[int] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, at_us: int, place: Position) -> None:
        """Times do not go back."""
        if self.passed % self.stride == 0:
            self.times.append(at_us)
            self.places.append(_plain(place))
        self.passed += 1
        if len(self.times) > self.marks_max:
            del self.times[1::2], self.places[1::2]
            self.stride *= 2

    def at(self, time_us: int) -> Position | None:
        """The place that was marked then, or the last one before; None where nothing was."""
        if not self.times:
            return None
        row = int(np.searchsorted(self.times, time_us, side="left"))
        if row == len(self.times) or (self.times[row] > time_us and row > 0):
            row -= 1
        return Position(*self.places[row])

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "stride": self.stride,
            "passed": self.passed,
            "times": self.times,
            "places": self.places,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Marks:
        """Go on from `state()`."""
        places = [(place[0], place[1], place[2]) for place in state["places"]]
        return cls(512, state["stride"], state["passed"], list(state["times"]), places)
