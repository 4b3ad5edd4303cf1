"""Several logs read as one: an order of their records that does not depend on how they came.

A record's clock is the highest Kafka timestamp of its partition up to it. Records are released in
the order of (clock, lane, offset), as soon as no partition that still has records could come
before them. A partition that was read to its end holds nobody up: what it gets later is late, and
comes when it comes. So over logs that are only read the order is always the same; on live topics
it is the order of arrival, to within a poll.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.offsets import Partition

Ints = npt.NDArray[np.int64]
BEFORE_ALL: Final = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one lane, in offset order.

    rank: of the lane. clocks, offsets: int64 [n], microseconds and Kafka offsets. columns: n rows.
    """

    lane: Partition
    rank: int
    clocks: Ints
    offsets: Ints
    columns: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.offsets)

    def cut(self, start: int, stop: int) -> Piece:
        """Some of its rows; nothing is copied."""
        part = slice(start, stop)
        columns = self.columns.slice(start, stop - start)
        return replace(self, clocks=self.clocks[part], offsets=self.offsets[part], columns=columns)


class _Lane:
    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.waiting: deque[Piece] = deque()
        self.read = BEFORE_ALL  # clock of the newest row that came
        self.released = BEFORE_ALL  # clock of the newest row that was released
        self.end = -1  # offset behind everything that came; -1 before the first

    @property
    def next(self) -> int:
        """Where to read on, had nothing that waits been read."""
        return int(self.waiting[0].offsets[0]) if self.waiting else self.end


class Lanes:
    """What has come and waits for its turn. lanes: (topic, partition), in order of rank."""

    def __init__(self, lanes: Sequence[Partition]) -> None:
        self._lanes = {lane: _Lane(rank) for rank, lane in enumerate(lanes)}

    def __contains__(self, lane: Partition) -> bool:
        return lane in self._lanes

    def add(
        self,
        lane: Partition,
        offsets: Ints,
        times_us: Ints,
        columns: pa.RecordBatch,
        end: int,
    ) -> None:
        """Rows of one lane behind those it has. end: the offset behind the whole batch, of which
        rows that could not be read are a part."""
        known = self._lanes[lane]
        assert end > known.end, f"{lane} was read up to {known.end}, now it ends at {end}"
        known.end = end
        if len(offsets):
            clocks = np.maximum.accumulate(np.maximum(times_us, known.read))
            known.read = int(clocks[-1])
            known.waiting.append(Piece(lane, known.rank, clocks, offsets, columns))

    def release(self, silent: Collection[Partition]) -> list[Piece]:
        """What may go now, a piece for each lane that has any. silent: lanes read to their end."""
        bound = self._bound(silent, (1 << 62, len(self._lanes)))
        return [
            piece for lane in self._lanes.values() if (piece := _taken(lane, bound)) is not None
        ]

    def reached(self, silent: Collection[Partition]) -> int:
        """The clock up to which everything was released, once `release` was asked."""
        newest = max(lane.read for lane in self._lanes.values())
        return self._bound(silent, (newest, 0))[0]

    def _bound(self, silent: Collection[Partition], at_end: tuple[int, int]) -> tuple[int, int]:
        """Clock and rank up to which no lane could have more; at_end: where all are silent."""
        heard = (lane for name, lane in self._lanes.items() if name not in silent)
        return min(((lane.read, lane.rank) for lane in heard), default=at_end)

    def held(self) -> dict[Partition, int]:
        """Rows that wait, by lane."""
        return {name: sum(map(len, lane.waiting)) for name, lane in self._lanes.items()}

    def offsets(self) -> dict[Partition, int]:
        """Next offset of each lane of which anything came; what waits is read again."""
        return {name: lane.next for name, lane in self._lanes.items() if lane.next >= 0}

    def ends(self) -> dict[Partition, int]:
        """Offset behind everything that came, of each lane of which anything did."""
        return {name: lane.end for name, lane in self._lanes.items() if lane.end >= 0}

    def state(self) -> dict[str, int]:
        """Clocks of what was released, by rank: all that is not in the logs themselves."""
        return {
            str(lane.rank): lane.released
            for lane in self._lanes.values()
            if lane.released != BEFORE_ALL
        }

    def restore(self, offsets: Mapping[Partition, int], state: Mapping[str, int]) -> None:
        """Go on behind these offsets; nothing waits."""
        for name, lane in self._lanes.items():
            lane.waiting.clear()
            lane.end = offsets.get(name, -1)
            lane.read = lane.released = state.get(str(lane.rank), BEFORE_ALL)


def _taken(lane: _Lane, bound: tuple[int, int]) -> Piece | None:
    """The lane's rows up to the bound, taken out of it."""
    side = "right" if lane.rank <= bound[1] else "left"
    found: list[Piece] = []
    while lane.waiting:
        first = lane.waiting[0]
        count = int(np.searchsorted(first.clocks, bound[0], side=side))  # type: ignore[call-overload]
        if not count:
            break
        lane.waiting.popleft()
        found.append(first.cut(0, count))
        if count < len(first):
            lane.waiting.appendleft(first.cut(count, len(first)))
            break
    if not found:
        return None
    lane.released = int(found[-1].clocks[-1])
    return joined(found)


def joined(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one lane, one behind the other, as one."""
    if len(pieces) == 1:
        return pieces[0]
    return replace(
        pieces[0],
        clocks=np.concatenate([piece.clocks for piece in pieces]),
        offsets=np.concatenate([piece.offsets for piece in pieces]),
        columns=pa.concat_batches([piece.columns for piece in pieces]),
    )


def merged(pieces: Sequence[Piece]) -> tuple[pa.RecordBatch, Ints, Ints, Ints]:
    """Pieces of several lanes as one: columns, clocks, ranks, offsets, in the order of release."""
    clocks = np.concatenate([piece.clocks for piece in pieces])
    offsets = np.concatenate([piece.offsets for piece in pieces])
    ranks = np.repeat([piece.rank for piece in pieces], [len(piece) for piece in pieces])
    columns = pa.concat_batches([piece.columns for piece in pieces])
    if len(pieces) == 1:
        return columns, clocks, ranks, offsets
    order = np.lexsort((offsets, ranks, clocks))
    return columns.take(pa.array(order)), clocks[order], ranks[order], offsets[order]
