"""JSON Schemas of Avro schemas."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from millstream.contract.json_schema import json_schema
from millstream.contracts import SCHEMAS
from tests.millstream.contract.schemas import EVERYTHING, everything

NAMES = sorted(path.stem for path in SCHEMAS.glob("*.avsc") if path.stem != "dead_letter.v1")


def validator(avro: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """Of its JSON Schema, which is itself a good one."""
    schema = json_schema(avro, "urn:millstream:test")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", NAMES)
def test_golden_records_are_valid(name: str) -> None:
    """Of every contract and version."""
    judge = validator(json.loads((SCHEMAS / f"{name}.avsc").read_text("utf-8")))
    records = json.loads((SCHEMAS / "golden" / f"{name}.json").read_text("utf-8"))
    assert records
    for record in records:
        assert [error.message for error in judge.iter_errors(record)] == []


def test_every_type_has_a_schema() -> None:
    """Named types are defined once."""
    schema = json_schema(EVERYTHING, "urn:x")
    assert validator(EVERYTHING).is_valid(everything())
    assert set(schema["$defs"]) == {"shop.Colour", "shop.Hash", "geo.Place", "geo.K"}
    assert schema["properties"]["price"]["x-avro-logicalType"] == "decimal"
    assert schema["properties"]["at"]["description"] == (
        "When. Milliseconds since 1970-01-01, UTC."
    )
    assert set(schema["properties"]) - set(schema["required"]) == {"count", "ratio", "other"}


@pytest.mark.parametrize(
    "values",
    [
        {"number": 2**63}, {"number": "1"}, {"count": 2**31}, {"flag": 1}, {"share": "1.5"},
        {"ratio": "x"}, {"colour": "green"}, {"hash": "\x00"}, {"raw": "☃"}, {"token": None},
        {"tags": "a"}, {"tags": [1]}, {"counts": {"x": "1"}}, {"place": {"name": "n"}},
        {"place": {"name": "n", "kind": "a", "more": 1}}, {"surplus": 1}, {"clock": 86_400_000},
    ],
)  # fmt: skip
def test_what_avro_does_not_allow_is_not_valid(values: dict[str, Any]) -> None:
    """Each of these, alone."""
    assert not validator(EVERYTHING).is_valid(everything(**values))


def test_a_record_may_hold_itself() -> None:
    """A tree is no endless schema."""
    tree = {
        "type": "record",
        "name": "Tree",
        "fields": [
            {"name": "value", "type": "int"},
            {"name": "left", "type": ["null", "Tree"], "default": None},
        ],
    }
    judge = validator({"type": "record", "name": "R", "fields": [{"name": "t", "type": tree}]})
    assert judge.is_valid({"t": {"value": 1, "left": {"value": 2}}})
    assert not judge.is_valid({"t": {"value": 1, "left": {"value": "2"}}})
    alone = validator(tree)
    assert alone.is_valid({"value": 1, "left": {"value": 2, "left": None}})
    assert not alone.is_valid({"value": 1, "left": {"value": None}})
