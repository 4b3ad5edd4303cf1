"""pyruhvro's path: what it is given, what it overlooks, and the proof that catches it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyruhvro
import pytest
from hypothesis import given, settings

from millstream.columnar import arrow_schema
from millstream.columnar.resolve import resolve_records
from millstream.columnar.schema import parse_record, record_columns
from millstream.columnar.wire import (
    BatchUnreadable,
    WireReader,
    supported,
)
from tests.millstream.columnar.drawn import as_batch, batches, judged, same_batch, varint


def reader_for(spec: Any) -> WireReader:
    """The reader of a schema's own records."""
    record = parse_record(json.dumps(spec))
    plan = resolve_records(record, record)
    assert supported(plan)
    return WireReader(plan, record_columns(record))


def one_field(of: Any) -> Any:
    """A record of one field."""
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": of}]}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(batches(slow=False))
def test_good_records_are_proven_and_need_no_second_reader(drawn: tuple[Any, list[bytes]]) -> None:
    """What fastavro wrote is read exactly, and only integers of ten bytes are doubted."""
    spec, bodies = drawn
    reader = reader_for(spec)
    batch, doubtful = reader.read(bodies)
    if doubtful is not None:
        assert all(
            any(_ten_bytes(body, at) for at in range(len(body)))
            for body in np.array(bodies, dtype=object)[doubtful]
        )
        return
    columns = reader.columns(batch)
    columns.validate(full=True)
    assert same_batch(columns, as_batch(spec, [judged(spec, body) for body in bodies]))


def _ten_bytes(body: bytes, at: int) -> bool:
    return len(body) >= at + 10 and all(byte > 0x7F for byte in body[at : at + 9])


@pytest.mark.parametrize(
    "of", ["bytes", {"type": "fixed", "name": "F", "size": 2}, "null", ["long"]]
)
def test_types_that_pyruhvro_panics_on_are_not_given_to_it(of: Any) -> None:
    """Schemas with bytes, fixed, null or a union of one type are left to the row reader."""
    record = parse_record(json.dumps(one_field(of)))
    assert not supported(resolve_records(record, record))


def test_logical_types_and_enums_reach_pyruhvro_as_longs() -> None:
    """Types that pyruhvro panics on or cuts short are read as long and looked at afterwards."""
    for of in (
        "int",
        {"type": "int", "logicalType": "time-millis"},
        {"type": "long", "logicalType": "local-timestamp-nanos"},
        {"type": "enum", "name": "E", "symbols": ["A", "B"]},
    ):
        reader = reader_for(one_field(of))
        batch, doubtful = reader.read([varint(1)])
        assert doubtful is None
        assert reader.columns(batch).schema == arrow_schema(json.dumps(one_field(of)))


@pytest.mark.parametrize(
    ("of", "body"),
    [
        ("string", varint(1) + b"ab"),
        ("string", varint(1) + b"\xff"),
        ({"type": "array", "items": "string"}, b"\x04\x02\xc3\x02\xa9\x00"),  # é cut in two
        ({"type": "map", "values": "long"}, b"\x02\x02\xff\x00\x00"),
        ("int", varint(2**31)),
        ("long", b"\xff" * 9 + b"\x7f"),
        ({"type": "map", "values": "long"}, varint(2) + b"\x02k\x02\x02k\x04" + varint(0)),
    ],
)
def test_what_pyruhvro_overlooks_is_doubted(of: Any, body: bytes) -> None:
    """Bytes that pyruhvro takes and Avro does not, or that mean something else, are doubted."""
    text = json.dumps(one_field(of))
    assert pyruhvro.deserialize_array([body], text).num_rows == 1
    _, doubtful = reader_for(one_field(of)).read([body])
    assert doubtful is not None
    assert doubtful.tolist() == [True]


def test_a_body_that_cannot_be_read_says_so() -> None:
    """Where pyruhvro gives up, BatchUnreadable is raised for the batch."""
    with pytest.raises(BatchUnreadable):
        reader_for(one_field("string")).read([varint(1) + b"a", varint(9)])
