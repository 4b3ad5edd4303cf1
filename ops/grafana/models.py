"""The analyst's dashboard: what the models said, and how right they were. Data: ClickHouse."""

from __future__ import annotations

from typing import Any, Final

from ops.grafana.panels import dashboard, sql

READABLE: Final = "kafka_unreadable = ''"
"""A row without it is a record that could not be read."""

PANELS: Final = (
    sql(
        "Predictions by model version", "Two versions at once: a canary, or a switch under way.",
        "SELECT $__timeInterval(scored_at) AS time, model_version, count() AS predictions "
        f"FROM ${{stream}}.predictions WHERE $__timeFilter(scored_at) AND {READABLE} "
        "GROUP BY time, model_version ORDER BY time", stacked=True, columns=12,
    ),
    sql(
        "Accuracy by model version", "Of predictions whose outcome came, at the time of scoring.",
        "SELECT $__timeInterval(scored_at) AS time, model_version, "
        "avg(predicted = label) AS accuracy FROM ${stream}.labelled_now "
        "WHERE $__timeFilter(scored_at) AND status IN ('labelled', 'corrected') "
        "AND label IS NOT NULL "
        "GROUP BY time, model_version ORDER BY time", unit="percentunit", columns=12,
    ),
    sql(
        "Score", "Median, tenth and ninetieth percentile: a shift here comes before the outcomes.",
        "SELECT $__timeInterval(scored_at) AS time, quantile(0.1)(score) AS p10, "
        "quantile(0.5)(score) AS p50, quantile(0.9)(score) AS p90 "
        f"FROM ${{stream}}.predictions WHERE $__timeFilter(scored_at) AND {READABLE} "
        "GROUP BY time ORDER BY time", lowest=None,
    ),
    sql(
        "Confidence", "Mean probability of the predicted label.",
        "SELECT $__timeInterval(scored_at) AS time, avg(confidence) AS confidence "
        f"FROM ${{stream}}.predictions WHERE $__timeFilter(scored_at) AND {READABLE} "
        "GROUP BY time ORDER BY time", unit="percentunit",
    ),
    sql(
        "Time to score", "From an event's Kafka timestamp until the model had answered.",
        "SELECT $__timeInterval(scored_at) AS time, "
        "quantile(0.5)(dateDiff('microsecond', published_at, scored_at)) / 1e6 AS p50, "
        "quantile(0.99)(dateDiff('microsecond', published_at, scored_at)) / 1e6 AS p99 "
        f"FROM ${{stream}}.predictions WHERE $__timeFilter(scored_at) AND {READABLE} "
        "GROUP BY time ORDER BY time", unit="s",
    ),
    sql(
        "How late outcomes come", "From an event's Kafka timestamp until its outcome was known.",
        "SELECT $__timeInterval(known_at) AS time, "
        "quantile(0.5)(dateDiff('second', published_at, known_at)) AS p50, "
        "quantile(0.95)(dateDiff('second', published_at, known_at)) AS p95 "
        "FROM ${stream}.labelled_now WHERE $__timeFilter(known_at) AND known_at IS NOT NULL "
        "GROUP BY time ORDER BY time", unit="s",
    ),
    sql(
        "Calibration", "Mean score against the share that came true, by tenths of the score, over "
        "the whole range of time.",
        "SELECT least(floor(score * 10), 9) / 10 AS from_score, count() AS rows, "
        "avg(score) AS mean_score, avg(toFloat64OrNull(label)) AS came_true "
        "FROM ${stream}.labelled_now WHERE $__timeFilter(scored_at) AND score IS NOT NULL "
        "AND label IS NOT NULL GROUP BY from_score ORDER BY from_score", kind="table",
    ),
    sql(
        "Outcomes that are missing", "Share of predictions that have none yet.",
        "SELECT $__timeInterval(p.published_at) AS time, "
        "countIf((p.source_partition, p.source_offset) NOT IN (SELECT source_partition, "
        "source_offset FROM ${stream}.labelled WHERE status != 'never_labelled')) / count() "
        f"AS missing FROM ${{stream}}.predictions AS p WHERE $__timeFilter(p.published_at) "
        f"AND {READABLE} GROUP BY time ORDER BY time", unit="percentunit",
    ),
    sql(
        "Drift by feature", "Each feature's distance from its reference, as last measured in each "
        "stretch of time; a reading above its threshold alarms.",
        "SELECT $__timeInterval(event_time) AS time, feature, "
        "argMax(value, source_offset) AS distance FROM ${stream}.drift "
        f"WHERE $__timeFilter(event_time) AND signal = 'input' AND feature != '' AND {READABLE} "
        "GROUP BY time, feature ORDER BY time",
    ),
    sql(
        "Alarms of the detectors", "The newest first.",
        "SELECT event_time, detector, signal, measure, feature, slice, model_version, value, "
        "threshold FROM ${stream}.drift WHERE $__timeFilter(event_time) AND status = 'alarm' "
        f"AND {READABLE} ORDER BY event_time DESC LIMIT 50", kind="table", columns=12,
    ),
    sql(
        "Incidents", "Each one's newest revision.",
        "SELECT id, argMax(verdict, revision) AS verdict, argMax(status, revision) AS status, "
        "any(cause) AS cause, min(first_time) AS began, max(updated_at) AS updated, "
        "argMax(features, revision) AS features, argMax(evidence, revision) AS evidence "
        f"FROM ${{stream}}.incidents WHERE $__timeFilter(updated_at) AND {READABLE} "
        "GROUP BY id ORDER BY began DESC LIMIT 50", kind="table", columns=12,
    ),
    sql(
        "Releases", "What was decided, and from which offset each partition switched.",
        "SELECT said_at, number, record, kind, champion_version, challenger_version, "
        "canary_share, source_partition, first_offset, reason FROM ${stream}.releases "
        f"WHERE $__timeFilter(said_at) AND {READABLE} ORDER BY said_at DESC LIMIT 100",
        kind="table", columns=12,
    ),
    sql(
        "Retrainings", "Stage by stage.",
        "SELECT at, number, trigger, stage, status, outcome, tries, reason "
        f"FROM ${{stream}}.retraining WHERE $__timeFilter(at) AND {READABLE} "
        "ORDER BY at DESC LIMIT 100", kind="table", columns=12,
    ),
    sql(
        "Dead letters", "By cause.",
        "SELECT $__timeInterval(kafka_time) AS time, concat(stage, ': ', error) AS cause, "
        f"count() AS letters FROM ${{stream}}.dead_letters WHERE $__timeFilter(kafka_time) "
        f"AND {READABLE} GROUP BY time, cause ORDER BY time", stacked=True, columns=12,
    ),
    sql(
        "Judgements of challengers", "What was decided, on how many rows, with its interval.",
        "SELECT verdict, role, champion_version, challenger_version, rows, loss, difference, low, "
        f"high FROM ${{stream}}.decisions WHERE $__timeFilter(kafka_time) AND {READABLE} "
        "ORDER BY kafka_time DESC LIMIT 50", kind="table", columns=12,
    ),
)  # fmt: skip


def models() -> dict[str, Any]:
    """The dashboard."""
    about = "What the models said, how right they were, what moved. Data: ClickHouse."
    return dashboard("millstream-models", "Millstream: models", about, PANELS)
