"""The rule that puts every record into ClickHouse once: the rows are the offset store.

The mark of (table, topic, partition) is the highest offset among its rows. A block begins at the
mark and is inserted as one part, under a token made of the mark and an attempt: a compare-and-swap
on the mark, because ClickHouse drops a second insert of one token. The token does not name the
block's first offset: where retention removed records that one of two contenders still holds, their
blocks begin at different offsets, and both must not land. The token alone is not enough (a crash
between its log line and the part's rename swallows the block at the replay), so after every insert,
acknowledged or not, the range is counted back and `judge` says what is true.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TIME = "kafka_time"
OFFSET = "kafka_offset"
BLOCK_TIME = "kafka_block_time"


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from and go to."""

    table: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one source in ascending offset order, inserted together or not at all.

    mark: the source's mark that it was cut for; -1 without rows.
    """

    source: Source
    rows: pa.Table
    mark: int

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64 [rows], ascending."""
        return np.asarray(self.rows.column(OFFSET))

    @property
    def first(self) -> int:
        return int(self.rows.column(OFFSET)[0].as_py())

    @property
    def last(self) -> int:
        return int(self.rows.column(OFFSET)[-1].as_py())

    def token(self, attempt: int) -> str:
        """What makes two inserts the same. Every contender at one mark makes the same token,
        whatever the length of its block."""
        source = self.source
        return f"{source.table}/{source.topic}/{source.partition}/{self.mark}/{attempt}"


@dataclass(frozen=True, slots=True)
class Look:
    """What ClickHouse holds after an insert.

    mark: highest offset of the source; None where it has no rows, or may be where all of them are
    below the block. count: rows in the block's range.
    """

    mark: int | None
    count: int


class Finding(Enum):
    """What an insert came to."""

    LANDED = "landed"  # every row is there, once
    ABSENT = "absent"  # none of them is
    OVERTAKEN = "overtaken"  # another writer's rows are there: cut again from the mark
    BROKEN = "broken"  # a hole or a double: stop


def judge(block: Block, look: Look) -> Finding:
    """What is true of `block`, given what ClickHouse holds."""
    mark = -1 if look.mark is None else look.mark
    there = int(np.searchsorted(block.offsets, mark, side="right"))
    if look.count != there:
        return Finding.BROKEN
    if mark < block.first:
        return Finding.ABSENT
    return Finding.LANDED if mark == block.last else Finding.OVERTAKEN


@dataclass(slots=True)
class Pending:
    """Rows of one source that wait to become a block.

    mark: the highest offset of the source in ClickHouse, as far as known; -1 without rows.
    since: the sink's clock in seconds when the oldest of them came.
    """

    source: Source
    mark: int = -1
    parts: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    _came: list[float] = field(default_factory=list)  # of each part

    @property
    def since(self) -> float:
        return self._came[0] if self._came else 0.0

    def add(self, part: pa.Table, now: float) -> None:
        """More rows, above all those already here."""
        if not part.num_rows:
            return
        self._came.append(now)
        self.parts.append(part)
        self.rows += part.num_rows
        self.bytes += part.nbytes

    def drop_through(self, mark: int) -> None:
        """Forget the rows up to the mark: ClickHouse has them."""
        self.mark = mark
        filtered = [part.filter(pc.greater(part.column(OFFSET), mark)) for part in self.parts]
        kept = [(part, at) for part, at in zip(filtered, self._came, strict=True) if part.num_rows]
        self.parts, self._came = [part for part, _ in kept], [at for _, at in kept]
        self.rows = sum(part.num_rows for part in self.parts)
        self.bytes = sum(part.nbytes for part in self.parts)

    def clear(self) -> None:
        """Forget everything."""
        self.parts, self._came, self.rows, self.bytes = [], [], 0, 0

    def cut(self, rows_max: int) -> Block:
        """The first block: at most rows_max rows, all in the table partition of the first.

        The table partition follows from the first record alone, so that every contender at one
        mark inserts into the same one; a token protects only within one.
        """
        assert self.parts, "nothing to cut"
        table = pa.concat_tables(self.parts).slice(0, rows_max).combine_chunks()
        times = table.column(TIME)
        stamp = pa.repeat(times[0], table.num_rows)
        return Block(self.source, table.append_column(BLOCK_TIME, stamp), self.mark)
