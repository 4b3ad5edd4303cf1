"""Every kind of damage has its name, alone and in a batch; what other readers let through."""

from __future__ import annotations

import json
import resource
from typing import Any, Final

import avro.errors
import fastavro
import pytest

from millstream.columnar import make_decoder
from millstream.columnar.batches import FEW_ROWS
from millstream.errors import Stage
from tests.millstream.columnar.drawn import read_by_avro, read_by_fastavro, varint

LONGS: Final = {"type": "array", "items": "long"}
ENUM: Final = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
TIME: Final = {"type": "long", "logicalType": "time-micros"}
DECIMAL: Final = {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 1}


def spec_of(of: Any) -> dict[str, Any]:
    """A record of one field ``a``."""
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": of}]}


DAMAGE: Final = [
    ("long", b"", "truncated"),
    ("long", b"\x80", "truncated"),
    ("double", b"\x00" * 7, "truncated"),
    ("boolean", b"", "truncated"),
    ("string", varint(4) + b"abc", "truncated"),
    ("string", varint(2**60) + b"abc", "truncated"),
    ("string", varint(2**63 - 1) + b"abc", "truncated"),
    ("bytes", varint(2**60) + b"abc", "truncated"),
    ({"type": "fixed", "name": "F", "size": 4}, b"abc", "truncated"),
    (LONGS, varint(2) + varint(1), "truncated"),
    (LONGS, varint(2**62) + varint(1), "truncated"),
    (LONGS, varint(-(2**63)) + varint(0) + varint(1) + varint(0), "truncated"),
    ({"type": "map", "values": "long"}, varint(2**62), "truncated"),
    (["null", LONGS], varint(1) + varint(1) + varint(5), "truncated"),
    ("long", varint(1) + b"\x00", "trailing_bytes"),
    ("double", b"\x00" * 9, "trailing_bytes"),
    ("string", varint(1) + b"abc", "trailing_bytes"),
    ("string", varint(2) + b"\xff\xfe", "bad_utf8"),
    ("string", varint(3) + b"\xed\xa0\x80", "bad_utf8"),
    ("boolean", b"\x02", "bad_boolean"),
    (["null", "long"], varint(2), "bad_union_branch"),
    (["null", "long"], varint(-1) + varint(1), "bad_union_branch"),
    (ENUM, varint(2), "bad_enum_index"),
    (ENUM, varint(-1), "bad_enum_index"),
    ("string", varint(-1) + b"a", "bad_length"),
    ("bytes", varint(-(2**63)), "bad_length"),
    ("long", b"\x80" * 10 + b"\x00", "bad_varint"),
    ("long", b"\xff" * 9 + b"\x02", "bad_varint"),
    ("long", b"\x80" * 9 + b"\x7e", "bad_varint"),
    ("int", varint(2**31), "int_out_of_range"),
    ("int", varint(-(2**31) - 1), "int_out_of_range"),
    ("int", varint(2**40), "int_out_of_range"),
    (TIME, varint(86_400_000_000), "out_of_range"),
    (TIME, varint(-1), "out_of_range"),
    (DECIMAL, varint(1) + b"\x64", "out_of_range"),
    (DECIMAL, varint(0), "out_of_range"),
]
LEGAL: Final = [
    ("long", b"\x82\x00", 1),  # a varint may be longer than it has to be
    ("long", b"\x82" + b"\x80" * 8 + b"\x00", 1),
    ("long", varint(2**63 - 1), 2**63 - 1),
    ("long", varint(-(2**63)), -(2**63)),
    ("int", varint(-(2**31)), -(2**31)),
    ("string", b"\x86\x00abc", "abc"),
    (LONGS, varint(1) + varint(5) + varint(1) + varint(6) + varint(0), [5, 6]),
    (LONGS, varint(-2) + varint(2) + varint(5) + varint(6) + varint(0), [5, 6]),
    (LONGS, varint(0), []),
    ({"type": "map", "values": "long"}, varint(2) + b"\x02k\x02\x02k\x04" + varint(0), [("k", 2)]),
    (["long"], varint(0) + varint(9), 9),
]


@pytest.mark.parametrize(("of", "body", "name"), DAMAGE)
def test_damage_is_refused_by_name(of: Any, body: bytes, name: str) -> None:
    """A damaged record is refused with its name and field, alone and among good neighbours."""
    decoder = make_decoder(json.dumps(spec_of(of)))
    for times in (1, 2 * FEW_ROWS):
        out = decoder.decode([b"frame" + body] * times, skip=5)
        assert [r.row for r in out.refusals] == list(range(times))
        assert {(r.stage, r.name) for r in out.refusals} == {(Stage.DECODE, name)}
        if name != "trailing_bytes":
            assert all(r.reason.startswith("field a: ") for r in out.refusals)
        assert out.columns.num_rows == 0


@pytest.mark.parametrize(("of", "body", "value"), LEGAL)
def test_odd_but_legal_records_are_read(of: Any, body: bytes, value: Any) -> None:
    """Bytes that no writer needs but Avro allows give their value, alone and in a batch."""
    decoder = make_decoder(json.dumps(spec_of(of)))
    for times in (1, 2 * FEW_ROWS):
        out = decoder.decode([body] * times)
        assert out.refusals == ()
        assert out.columns.column(0).to_pylist() == [value] * times


@pytest.mark.parametrize(("of", "body", "name"), [d for d in DAMAGE if d[2] != "out_of_range"])
def test_avro_made_strict_refuses_the_same_damage(of: Any, body: bytes, name: str) -> None:
    """The `avro` package with the two checks that it lacks refuses each of these records too."""
    with pytest.raises((avro.errors.AvroException, UnicodeDecodeError)):
        read_by_avro(spec_of(of), body)


def test_what_fastavro_lets_through() -> None:
    """Why fastavro is no judge here: the damage that it reads as a value.

    In each case the Avro specification forbids the bytes; `avro` agrees but for the boolean and
    the int. If fastavro learns to refuse one of them, this list shrinks.
    """
    passed = set()
    for of, body, name in DAMAGE:
        if name == "out_of_range":
            continue
        try:
            read_by_fastavro(spec_of(of), body)
        except (EOFError, ValueError, IndexError, TypeError, fastavro.read.SchemaResolutionError):
            continue
        passed.add(name)
    assert passed == {
        "bad_boolean",
        "bad_union_branch",
        "bad_enum_index",
        "bad_varint",
        "int_out_of_range",
    }


def test_a_claimed_length_is_not_allocated() -> None:
    """Lengths and counts that the bytes do not back cost no memory, alone or in a batch."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for of in ("string", "bytes", LONGS, {"type": "map", "values": "string"}):
        decoder = make_decoder(json.dumps(spec_of(of)))
        for claim in (2**27, 2**31, 2**40, 2**60, 2**63 - 1):
            for times in (1, 2 * FEW_ROWS):
                out = decoder.decode([varint(claim) + b"\x02a"] * times)
                assert len(out.refusals) == times
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024
