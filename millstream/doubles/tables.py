"""ClickHouse in memory, as the sink sees it: parts, and the deduplication log with its hole."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.errors import DependencyUnavailable
from millstream.warehouse.blocks import BLOCK_TIME, OFFSET, Block, Look, Source


@dataclass(slots=True)
class _Table:
    """tokens: (table partition, token), the newest last."""

    tokens: dict[tuple[str, str], None] = field(default_factory=dict)
    parts: dict[tuple[str, int], list[pa.Table]] = field(default_factory=dict)
    offsets: dict[tuple[str, int], list[int]] = field(default_factory=dict)


class MemoryTables:
    """window: how many tokens a table remembers (non_replicated_deduplication_window).

    dies_before_part: the server's next death, counted in parts: 0 kills it when the next part has
    its token logged and is not yet renamed. That part is lost, its token stays.
    """

    def __init__(self, window: int = 10_000) -> None:
        self.dies_before_part: int | None = None
        self._window = window
        self._tables: dict[str, _Table] = {}

    def marks(self, table: str, topic: str) -> dict[int, int]:
        """Partition -> its mark, for the partitions of a topic that have rows."""
        offsets = self._table(table).offsets
        return {number: max(rows) for (t, number), rows in offsets.items() if t == topic and rows}

    def mark(self, source: Source) -> int | None:
        """The highest offset of the source."""
        return self.marks(source.table, source.topic).get(source.partition)

    def look(self, block: Block) -> Look:
        """The mark of the block's source, and the rows in its range."""
        source = block.source
        rows = self._table(source.table).offsets.get((source.topic, source.partition), [])
        first, last = block.first, block.last
        return Look(max(rows, default=None), sum(first <= offset <= last for offset in rows))

    def insert(self, block: Block, attempt: int) -> None:
        """One part for each table partition of the block. Raises DependencyUnavailable where the
        server died on the way."""
        table = self._table(block.source.table)
        source = (block.source.topic, block.source.partition)
        token = block.token(attempt)
        for month, rows in _by_month(block.rows):
            if (month, token) in table.tokens:
                continue
            table.tokens[(month, token)] = None
            while len(table.tokens) > self._window:
                del table.tokens[next(iter(table.tokens))]
            if self.dies_before_part is not None:
                self.dies_before_part -= 1
                if self.dies_before_part < 0:
                    self.dies_before_part = None
                    raise DependencyUnavailable("ClickHouse", "the connection was lost")
            table.parts.setdefault(source, []).append(rows)
            table.offsets.setdefault(source, []).extend(rows.column(OFFSET).to_pylist())

    def count(self, table: str, topic: str, partition: int) -> int:
        """How many rows a source has."""
        return len(self._table(table).offsets.get((topic, partition), []))

    def rows(self, table: str, topic: str, partition: int) -> pa.Table | None:
        """Every row of a source, in ascending offset order; None where there is none."""
        parts = self._table(table).parts.get((topic, partition), [])
        return pa.concat_tables(parts).sort_by(OFFSET) if parts else None

    def delete(self, source: Source) -> None:
        """Take the rows of a source away, as ALTER TABLE DELETE does: the tokens stay."""
        table = self._table(source.table)
        table.parts.pop((source.topic, source.partition), None)
        table.offsets.pop((source.topic, source.partition), None)

    def _table(self, name: str) -> _Table:
        return self._tables.setdefault(name, _Table())


def _by_month(rows: pa.Table) -> list[tuple[str, pa.Table]]:
    """The table partitions of the rows: toYYYYMM(kafka_block_time)."""
    stamps = rows.column(BLOCK_TIME).cast(pa.int64()).to_numpy()
    if (stamps == stamps[0]).all():
        return [(str(np.datetime64(int(stamps[0]), "us").astype("datetime64[M]")), rows)]
    months = stamps.astype("datetime64[us]").astype("datetime64[M]")
    return [
        (str(month), rows.filter(pc.equal(pa.array(months == month), True)))
        for month in np.unique(months)
    ]
