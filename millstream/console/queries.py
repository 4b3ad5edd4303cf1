"""The console's SQL: each is a function of the stream's database, which stream.py restricts.

Rows that a writer repeated (at least once, or killed) count once: LIMIT 1 BY their id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from millstream.console.window import BUCKET_SQL

PLACE: Final = "source_topic, source_partition, source_offset"
LISTED_MAX: Final = 100
LETTERS_MAX: Final = 50
GROUPS_MAX: Final = 200
BUCKETS: Final = 60
"""Columns of the heat map, and of the answers over time."""
_READABLE: Final = "kafka_unreadable = ''"


def _ms(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"


_BEHIND: Final = (
    "kafka_topic = {topic:String} AND kafka_offset > {lowest:Int64} AND kafka_offset > "
    "if(kafka_partition < length({cursors:Array(Int64)}), "
    "{cursors:Array(Int64)}[kafka_partition + 1], -1)"
)
"""Rows behind a cursor for each partition; `lowest` is what the table's order is asked by."""


def marks_sql(db: str, table: str) -> str:
    """Partition and highest offset."""
    return (
        f"SELECT kafka_partition, max(kafka_offset) FROM {db}.{table} "
        "WHERE kafka_topic = {topic:String} GROUP BY kafka_partition"
    )


def scored_sql(db: str) -> str:
    """Predictions behind the cursors: second, partition, latency bucket, count, in budget, mark."""
    return (
        f"SELECT toUnixTimestamp(scored_at) AS second, kafka_partition, {BUCKET_SQL} AS bucket, "
        f"count(), countIf(in_budget), max(kafka_offset) FROM {db}.predictions "
        f"WHERE {_BEHIND} GROUP BY second, kafka_partition, bucket"
    )


def refused_sql(db: str) -> str:
    """Dead letters behind the cursors: second, partition, count, mark."""
    return (
        "SELECT toUnixTimestamp(refused_at) AS second, kafka_partition, count(), "
        f"max(kafka_offset) FROM {db}.dead_letters WHERE {_BEHIND} GROUP BY second, kafka_partition"
    )


ROWS_SQL: Final = (
    "SELECT name, assumeNotNull(total_rows) FROM system.tables "
    "WHERE database = {database:String} AND total_rows IS NOT NULL"
)
"""Table and its rows, from what ClickHouse knows without reading."""


def open_incidents_sql(db: str) -> str:
    """Incidents that are not resolved, the newest first."""
    return (
        f"SELECT id, verdict, cause, features, {_ms('first_time')}, revision "
        f"FROM {db}.incidents_now WHERE status != 'resolved' ORDER BY first_time DESC "
        f"LIMIT {LISTED_MAX}"
    )


def _alarms_now(db: str) -> str:
    return f"(SELECT * FROM {db}.alarms WHERE {_READABLE} ORDER BY id, revision DESC LIMIT 1 BY id)"


def alarms_sql(db: str) -> str:
    """Alarms that fire."""
    return (
        "SELECT id, rule, severity, summary, "
        f"{_ms('started_at')} FROM {_alarms_now(db)} WHERE status = 'firing' "
        f"ORDER BY started_at DESC LIMIT {LISTED_MAX}"
    )


def champion_sql(db: str) -> str:
    """The newest release's number, kind, champion, challenger and share."""
    return (
        "SELECT number, kind, champion_name, champion_version, challenger_name, "
        f"challenger_version, canary_share, {_ms('said_at')} FROM {db}.releases "
        f"WHERE {_READABLE} AND record = 'release' ORDER BY number DESC LIMIT 1"
    )


def drift_span_sql(db: str) -> str:
    """First and last event time of the inputs' readings, in ms; and how many times there are."""
    return (
        f"SELECT min({_ms('event_time')}), max({_ms('event_time')}), uniq(event_time) "
        f"FROM {db}.drift "
        f"WHERE {_READABLE} AND detector = 'inputs' AND status = 'reading'"
    )


def drift_cells_sql(db: str) -> str:
    """Feature, bucket of event time, and the largest value of the measure in it."""
    return (
        f"SELECT feature, intDiv({_ms('event_time')} - {{first:Int64}}, {{step:Int64}}) AS bucket, "
        f"max(value) FROM {db}.drift WHERE {_READABLE} AND detector = 'inputs' "
        "AND status = 'reading' AND measure = {measure:String} GROUP BY feature, bucket"
    )


def drift_found_sql(db: str) -> str:
    """Alarms and warnings of every detector, the newest first, each once."""
    return (
        f"SELECT {_ms('event_time')} AS at, detector, signal, measure, status, feature, slice, "
        "model_version, value, threshold, source_partition, source_offset FROM "
        f"(SELECT * FROM {db}.drift WHERE {_READABLE} AND status != 'reading' "
        f"ORDER BY event_time DESC LIMIT 1 BY id LIMIT {LISTED_MAX}) ORDER BY at DESC"
    )


def error_rate_sql(db: str) -> str:
    """The monitor's readings of the error rate: event time, model version, rate."""
    return (
        f"SELECT {_ms('event_time')} AS at, model_version, value FROM {db}.drift "
        f"WHERE {_READABLE} AND detector = 'monitor' AND measure = 'rate' "
        "ORDER BY event_time DESC LIMIT 1 BY id LIMIT 2000"
    )


def incidents_sql(db: str) -> str:
    """Each incident as it is now, the newest first."""
    return (
        f"SELECT id, verdict, status, cause, features, slices, first_partition, first_offset, "
        f"{_ms('first_time')} AS first, {_ms('updated_at')} AS updated, revision, evidence "
        f"FROM {db}.incidents_now ORDER BY first_time DESC LIMIT {LISTED_MAX}"
    )


def revisions_sql(db: str) -> str:
    """What each of these incidents said before: every revision once, in order."""
    return (
        f"SELECT id, revision, status, verdict, {_ms('updated_at')} FROM {db}.incidents "
        f"WHERE {_READABLE} AND id IN {{ids:Array(String)}} "
        "ORDER BY id, revision LIMIT 1 BY id, revision"
    )


def alarms_of_sql(db: str) -> str:
    """Alarms that were raised of incidents: source, rule, severity, status, summary, when."""
    return (
        f"SELECT source, rule, severity, status, summary, {_ms('started_at')} "
        f"FROM {_alarms_now(db)} WHERE startsWith(source, 'incident/') ORDER BY started_at"
    )


def versions_sql(db: str) -> str:
    """Each model that answered: how much, from when to when, how fast."""
    return (
        f"SELECT model, model_version, model_digest, count(), {_ms('min(scored_at)')}, "
        f"{_ms('max(scored_at)')}, avg(in_budget), "
        "quantile(0.99)(dateDiff('microsecond', published_at, scored_at)) / 1000 "
        f"FROM {db}.predictions WHERE {_READABLE} GROUP BY model, model_version, model_digest "
        "ORDER BY max(scored_at) DESC"
    )


def answers_sql(db: str) -> str:
    """Bucket of the time of scoring, model version, predictions."""
    return (
        f"SELECT intDiv({_ms('scored_at')} - {{first:Int64}}, {{step:Int64}}) AS bucket, "
        f"model_version, count() FROM {db}.predictions WHERE {_READABLE} "
        "GROUP BY bucket, model_version"
    )


def releases_sql(db: str) -> str:
    """Releases, the newest first, each once."""
    return (
        "SELECT number, kind, champion_name, champion_version, champion_digest, challenger_name, "
        "challenger_version, canary_share, shadow_names, shadow_versions, effective, reason, "
        f"said_by, {_ms('said_at')} FROM {db}.releases WHERE {_READABLE} AND record = 'release' "
        f"ORDER BY number DESC LIMIT 1 BY number LIMIT {LISTED_MAX}"
    )


def switches_sql(db: str) -> str:
    """Where each partition went over to a release."""
    return (
        f"SELECT number, source_partition, first_offset, {_ms('switched_at')}, late "
        f"FROM {db}.model_timeline ORDER BY number DESC, source_partition LIMIT 2000"
    )


def failures_sql(db: str) -> str:
    """Models that a scorer could not load, and has not since."""
    return (
        f"SELECT number, said_by, error, {_ms('said_at')} FROM {db}.releases "
        f"WHERE {_READABLE} AND record = 'failed' AND NOT is_over "
        f"ORDER BY said_at DESC LIMIT {LISTED_MAX}"
    )


def decisions_sql(db: str) -> str:
    """What was decided between two models, the newest first."""
    return (
        "SELECT verdict, role, champion_version, challenger_version, rows, difference, low, high, "
        f"failed_gates, reason, {_ms('decided_at')} FROM {db}.decisions_once "
        f"ORDER BY decided_at DESC LIMIT {LISTED_MAX}"
    )


def retraining_sql(db: str) -> str:
    """The newest attempts' stages, in order."""
    return (
        "SELECT number, stage, status, trigger, reason, outcome, tries, "
        f"{_ms('at')} AS said FROM {db}.retraining WHERE {_READABLE} AND number > "
        f"(SELECT max(number) FROM {db}.retraining) - 5 ORDER BY number DESC, at LIMIT 200"
    )


_CAUSE: Final = "stage, error, model_version, event_schema_id"


def letter_groups_sql(db: str) -> str:
    """Dead letters by cause, the most first."""
    return (
        f"SELECT {_CAUSE}, count() AS letters, {_ms('min(refused_at)')}, "
        f"{_ms('max(refused_at)')} AS last, groupUniqArray(source_partition), "
        f"argMax(reason, kafka_time), countIf(attempt > 1) FROM {db}.dead_letters "
        f"WHERE {_READABLE} GROUP BY {_CAUSE} ORDER BY letters DESC LIMIT {GROUPS_MAX}"
    )


def letters_sql(db: str) -> str:
    """The newest letters of one cause; the first 96 bytes of the event, where they are kept."""
    return (
        f"SELECT source_topic, source_partition, source_offset, {_ms('refused_at')} AS refused, "
        "reason, attempt, kafka_partition, kafka_offset, kafka_key, "
        "hex(substring(kafka_value, 1, 96)), length(kafka_value) "
        f"FROM {db}.dead_letters WHERE {_READABLE} AND stage = {{stage:String}} "
        "AND error = {error:String} AND model_version = {version:String} "
        "AND ifNull(event_schema_id, -1) = {schema:Int64} "
        f"ORDER BY kafka_time DESC, kafka_partition, kafka_offset DESC LIMIT {LETTERS_MAX}"
    )


def predicted_sql(db: str, by: str) -> str:
    """Predictions of one event: by its id, or by its place."""
    where = "event_id = {id:String}" if by == "id" else _AT_PLACE
    return (
        f"SELECT event_id, key, {PLACE}, event_schema_id, {_ms('event_time')}, "
        f"{_ms('published_at')}, {_ms('scored_at')}, "
        "dateDiff('microsecond', published_at, scored_at) / 1000, in_budget, answered_by, score, "
        "scores, label, confidence, model, model_version, model_digest, kafka_partition, "
        f"kafka_offset FROM {db}.predictions WHERE {_READABLE} AND {where} "
        f"ORDER BY scored_at DESC LIMIT {LISTED_MAX}"
    )


_AT_PLACE: Final = (
    "source_topic = {topic:String} AND source_partition = {partition:Int32} "
    "AND source_offset = {offset:Int64}"
)
_EVENT_AT: Final = (
    "kafka_topic = {topic:String} AND kafka_partition = {partition:Int32} "
    "AND kafka_offset = {offset:Int64}"
)


def event_sql(db: str, columns: Sequence[str]) -> str:
    """One event by its place: what Kafka says of it, then its own fields."""
    return f"SELECT {_EVENT_HEAD}{_fields(columns)} FROM {db}.events WHERE {_EVENT_AT} LIMIT 1"


def event_by_id_sql(db: str, id_column: str) -> str:
    """Places of events with this id: a scan, for events that have no prediction."""
    return (
        f"SELECT kafka_topic, kafka_partition, kafka_offset FROM {db}.events "
        f"WHERE toString(`{id_column}`) = {{id:String}} ORDER BY kafka_time DESC LIMIT 5"
    )


_EVENT_HEAD: Final = (
    f"{_ms('kafka_time')} AS published, kafka_key, kafka_schema_id, kafka_unreadable"
)


def _fields(columns: Sequence[str]) -> str:
    return "".join(f", `{name}`" for name in columns)


def labels_sql(db: str) -> str:
    """Outcomes that an event's prediction met, each version once."""
    return (
        f"SELECT version, status, label, value, {_ms('assumeNotNull(known_at)')}, "
        f"known_at IS NOT NULL, {_ms('kafka_time')}, predicted, model_version, kafka_partition, "
        f"kafka_offset FROM {db}.labelled WHERE {_READABLE} AND event_id = {{id:String}} "
        f"AND {_AT_PLACE} ORDER BY version, kafka_time LIMIT 1 BY version"
    )


def shadows_sql(db: str) -> str:
    """What other models said of the event."""
    return (
        "SELECT role, model, model_version, score, label, confidence, refused, release "
        f"FROM {db}.shadows WHERE {_READABLE} AND event_id = {{id:String}} AND {_AT_PLACE} "
        f"ORDER BY role, model_version LIMIT 1 BY role, model_digest LIMIT {LISTED_MAX}"
    )


def letters_at_sql(db: str) -> str:
    """Dead letters of the event, in the order of attempts."""
    return (
        f"SELECT stage, error, reason, attempt, model, model_version, {_ms('refused_at')}, "
        f"kafka_partition, kafka_offset FROM {db}.dead_letters WHERE {_READABLE} AND {_AT_PLACE} "
        f"ORDER BY attempt LIMIT {LISTED_MAX}"
    )


def release_at_sql(db: str) -> str:
    """The release that answered this offset; no row: stream.toml's own bundle."""
    return (
        f"SELECT number, kind, {_ms('switched_at')}, first_offset, next_offset, champion_version, "
        "challenger_version, canary_share, reason, scorer, late "
        f"FROM {db}.model_timeline WHERE source_partition = {{partition:Int32}} "
        "AND first_offset <= {offset:Int64} AND (next_offset IS NULL OR next_offset > "
        "{offset:Int64}) ORDER BY number DESC LIMIT 1"
    )


def incidents_at_sql(db: str) -> str:
    """Incidents that were open at this event time (ms)."""
    at = "fromUnixTimestamp64Milli({at:Int64}, 'UTC')"
    return (
        f"SELECT id, verdict, status, cause, features, {_ms('first_time')}, {_ms('updated_at')} "
        f"FROM {db}.incidents_now WHERE first_time <= {at} "
        f"AND (status != 'resolved' OR updated_at >= {at}) ORDER BY first_time DESC LIMIT 20"
    )


COLUMNS_SQL: Final = (
    "SELECT table, name, type, comment FROM system.columns WHERE database = {database:String} "
    "ORDER BY table, position"
)
