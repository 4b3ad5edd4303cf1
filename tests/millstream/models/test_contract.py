"""A bundle against an event schema: what is fatal, what is a note, and what is fine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millstream.models.card import Feature, Input
from millstream.models.contract import Finding, findings
from tests.millstream.models.graphs import card, identity


def found(feature: Feature, kind: Any) -> tuple[Finding, ...]:
    """Findings for one feature `a` against a record whose field `a` has this type."""
    schema = {"type": "record", "name": "Loan", "fields": [{"name": "a", "type": kind}]}
    described = card(identity(), features=(feature,), input=Input(layout="columns"))
    return findings(described, json.dumps(schema))


NUMBER = Feature(name="a")
NAN = Feature(name="a", missing="nan")
FLAG = Feature(name="a", type="boolean")
CATEGORY = Feature(name="a", type="category")
FILLED = Feature(name="a", type="category", missing_value="none")
ENUM = {"type": "enum", "name": "Kind", "symbols": ["U", "V"]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}


@pytest.mark.parametrize(
    ("feature", "kind"),
    [
        (NUMBER, "double"),
        (NUMBER, "int"),
        (NUMBER, "boolean"),
        (NUMBER, {"type": "int", "logicalType": "date"}),
        (NUMBER, ["int", "double"]),
        (NAN, ["null", "float"]),
        (FLAG, "boolean"),
        (CATEGORY, "string"),
        (CATEGORY, ENUM),
        (FILLED, ["null", "string"]),
        (FILLED, ["null", ENUM]),
    ],
)
def test_a_field_that_fits_says_nothing(feature: Feature, kind: Any) -> None:
    """The types that can become the feature."""
    assert found(feature, kind) == ()


@pytest.mark.parametrize(
    ("feature", "kind", "says"),
    [
        (NUMBER, "string", "is string, which cannot become a number"),
        (NUMBER, DECIMAL, r"is bytes (decimal), which cannot"),
        (NUMBER, ["null", "string"], "is string"),
        (NUMBER, ["string", "double"], "is string"),
        (NUMBER, ["boolean", "double"], "is boolean, double"),
        (NUMBER, "null", "is null"),
        (NUMBER, {"type": "array", "items": "double"}, "is array"),
        (FLAG, "int", "cannot become a boolean"),
        (CATEGORY, "int", "cannot become a category"),
    ],
)
def test_a_type_that_cannot_become_the_feature_is_fatal(
    feature: Feature, kind: Any, says: str
) -> None:
    """The problem names the field and its type."""
    fatal = [finding for finding in found(feature, kind) if finding.fatal]
    assert len(fatal) == 1
    assert says in fatal[0].problem
    assert "field 'a' of Loan" in fatal[0].problem


def test_a_missing_field_is_fatal() -> None:
    """The problem names feature, model and record."""
    assert findings(card(identity(), ("b",)), SCHEMA)[0].problem == (
        "feature 'b' of test 1 is no field of Loan"
    )


SCHEMA = json.dumps(
    {"type": "record", "name": "Loan", "fields": [{"name": "a", "type": ["null", "double"]}]}
)


def test_a_nullable_field_that_the_model_refuses_is_a_note() -> None:
    """It may be what the operator wants: nulls become dead letters."""
    (note,) = findings(card(identity()), SCHEMA)
    assert not note.fatal
    assert "may be null" in note.problem


def test_a_long_is_a_note() -> None:
    """Whole numbers beyond 2^53 have no exact double."""
    (note,) = found(NUMBER, "long")
    assert not note.fatal
    assert "2^53" in note.problem


def test_a_named_type_used_again_is_followed() -> None:
    """The second use of an enum is only its name."""
    fields = [{"name": "first", "type": ENUM}, {"name": "a", "type": ["null", "Kind"]}]
    schema = json.dumps({"type": "record", "name": "Loan", "fields": fields})
    described = card(identity(), features=(FILLED,), input=Input(layout="columns"))
    assert findings(described, schema) == ()


@pytest.mark.parametrize("schema", ["", "{", '{"type": "nothing"}', '"string"', "[]"])
def test_a_schema_that_is_no_record_is_fatal(schema: str) -> None:
    """One finding, not an exception."""
    (finding,) = findings(card(identity()), schema)
    assert finding.fatal
    assert "event schema" in finding.problem
