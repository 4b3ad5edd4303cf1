"""JSON to Avro's bytes."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.contract.jsonform import JsonWriter, NotOfTheSchema, long_bytes
from millstream.contracts import SCHEMAS
from tests.millstream.contract.schemas import EVERYTHING, everything

GOLDEN = sorted(path.stem for path in (SCHEMAS / "golden").glob("*.hex"))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_records_have_golden_bytes(name: str) -> None:
    """The bytes that the Apache library wrote, of every contract and version."""
    writer = JsonWriter(json.loads((SCHEMAS / f"{name}.avsc").read_text("utf-8")))
    records = json.loads((SCHEMAS / "golden" / f"{name}.json").read_text("utf-8"))
    lines = (SCHEMAS / "golden" / f"{name}.hex").read_text("utf-8").split()
    assert records
    for record, line in zip(records, lines, strict=True):
        assert writer.body(record) == bytes.fromhex(line)[5:]


def test_every_type_is_read_back_by_another_library() -> None:
    """As the values that the JSON says."""
    body = JsonWriter(EVERYTHING).body(everything())
    read: Any = fastavro.schemaless_reader(
        io.BytesIO(body), EVERYTHING, None, handle_unicode_errors="strict"
    )
    assert read["hash"] == b"\x00\x01\xfe\xff"
    assert str(read["price"]) == "2.56"
    assert read["place"] == {"name": "n", "kind": "b", "again": "a"}
    assert (read["tags"], read["counts"], read["other"]) == (["a", "ü"], {"x": -1}, "red")
    assert (read["ratio"], read["share"], read["clock"], read["raw"]) == (0.5, 1.5, None, b"\0\xff")


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_written_as_the_apache_library_writes_it(value: int) -> None:
    """All 64 bits of it."""
    out = io.BytesIO()
    avro.io.BinaryEncoder(out).write_long(value)
    assert long_bytes(value) == out.getvalue()


def test_a_field_left_out_has_its_default() -> None:
    """And one without a default is missing."""
    record = everything()
    del record["count"], record["other"]
    whole = everything(count=3, other=None)
    assert JsonWriter(EVERYTHING).body(record) == JsonWriter(EVERYTHING).body(whole)
    del record["flag"]
    with pytest.raises(NotOfTheSchema, match="field flag is missing"):
        JsonWriter(EVERYTHING).body(record)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_is_a_text(text: str) -> None:
    """As in JavaScript and Java."""
    read: Any = fastavro.schemaless_reader(
        io.BytesIO(JsonWriter(EVERYTHING).body(everything(share=text))), EVERYTHING, None
    )
    assert str(read["share"]) == {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}[text]
    assert not math.isfinite(read["share"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"number": 2**63}, "number is no whole number of 64 bits"),
        ({"number": True}, "number is no whole number"),
        ({"number": 1.0}, "number is no whole number"),
        ({"count": 2**31}, "count is no whole number of 32 bits"),
        ({"flag": 1}, "flag is no boolean"),
        ({"share": "1.5"}, "share is no number"),
        ({"share": 1e300}, "share does not fit a float"),
        ({"ratio": "x"}, "ratio is none of the types"),
        ({"colour": "green"}, "colour is no enum"),
        ({"hash": "\x00"}, "hash is no fixed"),
        ({"raw": "☃"}, "raw is no text of one character a byte"),
        ({"token": None}, "token is no text"),
        ({"key": "\ud800"}, "key is no text"),
        ({"tags": "a"}, "tags is no array"),
        ({"tags": [1]}, r"tags\[\] is no text"),
        ({"counts": []}, "counts is no map"),
        ({"counts": {"x": "1"}}, "counts.x is no whole number"),
        ({"place": {"name": "n"}}, "place.kind is missing"),
        ({"place": {"name": "n", "kind": "a", "more": 1}}, "place is no Place"),
        ({"surplus": 1}, "surplus is no field of Everything"),
    ],
)
def test_a_value_that_the_schema_does_not_allow_is_named(values: dict[str, Any], said: str) -> None:
    """With its field."""
    with pytest.raises(NotOfTheSchema, match=said):
        JsonWriter(EVERYTHING).body(everything(**values))
