"""The SQL of the rules that ask ClickHouse. `now` is ClickHouse's own: its rows' times are too."""

from __future__ import annotations

from typing import Final

from millstream.alerts.rules import BurnRateRule, MissingLabelsRule, ThresholdRule

_INDICATORS: Final = {
    "latency": (
        "SELECT count() AS total, countIf(NOT in_budget) AS bad FROM {database}.predictions "
        "WHERE {newer}"
    ),
    "refused": (
        "SELECT count() AS total, sum(letter) AS bad FROM ("
        "SELECT 0 AS letter FROM {database}.predictions "
        "WHERE {newer} UNION ALL "
        "SELECT 1 AS letter FROM {database}.dead_letters "
        "WHERE {newer})"
    ),
}
_NEWER: Final = (
    "kafka_time >= now64(6) - toIntervalSecond({seconds}) "
    "AND kafka_block_time >= now64(6) - toIntervalSecond({seconds} + 86400)"
)
"""The second half only lets ClickHouse leave old table partitions unread."""
_MISSING: Final = (
    "SELECT count() AS predictions, countIf((source_partition, source_offset) NOT IN ("
    "SELECT source_partition, source_offset FROM {database}.labelled "
    "WHERE status != 'never_labelled' AND {window})) AS missing "
    "FROM {database}.predictions WHERE {window}"
)
_WINDOW: Final = (
    "published_at >= now64(6) - toIntervalSecond({oldest}) "
    "AND published_at < now64(6) - toIntervalSecond({newest}) "
    "AND kafka_block_time >= now64(6) - toIntervalSecond({oldest} + 86400)"
)


def threshold_sql(rule: ThresholdRule, database: str) -> str:
    """The rule's own query."""
    return rule.sql.replace("{database}", database)


def burn_rate_sql(rule: BurnRateRule, database: str) -> dict[float, str]:
    """Seconds -> the query of that window: one row with `total` and `bad`."""
    text = rule.sql or _INDICATORS[rule.indicator or "latency"].replace("{newer}", _NEWER)
    seconds = {s for window in rule.windows for s in (window.long_s, window.short_s)}
    return {
        each: text.replace("{database}", database).replace("{seconds}", f"{round(each)}")
        for each in sorted(seconds)
    }


def missing_labels_sql(rule: MissingLabelsRule, database: str) -> str:
    """One row with `predictions` and `missing`. An outcome that came too late is none."""
    oldest, newest = round(rule.after_s + rule.window_s), round(rule.after_s)
    window = _WINDOW.replace("{oldest}", f"{oldest}").replace("{newest}", f"{newest}")
    return _MISSING.replace("{window}", window).replace("{database}", database)
