"""Validity, sameness and compatibility of Avro schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.registry.avro_rules import (
    Level,
    SchemaInvalid,
    canonical,
    incompatibilities,
    parse,
    violations,
)


def record(*fields: dict[str, Any], name: str = "Event") -> Any:
    """A parsed record schema."""
    return parse(json.dumps({"type": "record", "name": name, "fields": list(fields)}))


X = {"name": "x", "type": "int"}
Y = {"name": "y", "type": "int"}
Y_DEFAULT = {"name": "y", "type": "int", "default": 0}
ONE, TWO, TWO_DEFAULT = record(X), record(X, Y), record(X, Y_DEFAULT)


@pytest.mark.parametrize(
    ("level", "old", "new", "allowed"),
    [
        (Level.BACKWARD, ONE, TWO, False),
        (Level.BACKWARD, ONE, TWO_DEFAULT, True),
        (Level.BACKWARD, TWO, ONE, True),
        (Level.FORWARD, ONE, TWO, True),
        (Level.FORWARD, TWO, ONE, False),
        (Level.FORWARD, TWO_DEFAULT, ONE, True),
        (Level.FULL, ONE, TWO, False),
        (Level.FULL, TWO, ONE, False),
        (Level.FULL, ONE, TWO_DEFAULT, True),
        (Level.NONE, ONE, TWO, True),
        (Level.NONE, TWO, ONE, True),
    ],
)
def test_each_level_looks_in_its_direction(level: Level, old: Any, new: Any, allowed: bool) -> None:
    """BACKWARD: the new schema reads the old records. FORWARD: the old schema reads the new."""
    assert (violations(level, new, [(1, old)]) == []) is allowed


def test_only_transitive_levels_look_past_the_latest_version() -> None:
    """The version before the latest one decides for *_TRANSITIVE alone."""
    history = [(1, ONE), (2, TWO_DEFAULT)]
    assert violations(Level.BACKWARD, TWO, history) == []
    (reason,) = violations(Level.BACKWARD_TRANSITIVE, TWO, history)
    assert reason.startswith("the new schema cannot read version 1: field y has no default")
    assert violations(Level.FORWARD_TRANSITIVE, ONE, [(1, TWO), (2, TWO_DEFAULT)]) == [
        "version 1 cannot read the new schema: "
        "field y has no default and the writer does not have it"
    ]


def test_every_field_that_does_not_fit_is_named_with_its_path() -> None:
    """Nested records are walked; aliases count; each reason stands alone."""
    inner_old = {"type": "record", "name": "In", "fields": [{"name": "a", "type": "string"}]}
    inner_new = {"type": "record", "name": "In", "fields": [{"name": "a", "type": "int"}]}
    old = record(X, {"name": "in", "type": inner_old}, {"name": "old", "type": "int"})
    new = record(
        {"name": "x", "type": "string"},
        {"name": "in", "type": inner_new},
        {"name": "new", "type": "int", "aliases": ["old"]},
        Y,
    )
    assert incompatibilities(reader=new, writer=old) == [
        "field x: reader type: string not compatible with writer type: int",
        "field in.a: reader type: int not compatible with writer type: string",
        "field y has no default and the writer does not have it",
    ]


def test_a_renamed_record_does_not_fit_unless_an_alias_says_so() -> None:
    """The name is part of the contract."""
    renamed = record(X, name="Other")
    assert incompatibilities(reader=renamed, writer=ONE) == ["Other is not Event"]
    text = {"type": "record", "name": "Other", "aliases": ["Event"], "fields": [X]}
    assert incompatibilities(reader=parse(json.dumps(text)), writer=ONE) == []


def test_a_recursive_record_ends() -> None:
    """A list of itself is compared once."""
    tail = {"name": "next", "type": ["null", "Event"], "default": None}
    node, other = record(X, tail), record({"name": "x", "type": "string"}, tail)
    assert incompatibilities(reader=node, writer=node) == []
    assert incompatibilities(reader=node, writer=other) != []


def test_widening_is_allowed_and_narrowing_is_not() -> None:
    """An int may be read as a long, not the other way."""
    longer = record({"name": "x", "type": "long"})
    assert incompatibilities(reader=longer, writer=ONE) == []
    assert incompatibilities(reader=ONE, writer=longer) != []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{",
        "[1]",
        '"nope"',
        '{"type":"record","name":"E"}',
        '{"type":"record","name":"a b","fields":[]}',
        '{"type":"record","name":"E","fields":[1]}',
        '{"type":"record","name":"E","fields":[{"name":"x","type":"int"},{"name":"x","type":"int"}]}',
        '{"type":"enum","name":"E","symbols":["A","A"]}',
        '{"type":"fixed","name":"F","size":-1}',
        '["null","null"]',
        '{"type":"array"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_schema_is_refused_with_a_reason(text: str) -> None:
    """Whatever JSON comes in, SchemaInvalid comes out."""
    with pytest.raises(SchemaInvalid, match=r"\w"):
        parse(text)


@pytest.mark.parametrize(
    ("kind", "default", "valid"),
    [
        ("int", 1, True),
        ("int", "1", False),
        ("int", True, False),
        ("int", 2**31, False),
        ("long", 2**31, True),
        ("double", 1, True),
        ("double", "NaN", False),
        ("boolean", 0, False),
        ("string", None, False),
        ("bytes", "\u00ff", True),
        (["null", "int"], None, True),
        (["null", "int"], 3, True),
        (["null", "int"], "3", False),
        ({"type": "array", "items": "int"}, [1, 2], True),
        ({"type": "array", "items": "int"}, [1, "2"], False),
        ({"type": "map", "values": "int"}, {"a": 1}, True),
        ({"type": "map", "values": "int"}, [], False),
        ({"type": "enum", "name": "S", "symbols": ["A"]}, "A", True),
        ({"type": "enum", "name": "S", "symbols": ["A"]}, "B", False),
        ({"type": "record", "name": "R", "fields": [X]}, {"x": 1}, True),
        ({"type": "record", "name": "R", "fields": [X]}, {}, False),
    ],
)
def test_a_default_must_be_of_its_fields_type(kind: Any, default: Any, valid: bool) -> None:
    """A wrong default would break readers long after it was registered."""
    text = json.dumps(
        {
            "type": "record",
            "name": "E",
            "fields": [
                {
                    "name": "in",
                    "type": {
                        "type": "record",
                        "name": "Inner",
                        "fields": [{"name": "f", "type": kind, "default": default}],
                    },
                }
            ],
        }
    )
    if valid:
        parse(text)
    else:
        with pytest.raises(SchemaInvalid, match=r"the default of field in\.f does not match"):
            parse(text)


def test_white_space_and_key_order_do_not_make_another_schema_and_a_default_does() -> None:
    """Sameness is of content, defaults and docs included."""
    spaced = '{ "name": "Event", "fields": [{"type": {"type": "int"}, "name": "x"}],'
    assert canonical(parse(spaced + ' "type": "record"}')) == canonical(ONE)
    assert canonical(TWO) != canonical(TWO_DEFAULT)
    documented = {"type": "record", "name": "Event", "doc": "why", "fields": [X]}
    assert canonical(parse(json.dumps(documented))) != canonical(ONE)
