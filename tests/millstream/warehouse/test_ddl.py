"""The migrations: forward only, and the columns that follow from an event schema."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millstream.columnar import arrow_schema
from millstream.columnar.schema import parse_record
from millstream.contracts import SCHEMAS, contract, topic_table
from millstream.errors import ContractMismatch
from millstream.records import Records
from millstream.stream import Stream
from millstream.warehouse.ddl import (
    bookkeeping,
    clickhouse_type,
    column_changes,
    event_columns,
    migrations,
    pending,
)
from millstream.warehouse.rows import coordinates

_BASE: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "It's \\ an id"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "n", "type": "int"},
]


def stream_of(folder: Path, fields: list[dict[str, Any]], private: str = "") -> Stream:
    """A stream `shop` whose events have these fields besides id, at and n."""
    schema = {"type": "record", "name": "E", "fields": [*_BASE, *fields]}
    (folder / "e.avsc").write_text(json.dumps(schema))
    (folder / "stream.toml").write_text(
        'name = "shop"\n[event]\nschema = "e.avsc"\nkey = "id"\nid = "id"\ntime = "at"\n'
        '[features]\norder = ["n"]\n[label]\nkind = "binary"\n[model]\nbundle = "b"\n'
        f"[privacy]\nprivate = [{private}]\n"
    )
    return Stream.load(folder / "stream.toml")


@pytest.mark.parametrize(
    ("avro_type", "column"),
    [
        ("string", "Nullable(String)"),
        ("bytes", "Nullable(String)"),
        ("int", "Nullable(Int32)"),
        ("long", "Nullable(Int64)"),
        ("float", "Nullable(Float32)"),
        ("double", "Nullable(Float64)"),
        ("boolean", "Nullable(Bool)"),
        (["null", "int"], "Nullable(Int32)"),
        (["string", "null"], "Nullable(String)"),
        (["long"], "Nullable(Int64)"),
        ({"type": "string", "logicalType": "uuid"}, "Nullable(String)"),
        ({"type": "int", "logicalType": "date"}, "Nullable(Date32)"),
        ({"type": "int", "logicalType": "time-millis"}, "Nullable(Int32)"),
        ({"type": "long", "logicalType": "time-micros"}, "Nullable(Int64)"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "Nullable(DateTime64(3, 'UTC'))"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "Nullable(DateTime64(6, 'UTC'))"),
        ({"type": "long", "logicalType": "timestamp-nanos"}, "Nullable(Int64)"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, "Nullable(Int64)"),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, "Nullable(Int64)"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
            "Nullable(Decimal(10, 2))",
        ),
        (
            {"type": "fixed", "name": "F", "size": 8, "logicalType": "decimal", "precision": 6},
            "Nullable(Decimal(6, 0))",
        ),
        ({"type": "bytes", "logicalType": "decimal", "precision": 0}, "Nullable(String)"),
        ({"type": "fixed", "name": "F", "size": 4}, "Nullable(String)"),
        ({"type": "int", "logicalType": "no-such-thing"}, "Nullable(Int32)"),
        (
            {"type": "enum", "name": "C", "symbols": ["RED"]},
            "LowCardinality(Nullable(String))",
        ),
        (
            ["null", {"type": "enum", "name": "C", "symbols": ["RED"]}],
            "LowCardinality(Nullable(String))",
        ),
        ({"type": "array", "items": "int"}, None),
        ({"type": "map", "values": "int"}, None),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}, None),
        ("null", None),
    ],
    ids=json.dumps,
)
def test_every_avro_type_has_its_column_or_none(avro_type: Any, column: str | None) -> None:
    """Nullable throughout, as an unreadable event has no fields."""
    schema = {"type": "record", "name": "E", "fields": [{"name": "a", "type": avro_type}]}
    assert clickhouse_type(parse_record(json.dumps(schema)).fields[0].type) == column


def test_a_type_that_is_named_again_has_its_column_too(tmp_path: Path) -> None:
    """An enum declared at one field and used at another."""
    enum = {"type": "enum", "name": "Colour", "symbols": ["RED"]}
    stream = stream_of(
        tmp_path, [{"name": "a", "type": enum}, {"name": "b", "type": ["null", "Colour"]}]
    )
    assert event_columns(stream)["a"] == event_columns(stream)["b"]


def test_private_and_nested_fields_have_no_column(tmp_path: Path) -> None:
    """Nor are they named in any statement."""
    fields: list[dict[str, Any]] = [
        {"name": "secret", "type": "string"},
        {"name": "many", "type": {"type": "array", "items": "int"}},
    ]
    stream = stream_of(tmp_path, fields, '"secret"')
    assert list(event_columns(stream)) == ["id", "at", "n"]
    text = " ".join(s for step in migrations(stream) for s in step.statements)
    assert "secret" not in text
    assert "`many`" not in text


def test_migrations_are_numbered_files_then_the_events_columns(tmp_path: Path) -> None:
    """Each file once, in order, for the stream's database."""
    steps = migrations(stream_of(tmp_path, []))
    files = sorted(path.stem for path in (SCHEMAS / "clickhouse").glob("*.sql"))
    assert [step.name for step in steps[:-1]] == files
    assert steps[-1].name.startswith("event_columns_")
    text = "\n".join(s for step in steps for s in step.statements)
    assert "{database}" not in text
    assert "shop.events" in text


def test_every_statement_may_be_repeated(tmp_path: Path) -> None:
    """A crash between a statement and its record repeats it."""
    stream = stream_of(tmp_path, [])
    statements = [s for step in migrations(stream) for s in step.statements]
    for statement in [*statements, *bookkeeping(stream.name)]:
        plain = re.sub(r"--[^\n]*", "", statement)
        repeats = (
            *("IF NOT EXISTS", "CREATE OR REPLACE", "MATERIALIZE INDEX IF EXISTS"),
            *("MATERIALIZE PROJECTION IF EXISTS", "COMMENT COLUMN IF EXISTS", "MODIFY COMMENT"),
        )
        assert any(words in plain for words in repeats), statement


def test_a_docs_quotes_cannot_leave_the_comment(tmp_path: Path) -> None:
    """The text of a field's doc is data, whatever it says."""
    step = migrations(stream_of(tmp_path, []))[-1]
    assert step.statements[0].endswith("COMMENT 'It\\'s \\\\ an id'")


def test_what_was_applied_is_not_applied_again(tmp_path: Path) -> None:
    """By name; the rest comes in order."""
    steps = migrations(stream_of(tmp_path, []))
    applied = {step.name: step.digest for step in steps}
    assert pending(applied, steps) == []
    assert pending({}, steps) == steps
    del applied[steps[1].name]
    assert pending(applied, steps) == [steps[1]]


def test_a_migration_that_was_changed_is_refused(tmp_path: Path) -> None:
    """It names the migration; nothing is applied then, not even what is new."""
    steps = migrations(stream_of(tmp_path, []))
    applied = {steps[0].name: steps[0].digest}
    changed = replace(steps[0], statements=(*steps[0].statements, "SELECT 1"))
    with pytest.raises(ContractMismatch, match=f"migration {steps[0].name} was applied"):
        pending(applied, [changed, *steps[1:]])


def test_a_migration_of_a_newer_millstream_is_no_fault(tmp_path: Path) -> None:
    """Two versions run side by side while one replaces the other."""
    steps = migrations(stream_of(tmp_path, []))
    assert pending({"099_later": "x"} | {s.name: s.digest for s in steps}, steps) == []


def test_a_new_field_is_a_new_step(tmp_path: Path) -> None:
    """With a name of its own, so that the columns that are there stay applied."""
    before = migrations(stream_of(tmp_path, []))[-1]
    after = migrations(stream_of(tmp_path, [{"name": "m", "type": "int"}]))[-1]
    assert before.name != after.name


@pytest.mark.parametrize(
    ("now", "then"),
    [("int", "long"), ("int", "double"), ("long", "double"), ("float", "double")],
)
def test_a_promoted_field_widens_its_column(tmp_path: Path, now: str, then: str) -> None:
    """Else the larger values would be cut to the old type without a word."""
    old = event_columns(stream_of(tmp_path, [{"name": "m", "type": now}]))
    stream = stream_of(tmp_path, [{"name": "m", "type": then}])
    wide = event_columns(stream)["m"]
    assert column_changes(stream, old) == [f"ALTER TABLE shop.events MODIFY COLUMN `m` {wide}"]
    assert column_changes(stream, event_columns(stream)) == []


@pytest.mark.parametrize(
    ("now", "then"),
    [("long", "int"), ("string", "int"), ("double", "float"), ("double", "long")],
)
def test_a_field_that_became_narrower_or_another_is_refused(
    tmp_path: Path, now: str, then: str
) -> None:
    """Its column, both types and the remedy are named."""
    old = event_columns(stream_of(tmp_path, [{"name": "m", "type": now}]))
    stream = stream_of(tmp_path, [{"name": "m", "type": then}])
    with pytest.raises(ContractMismatch, match=r"column m of shop\.events is Nullable"):
        column_changes(stream, old)


def test_a_column_that_the_schema_no_longer_has_stays(tmp_path: Path) -> None:
    """Old rows have it."""
    assert column_changes(stream_of(tmp_path, []), {"gone": "Nullable(String)"}) == []


def _columns_of(file: str) -> set[str]:
    text = (SCHEMAS / "clickhouse" / file).read_text("utf-8")
    return set(re.findall(r"^ {4}([a-z]\w*) ", text, re.MULTILINE))


def test_the_tables_have_a_column_for_each_field_of_their_contract() -> None:
    """And the record's coordinates, and the block's time."""
    ours = {*_coordinate_names(), "kafka_block_time"}
    assert _columns_of("001_events.sql") == {*ours, "kafka_schema_id"}
    prediction = set(arrow_schema(contract("prediction").text).names)
    added = re.findall(
        r"ADD COLUMN IF NOT EXISTS (\w+)",
        (SCHEMAS / "clickhouse/008_predictions.sql").read_text("utf-8"),
    )
    assert {*_columns_of("002_predictions.sql"), *added} == {*ours, "kafka_schema_id", *prediction}
    letter = set(arrow_schema(contract("dead_letter").text).names)
    assert _columns_of("003_dead_letters.sql") == {*ours, *letter}
    alarm = set(arrow_schema(contract("alarm").text).names)
    assert _columns_of("007_alarms.sql") == {*ours, "kafka_schema_id", *alarm}
    labelled = set(arrow_schema(contract("labelled").text).names)
    assert _columns_of("004_labelled.sql") == {*ours, "kafka_schema_id", *labelled}


def test_every_table_of_the_table_of_topics_has_a_migration_of_its_name() -> None:
    """So that the sink can be asked to do without one. The views are of all tables."""
    files = {path.stem.partition("_")[2] for path in (SCHEMAS / "clickhouse").glob("*.sql")}
    assert {topic.table for topic in topic_table().values() if topic.table} == files - {"views"}


def _coordinate_names() -> set[str]:
    numbers = np.empty(0, np.int64)
    empty = Records("t", [], [], np.empty(0, np.int32), numbers, numbers, {})
    return set(coordinates(empty, [], [], {}))
