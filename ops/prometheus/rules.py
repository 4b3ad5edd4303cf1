"""What wakes someone, and what waits until morning. Each rule says what to do.

Shares of late events are judged by burn rates over two windows (Google SRE workbook, "Alerting on
SLOs"): the long window says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

OBJECTIVE: Final = 0.99
"""Share of events that are to be answered within their stream's latency budget."""
BY: Final = "stream, program"

LATE: Final = "stream:millstream_late:ratio_rate"
WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A series that Prometheus computes and keeps."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """hold: how long it must be so. severity: page wakes someone. summary: one line, templated.

    act: what whoever is told does first; a heading of docs/METRICS.md says it too.
    """

    name: str
    expr: str
    hold: str
    severity: Literal["page", "ticket"]
    summary: str
    act: str


def _late(window: str) -> str:
    late = f"sum by (stream) (rate(millstream_events_late_total[{window}]))"
    every = f"sum by (stream) (rate(millstream_event_latency_seconds_count[{window}]))"
    return f"{late} / ({every} > 0)"


RECORDED: Final = tuple(Recorded(f"{LATE}{window}", _late(window)) for window in WINDOWS)


def _burns(factor: float, long: str, short: str) -> str:
    bound = f"{factor:g} * {1 - OBJECTIVE:g}"
    return f"{LATE}{long} > {bound} and {LATE}{short} > {bound}"


_STREAM = "{{ $labels.stream }}"
_WHO = "{{ $labels.stream }} {{ $labels.program }}"
_ONE = f"{_WHO} {{{{ $labels.slot }}}}"

ALERTS: Final = (
    Alert(
        "MillstreamDown",
        'up{job="millstream"} == 0',
        "2m",
        "page",
        "{{ $labels.instance }} does not answer",
        "Look at the program's log and at what starts it again. Exit code 2 and 4: a person must "
        "act, the log's last line says on what. Nothing is lost: its partitions go to others, or "
        "wait in Kafka.",
    ),
    Alert(
        "MillstreamRestarting",
        'changes(process_start_time_seconds{job="millstream"}[15m]) > 3',
        "0m",
        "ticket",
        "{{ $labels.instance }} was started {{ $value }} times in 15 minutes",
        "Read the log's line before each start. Exit code 3 is a dependency (Kafka, registry, "
        "ClickHouse), 70 the watchdog: a transaction call hung.",
    ),
    Alert(
        "MillstreamStuck",
        "time() - millstream_loop_turn_timestamp_seconds > 120 "
        "unless on (stream, program, slot) "
        "millstream_retraining_stage_began_timestamp_seconds > 0",
        "1m",
        "page",
        f"{_ONE} has not turned its loop for {{{{ $value | humanizeDuration }}}}",
        "The process lives and does nothing. If millstream_watched_call_seconds rises, the broker "
        "does not answer a transaction: the watchdog ends the process by itself. Else end it; "
        "whatever was in hand is read again.",
    ),
    Alert(
        "MillstreamNotReady",
        "millstream_ready == 0",
        "10m",
        "ticket",
        f"{_ONE} is not ready",
        "GET /ready of the program says why: it still starts, has no partitions, or Kafka, the "
        "registry or ClickHouse is away.",
    ),
    Alert(
        "MillstreamBehind",
        f"sum by ({BY}, topic) (millstream_lag_records) / clamp_min("
        f"sum by ({BY}, topic) (rate(millstream_records_consumed_total[5m])), 1) > 300",
        "10m",
        "page",
        f"{_WHO} needs {{{{ $value | humanizeDuration }}}} for what waits in "
        "{{ $labels.topic }}, if nothing more came",
        "Busy (rate(millstream_batch_seconds_sum) near 1): start another with a slot of its own, "
        "up to one a partition. Idle: look at its log, at Kafka, or at ClickHouse for the sink.",
    ),
    Alert(
        "MillstreamLateFast",
        _burns(14.4, "1h", "5m"),
        "2m",
        "page",
        f"{{{{ $value | humanizePercentage }}}} of {_STREAM}'s events are answered late",
        "At this rate the month's budget is gone in two days. Backlog: see MillstreamBehind. None: "
        "look at the calls of transactions (the broker), and at batch seconds (the model).",
    ),
    Alert(
        "MillstreamLateSteady",
        _burns(6, "6h", "30m"),
        "15m",
        "page",
        f"{{{{ $value | humanizePercentage }}}} of {_STREAM}'s events are answered late for hours",
        "As MillstreamLateFast; at this rate the month's budget is gone in five days.",
    ),
    Alert(
        "MillstreamLateSlowly",
        _burns(1, "3d", "6h"),
        "1h",
        "ticket",
        f"{_STREAM} will miss its objective of late events this month",
        "Compare the latency panel with releases, traffic and the broker's load over the last "
        "days; raise serving.latency_budget_ms only if the promise may change.",
    ),
    Alert(
        "MillstreamRefusing",
        "sum by (stream) (rate(millstream_events_refused_total[10m])) / "
        "(sum by (stream) (rate(millstream_event_latency_seconds_count[10m])) > 0) > 0.05",
        "10m",
        "ticket",
        f"{{{{ $value | humanizePercentage }}}} of {_STREAM}'s events become dead letters",
        "`millstream letters list` groups them by cause. Mend the producer, the schema or the "
        "model; `millstream letters redrive` brings them back. Above the breaker's limit the "
        "scorer stops itself.",
    ),
    Alert(
        "MillstreamAborting",
        f'sum by ({BY}) (increase(millstream_transactions_total{{end="aborted"}}[10m])) > 5',
        "0m",
        "ticket",
        f"{_WHO} aborted {{{{ $value | humanize }}}} transactions in 10 minutes",
        "Work is done again, nothing is lost. The log names the error: the broker's load, a "
        "topic's limits, or two programs with one slot, which fence each other.",
    ),
    Alert(
        "MillstreamCommitsSlow",
        f"histogram_quantile(0.99, sum by ({BY}, le) "
        '(rate(millstream_transaction_call_seconds_bucket{call="commit"}[10m]))) > 1',
        "10m",
        "ticket",
        f"{_WHO}: one commit in a hundred takes over {{{{ $value | humanizeDuration }}}}",
        "The broker writes or replicates slowly: look at its disks and at replicas out of sync. "
        "Above 3 s the producer is replaced after each.",
    ),
    Alert(
        "MillstreamDegraded",
        "sum by (stream) (rate(millstream_events_scored_total{answered_by=~"
        '"cheaper|abstained"}[5m])) > 0',
        "10m",
        "ticket",
        f"{_STREAM} answers by less than the whole model",
        "The overload ladder cut back because events waited. Add scorers, up to one a partition, "
        "or find what is slow: see MillstreamBehind.",
    ),
    Alert(
        "MillstreamSilent",
        'sum by (stream) (rate(millstream_records_consumed_total{program="scorer",'
        'topic="events"}[15m])) == 0 and sum by (stream) (rate(millstream_records_consumed_total{'
        'program="scorer",topic="events"}[1h] offset 1h)) > 0',
        "15m",
        "ticket",
        f"no event of {_STREAM} came for 15 minutes, an hour ago there were some",
        "Ask the producers. If events are there (MillstreamBehind, `millstream tail`), the scorer "
        "does not read them: look at its log.",
    ),
    Alert(
        "MillstreamSinkPaused",
        "millstream_sink_paused == 1",
        "5m",
        "page",
        f"{_ONE} waits for ClickHouse to take rows",
        "Look at ClickHouse: disk, merges, memory, network. Nothing is lost while Kafka's "
        "retention lasts; the sink goes on by itself.",
    ),
    Alert(
        "MillstreamJoinGivesUp",
        "sum by (stream, side) (increase(millstream_join_given_up_total[1h])) > 0",
        "0m",
        "ticket",
        f"{_STREAM}: {{{{ $value | humanize }}}} of one {{{{ $labels.side }}}} side were let go "
        "unmatched in an hour",
        "Too many wait for each other. Raise MILLSTREAM_JOIN_HELD_MAX (0.3 kB each and their "
        "bytes), or shorten label.outcome_wait_s.",
    ),
    Alert(
        "MillstreamIncidentOpen",
        'millstream_watch_open_incidents{verdict=~"broken_pipe|harmful_shift|concept_change"} > 0',
        "0m",
        "ticket",
        f"{_STREAM}: {{{{ $labels.verdict }}}}",
        "Table incidents has cause and evidence. broken_pipe: ask the producer. The "
        "others: look at what the retrainer does, or retrain.",
    ),
    Alert(
        "MillstreamRetrainingFailed",
        'sum by (stream) (increase(millstream_retraining_attempts_total{outcome="failed"}[1d])) '
        "> 0",
        "0m",
        "ticket",
        f"a retraining of {_STREAM} failed",
        "`millstream retrainings` says in which stage and why. The champion goes on answering.",
    ),
    Alert(
        "MillstreamRetrainingLong",
        "time() - millstream_retraining_stage_began_timestamp_seconds > 21600 and "
        "millstream_retraining_stage_began_timestamp_seconds > 0",
        "0m",
        "ticket",
        f"a stage of a retraining of {_STREAM} has run for {{{{ $value | humanizeDuration }}}}",
        "`millstream retrainings` names the stage. Lower retrain.rows_max or the candidates, or "
        "let it end; it may be killed at any time and begins the stage again.",
    ),
    Alert(
        "MillstreamNobodyTold",
        'sum by (stream, channel) (increase(millstream_alerts_notices_total{result="given_up"}'
        "[1h])) > 0",
        "0m",
        "page",
        f"{_STREAM}: {{{{ $labels.channel }}}} did not take {{{{ $value | humanize }}}} notices",
        "People were not told of an alarm: `millstream alerts list` shows what fires, "
        "`millstream alerts test` tries the channels.",
    ),
    Alert(
        "MillstreamRulesFailing",
        "sum by (stream) (rate(millstream_alerts_rules_failed_total[10m])) > 0",
        "10m",
        "ticket",
        f"alert rules of {_STREAM} cannot be looked at",
        "The alert program's log and the alarm `not_evaluated` say why: ClickHouse or Kafka is "
        "away, or a rule's SQL is wrong.",
    ),
    Alert(
        "MillstreamDamaged",
        "millstream_audit_verdict == 1",
        "0m",
        "page",
        f"`millstream verify` found damage in {_STREAM}",
        "Run `millstream verify` by hand: it names partitions and offsets. Do not restart or "
        "migrate anything before.",
    ),
)
"""In the order of docs/METRICS.md."""
