"""The operator's dashboard: do the programs run, do they keep up, what do they wait for."""

from __future__ import annotations

from typing import Any, Final

from ops.grafana.panels import Panel, dashboard

OURS: Final = 'stream=~"$stream"'
LATENCY: Final = "millstream_event_latency_seconds_bucket"
RED: Final = ((None, "green"), (1, "red"))


def _quantile(share: float, metric: str, by: str) -> str:
    return (
        f"histogram_quantile({share:g}, sum by ({by}, le) "
        f"(rate({metric}{{{OURS}}}[$__rate_interval])))"
    )


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{OURS}{more}}}[$__rate_interval]))"


PANELS: Final = (
    Panel(
        "Programs that are not ready", "GET /ready of the program says why.",
        [(f"count(millstream_ready{{{OURS}}} == 0) or vector(0)", "")],
        kind="stat", columns=4, thresholds=RED,
    ),
    Panel(
        "Programs that do not answer", "They crashed, or are being started.",
        [('count(up{job="millstream"} == 0) or vector(0)', "")],
        kind="stat", columns=4, thresholds=RED,
    ),
    Panel(
        "Records waiting", "Of all programs; transaction markers make it a little high.",
        [(f"sum(millstream_lag_records{{{OURS}}})", "")], kind="stat", columns=4,
    ),
    Panel(
        "Late events", "Share over the stream's latency budget, in the last hour.",
        [(f"sum(rate(millstream_events_late_total{{{OURS}}}[1h])) / "
          f"sum(rate(millstream_event_latency_seconds_count{{{OURS}}}[1h]))", "")],
        kind="stat", unit="percentunit", columns=4,
        thresholds=((None, "green"), (0.01, "red")),
    ),
    Panel(
        "Open incidents", "Of the drift watch, harmless ones left out.",
        [(f"sum(millstream_watch_open_incidents{{{OURS},"
          'verdict=~"broken_pipe|harmful_shift|concept_change"})', "")],
        kind="stat", columns=4, thresholds=RED,
    ),
    Panel(
        "Alarms that fire", "Of the alert program, by severity.",
        [(f"sum by (severity) (millstream_alerts_firing{{{OURS}}})", "{{severity}}")],
        kind="stat", columns=4, thresholds=RED,
    ),
    Panel(
        "Events answered", "A second, by what answered; cheaper and abstained are cut back.",
        [(_rate("millstream_events_scored_total", "stream, answered_by"),
          "{{stream}} {{answered_by}}")], unit="ops", stacked=True,
    ),
    Panel(
        "Latency", "From an event's Kafka timestamp until its answer is durable.",
        [(_quantile(0.5, LATENCY, "stream"), "{{stream}} p50"),
         (_quantile(0.99, LATENCY, "stream"), "{{stream}} p99"),
         (_quantile(0.999, LATENCY, "stream"), "{{stream}} p99.9")], unit="s",
    ),
    Panel(
        "Records waiting", "Between what was taken and the end of the log as last fetched.",
        [(f"sum by (stream, program, topic) (millstream_lag_records{{{OURS}}})",
          "{{stream}} {{program}} {{topic}}")],
    ),
    Panel(
        "Busy", "Share of time in which a program has a batch in hand; at 1 it cannot do more.",
        [(_rate("millstream_batch_seconds_sum", "stream, program, slot"),
          "{{stream}} {{program}} {{slot}}")], unit="percentunit",
    ),
    Panel(
        "Batch size", "Median records in a batch: small ones mean that nothing waits.",
        [(_quantile(0.5, "millstream_batch_records_bucket", "stream, program"),
          "{{stream}} {{program}}")],
    ),
    Panel(
        "Commits", "99 in a hundred commits take less; the broker's part of the latency.",
        [(f"histogram_quantile(0.99, sum by (stream, program, le) (rate("
          f'millstream_transaction_call_seconds_bucket{{{OURS},call="commit"}}'
          "[$__rate_interval])))", "{{stream}} {{program}}")], unit="s",
    ),
    Panel(
        "Refused", "Events a second that became dead letters, by cause.",
        [(_rate("millstream_events_refused_total", "stream, stage, error"),
          "{{stream}} {{stage}}: {{error}}")], unit="ops", stacked=True,
    ),
    Panel(
        "Aborted and repeated", "Work that is done again: nothing is lost, time is.",
        [(_rate("millstream_transactions_total", "stream, program", ',end="aborted"'),
          "{{stream}} {{program}} transactions"),
         (_rate("millstream_batches_failed_total", "stream, program, error"),
          "{{stream}} {{program}} {{error}}"),
         (_rate("millstream_sink_repeats_total", "stream"), "{{stream}} inserts")], unit="ops",
    ),
    Panel(
        "Answers by model", "Two versions at once: a canary, or a switch under way.",
        [(_rate("millstream_model_answers_total", "stream, model, version"),
          "{{stream}} {{model}} {{version}}")], unit="ops", stacked=True,
    ),
    Panel(
        "Rows into ClickHouse", "A second, by table.",
        [(_rate("millstream_sink_rows_total", "stream, table"), "{{stream}} {{table}}")],
        unit="ops", stacked=True,
    ),
    Panel(
        "Inserts", "How long ClickHouse takes, the count of the rows included.",
        [(_quantile(0.5, "millstream_sink_insert_seconds_bucket", "stream"), "{{stream}} p50"),
         (_quantile(0.99, "millstream_sink_insert_seconds_bucket", "stream"), "{{stream}} p99")],
        unit="s",
    ),
    Panel(
        "Waits for ClickHouse", "Kafka values whose rows are not inserted yet.",
        [(f"sum by (stream) (millstream_sink_held_bytes{{{OURS}}})", "{{stream}}")], unit="bytes",
    ),
    Panel(
        "Outcomes", "What became of predictions and outcomes, a second.",
        [(_rate("millstream_join_records_total", "stream, status"), "{{stream}} {{status}}")],
        unit="ops",
    ),
    Panel(
        "Waiting for their outcomes", "Predictions and outcomes that the join holds.",
        [(f"sum by (stream) (millstream_join_held{{{OURS}}})", "{{stream}}")],
    ),
    Panel(
        "Retraining", "Attempts of the last day by how they ended.",
        [(f"sum by (stream, outcome) (increase(millstream_retraining_attempts_total{{{OURS}}}"
          "[1d]))", "{{stream}} {{outcome}}")],
    ),
    Panel(
        "Memory", "Resident, by program.",
        [('process_resident_memory_bytes{job="millstream"}', "{{instance}}")], unit="bytes",
    ),
    Panel(
        "CPU", "Cores in use, by program.",
        [('rate(process_cpu_seconds_total{job="millstream"}[$__rate_interval])', "{{instance}}")],
    ),
    Panel(
        "Comings and goings", "Partitions that came to a program or left it.",
        [(_rate("millstream_rebalances_total", "stream, program, change"),
          "{{stream}} {{program}} {{change}}")], unit="ops",
    ),
)  # fmt: skip


def operations() -> dict[str, Any]:
    """The dashboard."""
    about = "Do the programs run, do they keep up, what do they wait for. Data: Prometheus."
    return dashboard("millstream-operations", "Millstream: operations", about, PANELS)
