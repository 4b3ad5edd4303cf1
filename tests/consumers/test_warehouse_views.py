"""What migrate makes of a stream beside its tables: views that replays leave alone, projections
that make them quick, comments, and how long rows are kept. On a real engine, over HTTP."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.warehouse import Tables, Warehouse, migrate
from millstream.contracts import contract
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Pending, Source
from tests.consumers.analysts import START_US, World, fill, golden, insert, stream_called
from tests.consumers.warehouses import avro, stream_in

VIEWS = (
    *("scored_events", "performance_by_version_and_day", "calibration", "drift_by_feature"),
    *("model_timeline", "value_by_version", "latency", "label_delay", "data_quality"),
    *("labelled_now", "predictions_once", "incidents_now", "decisions_once"),
)
WHOLE_ROWS = [
    *("labelled_now", "predictions_once", "incidents_now", "decisions_once"),
    *("predictions_excess", "labelled_excess", "labelled_counts"),
]
"""Views whose columns are those of a table."""
OWN = {"kafka_offset", "kafka_time", "kafka_block_time"}
"""Columns that are of the record: a view that keeps whole rows keeps one of several copies."""


@pytest.fixture
def warehouse(served: WarehouseSettings) -> Iterator[Warehouse]:
    """A client of the server."""
    made = Warehouse.connect(served)
    yield made
    made.close()


@pytest.fixture
def loans(tmp_path: Path) -> Stream:
    """The loans example in a database of its own."""
    return stream_called(f"v{uuid.uuid4().hex[:12]}", tmp_path)


def seen(warehouse: Warehouse, stream: Stream) -> dict[str, list[Any]]:
    """View -> its rows, in an order of their own; sums of doubles to nine digits."""
    found = {}
    for view in VIEWS:
        texts = []
        for row in warehouse.named(f"SELECT * FROM {stream.name}.{view}"):
            texts.append(repr([_rounded(row[name]) for name in row if name not in OWN]))
        found[view] = sorted(texts)
    return found


def _rounded(cell: Any) -> Any:
    return float(f"{cell:.9g}") if isinstance(cell, float) else cell


def again(warehouse: Warehouse, stream: Stream, world: World, kind: str) -> None:
    """Every record of a topic once more, behind the others: a writer that is at least once."""
    for partition, values in world.values[kind].items():
        insert(warehouse, stream, kind, partition, values, first=len(values))


def test_records_that_come_twice_change_no_view(warehouse: Warehouse, loans: Stream) -> None:
    """All predictions, labels, readings, incidents, releases and decisions written again."""
    world = fill(warehouse, loans)
    before = seen(warehouse, loans)
    for kind in ("predictions", "labelled", "drift", "incidents", "releases", "decisions"):
        again(warehouse, loans, world, kind)
        after = seen(warehouse, loans)
        assert {v: r for v, r in after.items() if r != before[v]} == {}, kind
    assert all(before.values())
    ((copies,),) = warehouse.query(f"SELECT count() FROM {loans.name}.predictions_excess")
    assert copies == len(world.answers)


def test_a_block_that_comes_twice_changes_no_view(warehouse: Warehouse, loans: Stream) -> None:
    """The sink's replay: the same rows under the same token leave table and projections alone."""
    world = fill(warehouse, loans)
    before = seen(warehouse, loans)
    for kind in ("events", "predictions", "labelled"):
        for partition, values in world.values[kind].items():
            insert(warehouse, loans, kind, partition, values)
    assert seen(warehouse, loans) == before
    # nor does what the projections are made of differ from the rows themselves
    for table in ("predictions", "labelled", "events"):
        counts = f"SELECT toDate32(kafka_time) AS d, count() FROM {loans.name}.{table} GROUP BY d"
        with_them = warehouse.query(f"{counts} ORDER BY d")
        assert with_them == warehouse.query(
            f"{counts} ORDER BY d SETTINGS optimize_use_projections = 0"
        )


def test_sums_of_projections_are_those_of_the_rows(warehouse: Warehouse, loans: Stream) -> None:
    """labelled_by_day, put together from projections and corrections, against labelled_now; also
    with every label written again."""
    world = fill(warehouse, loans)
    keys = "toDate32(event_time), model_version, status, label, predicted"
    p_true = "if(label = predicted, confidence, 1 - confidence)"
    by_rows = (
        f"SELECT {keys}, count(), sum(confidence), sum(pow(1 - {p_true}, 2)), sum(-log({p_true})) "
        f"FROM {loans.name}.labelled_now WHERE predicted IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )
    by_day = (
        "SELECT day, model_version, status, label, predicted, sum(answers), sum(sum_confidence), "
        f"sum(sum_brier), sum(sum_log_loss) FROM {loans.name}.labelled_by_day "
        "WHERE predicted IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )
    for _ in range(2):
        wanted, found = warehouse.query(by_rows), warehouse.query(by_day)
        assert len(found) == len(wanted) > 20
        for ours, theirs in zip(found, wanted, strict=True):
            assert [_rounded(x) for x in ours] == [_rounded(x) for x in theirs]
        again(warehouse, loans, world, "labelled")


def test_corrections_of_more_than_two_labels_are_taken_from_the_rows(
    warehouse: Warehouse, loans: Stream
) -> None:
    """What a correction takes back is then not known from itself; nor is it of a regression."""
    migrate(warehouse, loans)
    topic = loans.topic("events")
    first = golden("labelled", scores=[0.2, 0.5, 0.3], predicted="b", label="c", confidence=0.5)
    third = first | {"version": 2, "status": "corrected", "label": "b", "source_topic": topic}
    number = golden(
        "labelled", label=None, predicted=None, confidence=None, scores=[3.0], score=3.0
    )
    number |= {"value": 5.0, "model_version": "9", "source_offset": 900}
    other = number | {"value": 4.0, "version": 2, "status": "corrected"}
    rows = [row | {"source_topic": topic} for row in (first, number, third, other, third, other)]
    text = contract("labelled").text
    insert(warehouse, loans, "labelled", 0, [avro(text, row) for row in rows])
    found = warehouse.query(
        "SELECT model_version, labels, accuracy, mean_absolute_error, root_mean_squared_error "
        f"FROM {loans.name}.performance_by_version_and_day ORDER BY model_version"
    )
    assert found == [("3", 1, 1.0, None, None), ("9", 1, None, 1.0, 1.0)]
    assert warehouse.query(f"SELECT count() FROM {loans.name}.labelled_now") == [(2,)]
    # nor is there one answer for all, to be dearer or cheaper than what was said
    value = "SELECT decisions, cost_of_one_answer_for_all, value FROM"
    assert warehouse.query(f"{value} {loans.name}.value_by_version") == [(1, None, None)]


@pytest.mark.parametrize(
    ("view", "projections"),
    [
        ("performance_by_version_and_day", {"by_day"}),
        ("calibration", {"by_day"}),
        ("value_by_version", {"by_day"}),
        ("label_delay", {"delays"}),
        ("latency", {"by_day"}),
        ("data_quality", {"by_day"}),
    ],
)
def test_a_summing_view_reads_projections(
    view: str, projections: set[str], warehouse: Warehouse, filled: Stream
) -> None:
    """Not the rows: a projection that no longer fits its view would cost seconds, and be silent."""
    plan = warehouse.query(f"EXPLAIN SELECT * FROM {filled.name}.{view}")
    text = "\n".join(row[0] for row in plan)
    assert {name for name in ("by_day", "delays") if f"({name})" in text} == projections
    assert f"ReadFromMergeTree ({filled.name}.events)" not in text


@pytest.mark.parametrize("table", ["predictions", "labelled"])
def test_what_came_twice_is_looked_for_in_projections(
    table: str, warehouse: Warehouse, filled: Stream
) -> None:
    """Both questions within predictions_excess and labelled_excess, as the view has them: of 64
    events only where the one of 65,536 found something."""
    ((view,),) = warehouse.query(
        "SELECT as_select FROM system.tables WHERE database = {name:String} "
        "AND name = {view:String}",
        name=filled.name,
        view=f"{table}_excess",
    )
    asked = [enclosed(view, found.start()) for found in re.finditer("SELECT source_topic", view)]
    for question, projection in ((asked[-1], "known_bits"), (asked[0], "known_offsets")):
        settings = "SETTINGS use_index_for_in_with_subqueries = 0"  # a set that is empty reads none
        plan = warehouse.query(f"EXPLAIN {question} {settings}")
        assert f"({projection})" in "\n".join(row[0] for row in plan), question


def enclosed(text: str, start: int) -> str:
    """From there to the bracket that closes what it is in."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth < 0:
            return text[start:at]
    return text[start:]


@pytest.fixture(scope="module")
def filled(served: WarehouseSettings, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """A stream with three days in it that no test changes."""
    stream = stream_called(f"f{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("filled"))
    made = Warehouse.connect(served)
    try:
        fill(made, stream)
    finally:
        made.close()
    return stream


@pytest.mark.parametrize("where", ["event_id = 'L-5'", "published_at < '2024-03-01 10:30:00'"])
def test_scored_events_ask_all_three_tables_for_the_same_rows(
    where: str, warehouse: Warehouse, filled: Stream
) -> None:
    """A condition on the event's id or time of publication reaches each table, not the first."""
    plan = warehouse.query(
        f"EXPLAIN indexes = 1 SELECT * FROM {filled.name}.scored_events WHERE {where}"
    )
    text = "\n".join(row[0] for row in plan)
    name = "by_event_id" if "event_id" in where else "by_published"
    read = {"predictions", "events", "labelled"}
    for table in read:
        reading = text.split(f"ReadFromMergeTree ({filled.name}.{table})")[1:]
        assert any(name in part.split("ReadFromMergeTree")[0] for part in reading), (table, text)


def test_every_column_of_every_table_and_view_says_what_it_is(
    warehouse: Warehouse, filled: Stream
) -> None:
    """So does every table and view."""
    silent = warehouse.query(
        "SELECT table, name FROM system.columns WHERE database = {name:String} AND comment = '' "
        "AND table NOT IN {whole:Array(String)}",
        name=filled.name,
        whole=WHOLE_ROWS,
    )
    assert silent == []
    tables = warehouse.query(
        "SELECT name FROM system.tables WHERE database = {name:String} AND comment = ''",
        name=filled.name,
    )
    assert tables == []


def test_a_field_without_a_doc_has_a_comment_all_the_same(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """Its type; and a doc that comes later takes its place, quotation marks and all."""
    name = f"c{uuid.uuid4().hex[:12]}"
    stream = stream_in(tmp_path, name, {"name": "colour", "type": ["null", "string"]})
    migrate(warehouse, stream)
    asked = (
        f"SELECT comment FROM system.columns WHERE database = '{name}' AND table = 'events' "
        "AND name = 'colour'"
    )
    assert warehouse.query(asked) == [('Field colour of the event, in Avro ["null", "string"]',)]
    told = {"name": "colour", "type": ["null", "string"], "doc": "It's \\ red"}
    migrate(warehouse, stream_in(tmp_path, name, told))
    assert warehouse.query(asked) == [("It's \\ red",)]


def test_a_field_may_have_the_name_of_a_column(warehouse: Warehouse, tmp_path: Path) -> None:
    """It is called event_NAME in scored_events."""
    name = f"c{uuid.uuid4().hex[:12]}"
    fields = [{"name": n, "type": "string"} for n in ("score", "event_score", "label")]
    migrate(warehouse, stream_in(tmp_path, name, *fields))
    rows = warehouse.query(
        f"SELECT name FROM system.columns WHERE database = '{name}' AND table = 'scored_events'"
    )
    names = [row[0] for row in rows]
    assert len(names) == len(set(names))
    assert {"score", "event_score", "event_event_score", "label", "event_label"} <= set(names)


def test_a_field_with_the_name_of_a_place_shows_the_events_value(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """Not Kafka's, by which its answer is found."""
    name = f"c{uuid.uuid4().hex[:12]}"
    kinds = {"published_at": "string", "source_topic": "string", "source_offset": "long"}
    kinds |= {"source_partition": "int", "event_id": "string"}
    fields = [{"name": field, "type": kind} for field, kind in kinds.items()]
    stream = stream_in(tmp_path, name, *fields)
    migrate(warehouse, stream)
    told = {"published_at": "by hand", "source_topic": "a form", "source_offset": -5}
    told |= {"source_partition": -6, "event_id": "another"}
    event = {"id": "E-1", "at": START_US, "n": 1} | told
    insert(warehouse, stream, "events", 0, [avro(stream.schema_of_event.text, event)])
    answer = golden("prediction", event_id="E-1", source_topic=stream.topic("events"))
    answer |= {"source_partition": 0, "source_offset": 0, "published_at": START_US}
    insert(warehouse, stream, "predictions", 0, [avro(contract("prediction").text, answer)])
    shown = ", ".join(f"event_{field}" for field in told)
    rows = warehouse.query(f"SELECT id, source_offset, {shown} FROM {name}.scored_events")
    assert rows == [("E-1", 0, *told.values())]


def test_views_follow_the_streams_costs(warehouse: Warehouse, tmp_path: Path) -> None:
    """At each migrate, back and forth."""
    name = f"c{uuid.uuid4().hex[:12]}"
    asked = f"SELECT sum(cost) / sum(wrong) FROM {name}.value_by_version"
    fill(warehouse, stream_called(name, tmp_path))
    assert warehouse.query(asked) == [(1.0,)]
    both = "\n[costs]\nfalse_positive = 3.5\nfalse_negative = 3.5\n"
    migrate(warehouse, stream_called(name, tmp_path, both))
    assert warehouse.query(asked) == [(3.5,)]
    migrate(warehouse, stream_called(name, tmp_path))
    assert warehouse.query(asked) == [(1.0,)]


def test_a_matrix_prices_each_pair_of_labels(warehouse: Warehouse, tmp_path: Path) -> None:
    """What it leaves out costs nothing."""
    name = f"c{uuid.uuid4().hex[:12]}"
    more = '\n[costs.matrix]\n"1" = { "0" = 2.0 }\n'
    fill(warehouse, stream_called(name, tmp_path, more))
    rows = warehouse.query(f"SELECT sum(cost), sum(false_negatives) FROM {name}.value_by_version")
    assert rows[0][0] == 2.0 * rows[0][1] > 0


def test_rows_are_kept_as_long_as_the_stream_says(warehouse: Warehouse, tmp_path: Path) -> None:
    """migrate sets, changes and takes back a table's time to live; old parts go whole, their
    projections with them."""
    name = f"t{uuid.uuid4().hex[:12]}"
    engine = (
        f"SELECT engine_full FROM system.tables WHERE database = '{name}' AND name = 'labelled'"
    )

    def kept(days: str) -> str:
        migrate(warehouse, stream_called(name, tmp_path, days))
        return str(warehouse.query(engine)[0][0])

    assert "TTL" not in kept("")
    assert "toIntervalDay(90)" in kept("\n[warehouse.keep_days]\nlabelled = 90\n")
    assert "toIntervalDay(40)" in kept("\n[warehouse.keep_days]\nlabelled = 40\n")
    fill(warehouse, stream_called(name, tmp_path, "\n[warehouse.keep_days]\nlabelled = 40\n"))
    warehouse.command(f"OPTIMIZE TABLE {name}.labelled FINAL")  # the rows are of 2024
    assert warehouse.query(f"SELECT count() FROM {name}.labelled") == [(0,)]
    assert warehouse.query(f"SELECT count() FROM {name}.performance_by_version_and_day") == [(0,)]
    assert "TTL" not in kept("")


def test_projections_are_made_of_rows_that_were_there_before(
    warehouse: Warehouse, loans: Stream
) -> None:
    """A warehouse of an older version gets them for its old parts too."""
    fill(warehouse, loans)
    warehouse.command(f"ALTER TABLE {loans.name}.labelled DROP PROJECTION by_day")
    warehouse.command(
        f"ALTER TABLE {loans.name}.migrations DELETE WHERE name = '015_labelled' "
        "SETTINGS mutations_sync = 1"
    )
    migrate(warehouse, loans)
    warehouse.command(
        f"ALTER TABLE {loans.name}.labelled DELETE WHERE false SETTINGS mutations_sync = 1"
    )
    parts = warehouse.query(
        "SELECT count() FROM system.projection_parts WHERE active AND name = 'by_day' "
        "AND table = 'labelled' AND database = {name:String}",
        name=loans.name,
    )
    assert parts[0][0] > 0


def test_an_empty_warehouse_has_empty_views(warehouse: Warehouse, loans: Stream) -> None:
    """And each can be asked."""
    migrate(warehouse, loans)
    assert seen(warehouse, loans) == {view: [] for view in VIEWS}


def test_two_topics_offsets_do_not_meet(warehouse: Warehouse, loans: Stream) -> None:
    """The same partition and offset of another topic is another event."""
    world = fill(warehouse, loans)
    partition, values = next(iter(world.values["predictions"].items()))
    copy = warehouse.table(
        f"SELECT * REPLACE ('other' AS source_topic, 'elsewhere' AS kafka_topic) "
        f"FROM {loans.name}.predictions WHERE kafka_partition = {partition}"
    )
    pending = Pending(Source("predictions", "elsewhere", partition))
    pending.add(copy.drop_columns(["kafka_block_time"]), 0.0)
    Tables(warehouse, loans.name).insert(pending.cut(len(values)), 0)
    assert warehouse.query(f"SELECT count() FROM {loans.name}.predictions_excess") == [(0,)]
    ((answered,),) = warehouse.query(f"SELECT sum(answered) FROM {loans.name}.latency")
    assert answered == len(world.answers) + len(values)
