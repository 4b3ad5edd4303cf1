"""Labelled records of all partitions by their events' time, as far as a bounded wait allows.

The join writes the labels of a batch partition by partition. Taken as they lie in the topic, a
change in the middle of a batch would come and go once for each partition, and raise alarms each
time. So a row waits until every partition has labels of its time, or until a row of its partition
is so much younger that the wait is over: this is a frontier in event time that only moves on, as a
watermark does (Akidau et al. 2015, The Dataflow Model). Rows below it go at once, in the order of
their events; a row that comes when the frontier has passed it is late, and goes when it comes.

Rows come in an order of their own (lanes.py) and each has the key of its place there. What moves
the frontier are rows, and times in that order; so what goes, and when, does not depend on how the
rows were cut into batches. Rows that wait are not part of the state: they are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.drift.lanes import BEFORE_ALL, Ints, Piece, joined
from millstream.offsets import Partition

WAIT_US: Final = 5_000_000
"""Kafka time that a row waits for the other partitions. Too low lets the runs of a join that
catches up through; too high is late where one partition has no labels."""
HELD_MAX: Final = 20_000
"""Rows of a partition that wait. Too low lets runs through; too high holds more memory."""
_AT_LAST: Final = 1 << 62
_TIMES: Final = 1 << 20
"""Rank of a moment that is a time and no row: behind the rows of that time."""


@dataclass(slots=True)
class _Lane:
    """One partition. reached: event time of the newest row that came. passed, clock: event time and
    Kafka clock of the newest row that went. events: event times of the rows that wait."""

    rank: int
    waiting: Piece | None = None
    events: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    reached: int = BEFORE_ALL
    passed: int = BEFORE_ALL
    clock: int = BEFORE_ALL


@dataclass(frozen=True, slots=True)
class _Moments:
    """When the frontier may have moved: keys [m, 3] in their order, and the frontier then [m]."""

    keys: Ints
    frontier: Ints


class Aligned:
    """What waits for its turn. lanes: partition -> its rank, as in lanes.py."""

    def __init__(
        self, lanes: Mapping[Partition, int], wait_us: int = WAIT_US, held_max: int = HELD_MAX
    ) -> None:
        self._lanes = {name: _Lane(rank) for name, rank in lanes.items()}
        self._wait_us = wait_us
        self._held_max = held_max
        self._frontier = BEFORE_ALL

    @property
    def held(self) -> int:
        """Rows that wait."""
        return sum(len(lane.events) for lane in self._lanes.values())

    def take(
        self, pieces: Sequence[Piece], reached: int, *, settled: bool = False
    ) -> tuple[pa.RecordBatch, Ints] | None:
        """Rows as they are released by `Lanes`, with a column event_time; those that may go.

        reached: the Kafka clock up to which everything was released. settled: nothing is to be
        waited for. The rows that go, and keys [n, 6] by which they are in order: the key of the
        moment (clock, rank, offset), then event time, rank and offset of the row.
        """
        before = {name: lane.reached for name, lane in self._lanes.items()}
        fresh = {piece.lane: len(piece) for piece in pieces if len(piece)}
        for piece in pieces:
            _append(self._lanes[piece.lane], piece)
        moments, own = self._moments(before, fresh, reached, settled)
        if not len(moments.keys):
            return None
        self._frontier = int(moments.frontier[-1])
        gone = [found for lane in self._lanes.values() if (found := self._go(lane, moments, own))]
        if not gone:
            return None
        keys = np.concatenate([keys for _, _, keys in gone])
        whens = np.concatenate([when for _, when, _ in gone])
        order = np.lexsort((keys[:, 5], keys[:, 4], keys[:, 3], whens))
        columns = pa.concat_batches([piece.columns for piece, _, _ in gone])
        return columns.take(pa.array(order)), keys[order]

    def _moments(
        self, before: dict[Partition, int], fresh: dict[Partition, int], reached: int, settled: bool
    ) -> tuple[_Moments, dict[int, Ints]]:
        """Every moment since the last take; and by rank, which moments the fresh rows are."""
        keys, values, ranks = self._of_rows(before, fresh)
        for lane in self._lanes.values():
            made = self._of_waiting(lane, reached)
            keys += [key for key, _ in made]
            values += [value for _, value in made]
        if settled and self.held:
            newest = max(lane.reached for lane in self._lanes.values())
            keys.append(np.array([[_AT_LAST, 0, 0]], np.int64))
            values.append(np.array([newest], np.int64))
        whole = np.concatenate([np.empty((0, 3), np.int64), *keys])
        order = np.lexsort((whole[:, 2], whole[:, 1], whole[:, 0]))
        risen = np.concatenate([np.empty(0, np.int64), *values])[order]
        frontier = np.maximum(np.maximum.accumulate(risen), self._frontier)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        own = {rank: places[np.flatnonzero(ranks == rank)] for rank in np.unique(ranks).tolist()}
        return _Moments(whole[order], frontier), own

    def _of_rows(
        self, before: dict[Partition, int], fresh: dict[Partition, int]
    ) -> tuple[list[Ints], list[Ints], Ints]:
        """The moments that are fresh rows: what every partition has reached then."""
        if not fresh:
            return [], [], np.empty(0, np.int64)
        parts = [(self._lanes[name], count) for name, count in fresh.items()]
        keys = np.concatenate([_keys(lane)[-count:] for lane, count in parts])
        events = np.concatenate([lane.events[-count:] for lane, count in parts])
        order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
        keys, events = keys[order], events[order]
        still = [at for name, at in before.items() if name not in fresh]
        low = np.full(len(keys), min(still, default=_AT_LAST))
        for name in fresh:
            mine = keys[:, 1] == self._lanes[name].rank
            at = np.where(mine, events, before[name])
            low = np.minimum(low, np.maximum.accumulate(at))
        return [keys], [low], keys[:, 1]

    def _of_waiting(self, lane: _Lane, reached: int) -> list[tuple[Ints, Ints]]:
        """The moments at which rows of a partition have waited for long enough."""
        if lane.waiting is None:
            return []
        made = []
        over = int(np.searchsorted(lane.waiting.clocks, reached - self._wait_us, side="left"))
        if over:
            keys = _keys(lane)[:over]
            keys[:, 0] += self._wait_us
            keys[:, 1] += _TIMES
            made.append((keys, lane.events[:over]))
        many = len(lane.events) - self._held_max
        if many > 0:
            made.append((_keys(lane)[self._held_max :], lane.events[:many]))
        return made

    def _go(
        self, lane: _Lane, moments: _Moments, own: dict[int, Ints]
    ) -> tuple[Piece, Ints, Ints] | None:
        """The rows of a partition that the frontier has reached, their moments and their keys."""
        count = int(np.searchsorted(lane.events, self._frontier, side="right"))
        if not count:
            return None
        assert lane.waiting is not None, "event times of no rows"
        whole = np.full(len(lane.events), -1, np.int64)
        mine = own.get(lane.rank)
        if mine is not None:
            whole[len(whole) - len(mine) :] = mine
        events, piece = lane.events[:count], lane.waiting.cut(0, count)
        when = np.maximum(np.searchsorted(moments.frontier, events, side="left"), whole[:count])
        own_keys = np.stack((events, np.full(count, lane.rank), piece.offsets), axis=1)
        lane.passed, lane.clock = int(events[-1]), int(piece.clocks[-1])
        left = len(lane.events) - count
        lane.waiting = lane.waiting.cut(count, count + left) if left else None
        lane.events = lane.events[count:]
        return piece, when, np.concatenate((moments.keys[when], own_keys), axis=1)

    def begun(self) -> dict[Partition, int]:
        """Where the rows begin that must be read again, of each partition that has any."""
        return {
            name: int(lane.waiting.offsets[0])
            for name, lane in self._lanes.items()
            if lane.waiting is not None
        }

    def pinned(self, clocks: Mapping[str, int]) -> dict[str, int]:
        """The lanes' clocks, those of what will be read again set back."""
        back = {str(lane.rank): lane.clock for lane in self._lanes.values() if lane.waiting}
        made = {rank: back.get(rank, clock) for rank, clock in clocks.items()}
        return {rank: clock for rank, clock in made.items() if clock != BEFORE_ALL}

    def state(self) -> dict[str, Any]:
        """The frontier, and event times of what went, by rank."""
        passed = {str(lane.rank): lane.passed for lane in self._lanes.values()}
        return {"frontier": self._frontier, "passed": passed}

    def restore(self, state: Mapping[str, Any], clocks: Mapping[str, int]) -> None:
        """Go on from `state()` and the lanes' clocks; nothing waits."""
        self._frontier = state["frontier"]
        for lane in self._lanes.values():
            lane.waiting, lane.events = None, np.empty(0, np.int64)
            lane.reached = lane.passed = state["passed"].get(str(lane.rank), BEFORE_ALL)
            lane.clock = clocks.get(str(lane.rank), BEFORE_ALL)


def _append(lane: _Lane, piece: Piece) -> None:
    """Rows behind those that wait. No event is younger than its record."""
    if not len(piece):
        return
    times = np.asarray(piece.columns["event_time"].cast(pa.int64()))
    events = np.maximum.accumulate(np.maximum(np.minimum(times, piece.clocks), lane.reached))
    lane.reached = int(events[-1])
    if lane.waiting is None:
        lane.waiting, lane.events = piece, events
    else:
        lane.waiting = joined([lane.waiting, piece])
        lane.events = np.concatenate((lane.events, events))


def _keys(lane: _Lane) -> Ints:
    """Clock, rank and offset of the rows that wait: [n, 3]."""
    piece = lane.waiting
    assert piece is not None, "keys of no rows"
    return np.stack((piece.clocks, np.full(len(piece), lane.rank), piece.offsets), axis=1)
