"""Arrays of doubles in the compiled reader."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.columnar import make_decoder
from millstream.columnar.decoder import KernelDecoder
from millstream.columnar.kernel_reader import KernelReader, kernel_reader
from millstream.columnar.resolve import resolve_records
from millstream.columnar.schema import parse_record, record_columns
from ops.fuzz.guarded import Guarded

DOUBLES = {"type": "array", "items": "double"}
FIELDS = [
    {"name": "before", "type": "string"},
    {"name": "of", "type": DOUBLES},
    {"name": "after", "type": "long"},
    {"name": "more", "type": DOUBLES},
]
SPEC: dict[str, Any] = {"type": "record", "name": "R", "fields": FIELDS}
PARSED = fastavro.parse_schema(SPEC)
HALF = struct.pack("<d", 0.5)
numbers = st.lists(st.floats(width=64, allow_nan=False), max_size=70)


def written(row: dict[str, Any]) -> bytes:
    """As fastavro writes it: one block for an array."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, row)
    return out.getvalue()


def reader() -> KernelReader:
    """The compiled reader of one array behind a boolean."""
    fields = [{"name": "b", "type": "boolean"}, {"name": "of", "type": DOUBLES}]
    record = parse_record(json.dumps({"type": "record", "name": "R", "fields": fields}))
    made = kernel_reader(resolve_records(record, record), record_columns(record))
    assert made is not None
    return made


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6))
def test_arrays_come_out_as_fastavro_wrote_them(pairs: list[tuple[list[float], ...]]) -> None:
    """Arrays of any lengths, alike or not, have the values that were written."""
    rows = [
        {"before": "x" * i, "of": one, "after": i, "more": other}
        for i, (one, other) in enumerate(pairs)
    ]
    decoder = make_decoder(json.dumps(SPEC))
    assert isinstance(decoder, KernelDecoder)
    decoded = decoder.decode([written(row) for row in rows])
    assert decoded.columns.to_pylist() == rows
    assert decoded.columns.schema == record_columns(parse_record(json.dumps(SPEC)))
    decoded.columns.validate(full=True)


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"\x00", []),
        (b"\x02" + HALF + b"\x00", [0.5]),
        (b"\x02" + HALF + b"\x04" + 2 * HALF + b"\x00", [0.5] * 3),
        (b"\x03\x20" + 2 * HALF + b"\x00", [0.5] * 2),
        (b"\x82\x00" + HALF + b"\x80\x00", [0.5]),
    ],
)
def test_blocks_may_be_split_sized_or_of_long_numbers(body: bytes, values: list[float]) -> None:
    """Every legal form of an array is read, beside the usual one and alone."""
    usual = b"\x02" + HALF + b"\x00"
    columns, rows = reader().read([b"\x01" + usual, b"\x00" + body], 0)
    assert rows.tolist() == [0, 1]
    assert columns.column("of").to_pylist() == [[0.5], values]
    columns, _ = reader().read([b"\x00" + body], 0)
    assert columns.column("of").to_pylist() == [values]


def test_a_damaged_array_leaves_no_trace_in_its_neighbours() -> None:
    """Cut anywhere, at the end of its memory, or with bytes behind it: only the good rows stay."""
    good = b"\x01\x04" + 2 * HALF + b"\x00"
    columns, rows = reader().read([good, good[:-1], good + b"\x00", good[:-2], good], 0)
    assert rows.tolist() == [0, 4]
    assert columns.column("of").to_pylist() == [[0.5, 0.5]] * 2
    memory, arena = Guarded(1 << 16), Guarded(1 << 16)
    for cut in range(len(good)):
        ends = pa.array([0, cut], pa.int32()).to_numpy()
        joined = memory.holding(good[:cut])
        _, found = reader().read_joined(joined, ends, 0, arena.allocate)
        assert len(found) == 0
