"""What ClickHouse knows of a stream's answers and their outcomes, as the performance report's
columns: predictions, each with its newest labelled row and the event's own fields; dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from consumers.warehouse import Warehouse, require_tables
from millstream.models.card import Card
from millstream.performance.answers import LABELLED, NEVER, WAITING, Answers
from millstream.performance.metrics import Classes, Floats, Ints
from millstream.performance.windows import Names, sliced
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns

ROWS_MAX: Final = 1_000_000
AGREEING_MIN: Final = 0.99
_STATUS: Final = {"labelled": LABELLED, "corrected": LABELLED, "never_labelled": NEVER}
PLACE: Final = "source_topic, source_partition, source_offset"
EVENT: Final = (
    "kafka_topic AS source_topic, kafka_partition AS source_partition, "
    "kafka_offset AS source_offset"
)


@dataclass(frozen=True, slots=True)
class Range:
    """Which predictions: event time from `since` up to but not including `until`, the newest
    `rows_max` of them."""

    since: datetime | None = None
    until: datetime | None = None
    rows_max: int = ROWS_MAX


@dataclass(frozen=True, slots=True)
class Loaded:
    """answers: one part for each model version. refused: version -> event times of dead letters,
    in µs. notes: what a reader of the report must know of them, a sentence each."""

    answers: list[Answers]
    refused: dict[str, Ints]
    notes: tuple[str, ...]


def read(stream: Stream, warehouse: Warehouse, cards: Sequence[Card], which: Range) -> Loaded:
    """The answers of a stream; cards: of the bundles that gave them, the stream's own one first.

    Only the newest version of a labelled row counts, however often it is there; how late a label
    came is judged by the first. Raises OperatorNeeded where a migration is missing, and
    DependencyUnavailable.
    """
    require_tables(warehouse, stream)
    kept = event_columns(stream)
    wanted = dict.fromkeys((*stream.watch.slices, *stream.fairness.groups))
    fields = [name for name in wanted if name in kept]
    notes = [f"{name} is not kept in ClickHouse: no slices" for name in wanted if name not in kept]
    table = warehouse.table(_predictions(stream, which, fields), **_bounds(which))
    if table.num_rows > which.rows_max:
        notes.append(f"only the newest {which.rows_max:,} predictions were read")
    table = table.slice(0, which.rows_max).sort_by("scored")
    parts = field_parts(stream, table, fields)
    versions = _texts(table, "version")
    answers = []
    for version in sorted(set(versions.tolist())):
        rows = np.flatnonzero(versions == version)
        ours = [{name: values[rows] for name, values in part.items()} for part in parts]
        made, said = version_answers(stream, table.take(pa.array(rows)), cards, (ours[0], ours[1]))
        notes += said
        answers += [made] if made is not None else []
    return Loaded(answers, _refused(stream, warehouse, which), tuple(notes))


def _predictions(stream: Stream, which: Range, fields: Sequence[str]) -> str:
    """One row for each prediction, the newest by event time first."""
    name, time = stream.name, happened_column(stream)
    shown = "".join(f", e.field_{i} AS field_{i}" for i in range(len(fields)))
    columns = "".join(f", `{field}` AS field_{i}" for i, field in enumerate(fields))
    events = (
        f"LEFT JOIN (SELECT {EVENT}{columns} FROM {name}.events WHERE (kafka_topic, "
        f"kafka_partition, kafka_offset) IN (SELECT {PLACE} FROM picked)) AS e USING ({PLACE})"
    )
    return (
        f"WITH picked AS (SELECT {PLACE}, concat(model, ' ', model_version) AS version, "
        f"toString(model_digest) AS digest, toUnixTimestamp64Micro({time}) AS happened, "
        "toUnixTimestamp64Micro(published_at) AS published, "
        "toUnixTimestamp64Micro(scored_at) AS scored, score AS said, scores AS chances, "
        f"CAST(label, 'Nullable(String)') AS guess FROM {name}.predictions "
        f"WHERE kafka_unreadable = '' AND answered_by != 'abstained'{_within(which, time)} "
        f"ORDER BY {time} DESC LIMIT {which.rows_max + 1}) "
        "SELECT p.version AS version, p.digest AS digest, p.happened AS happened, p.published AS "
        "published, p.scored AS scored, p.said AS said, p.chances AS chances, p.guess AS guess, "
        "l.newest.1 AS status, l.newest.2 AS label, l.newest.3 AS value, l.known AS known"
        f"{shown} FROM picked AS p LEFT JOIN (SELECT {PLACE}, argMax((toString(status), "
        "CAST(label, 'Nullable(String)'), value), version) AS newest, "
        "ifNull(toUnixTimestamp64Micro(min(known_at)), 0) AS known "
        f"FROM {name}.labelled WHERE kafka_unreadable = '' AND ({PLACE}) IN (SELECT {PLACE} "
        f"FROM picked) GROUP BY {PLACE}) AS l USING ({PLACE}) {events if fields else ''} "
        f"ORDER BY happened DESC LIMIT 1 BY {PLACE}, version"
    )


def _refused(stream: Stream, warehouse: Warehouse, which: Range) -> dict[str, Ints]:
    """Version -> event times of its dead letters: when they were published, where an event cannot
    be read; when they were refused, where it is not there."""
    own = f"toDateTime64(e.`{stream.event.time}`, 6, 'UTC')"
    private = stream.event.time in stream.privacy.private
    time = f"multiIf(e.source_topic = '', d.at, {'false' if private else own + ' IS NOT NULL'}, "
    time += f"{'e.published' if private else f'assumeNotNull({own})'}, e.published)"
    field = "" if private else f", `{stream.event.time}`"
    rows = warehouse.table(
        "SELECT d.version AS version, toUnixTimestamp64Micro(d.time) AS happened FROM (SELECT "
        f"d.version AS version, {time} AS time FROM (SELECT {PLACE}, concat(model, ' ', "
        "model_version) AS version, toDateTime64(refused_at, 6, 'UTC') AS at "
        f"FROM {stream.name}.dead_letters WHERE kafka_unreadable = '') AS d LEFT JOIN "
        f"(SELECT {EVENT}, kafka_time AS published{field} FROM {stream.name}.events WHERE "
        f"(kafka_topic, kafka_partition, kafka_offset) IN (SELECT {PLACE} FROM "
        f"{stream.name}.dead_letters)) AS e USING ({PLACE})) AS d "
        f"WHERE true{_within(which, 'd.time')} LIMIT {which.rows_max}",
        **_bounds(which),
    )
    versions, times = _texts(rows, "version"), _ints(rows, "happened")
    return {v: np.sort(times[versions == v]) for v in sorted(set(versions.tolist()))}


def version_answers(
    stream: Stream,
    table: pa.Table,
    cards: Sequence[Card],
    parts: tuple[Mapping[str, Names], Mapping[str, Names]],
) -> tuple[Answers | None, list[str]]:
    """One version's answers, or None where no card explains them; and what to say of them.

    table: its rows, with the columns of `read`'s query. parts: as of `field_parts`.
    """
    version, digest = table.column("version")[0].as_py(), table.column("digest")[0].as_py()
    card = next((card for card in cards if card.digest == digest), cards[0])
    n, labels = table.num_rows, list(card.labels)
    said = np.asarray(table.column("said").fill_null(np.nan), np.float64)
    classes, raw, notes = None, np.zeros((n, 0)), []
    truth = predicted = np.zeros(n, np.int64)
    if stream.label.kind != "regression":
        positive = labels.index(card.positive) if card.positive in labels else None
        classes = Classes(tuple(labels), positive)
        predicted, truth = (_numbers(table, name, labels) for name in ("guess", "label"))
        found = _chances(table, predicted, said, classes)
        if found is None:
            note = f"{version} answers in other labels than bundle {card.name} {card.version}"
            return None, [f"{note}: it is left out; name its bundle with --bundle"]
        raw = found
    there = table.column("value" if classes is None else "label").is_valid()
    status = np.array([_STATUS.get(text or "", WAITING) for text in _texts(table, "status")])
    status = np.where((status == LABELLED) & ~np.asarray(there), WAITING, status).astype(np.int64)
    strange = int(((status == LABELLED) & (truth == len(labels))).sum()) if classes else 0
    if strange:
        notes = [
            f"{strange:,} outcomes of {version} name a label that it does not know: wrong answers"
        ]
    made = Answers(
        version=version,
        classes=classes,
        event_us=_ints(table, "happened"),
        published_us=_ints(table, "published"),
        scored_us=_ints(table, "scored"),
        status=status,
        known_us=_ints(table, "known"),
        truth=truth,
        predicted=predicted,
        raw=raw,
        true_value=np.asarray(table.column("value").fill_null(np.nan), np.float64),
        value=said,
        slices=parts[0],
        groups=parts[1],
    )
    return made, notes


def _chances(table: pa.Table, predicted: Ints, said: Floats, classes: Classes) -> Floats | None:
    """[n, k] probabilities, if they are in the order of these labels."""
    column = table.column("chances").combine_chunks()
    widths = np.asarray(pc.list_value_length(column))
    if not (widths == classes.count).all() or (predicted == classes.count).any():
        return None
    raw: Floats = np.asarray(column.flatten(), np.float64).reshape(-1, classes.count)
    if classes.positive is not None:
        agreeing = np.isclose(raw[:, classes.positive], said)
    else:
        agreeing = raw.argmax(axis=1) == predicted
    return raw if agreeing.mean() >= AGREEING_MIN else None


def field_parts(
    stream: Stream, table: pa.Table, fields: Sequence[str]
) -> tuple[Mapping[str, Names], Mapping[str, Names]]:
    """Field -> slice or group of every row: the slices', and the groups'."""
    values = {field: table.column(f"field_{i}").to_pylist() for i, field in enumerate(fields)}
    edges = stream.fairness.edges
    return (
        {name: sliced(values[name]) for name in stream.watch.slices if name in values},
        {n: sliced(values[n], edges.get(n)) for n in stream.fairness.groups if n in values},
    )


def happened_column(stream: Stream) -> str:
    """The column of predictions, shadows and labelled that says when an event happened: a private
    time stays out of ClickHouse, and when it was published stands for it."""
    return "published_at" if stream.event.time in stream.privacy.private else "event_time"


def _within(which: Range, time: str) -> str:
    since = f" AND {time} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')"
    until = f" AND {time} < fromUnixTimestamp64Micro({{until:Int64}}, 'UTC')"
    return (since if which.since else "") + (until if which.until else "")


def _bounds(which: Range) -> dict[str, Any]:
    named = {"since": which.since, "until": which.until}
    return {name: round(time.timestamp() * 1e6) for name, time in named.items() if time}


def _numbers(table: pa.Table, name: str, labels: Sequence[str]) -> Ints:
    """[n] class numbers of a column of labels; what is none of them is their count."""
    places = pc.index_in(table.column(name), value_set=pa.array(labels, pa.string()))
    return np.asarray(places.fill_null(len(labels)), np.int64)


def _ints(table: pa.Table, name: str) -> Ints:
    return np.asarray(table.column(name), np.int64)


def _texts(table: pa.Table, name: str) -> npt.NDArray[np.object_]:
    return np.array(table.column(name).to_pylist(), dtype=object)
