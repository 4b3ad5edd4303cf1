"""Labelled rows to train on, out of ClickHouse by one query that can be asked again.

The query's text holds its bounds: up to which offsets of `NAME.labelled` and `NAME.events` it
looks, and from when to when. So the same text gives the same rows as long as ClickHouse keeps them:
a correction that came later has a higher offset, and so has an event that the sink wrote behind its
label. Private fields are not in ClickHouse, so no model can be trained on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consumers.performance import EVENT, PLACE, happened_column
from consumers.warehouse import Warehouse, require_tables
from millstream.models.card import Card
from millstream.models.lineage import OffsetRange, Query
from millstream.performance.maturity import learn
from millstream.performance.metrics import Ints
from millstream.stream import Stream
from millstream.training.fingerprint import hash_of_rows
from millstream.training.rows import CannotTrain, Ranges, Rows, Task
from millstream.warehouse.ddl import event_columns

ROWS_MAX: Final = 200_000
MATURE_SHARE: Final = 0.95
DELAYS_MAX: Final = 1_000_000
KINDS: Final = ("labelled", "source")
_UP_TO: Final = (
    r"transform\(toInt64\(kafka_partition\), \[([\d, ]+)\]::Array\(Int64\), "
    r"\[([\d, ]+)\]::Array\(Int64\), toInt64\(-1\)\)"
)
_NUMBERS: Final = re.compile(
    _UP_TO + r" .*? AND truth IS NOT NULL"
    r"(?: AND happened >= (\d+))?(?: AND happened < (\d+))? ORDER BY .*? LIMIT (\d+)\)"
    rf"(?:.*? AND kafka_offset <= {_UP_TO})?"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Event time from `since` up to but not including `until`; the newest `rows_max` rows.

    mature_share: events so young that fewer of their labels are in are left out, since the labels
    that come first are not like the others; None takes every label that is there.
    """

    since: datetime | None = None
    until: datetime | None = None
    rows_max: int = ROWS_MAX
    mature_share: float | None = MATURE_SHARE


@dataclass(frozen=True, slots=True)
class Loaded:
    """rows in order of time; the query and the offsets that they came from; notes for people.
    bounds: partition -> the last offset of `NAME.labelled` that was looked at."""

    rows: Rows
    query: Query
    offsets: tuple[OffsetRange, ...]
    notes: tuple[str, ...]
    bounds: dict[int, int]


def read(
    stream: Stream, warehouse: Warehouse, wanted: Wanted, champion: Card | None = None
) -> Loaded:
    """The newest version of each labelled row, with its event's features.

    Raises OperatorNeeded where a migration is missing, CannotTrain where there are no rows or a
    feature is not kept, DependencyUnavailable.
    """
    require_tables(warehouse, stream)
    require_features(stream)
    bounds = marks_of(warehouse, stream, "labelled")
    if not bounds:
        raise CannotTrain(
            f"ClickHouse has no labelled rows of {stream.name}",
            "Publish outcomes and run `millstream join` and `millstream sink`, or use --from-file",
        )
    ripe, notes = _ripe_until(stream, warehouse, bounds, wanted.mature_share)
    until = in_us(wanted.until)
    if ripe is not None:
        until = ripe if until is None else min(until, ripe)
    events = marks_of(warehouse, stream, "events")
    text = _query(stream, bounds, (in_us(wanted.since), until), wanted.rows_max, events=events)
    rows, offsets = ask(stream, warehouse, text, champion)
    made = Query(text=text, result_hash=hash_of_rows(rows), rows=len(rows))
    return Loaded(rows, made, offsets, tuple(notes), bounds)


def read_newer(
    stream: Stream, warehouse: Warehouse, behind: dict[int, int], rows_max: int, task: Task
) -> tuple[Rows | None, dict[int, int]]:
    """The newest `rows_max` rows whose label, or its correction, lies behind these offsets, and the
    offsets that were looked up to. task: of all rows. Raises DependencyUnavailable."""
    bounds = marks_of(warehouse, stream, "labelled")
    if bounds == behind:
        return None, bounds
    text = _query(stream, bounds, (None, None), rows_max, behind)
    try:
        return ask(stream, warehouse, text, task=task)[0], bounds
    except CannotTrain:  # what came is no label
        return None, bounds


def ask(
    stream: Stream,
    warehouse: Warehouse,
    text: str,
    champion: Card | None = None,
    task: Task | None = None,
) -> tuple[Rows, tuple[OffsetRange, ...]]:
    """The rows of a query that `read` made, and the offsets of what they consist of.

    task: else what the rows and the champion's card show. Raises CannotTrain where there are none.
    """
    require_features(stream)
    table = warehouse.table(text)
    if not table.num_rows:
        raise CannotTrain(
            f"no labelled row of {stream.name} fits the query",
            "Widen --since and --until, wait for labels, or take them all with --immature",
        )
    features = features_of(stream, table)
    if stream.label.kind == "regression":
        labels = np.asarray(table.column("value"), np.float64)
    else:
        labels = np.array(table.column("label").to_pylist(), dtype=object)
    rows = Rows(
        task or Task.of(stream, features, labels, champion),
        features,
        labels,
        ints(table, "happened"),
        ints(table, "known"),
        table.column("id").to_pylist(),
    )
    return rows, ranges_of(table, KINDS)


def offsets_within(warehouse: Warehouse, text: str, ranges: Ranges) -> tuple[OffsetRange, ...]:
    """The offsets of those rows of a query that `read` made whose events happened within these
    ranges: for each range its own, in their order."""
    columns = [f"{kind}_{part}" for kind in KINDS for part in ("topic", "partition", "offset")]
    table = warehouse.table(f"SELECT happened, {', '.join(columns)} FROM ({text})")
    happened = ints(table, "happened")
    found: list[OffsetRange] = []
    for first, last in ranges:
        places = np.flatnonzero((happened >= first) & (happened < last))
        found += ranges_of(table.take(pa.array(places)), KINDS)
    return tuple(found)


def require_own_query(stream: Stream, text: str) -> None:
    """Raise CannotTrain where a text is not what `read` writes for this stream.

    A passport may come from elsewhere: its query is asked only if it can be made here from the
    numbers in it, so that no other statement is ever sent.
    """
    found = _NUMBERS.search(text)
    if found is not None:
        since, until = (int(found[i]) if found[i] else None for i in (3, 4))
        bounds, events = (_bounds(found[i], found[i + 1]) for i in (1, 6))
        asked = (stream, bounds, (since, until), int(found[5]))
        if any(text == _query(*asked, events=events, capped=each) for each in (True, False)):
            return
    raise CannotTrain(
        f"the lineage's query is none that is asked of {stream.name} here",
        "Repeat it with the stream.toml and the version of Millstream that trained it",
    )


def marks_of(warehouse: Warehouse, stream: Stream, table: str) -> dict[int, int]:
    """Partition -> the highest offset among the table's readable rows."""
    marks = warehouse.query(
        f"SELECT kafka_partition, max(kafka_offset) FROM {stream.name}.{table} "
        "WHERE kafka_unreadable = '' GROUP BY kafka_partition ORDER BY kafka_partition"
    )
    return {int(partition): int(offset) for partition, offset in marks}


def _bounds(partitions: str | None, offsets: str | None) -> dict[int, int]:
    """Of what `up_to` wrote; empty where it wrote nothing, as before events were bounded."""
    numbers = ([int(n) for n in text.split(",")] for text in (partitions, offsets) if text)
    return dict(zip(*numbers, strict=False))


def _query(
    stream: Stream,
    bounds: dict[int, int],
    times: tuple[int | None, int | None],
    rows_max: int,
    behind: dict[int, int] | None = None,
    events: dict[int, int] | None = None,
    capped: bool = True,
) -> str:
    """All that decides which rows are taken is in this text. behind, events: empty bounds none.
    capped: as `happened_by`; else as event_time has it, as before a clock's error was kept out."""
    name, time = stream.name, happened_by(stream) if capped else happened_column(stream)
    regression = stream.label.kind == "regression"
    truth = "value" if regression else "CAST(label, 'Nullable(String)')"
    fields, shown = feature_fields(stream)
    since, until = times
    within = f" AND happened >= {since}" if since is not None else ""
    within += f" AND happened < {until}" if until is not None else ""
    newer = f" AND NOT {up_to(behind)}" if behind else ""
    there = f"AND {up_to(events)} " if events else ""
    return (
        f"WITH picked AS (SELECT * FROM (SELECT {PLACE}, kafka_topic, kafka_partition, "
        "kafka_offset, event_id, "
        f"toUnixTimestamp64Micro({time}) AS happened, "
        f"toUnixTimestamp64Micro(ifNull(known_at, {time})) AS known, "
        f"toString(status) AS status, {truth} AS truth FROM {name}.labelled "
        f"WHERE kafka_unreadable = '' AND {up_to(bounds)}{newer} "
        f"ORDER BY {PLACE}, version DESC, kafka_partition, kafka_offset LIMIT 1 BY {PLACE}) "
        f"WHERE status IN ('labelled', 'corrected') AND truth IS NOT NULL{within} "
        f"ORDER BY happened DESC, {PLACE} LIMIT {rows_max}) "
        "SELECT l.event_id AS id, l.happened AS happened, l.known AS known, "
        f"l.truth AS {'value' if regression else 'label'}, "
        "l.kafka_topic AS labelled_topic, l.kafka_partition AS labelled_partition, "
        "l.kafka_offset AS labelled_offset, l.source_topic AS source_topic, "
        "l.source_partition AS source_partition, l.source_offset AS source_offset"
        f"{shown} FROM picked AS l INNER JOIN (SELECT {EVENT}{fields} FROM {name}.events WHERE "
        f"kafka_unreadable = '' {there}AND (kafka_topic, kafka_partition, kafka_offset) IN "
        f"(SELECT {PLACE} FROM picked)) AS e USING ({PLACE}) "
        "ORDER BY happened, source_topic, source_partition, source_offset"
    )


def happened_by(stream: Stream) -> str:
    """When an event happened, as ClickHouse's expression: no later than it was published. Else one
    event dated years ahead would be the newest row for years, and nothing behind it be new."""
    time = happened_column(stream)
    return time if time == "published_at" else f"least({time}, published_at)"


def feature_fields(stream: Stream) -> tuple[str, str]:
    """What a query selects for the features: of `events`, and of these as `e`."""
    kept = event_columns(stream)
    fields = "".join(
        f", CAST(`{field}`, '{_plain(kept[field])}') AS field_{i}"
        for i, field in enumerate(stream.features.order)
    )
    return fields, "".join(f", e.field_{i} AS field_{i}" for i in range(len(stream.features.order)))


def features_of(stream: Stream, table: pa.Table) -> pa.Table:
    """The features' columns of the answer to a query with `feature_fields`."""
    order = list(stream.features.order)
    return pa.table({name: _feature(stream, table, i, name) for i, name in enumerate(order)})


def up_to(bounds: dict[int, int]) -> str:
    """A condition: no record behind these offsets, by partition."""
    partitions, offsets = list(bounds), list(bounds.values())
    return (
        f"kafka_offset <= transform(toInt64(kafka_partition), {partitions}::Array(Int64), "
        f"{offsets}::Array(Int64), toInt64(-1))"
    )


def _ripe_until(
    stream: Stream, warehouse: Warehouse, bounds: dict[int, int], share: float | None
) -> tuple[int | None, list[str]]:
    """Event time from which on too few labels are in, in µs; None where that is not known."""
    if share is None:
        return None, []
    name, time = stream.name, happened_by(stream)
    table = warehouse.table(
        f"SELECT toUnixTimestamp64Micro({time}) AS happened, "
        "toUnixTimestamp64Micro(min(known_at)) AS known, "
        f"toUnixTimestamp64Micro(max(kafka_time)) AS joined FROM {name}.labelled "
        f"WHERE kafka_unreadable = '' AND {up_to(bounds)} "
        f"GROUP BY {time}, {PLACE} ORDER BY happened DESC LIMIT {DELAYS_MAX}"
    )
    waiting = warehouse.table(
        f"SELECT toUnixTimestamp64Micro({time}) AS happened FROM {name}.predictions WHERE "
        f"kafka_unreadable = '' AND ({PLACE}) NOT IN (SELECT {PLACE} FROM {name}.labelled WHERE "
        f"kafka_unreadable = '' AND {up_to(bounds)}) "
        f"ORDER BY happened DESC LIMIT {DELAYS_MAX}"
    )
    happened, known = ints(table, "happened"), table.column("known")
    came = np.asarray(known.is_valid())
    delays = np.asarray(known.fill_null(0), np.int64)[came] - happened[came]
    wait_us = stream.label.outcome_wait_s * 1_000_000
    # as of the newest outcome, not of now: asked again later, the same cut comes out
    as_of = int(np.asarray(known.fill_null(0), np.int64).max(initial=0))
    ages = np.concatenate([as_of - ints(waiting, "happened"), np.full(int((~came).sum()), wait_us)])
    curve = learn(delays, ages[ages >= 0], wait_us)
    age = curve.age_of(share)
    if age is None or not curve.settled:
        return None, ["how late labels come is not known yet: every label that is there is used"]
    return as_of - age, [
        f"{share:.0%} of labels are in after {age / 1e6:,.0f} s; younger events are left out"
    ]


def require_features(stream: Stream) -> None:
    """Raise CannotTrain where a feature of the stream is not in ClickHouse."""
    kept = event_columns(stream)
    for name in stream.features.order:
        if name not in kept:
            why = "private" if name in stream.privacy.private else "nested"
            raise CannotTrain(
                f"feature {name} of {stream.name} is {why}: it is not kept in ClickHouse",
                "Train from files with --from-file, or take it off features.order",
            )


def _feature(stream: Stream, table: pa.Table, number: int, name: str) -> Any:
    """As the event's decoder gives it: texts plain, whole numbers and booleans as they are."""
    column = table.column(f"field_{number}").combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if name in stream.features.categories and not pa.types.is_string(column.type):
        column = pc.cast(column, pa.string())
    return column


def ranges_of(table: pa.Table, kinds: tuple[str, ...]) -> tuple[OffsetRange, ...]:
    """First and last offset of each partition, by the columns KIND_topic, _partition, _offset."""
    found = []
    for what in kinds:
        topics = np.array(table.column(f"{what}_topic").to_pylist(), dtype=object)
        partitions, offsets = ints(table, f"{what}_partition"), ints(table, f"{what}_offset")
        for topic in sorted(set(topics.tolist())):
            for partition in np.unique(partitions[topics == topic]).tolist():
                ours = offsets[(topics == topic) & (partitions == partition)]
                first, last = int(ours.min()), int(ours.max())
                found.append(OffsetRange(topic=topic, partition=partition, first=first, last=last))
    return tuple(found)


def _plain(kind: str) -> str:
    """A dictionary's own type: clients read those columns in two ways."""
    return "Nullable(String)" if kind == "LowCardinality(Nullable(String))" else kind


def in_us(time: datetime | None) -> int | None:
    """Microseconds since 1970."""
    return None if time is None else round(time.timestamp() * 1e6)


def ints(table: pa.Table, name: str) -> Ints:
    """A column of whole numbers without nulls."""
    return np.asarray(table.column(name), np.int64)
