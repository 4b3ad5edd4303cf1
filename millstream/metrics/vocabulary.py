"""Every metric, declared once: its name, kind, labels, and what a rise means.

Alert rules (ops/prometheus/), dashboards (ops/grafana/) and docs/METRICS.md are tested against this
list. Names and units are Prometheus's: seconds, bytes, `_total` for what only grows. The labels
CONSTANT stand on every sample of a program that runs; the file that `verify --metrics-file` writes
has `stream` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Final

CONSTANT: Final = ("stream", "program", "slot")
"""Name of the stream, of the program, and which of several it is."""

LOOPS: Final = ("scorer", "sink", "join", "watch", "alerts")
"""Programs that poll Kafka (consumers/loop.py)."""
FAUST: Final = ("join-faust", "watch-faust")
"""The same join and watch as Faust's apps (streams/)."""
GROUPS: Final = (*LOOPS, *FAUST)
"""Those of a consumer group: none is ready before it has answered."""
TRANSACTING: Final = ("scorer", "join", "watch", "retrain", "redrive")
RUNNING: Final = (*GROUPS, "retrain", "redrive", "verify")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORDS = (1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 150_000.0)
_LONG_SECONDS = (1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0)


class Kind(StrEnum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """text: what it counts. rise: what it means when it grows. programs: who has it.

    labels: beside CONSTANT. values: of labels, all those that there can be: their series are there
    from the start, at 0. bounds: of a histogram's buckets, ascending, without infinity.
    """

    name: str
    kind: Kind
    text: str
    rise: str
    programs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """seconds, bytes, or what is counted.

        >>> VOCABULARY["millstream_batch_seconds"].unit
        'seconds'
        """
        found = re.search(r"_(seconds|bytes|ratio)(?:_total)?$", self.name)
        return found[1] if found else ""

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its samples appear."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)

    def known(self) -> list[tuple[str, ...]]:
        """Label values in the labels' order that are there from the start."""
        if set(self.labels) - set(self.values):
            return []
        return list(product(*(self.values[label] for label in self.labels)))


def _counter(
    name: str, text: str, rise: str, programs: tuple[str, ...], **values: object
) -> Metric:
    return Metric(name, Kind.COUNTER, text, rise, programs, *_labels(values))


def _gauge(name: str, text: str, rise: str, programs: tuple[str, ...], **values: object) -> Metric:
    return Metric(name, Kind.GAUGE, text, rise, programs, *_labels(values))


def _histogram(
    name: str, text: str, rise: str, programs: tuple[str, ...], bounds: tuple[float, ...],
    **values: object,
) -> Metric:  # fmt: skip
    return Metric(name, Kind.HISTOGRAM, text, rise, programs, *_labels(values), bounds)


def _labels(values: Mapping[str, object]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """label=(...): its values are known; label=...: they are not."""
    return tuple(values), {name: v for name, v in values.items() if isinstance(v, tuple)}


SCORER, SINK = ("scorer",), ("sink",)
JOIN, WATCH = ("join", "join-faust"), ("watch", "watch-faust")
RETRAIN, ALERTS, REDRIVE, VERIFY = ("retrain",), ("alerts",), ("redrive",), ("verify",)
STAGES: Final = (
    "collect", "train", "passport", "register", "shadow", "judge", "canary", "promote",
)  # fmt: skip
STATUSES: Final = ("labelled", "corrected", "never_labelled", "repeated", "same", "stale", "late")

_EVERY = (
    _gauge(
        "millstream_ready", "1 where the program is up: parts loaded, partitions assigned, its "
        "dependencies answering; as /ready says", "good", RUNNING,
    ),
    _gauge(
        "millstream_loop_turn_timestamp_seconds",
        "When the program's loop last turned, seconds since 1970",
        "good: standing still is a hang, while the process may well live", RUNNING,
    ),
    _counter(
        "millstream_records_consumed_total", "Records taken from Kafka, by kind of topic",
        "traffic", GROUPS, topic=...,
    ),
    _counter("millstream_batches_total", "Batches finished", "traffic", GROUPS),
    _histogram(
        "millstream_batch_records", "Records in a batch",
        "larger batches: more waits when the program comes to look", GROUPS, _RECORDS,
    ),
    _histogram(
        "millstream_batch_seconds", "From a batch in hand until it is finished; its sum's rate is "
        "the share of time that the loop is busy", "slower work, or larger batches", GROUPS,
        _SECONDS,
    ),
    _counter(
        "millstream_batches_failed_total",
        "Batches given back and read again, by the error that ended them",
        "Kafka, the registry or ClickHouse is in trouble: work is repeated", LOOPS,
        error=("TransactionAborted", "DependencyUnavailable", "other"),
    ),
    _gauge(
        "millstream_lag_records", "Records between what was taken and the end of the log as last "
        "fetched, markers of transactions included; a little high, and old while nothing is "
        "fetched", "the program falls behind", GROUPS, topic=..., partition=...,
    ),
    _gauge("millstream_partitions_assigned", "Partitions that are this process's now",
           "it has taken over from others; 0: it waits", GROUPS, topic=...),
    _counter(
        "millstream_rebalances_total", "Partitions that came or went",
        "members of the group come and go", LOOPS, change=("assigned", "revoked"),
    ),
    _counter(
        "millstream_transactions_total", "Kafka transactions by how they ended",
        "committed: work; aborted: work is done again", TRANSACTING, end=("committed", "aborted"),
    ),
    _histogram(
        "millstream_transaction_call_seconds", "How long each call of a transaction took",
        "the broker is slow to write or to replicate", TRANSACTING, _SECONDS,
        call=("begin", "send_offsets", "commit", "abort", "init"),
    ),
    _gauge(
        "millstream_watched_call_seconds", "How long the transaction call under the watchdog has "
        "lasted by now; 0 where there is none", "it hangs: at MILLSTREAM_*_CALL_S_MAX the process "
        "ends itself", TRANSACTING,
    ),
    _counter(
        "millstream_spans_total", "Spans of traces: sent, or dropped because the collector did not "
        "take them", "dropped: it is away, or too slow", RUNNING, result=("sent", "dropped"),
    ),
    _counter(
        "millstream_series_dropped_total", "Samples of a metric that had too many series already",
        "a label with ever new values: numbers are missing", RUNNING,
    ),
)  # fmt: skip

_SCORER = (
    _counter(
        "millstream_events_scored_total", "Events answered, durable, by what answered: the whole "
        "model, the cache, the cheaper model, or nothing (abstained)",
        "traffic; cheaper and abstained: the overload ladder cuts back", SCORER,
        answered_by=("full", "cached", "cheaper", "abstained"),
    ),
    _counter(
        "millstream_events_refused_total", "Events that became dead letters",
        "a producer, a schema or the model is at fault: `millstream letters`", SCORER,
        stage=..., error=...,
    ),
    _counter(
        "millstream_events_late_total", "Events whose answer was durable later than "
        "serving.latency_budget_ms after they were published", "the promise is broken", SCORER,
    ),
    _histogram(
        "millstream_event_latency_seconds", "From an event's Kafka timestamp until its answer is "
        "durable", "slower answers, or a backlog", SCORER, (*_SECONDS, 60.0, 300.0),
    ),
    _counter(
        "millstream_model_answers_total", "Answers by model and version", "who answers how much",
        SCORER, model=..., version=...,
    ),
    _gauge(
        "millstream_model_info", "1 for each model of the last batch: in a canary they come and "
        "go; who answers how much is millstream_model_answers_total",
        "a canary, or a switch under way: two at once", SCORER, model=..., version=..., digest=...,
    ),
    _counter(
        "millstream_release_switches_total", "Partitions that went over to another release",
        "a release, or a rollback", SCORER,
    ),
    _counter("millstream_shadow_scores_total", "Answers of models that only score beside",
             "shadows and challengers at work", SCORER),
)  # fmt: skip

_SINK = (
    _counter("millstream_sink_rows_total", "Rows that are in ClickHouse for certain, by table",
             "traffic", SINK, table=...),
    _counter("millstream_sink_blocks_total", "Blocks of rows inserted", "smaller parts", SINK),
    _counter(
        "millstream_sink_repeats_total", "Inserts that came to nothing and were made again",
        "ClickHouse refuses, or is too slow", SINK,
    ),
    _histogram("millstream_sink_insert_seconds", "One insert and its count",
               "ClickHouse is slow", SINK, _SECONDS),
    _gauge("millstream_sink_held_bytes", "Kafka values whose rows wait for their insert",
           "ClickHouse takes rows slower than they come", SINK),
    _gauge("millstream_sink_paused", "1 while nothing is read because a block waits for ClickHouse",
           "ClickHouse takes no rows", SINK),
)  # fmt: skip

_JOIN = (
    _counter("millstream_join_records_total", "What became of predictions and outcomes",
             "late, stale, never_labelled: outcomes do not come as they should", JOIN,
             status=STATUSES),
    _counter(
        "millstream_join_given_up_total", "Predictions and outcomes let go because too many waited",
        "MILLSTREAM_JOIN_HELD_MAX is too low: labels are lost", JOIN,
        side=("prediction", "outcome"),
    ),
    _counter("millstream_join_refused_total", "Records that could not be read", "a producer is at "
             "fault", JOIN, side=("prediction", "outcome")),
    _gauge("millstream_join_held", "Predictions and outcomes that wait for each other",
           "more traffic, or outcomes that stay away", JOIN),
)  # fmt: skip

VERDICTS: Final = ("broken_pipe", "harmful_shift", "harmless_shift", "concept_change")
_WATCH = (
    _counter("millstream_watch_records_total", "Drift records written", "more is measured", WATCH),
    _counter("millstream_watch_alarms_total", "Drift records that are a detector's alarm",
             "something moved", WATCH),
    _counter("millstream_watch_incidents_total", "Revisions of incidents written",
             "incidents open, change or end", WATCH),
    _gauge("millstream_watch_open_incidents", "Incidents that are open now, by verdict",
           "something is wrong with the stream or the model", WATCH, verdict=VERDICTS),
    _counter("millstream_watch_commits_total", "Times that state and findings were written",
             "work", WATCH),
    _gauge("millstream_watch_held_records", "Records that wait for those of other partitions",
           "one partition is behind the others", WATCH),
)  # fmt: skip

_RETRAIN = (
    _counter(
        "millstream_retraining_attempts_total", "Retrainings that are over, by how they ended",
        "promoted: a new model; kept: nothing was better; failed: a person must look", RETRAIN,
        outcome=("promoted", "kept", "failed"),
    ),
    _counter("millstream_retraining_stages_total", "Stages done", "work", RETRAIN, stage=STAGES),
    _counter("millstream_retraining_errors_total", "Stages that must be run again because "
             "something was away", "a dependency is in trouble", RETRAIN, stage=STAGES),
    _histogram("millstream_retraining_stage_seconds", "One run of a stage that ended it",
               "more rows, more candidates, a slower machine", RETRAIN, _LONG_SECONDS,
               stage=STAGES),
    _gauge("millstream_retraining_stage_began_timestamp_seconds", "When the stage's run began that "
           "is under way, seconds since 1970; 0 where none is", "good: a run began", RETRAIN),
)  # fmt: skip

_ALERTS = (
    _gauge("millstream_alerts_firing", "Alarms that fire now", "something is wrong", ALERTS,
           severity=("page", "ticket", "info")),
    _counter("millstream_alerts_looks_total", "Rules looked at", "work", ALERTS),
    _counter("millstream_alerts_rules_failed_total", "Rules that could not be looked at",
             "ClickHouse or Kafka is away, or a rule's SQL is wrong", ALERTS),
    _counter("millstream_alerts_notices_total", "Notices by channel: told, or given up",
             "given_up: nobody was told", ALERTS, channel=..., result=("told", "given_up")),
)  # fmt: skip

_REDRIVE = (
    _counter(
        "millstream_redrive_letters_total", "Dead letters by what a redrive made of them",
        "redriven: their events are answered again; refused: they would fail once more", REDRIVE,
        result=("redriven", "refused", "already", "incomplete", "gone"),
    ),
)  # fmt: skip

_VERIFY = (
    _gauge("millstream_audit_events", "Events audited", "traffic", VERIFY),
    _gauge("millstream_audit_answers", "Predictions and dead letters audited", "traffic", VERIFY,
           kind=...),
    _gauge("millstream_audit_waiting_events", "Events above the committed offset without an answer",
           "the scorer is behind", VERIFY, partition=...),
    _gauge("millstream_audit_findings", "Offsets found damaged, or that could not be told, "
           "since the watch began",
           "something was lost, doubled or changed: run `millstream verify`", VERIFY, kind=...),
    _gauge("millstream_audit_verdict", "0 clean, 1 damaged, 2 cannot tell", "damage", VERIFY),
    _gauge("millstream_audit_last_look_timestamp_seconds", "When the last look ended, seconds "
           "since 1970", "good: standing still, nobody looks", VERIFY),
)  # fmt: skip

VOCABULARY: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        *(*_EVERY, *_SCORER, *_SINK, *_JOIN, *_WATCH, *_RETRAIN, *_ALERTS, *_REDRIVE, *_VERIFY),
    )
}
"""By name, in the order of docs/METRICS.md."""

FOREIGN: Final[Mapping[str, tuple[str, ...]]] = {
    "process_cpu_seconds_total": (),
    "process_resident_memory_bytes": (),
    "process_virtual_memory_bytes": (),
    "process_start_time_seconds": (),
    "process_open_fds": (),
    "process_max_fds": (),
    "up": (),
}
"""Names that are not ours and may be asked for: prometheus_client's of the process, Prometheus's
own."""


def of_program(program: str) -> list[Metric]:
    """Those that a program has."""
    return [metric for metric in VOCABULARY.values() if program in metric.programs]
