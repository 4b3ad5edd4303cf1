"""Columns to bytes: what fastavro writes, and what we read back."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.columnar import Encoder, arrow_schema, frame, make_decoder
from millstream.columnar.encoder import FEW_ROWS
from millstream.columnar.engine import Engine
from millstream.errors import ContractMismatch
from tests.millstream.columnar.drawn import (
    LOGICAL,
    as_batch,
    judged,
    same_batch,
    values,
    written,
)

ENGINES: Final = ["kernel", "pyruhvro"]
PLAIN = ["boolean", "int", "long", "float", "double", "string", "bytes"]


@st.composite
def encodable(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """A schema that the encoder supports, with rows."""
    fields = []
    for i in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from([*PLAIN, *LOGICAL, "enum", "fixed", "array"]))
        of: Any = kind
        if kind in LOGICAL:
            of = {"type": LOGICAL[kind], "logicalType": kind}
        elif kind == "enum":
            of = {"type": kind, "name": f"e{i}", "symbols": ["A", "B", "C"]}
        elif kind == "fixed":
            of = {"type": kind, "name": f"x{i}", "size": 3}
        elif kind == "array":
            item = draw(st.sampled_from(PLAIN))
            of = {"type": kind, "items": draw(st.sampled_from([item, ["null", item]]))}
        if draw(st.booleans()):
            of = draw(st.permutations(["null", of]))
        fields.append({"name": f"f{i}", "type": of})
    spec = {"type": "record", "name": "R", "fields": fields}
    return spec, draw(st.lists(values(spec), min_size=1, max_size=5))


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(encodable())
def test_the_bytes_are_those_of_fastavro(engine: Engine, drawn: tuple[Any, list[Any]]) -> None:
    """Few rows and many give the very bytes of fastavro, each behind the prefix."""
    spec, rows = drawn
    text = json.dumps(spec)
    bodies = [written(spec, row) for row in rows]
    columns = as_batch(spec, [judged(spec, body) for body in bodies])
    encoder = Encoder(text, frame(9), engine)
    assert encoder.encode(columns) == [frame(9) + body for body in bodies]
    times = FEW_ROWS + 1
    many = pa.concat_batches([columns] * times)
    assert encoder.encode(many) == [frame(9) + body for body in bodies] * times
    assert encoder.encode(many.slice(1)) == ([frame(9) + body for body in bodies] * times)[1:]
    again = make_decoder(text).decode(encoder.encode(many), skip=5)
    assert again.refusals == ()
    assert same_batch(again.columns, many)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(encodable(), st.data())
def test_a_constant_is_written_as_a_column_of_it_would_be(
    engine: Engine, drawn: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    """The very bytes, wherever the constants stand; its column is left out of the batch."""
    spec, rows = drawn
    names = [field["name"] for field in spec["fields"]]
    chosen = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    rows = [row | {name: rows[0][name] for name in chosen} for row in rows]
    bodies = [written(spec, row) for row in rows]
    columns = as_batch(spec, [judged(spec, body) for body in bodies])
    constants = {name: columns.column(name)[0] for name in chosen}
    encoder = Encoder(json.dumps(spec), frame(9), engine, constants)
    rest = columns.drop_columns(list(chosen))
    times = FEW_ROWS + 1
    assert encoder.encode(rest) == [frame(9) + body for body in bodies]
    many = pa.concat_batches([rest] * times)
    assert encoder.encode(many) == [frame(9) + body for body in bodies] * times


@pytest.mark.parametrize("constants", [{"a": 1.0}, {"b": 1.0}])
def test_a_constant_is_of_a_field_and_leaves_one(constants: dict[str, float]) -> None:
    """Neither a misspelt one nor one of each field."""
    with pytest.raises(ValueError, match="each constant is of a field"):
        Encoder(schema("double"), constants=constants)


def schema(of: Any) -> str:
    """A schema text of one field ``a``."""
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": of}]})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("times", [1, FEW_ROWS + 1])
def test_no_value_is_written_for_a_null(times: int, engine: Engine) -> None:
    """A null in a field without null is an error, never a zero."""
    batch = pa.record_batch({"a": pa.array([1.5, None] * times)})
    with pytest.raises(ValueError, match=f"field a has {times} nulls"):
        Encoder(schema("double"), engine=engine).encode(batch)
    inner = pa.list_(pa.field("item", pa.float64(), nullable=False))
    lists = pa.record_batch({"a": pa.array([[1.5], [None]] * times, inner)})
    with pytest.raises(ValueError, match=f"field a has {times} nulls"):
        Encoder(schema({"type": "array", "items": "double"}), engine=engine).encode(lists)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("times", [1, FEW_ROWS + 1])
def test_an_unknown_symbol_is_an_error(times: int, engine: Engine) -> None:
    """A string that is no symbol of the enum is an error naming the field."""
    of = {"type": "enum", "name": "E", "symbols": ["A"]}
    encoder = Encoder(schema(of), engine=engine)
    with pytest.raises(ValueError, match="field a has a value outside its enum"):
        encoder.encode(pa.record_batch({"a": ["A", "Z"] * times}))


def test_other_columns_than_the_schemas_do_not_fit() -> None:
    """A missing column, another type or another order is named."""
    encoder = Encoder(schema("double"))
    for batch in (pa.record_batch({"b": [1.0]}), pa.record_batch({"a": [1]})):
        with pytest.raises(ContractMismatch, match="a double"):
            encoder.encode(batch)


@pytest.mark.parametrize(
    "of",
    [
        "null",
        {"type": "map", "values": "long"},
        {"type": "record", "name": "I", "fields": [{"name": "b", "type": "long"}]},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        {"type": "array", "items": {"type": "array", "items": "long"}},
        {"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
)
def test_types_that_cannot_be_encoded_are_refused_at_construction(of: Any) -> None:
    """A type outside the supported ones is named when the encoder is made."""
    with pytest.raises(ContractMismatch, match="field a"):
        Encoder(schema(of))


def test_a_batch_of_no_rows_is_no_values() -> None:
    """No rows give no values."""
    text = schema({"type": "array", "items": "double"})
    empty = pa.RecordBatch.from_pylist([], schema=arrow_schema(text))
    assert Encoder(text).encode(empty) == []


def test_floats_that_are_no_number_are_written_as_they_are() -> None:
    """NaN and infinities keep their bits."""
    odd = [float("nan"), float("inf"), -0.0]
    for times in (1, FEW_ROWS):
        got = Encoder(schema("double")).encode(pa.record_batch({"a": odd * times}))
        assert got == [struct.pack("<d", value) for value in odd] * times
