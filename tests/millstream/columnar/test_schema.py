"""Avro schema texts to Arrow schemas."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from millstream.columnar import arrow_schema
from millstream.columnar.schema import parse_record
from millstream.errors import ContractMismatch


def record(of: Any, **more: Any) -> str:
    """A schema text of one field ``a``."""
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": of} | more]})


@pytest.mark.parametrize(
    ("of", "column"),
    [
        ("boolean", pa.bool_()),
        ("int", pa.int32()),
        ("long", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("string", pa.string()),
        ("bytes", pa.binary()),
        ("null", pa.null()),
        ({"type": "fixed", "name": "F", "size": 3}, pa.binary(3)),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, pa.string()),
        ({"type": "int", "logicalType": "date"}, pa.date32()),
        ({"type": "int", "logicalType": "time-millis"}, pa.time32("ms")),
        ({"type": "long", "logicalType": "time-micros"}, pa.time64("us")),
        ({"type": "long", "logicalType": "timestamp-millis"}, pa.timestamp("ms", "UTC")),
        ({"type": "long", "logicalType": "timestamp-micros"}, pa.timestamp("us", "UTC")),
        ({"type": "long", "logicalType": "timestamp-nanos"}, pa.timestamp("ns", "UTC")),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, pa.timestamp("us")),
        ({"type": "string", "logicalType": "uuid"}, pa.string()),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            pa.decimal128(9, 2),
        ),
        ({"type": "array", "items": "long"}, pa.list_(pa.field("item", pa.int64(), False))),
        (
            {"type": "map", "values": ["null", "long"]},
            pa.map_(pa.string(), pa.field("value", pa.int64(), nullable=True)),
        ),
    ],
)
def test_each_type_has_one_column_type(of: Any, column: Any) -> None:
    """Every supported Avro type has its Arrow type."""
    assert arrow_schema(record(of)).field("a").type == column


def test_only_unions_with_null_are_nullable() -> None:
    """A column is nullable exactly where the field's type is a union with null."""
    assert arrow_schema(record(["null", "long"])).field("a").nullable
    assert arrow_schema(record(["long", "null"])).field("a").nullable
    assert not arrow_schema(record("long")).field("a").nullable
    assert not arrow_schema(record(["long"])).field("a").nullable


@pytest.mark.parametrize(
    "of",
    [
        {"type": "long", "logicalType": "date"},
        {"type": "long", "logicalType": "unheard-of"},
    ],
)
def test_a_logical_type_that_does_not_fit_is_ignored(of: Any) -> None:
    """An unknown logical type, or one on the wrong type, leaves the plain type."""
    assert arrow_schema(record(of)).field("a").type == pa.int64()


def test_a_named_type_is_found_by_short_and_by_full_name() -> None:
    """A reference to a named type resolves within its namespace and by full name."""
    text = json.dumps(
        {
            "type": "record",
            "name": "R",
            "namespace": "x.y",
            "fields": [
                {"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
                {"name": "b", "type": ["null", "E"]},
                {"name": "c", "type": "x.y.E"},
            ],
        }
    )
    fields = parse_record(text).fields
    assert fields[0].type == fields[2].type
    assert arrow_schema(text).types == [pa.string()] * 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (record(["null", "long", "string"]), "field a is a union of 2 types besides null"),
        (record(["null"]), "field a is a union of 0 types besides null"),
        (record("R"), "field a is the recursive record R"),
        (record({"type": "array", "items": "null"}), "field a is an array whose items take no"),
        (
            record({"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 2}),
            "field a is a decimal of 39 digits",
        ),
        (
            record({"type": "record", "name": "I", "fields": [{"name": "b", "type": "R"}]}),
            "field a.b is the recursive record R",
        ),
        ('"string"', "not a record"),
        (json.dumps({"type": "record", "name": "R", "fields": []}), "not a record with at least"),
        ("{", "not an Avro schema"),
        (record("unheard-of"), "not an Avro schema"),
    ],
)
def test_what_has_no_column_is_refused_by_name(text: str, problem: str) -> None:
    """A schema that cannot become columns raises ContractMismatch naming field and type."""
    with pytest.raises(ContractMismatch) as caught:
        arrow_schema(text)
    assert problem in caught.value.problem
    assert caught.value.remedy
