"""The audit's own eyes on ClickHouse: plain SELECTs over coordinates, in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from consumers.warehouse import Warehouse
from millstream.audit.offsets import Offsets
from millstream.audit.partition import Run

OFFSETS_A_QUERY: Final = 1_000_000
ROWS_A_QUERY: Final = 50_000
SHOWN_MAX: Final = 20
_WHERE: Final = "kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}"
_RANGE: Final = f"{_WHERE} AND kafka_offset >= {{first:Int64}} AND kafka_offset < {{end:Int64}}"


class Rows:
    """Tables of one stream's database."""

    def __init__(self, warehouse: Warehouse, database: str) -> None:
        self._ask = warehouse.query
        self._database = database

    def spans(self, table: str, topic: str) -> dict[int, tuple[int, int]]:
        """Partition -> lowest and highest offset that has a row."""
        rows = self._ask(
            "SELECT kafka_partition, min(kafka_offset), max(kafka_offset) FROM "
            f"{self._database}.{table} WHERE kafka_topic = {{topic:String}} "
            "GROUP BY kafka_partition",
            topic=topic,
        )
        return {int(p): (int(low), int(high)) for p, low, high in rows}

    def runs(
        self, table: str, topic: str, partition: int, first: int, end: int
    ) -> Iterator[tuple[int, list[Run]]]:
        """The rows of offsets first..end-1 as runs of neighbours with equally many rows each.

        Piece by piece: where each ends, and its runs; a run may go on in the next piece.
        """
        for start in range(first, end, OFFSETS_A_QUERY):
            rows = self._ask(
                "SELECT min(o), max(o), n FROM (SELECT o, n, o - toInt64(row_number() OVER "
                "(PARTITION BY n ORDER BY o)) AS island FROM (SELECT kafka_offset AS o, "
                f"count() AS n FROM {self._database}.{table} WHERE {_RANGE} GROUP BY o)) "
                "GROUP BY n, island",
                topic=topic,
                partition=partition,
                first=start,
                end=min(start + OFFSETS_A_QUERY, end),
            )
            stop = min(start + OFFSETS_A_QUERY, end)
            yield stop, [(int(low), int(high), int(n)) for low, high, n in rows]

    def strangers(
        self, table: str, topic: str, partitions: Iterable[int]
    ) -> list[tuple[str, int, int]]:
        """Rows of other topics, or of partitions that the topic has not: topic, partition, rows."""
        numbers = ", ".join(map(str, partitions))
        rows = self._ask(
            f"SELECT kafka_topic, kafka_partition, count() FROM {self._database}.{table} WHERE "
            f"kafka_topic != {{topic:String}} OR kafka_partition NOT IN ({numbers}) "
            "GROUP BY kafka_topic, kafka_partition ORDER BY ALL LIMIT 100",
            topic=topic,
        )
        return [(str(t), int(p), int(n)) for t, p, n in rows]

    def from_offset(self, table: str, topic: str, partition: int, first: int) -> list[int]:
        """Offsets of rows at or above `first`, the lowest 1,000."""
        rows = self._ask(
            f"SELECT kafka_offset FROM {self._database}.{table} WHERE {_WHERE} "
            "AND kafka_offset >= {first:Int64} ORDER BY kafka_offset LIMIT 1000",
            topic=topic,
            partition=partition,
            first=first,
        )
        return [int(offset) for (offset,) in rows]

    def sources(
        self, table: str, topic: str, partition: int, first: int, end: int
    ) -> Iterator[tuple[list[str], Offsets, Offsets]]:
        """Source topic, partition and offset of the rows of offsets first..end-1, one each, in
        their order."""
        for start in range(first, end, OFFSETS_A_QUERY):
            rows = self._ask(
                "SELECT any(source_topic), any(source_partition), any(source_offset) FROM "
                f"{self._database}.{table} WHERE {_RANGE} AND kafka_unreadable = '' "
                "GROUP BY kafka_offset ORDER BY kafka_offset",
                topic=topic,
                partition=partition,
                first=start,
                end=min(start + OFFSETS_A_QUERY, end),
            )
            if rows:
                topics, partitions, offsets = zip(*rows, strict=True)
                yield list(topics), np.array(partitions, np.int64), np.array(offsets, np.int64)

    def columns(
        self,
        table: str,
        topic: str,
        partition: int,
        wanted: Mapping[str, str],
        offsets: Offsets,
        *,
        exact: bool = False,
    ) -> tuple[Offsets, dict[str, list[Any]]]:
        """Rows from the first to the last of these ascending offsets, or `exact` only of them:
        where they are, and name -> values of its SQL expression."""
        only = f" AND kafka_offset IN ({', '.join(map(str, offsets.tolist()))})" if exact else ""
        # an alias that is also a column's name would be put into the WHERE
        shown = ", ".join(f"{sql} AS said_{i}" for i, sql in enumerate(wanted.values()))
        rows = self._ask(
            f"SELECT kafka_offset, {shown} FROM {self._database}.{table} WHERE {_RANGE}{only} "
            "ORDER BY kafka_offset",
            topic=topic,
            partition=partition,
            first=int(offsets[0]),
            end=int(offsets[-1]) + 1,
        )
        if not rows:
            return np.empty(0, np.int64), {name: [] for name in wanted}
        where, *values = zip(*rows, strict=True)
        found = {name: list(column) for name, column in zip(wanted, values, strict=True)}
        return np.array(where, np.int64), found
