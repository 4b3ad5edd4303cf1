"""What the demo reads back from ClickHouse, and how it shows it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumers.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows in ClickHouse, and latency in ms from published to scored over the newest seconds."""

    events: int = 0
    predictions: int = 0
    dead_letters: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """Events against predictions, by the coordinates of the event."""

    events: int
    predictions: int
    dead_letters: int
    unanswered: int
    answered_twice: int

    @property
    def whole(self) -> bool:
        """Every event has one prediction or one dead letter."""
        return self.unanswered == 0 and self.answered_twice == 0


class Reader:
    """Questions to one stream's database."""

    def __init__(self, warehouse: Warehouse, database: str) -> None:
        self._warehouse = warehouse
        self._database = database

    def counts(self, window_s: int = 10) -> Counts:
        """What has landed so far."""
        found = [self._count(name) for name in ("events", "predictions", "dead_letters")]
        ((middle, high),) = self._warehouse.query(
            "SELECT quantile(0.5)(wait), quantile(0.99)(wait) FROM (SELECT "
            "dateDiff('microsecond', published_at, scored_at) / 1000 AS wait "
            f"FROM {self._database}.predictions "
            f"WHERE scored_at > (SELECT max(scored_at) FROM {self._database}.predictions) "
            "- INTERVAL {seconds:UInt32} SECOND)",
            seconds=window_s,
        )
        waits = (middle, high) if found[1] else (0.0, 0.0)
        return Counts(*found, *(float(wait) for wait in waits))

    def account(self) -> Account:
        """Count what became of every event."""
        source = "source_topic, source_partition, source_offset"
        answers = (
            f"SELECT {source}, count() AS answers FROM ("
            f"SELECT {source} FROM {self._database}.predictions UNION ALL "
            f"SELECT {source} FROM {self._database}.dead_letters) GROUP BY {source}"
        )
        ((unanswered, twice),) = self._warehouse.query(
            "SELECT countIf(answers = 0), countIf(answers > 1) FROM "
            f"{self._database}.events LEFT JOIN ({answers}) AS given "
            "ON kafka_topic = source_topic AND kafka_partition = source_partition "
            "AND kafka_offset = source_offset"
        )
        return Account(
            self._count("events"),
            self._count("predictions"),
            self._count("dead_letters"),
            int(unanswered),
            int(twice),
        )

    def labels(self) -> list[tuple[str, int, float, float]]:
        """(label, predictions, mean score, share within the latency budget)."""
        rows = self._warehouse.query(
            "SELECT assumeNotNull(label), count(), avg(score), avg(in_budget) "
            f"FROM {self._database}.predictions GROUP BY label ORDER BY label"
        )
        return [(str(a), int(b), float(c), float(d)) for a, b, c, d in rows]

    def _count(self, table: str) -> int:
        ((count,),) = self._warehouse.query(f"SELECT count() FROM {self._database}.{table}")
        return int(count)


def progress_table(
    published: int, wanted: str, counts: Counts, rates: tuple[float, float], elapsed_s: float
) -> RenderableType:
    """The live picture: what was published, what has landed, how fast, how late."""
    table = Table(title=f"Millstream: loan applications, {elapsed_s:.0f} s", title_justify="left")
    for name in ("", "events", "a second"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("published", f"{published:,}{wanted}", f"{rates[0]:,.0f}")
    table.add_row("predictions in ClickHouse", f"{counts.predictions:,}", f"{rates[1]:,.0f}")
    table.add_row("events in ClickHouse", f"{counts.events:,}", "")
    table.add_row("dead letters", f"{counts.dead_letters:,}", "")
    waits = f"published to scored: p50 {counts.p50_ms:.1f} ms, p99 {counts.p99_ms:.1f} ms"
    return Group(table, Text(waits))


def summary_tables(
    account: Account, labels: list[tuple[str, int, float, float]], counts: Counts
) -> RenderableType:
    """The last word, all of it read back from ClickHouse."""
    totals = Table(title="Read back from ClickHouse", title_justify="left")
    totals.add_column("")
    totals.add_column("rows", justify="right")
    for name, value in (
        ("events", account.events),
        ("predictions", account.predictions),
        ("dead letters", account.dead_letters),
        ("events without an answer", account.unanswered),
        ("events answered twice", account.answered_twice),
    ):
        totals.add_row(name, f"{value:,}")
    by_label = Table(title="Predictions", title_justify="left")
    for name in ("label", "predictions", "mean score", "in budget"):
        by_label.add_column(name, justify="right")
    for label, count, score, in_budget in labels:
        by_label.add_row(label, f"{count:,}", f"{score:.3f}", f"{in_budget:.1%}")
    waits = (
        f"published to scored, last 10 s: p50 {counts.p50_ms:.1f} ms, p99 {counts.p99_ms:.1f} ms"
    )
    return Group(totals, by_label, Text(waits))
