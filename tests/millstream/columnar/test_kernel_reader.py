"""The compiled reader by itself: what it takes and leaves, and that it stays within its memory."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from millstream.columnar.kernel_reader import MANY_ROWS, KernelReader, join, kernel_reader
from millstream.columnar.resolve import Fields, resolve_records
from millstream.columnar.schema import parse_record, record_columns
from ops.fuzz.guarded import Guarded
from tests.millstream.columnar.drawn import as_batch, damaged, judged, same_batch, varint
from tests.millstream.columnar.test_rows import DAMAGE, LEGAL, spec_of


def reader_for(spec: Any, flat: bool = False) -> KernelReader | None:
    """The reader of a schema's own records; flat: of those of its fields that are not nested."""
    record = parse_record(json.dumps(spec))
    plan, columns = resolve_records(record, record), record_columns(record)
    if flat:
        kept = [i for i, of in enumerate(columns.types) if not pa.types.is_nested(of)]
        columns = pa.schema([columns.field(i) for i in kept])
        plan = Fields(plan.reads, tuple(plan.picks[i] for i in kept), plan.column)
    return kernel_reader(plan, columns)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(damaged())
def test_it_takes_exactly_the_records_that_avro_allows(drawn: tuple[Any, list[bytes]]) -> None:
    """Any schema and damage: alone it agrees with strict `avro`, nested fields checked unseen."""
    spec, bodies = drawn
    reader = reader_for(spec, flat=True)
    if reader is None:  # no flat field
        return
    for times in (1, MANY_ROWS):
        columns, rows = reader.read(bodies * times, 0)
        verdicts = [judged(spec, body) for body in bodies] * times
        assert rows.tolist() == [i for i, verdict in enumerate(verdicts) if verdict is not None]
        whole = as_batch(spec, [verdict for verdict in verdicts if verdict is not None])
        assert same_batch(columns, whole.select(columns.schema.names))
        columns.validate(full=True)


@pytest.mark.parametrize(("of", "body", "_name"), DAMAGE)
def test_no_damage_is_taken_or_read_past(of: Any, body: bytes, _name: str) -> None:
    """Each damage, the last byte before a page that nobody may touch, is left to the row reader."""
    spec = spec_of(of)
    spec["fields"].insert(0, {"name": "b", "type": "boolean"})
    reader = reader_for(spec, flat=True)
    assert reader is not None
    memory, arena = Guarded(1 << 16), Guarded(1 << 16)
    for skip in (0, 5):
        value = b"frame"[:skip] + b"\x01" + body
        ends = np.array([0, len(value)], np.int32)
        ends.flags.writeable = False
        columns, rows = reader.read_joined(memory.holding(value), ends, skip, arena.allocate)
        assert (columns.num_rows, len(rows)) == (0, 0)


@pytest.mark.parametrize(("of", "body", "value"), LEGAL)
def test_odd_but_legal_records_need_no_second_reader(of: Any, body: bytes, value: Any) -> None:
    """Long varints and split blocks are read by the kernel itself."""
    spec = spec_of(of)
    spec["fields"].append({"name": "b", "type": "boolean"})
    reader = reader_for(spec, flat=True)
    assert reader is not None
    columns, rows = reader.read([body + b"\x01"], 0)
    assert rows.tolist() == [0]
    if "a" in columns.schema.names:
        assert columns.column("a").to_pylist() == [value]


def test_every_cut_of_a_record_ends_before_the_page() -> None:
    """Records of all types, cut anywhere, each at the end of its memory: no crash, no row."""
    types: list[Any] = [
        "string", "bytes", "double", "float", "int", "boolean", ["null", "long"],
        {"type": "fixed", "name": "F", "size": 9},
        {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2},
        {"type": "enum", "name": "E", "symbols": ["A", "BC"]},
        {"type": "map", "values": ["null", "string"]},
    ]  # fmt: skip
    fields = [{"name": f"f{i}", "type": of} for i, of in enumerate(types)]
    body = (
        b"\x12" + "日本語".encode() + b"\x02z" + b"12345678" + b"1234" + varint(-(2**31)) + b"\x01"
        b"\x02" + varint(-(2**63)) + b"123456789" + varint(17) + b"\xff" * 17 + varint(1)
        + varint(-1) + varint(7) + b"\x02k\x02\x04vv" + varint(0)
    )  # fmt: skip
    reader = reader_for({"type": "record", "name": "R", "fields": fields}, flat=True)
    assert reader is not None
    memory, arena = Guarded(1 << 16), Guarded(1 << 16)
    for cut in range(len(body) + 1):
        ends = np.array([0, cut], np.int32)
        ends.flags.writeable = False
        _, rows = reader.read_joined(memory.holding(body[:cut]), ends, 0, arena.allocate)
        assert len(rows) == (cut == len(body))


@pytest.mark.parametrize("count", [0, 1, MANY_ROWS - 1, MANY_ROWS, MANY_ROWS + 1])
def test_records_are_joined_the_same_way_few_or_many(count: int) -> None:
    """Both ways of joining give the bytes and the n + 1 ends, empty values included."""
    values = [b"" if row % 3 == 0 else str(row).encode() for row in range(count)]
    joined, ends = join(values)
    assert joined.tobytes() == b"".join(values)
    assert ends.tolist() == list(accumulate(map(len, values), initial=0))


def test_bits_and_texts_hold_at_every_count_of_rows() -> None:
    """Bitmaps that end within a byte or a word, with bad rows between, keep every row's values."""
    spec = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "a", "type": ["null", "boolean"]},
            {"name": "b", "type": ["string", "null"]},
        ],
    }
    reader = reader_for(spec)
    assert reader is not None
    rows = [
        {"a": None if i % 3 == 0 else i % 2 == 0, "b": None if i % 5 == 0 else f"é{i}"}
        for i in range(300)
    ]
    bodies = []
    for row in rows:
        a, b = row["a"], row["b"]
        text = b"" if b is None else varint(len(str(b).encode())) + str(b).encode()
        first = b"\x00" if a is None else b"\x02" + bytes([bool(a)])
        bodies.append(first + (b"\x02" if b is None else b"\x00" + text))
    for count in (1, 7, 8, 9, 63, 64, 65, 129, 300):
        columns, good = reader.read([one for body in bodies[:count] for one in (body, b"\x09")], 0)
        columns.validate(full=True)
        assert good.tolist() == list(range(0, 2 * count, 2))
        assert columns.to_pylist() == rows[:count]
        assert columns.column("a").null_count == sum(r["a"] is None for r in rows[:count])
