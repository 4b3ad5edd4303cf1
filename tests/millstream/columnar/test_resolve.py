"""Schema resolution, case by case, on the row reader and on pyruhvro's path."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from millstream.columnar import arrow_schema, make_decoder
from millstream.columnar.batches import FEW_ROWS
from millstream.errors import ContractMismatch
from tests.millstream.columnar.drawn import same_batch, varint, written

ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}


def schema(*fields: dict[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    """A record schema."""
    return {"type": "record", "name": name, "fields": list(fields)} | more


def field(name: str, of: Any, **more: Any) -> dict[str, Any]:
    """A field of it."""
    return {"name": name, "type": of} | more


def resolved(
    writer: dict[str, Any], reader: dict[str, Any], *rows: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """The reader's rows and the refusals, the same for a few rows and for many."""
    texts = json.dumps(writer), json.dumps(reader)
    bodies = [written(writer, row) for row in rows]
    decoder = make_decoder(*texts)
    few = decoder.decode(bodies)
    times = 2 * FEW_ROWS
    many = decoder.decode(bodies * times)
    assert few.columns.schema.equals(arrow_schema(texts[1]))
    assert len(many.refusals) == times * len(few.refusals)
    assert many.columns.num_rows == times * few.columns.num_rows
    assert same_batch(few.columns, many.columns.slice(0, few.columns.num_rows))
    many.columns.validate(full=True)
    return few.columns.to_pylist(), [(r.row, r.name) for r in few.refusals]


def one(writer: Any, reader: Any, value: Any) -> Any:
    """A single value that is written as one type and read as another."""
    rows, refusals = resolved(schema(field("a", writer)), schema(field("a", reader)), {"a": value})
    assert refusals == []
    return rows[0]["a"]


def mismatch(writer: dict[str, Any], reader: dict[str, Any]) -> str:
    """The problem that make_decoder names."""
    with pytest.raises(ContractMismatch) as caught:
        make_decoder(json.dumps(writer), json.dumps(reader))
    assert caught.value.remedy
    return caught.value.problem


def test_fields_are_matched_by_name_and_come_in_the_readers_order() -> None:
    """The reader's order decides; a field that only the writer has is dropped."""
    writer = schema(field("a", "long"), field("b", "string"), field("c", "double"))
    reader = schema(field("c", "double"), field("a", "long"))
    assert resolved(writer, reader, {"a": 1, "b": "x", "c": 2.5}) == ([{"c": 2.5, "a": 1}], [])


def test_a_readers_alias_finds_the_writers_field() -> None:
    """A field is found under the reader's alias, but its own name comes first."""
    writer = schema(field("old", "long"))
    assert resolved(writer, schema(field("new", "long", aliases=["old"])), {"old": 4}) == (
        [{"new": 4}],
        [],
    )


def test_two_fields_may_not_claim_one() -> None:
    """Two fields of the reader that would read the same field of the writer do not fit."""
    reader = schema(field("a", "long"), field("b", "long", aliases=["a"]))
    assert "both claim the writer's field a" in mismatch(schema(field("a", "long")), reader)


@pytest.mark.parametrize(
    ("of", "default", "value"),
    [
        ("long", 7, 7),
        ("double", 7, 7.0),
        ("string", "é", "é"),
        ("bytes", "\u00ff\u0001", b"\xff\x01"),
        ("boolean", False, False),
        (["null", "long"], None, None),
        (["long", "null"], 3, 3),
        (["null", "long"], 3, 3),
        (ENUM, "B", "B"),
        ({"type": "fixed", "name": "F", "size": 2}, "ab", b"ab"),
        ({"type": "array", "items": "long"}, [1, 2], [1, 2]),
        ({"type": "map", "values": "long"}, {"k": 1}, [("k", 1)]),
        (
            schema(field("x", "long"), field("y", "string", default="z"), name="I"),
            {"x": 1},
            {"x": 1, "y": "z"},
        ),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
            "\u0001\u0000",
            Decimal("2.56"),
        ),
    ],
)
def test_a_missing_field_takes_the_readers_default(of: Any, default: Any, value: Any) -> None:
    """A field that the writer lacks has the reader's default in every row."""
    writer = schema(field("a", "long"))
    reader = schema(field("a", "long"), field("b", of, default=default))
    assert resolved(writer, reader, {"a": 1}, {"a": 2})[0] == [
        {"a": 1, "b": value},
        {"a": 2, "b": value},
    ]


def test_a_missing_field_without_default_does_not_fit() -> None:
    """A field that the writer lacks and that has no default is named at construction."""
    problem = mismatch(schema(field("a", "long")), schema(field("b", "long")))
    assert "no field b" in problem


@pytest.mark.parametrize(
    ("of", "default"),
    [
        ("long", "x"),
        ("int", 2**31),
        ("boolean", 0),
        ("long", None),
        (ENUM, "Z"),
        ("bytes", "\u0100"),
    ],
)
def test_a_default_of_another_type_does_not_fit(of: Any, default: Any) -> None:
    """A default that is no value of its type is named at construction."""
    reader = schema(field("a", "long"), field("b", of, default=default))
    problem = mismatch(schema(field("a", "long")), reader)
    assert "default of field b" in problem or "not an Avro schema" in problem


@pytest.mark.parametrize(
    ("writer", "reader", "value", "read"),
    [
        ("int", "long", -5, -5),
        ("int", "float", 16_777_217, 16_777_216.0),
        ("int", "double", 2**31 - 1, 2147483647.0),
        ("long", "float", 2**62 + 2**38 + 1, float(2**62 + 2**39)),
        ("long", "double", 2**53 + 1, float(2**53)),
        ("float", "double", 0.5, 0.5),
        ("string", "bytes", "é", "é".encode()),
        ("bytes", "string", "é".encode(), "é"),
        (["null", "int"], ["null", "double"], 3, 3.0),
        ("int", ["null", "long"], 3, 3),
        (["int"], "long", 3, 3),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [1], [1.0]),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}, {"k": 1}, [("k", 1)]),
        ("long", {"type": "long", "logicalType": "local-timestamp-millis"}, 5, None),
        ({"type": "long", "logicalType": "timestamp-micros"}, "long", 5, 5),
    ],
)
def test_values_are_promoted(writer: Any, reader: Any, value: Any, read: Any) -> None:
    """A value is read as the reader's wider type, rounded once where it must be."""
    got = one(writer, reader, value)
    assert got == read or (read is None and got.microsecond == 5000)


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ("long", "int"),
        ("double", "float"),
        ("string", "long"),
        ("boolean", "int"),
        (["null", "string"], ["null", "long"]),
        ({"type": "array", "items": "string"}, {"type": "array", "items": "long"}),
        ("long", {"type": "array", "items": "long"}),
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            {"type": "long", "logicalType": "timestamp-micros"},
        ),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 3},
        ),
        (
            {"type": "fixed", "name": "F", "size": 2},
            {"type": "fixed", "name": "F", "size": 3},
        ),
    ],
)
def test_types_that_do_not_resolve_are_named(writer: Any, reader: Any) -> None:
    """Types that Avro does not resolve, or that would be misread, are named at construction."""
    problem = mismatch(schema(field("a", writer)), schema(field("a", reader)))
    assert "field a" in problem


def test_named_types_need_the_same_name_or_an_alias() -> None:
    """Records, enums and fixed match by unqualified name, or by the reader's alias."""
    writer = schema(field("a", ENUM), namespace="old")
    other = dict(ENUM, name="Other")
    assert "named E by the writer" in mismatch(writer, schema(field("a", other)))
    assert "the record is named R" in mismatch(writer, schema(field("a", ENUM), name="S"))
    reader = schema(field("a", other | {"aliases": ["E"]}), name="S", aliases=["R"])
    assert resolved(writer, reader, {"a": "B"})[0] == [{"a": "B"}]


def test_an_unknown_symbol_takes_the_enums_default() -> None:
    """A symbol that the reader lacks becomes the reader's default symbol."""
    reader = dict(ENUM, symbols=["A", "UNKNOWN"], default="UNKNOWN")
    assert one(ENUM, reader, "C") == "UNKNOWN"
    assert one(ENUM, reader, "A") == "A"


def test_an_unknown_symbol_without_default_refuses_its_row() -> None:
    """A symbol that the reader lacks, without a default, refuses that row only."""
    writer, reader = schema(field("a", ENUM)), schema(field("a", dict(ENUM, symbols=["C", "A"])))
    rows, refusals = resolved(writer, reader, {"a": "A"}, {"a": "B"}, {"a": "C"})
    assert rows == [{"a": "A"}, {"a": "C"}]
    assert refusals == [(1, "unknown_symbol")]


def test_a_null_for_a_type_without_null_refuses_its_row() -> None:
    """A null that the reader has no place for refuses that row only."""
    writer, reader = schema(field("a", ["null", "long"])), schema(field("a", "long"))
    rows, refusals = resolved(writer, reader, {"a": 1}, {"a": None}, {"a": 3})
    assert rows == [{"a": 1}, {"a": 3}]
    assert refusals == [(1, "null_for_non_null")]


def test_a_null_inside_a_list_refuses_its_row() -> None:
    """The same inside an array: the whole row is refused."""
    writer = schema(field("a", {"type": "array", "items": ["null", "long"]}))
    reader = schema(field("a", {"type": "array", "items": "long"}))
    rows, refusals = resolved(writer, reader, {"a": [1, 2]}, {"a": [3, None]})
    assert rows == [{"a": [1, 2]}]
    assert refusals == [(1, "null_for_non_null")]


def test_bytes_that_are_no_text_refuse_their_row() -> None:
    """Bytes read as a string must be UTF-8."""
    writer, reader = schema(field("a", "bytes")), schema(field("a", "string"))
    rows, refusals = resolved(writer, reader, {"a": b"ok"}, {"a": b"\xff"})
    assert rows == [{"a": "ok"}]
    assert refusals == [(1, "bad_utf8")]


def test_records_inside_records_resolve_too() -> None:
    """Inner records are reordered, promoted and filled with defaults as outer ones are."""
    inner = schema(field("x", "int"), field("y", "string"), field("z", ["null", "float"]), name="I")
    wanted = schema(
        field("w", "long", default=9), field("z", ["null", "double"]), field("x", "long"), name="I"
    )
    writer = schema(field("a", ["null", inner]), field("b", {"type": "array", "items": "I"}))
    reader = schema(field("b", {"type": "array", "items": wanted}), field("a", ["null", "I"]))
    row = {"x": 1, "y": "s", "z": 0.5}
    read = {"w": 9, "z": 0.5, "x": 1}
    assert resolved(writer, reader, {"a": row, "b": [row, row]}, {"a": None, "b": []})[0] == [
        {"b": [read, read], "a": read},
        {"b": [], "a": None},
    ]


def test_damage_in_a_dropped_field_still_refuses_the_row() -> None:
    """A record that breaks its schema is refused, even where the reader drops the field."""
    writer = schema(field("a", "int"), field("b", "string"))
    decoder = make_decoder(json.dumps(writer), json.dumps(schema(field("b", "string"))))
    for times in (1, 2 * FEW_ROWS):
        out = decoder.decode([varint(2**31) + b"\x02x", varint(1) + b"\x02x"] * times)
        assert {r.name for r in out.refusals} == {"int_out_of_range"}
        assert out.rows.tolist() == list(range(1, 2 * times, 2))
