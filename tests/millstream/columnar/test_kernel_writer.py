"""The compiled writer by itself."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

from millstream.columnar import arrow_schema, ipc
from millstream.columnar.kernel_writer import KernelWriter
from millstream.columnar.schema import parse_record
from tests.millstream.columnar.drawn import as_batch, judged, written
from tests.millstream.columnar.test_encoder import encodable, schema


def writer_for(text: str, prefix: bytes = b"") -> KernelWriter:
    """The writer of a schema text."""
    return KernelWriter(parse_record(text), arrow_schema(text), prefix)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(encodable())
def test_it_writes_everything_that_is_allowed(drawn: tuple[Any, list[Any]]) -> None:
    """Alone, few rows or many, it writes the bytes of fastavro and gives up on none."""
    spec, rows = drawn
    bodies = [written(spec, row) for row in rows]
    columns = as_batch(spec, [judged(spec, body) for body in bodies])
    writer = writer_for(json.dumps(spec), b"p")
    for times in (1, 9):
        many = pa.concat_batches([columns] * times)
        assert writer.write(many) == [b"p" + body for body in bodies] * times


def test_it_leaves_rows_that_are_not_allowed_to_the_encoder() -> None:
    """A null or a symbol that the schema lacks, in any row, is written by nobody here."""
    enum = {"type": "enum", "name": "E", "symbols": ["A", "BB", "BC", "C"]}
    writer = writer_for(schema(enum))
    assert writer.write(pa.record_batch({"a": ["C", "BC", "A", "BB"]})) == [
        b"\x06", b"\x04", b"\x00", b"\x02",
    ]  # fmt: skip
    for bad in ("", "B", "BA", "BD", "a", "AA", "CCC", None):
        assert writer.write(pa.record_batch({"a": pa.array(["A", bad], pa.string())})) is None


def test_an_array_alone_in_a_sliced_batch_keeps_its_items() -> None:
    """Items before and after the slice are not written."""
    text = schema({"type": "array", "items": ["null", "string"]})
    column = pa.array([["a"], ["b", None], [], ["c" * 300]], arrow_schema(text).field("a").type)
    batch = pa.RecordBatch.from_arrays([column], schema=arrow_schema(text))
    assert writer_for(text).write(batch.slice(1, 2)) == [b"\x04\x02\x02b\x00\x00", b"\x00"]


@pytest.mark.parametrize(
    ("buffer", "number"),
    [(1, 2**40), (1, -8), (1, 1), (2, 2**40), (2, -8)],
    ids=["offsets far", "offsets before", "offsets short", "text far", "text before"],
)
def test_a_message_that_points_outside_itself_is_not_followed(buffer: int, number: int) -> None:
    """Buffers that do not lie in the message, or are too short, end the call at once."""
    writer = writer_for(schema("string"))
    message = bytearray(pa.record_batch({"a": ["x" * 50] * 4}).serialize().to_pybytes())
    assert writer.write_message(message, 4) is not None
    place = ipc.locate(message).buffers + 16 * buffer + (8 if number == 1 else 0)
    message[place : place + 8] = number.to_bytes(8, "little", signed=True)
    assert writer.write_message(message, 4) is None
