"""Kafka values of one subject as columns, whatever version of its schema wrote each of them."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from millstream.columnar import ByWriter, Encoder, arrow_schema, frame
from millstream.errors import RecordRefused, Stage


def schema(**fields: object) -> str:
    """A record of these fields."""
    return json.dumps(
        {
            "type": "record",
            "name": "Sale",
            "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
        }
    )


OLD = schema(price="float", shop="string")
NEW = schema(shop="string", price="double")
OTHER = schema(shop="string")
SCHEMAS = {1: OLD, 2: NEW, 3: OTHER}


def schema_of(schema_id: int) -> str:
    """The registry of these tests."""
    if schema_id not in SCHEMAS:
        raise RecordRefused(Stage.FRAME, "unknown_schema_id", "unknown")
    return SCHEMAS[schema_id]


def written(schema_id: int, **columns: list[object]) -> list[bytes]:
    """Framed values of this version."""
    text = SCHEMAS[schema_id]
    batch = pa.RecordBatch.from_pydict(columns, schema=arrow_schema(text))
    return Encoder(text, frame(schema_id)).encode(batch)


VALUES: list[bytes | None] = [
    *written(1, price=[1.0], shop=["a"]),
    None,
    *written(2, shop=["b"], price=[2.0]),
    *written(3, shop=["c"]),
    b"\x00\x00\x00\x00\x09unknown",
    *written(1, price=[3.0], shop=["d"]),
    b"nonsense",
]


def test_rows_of_several_writers_come_in_their_order_and_the_others_are_left_out() -> None:
    """Two versions are read; no value, an unknown id, a schema that lacks a field and nonsense
    are not."""
    columns, rows = ByWriter(NEW, ["price"], schema_of).read(VALUES)
    assert columns.to_pydict() == {"price": [1.0, 2.0, 3.0]}
    assert rows.tolist() == [0, 2, 5]


@pytest.mark.parametrize("values", [[], [None], [b"x"]])
def test_nothing_readable_is_no_rows_of_the_same_columns(values: list[bytes | None]) -> None:
    """The columns are there, empty."""
    columns, rows = ByWriter(NEW, ["shop", "price"], schema_of).read(values)
    assert columns.schema.names == ["shop", "price"]
    assert len(columns) == len(rows) == 0


def test_each_writers_columns_are_finished_by_its_schema_id() -> None:
    """What is appended says who wrote the row."""

    def signed(columns: pa.RecordBatch, schema_id: int) -> pa.RecordBatch:
        return columns.append_column("by", pa.array([schema_id] * len(columns), pa.int64()))

    columns, _ = ByWriter(NEW, ["price"], schema_of, signed).read(VALUES)
    assert columns["by"].to_pylist() == [1, 2, 1]


def test_a_schema_that_was_not_registered_yet_is_asked_for_again() -> None:
    """An id that is unknown now may be known later."""
    known: dict[int, str] = {}

    def later(schema_id: int) -> str:
        if schema_id not in known:
            raise RecordRefused(Stage.FRAME, "unknown_schema_id", "unknown")
        return known[schema_id]

    reader = ByWriter(NEW, ["price"], later)
    assert len(reader.read(VALUES[:1])[0]) == 0
    known[1] = OLD
    assert len(reader.read(VALUES[:1])[0]) == 1
