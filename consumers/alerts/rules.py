"""What the rules measure: how far programs are behind on Kafka, and what ClickHouse says."""

from __future__ import annotations

from typing import Any

from consumers.verify.log import Log
from consumers.warehouse import Warehouse
from millstream.alerts.judge import Reading, burn_rate, lag, missing_labels, threshold
from millstream.alerts.queries import burn_rate_sql, missing_labels_sql, threshold_sql
from millstream.alerts.rules import (
    BurnRateRule,
    DetectorRule,
    LagRule,
    MissingLabelsRule,
    Rule,
    ThresholdRule,
)
from millstream.errors import ContractMismatch
from millstream.settings import KafkaSettings, WarehouseSettings
from millstream.stream import Stream


class Measures:
    """Looks at one rule at a time. Its connections are made when they are first needed."""

    def __init__(
        self, stream: Stream, kafka: KafkaSettings, warehouse_settings: WarehouseSettings
    ) -> None:
        self._stream = stream
        self._kafka = kafka
        self._settings = warehouse_settings
        self._log: Log | None = None
        self._warehouse: Warehouse | None = None

    def readings(self, rule: Rule) -> list[Reading]:
        """Raises MillstreamError where it cannot be looked at now."""
        match rule:
            case LagRule():
                return [self._lag(rule)]
            case ThresholdRule():
                return threshold(rule, self._rows(threshold_sql(rule, self._stream.name)))
            case MissingLabelsRule():
                row = self._row(rule, missing_labels_sql(rule, self._stream.name))
                return [missing_labels(rule, int(row["predictions"]), int(row["missing"]))]
            case BurnRateRule():
                queries = burn_rate_sql(rule, self._stream.name)
                return [burn_rate(rule, {s: self._counts(rule, q) for s, q in queries.items()})]
            case DetectorRule():
                raise AssertionError(f"{rule.name} is not scheduled")

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        if self._warehouse is not None:
            self._warehouse.close()

    def _lag(self, rule: LagRule) -> Reading:
        """From the committed offset, or from the first record where nothing is committed: that is
        where our programs begin."""
        log = self._log = self._log or Log(self._kafka)
        group = rule.group_of(self._stream.name)
        waiting: dict[str, dict[int, int]] = {}
        never = 0
        for kind in rule.read_topics:
            topic = self._stream.topic(kind)
            partitions = log.partitions(topic)
            committed = log.committed(group, topic, partitions)
            ends = log.ends(topic, partitions, patience_s=0.0)
            never += sum(committed[p] is None for p in partitions)
            starts = {p: committed[p] if committed[p] is not None else ends[p].low for p in ends}
            waiting[topic] = {p: max(0, ends[p].end - (starts[p] or 0)) for p in partitions}
        return lag(rule, self._stream.name, waiting, never)

    def _counts(self, rule: BurnRateRule, sql: str) -> tuple[float, float]:
        row = self._row(rule, sql)
        if not {"total", "bad"} <= set(row):
            raise ContractMismatch(
                f"rule {rule.name}: its query has no columns `total` and `bad`",
                "Write SELECT ... AS total, ... AS bad",
            )
        try:
            return float(row["total"] or 0), float(row["bad"] or 0)
        except (TypeError, ValueError):
            raise ContractMismatch(
                f"rule {rule.name}: `total` or `bad` is no number", "Select numbers"
            ) from None

    def _row(self, rule: Rule, sql: str) -> dict[str, Any]:
        rows = self._rows(sql)
        if len(rows) != 1:
            raise ContractMismatch(
                f"rule {rule.name}: its query gives {len(rows)} rows", "Make it give one"
            )
        return rows[0]

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        if self._warehouse is None:
            self._warehouse = Warehouse.connect(self._settings)
        return self._warehouse.named(sql)
