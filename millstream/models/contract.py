"""Does a bundle fit an event schema? A pure comparison, for `millstream check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import avro.errors
import avro.schema

from millstream.models.card import Card, Feature

NUMBERS = ("int", "long", "float", "double")
FITTING = {
    "number": (*NUMBERS, "boolean"),
    "boolean": ("boolean",),
    "category": ("string", "enum"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about bundle and schema. fatal: do not start."""

    problem: str
    remedy: str
    fatal: bool = True


def findings(card: Card, event_schema: str) -> tuple[Finding, ...]:
    """What is wrong or worth a note between a card and an event's Avro schema (JSON text).

    Fatal: schema unreadable or no record, feature without field, type that cannot become the
    feature. A note: nullable field whose nulls are refused; whole numbers too large for a double.
    """
    try:
        schema: Any = avro.schema.parse(event_schema)
    except (avro.errors.AvroException, ValueError) as error:
        problem = f"the event schema is not valid Avro: {' '.join(str(error).split())[:200]}"
        return (Finding(problem, "Correct the schema file"),)
    if schema.type != "record":
        problem = f"the event schema is a {schema.type}, not a record"
        return (Finding(problem, "Name the schema of the event's record"),)
    fields = {field.name: field.type for field in schema.fields}
    found: list[Finding] = []
    for feature in card.features:
        if feature.name in fields:
            found += _compare(feature, fields[feature.name], str(schema.name))
        else:
            found.append(
                Finding(
                    f"feature {feature.name!r} of {card.name} {card.version} is no field of "
                    f"{schema.name}",
                    "Add the field to the event schema, or train without the feature",
                )
            )
    return tuple(found)


def _compare(feature: Feature, kind: Any, record: str) -> list[Finding]:
    branches = list(kind.schemas) if kind.type in {"union", "error_union"} else [kind]
    real = [branch for branch in branches if branch.type != "null"]
    field = f"field {feature.name!r} of {record}"
    found: list[Finding] = []
    unfit = [branch for branch in real if not _fits(feature, branch)]
    mixed = len(real) > 1 and not all(branch.type in NUMBERS for branch in real)
    if unfit or mixed or not real:
        types = ", ".join(_name(branch) for branch in unfit or branches)
        found.append(
            Finding(
                f"{field} is {types}, which cannot become a {feature.type} feature",
                f"Give the field one type of {', '.join(FITTING[feature.type])}, or change the "
                "feature's type in the bundle",
            )
        )
    if len(real) < len(branches) and feature.missing == "refuse" and feature.missing_value is None:
        found.append(
            Finding(
                f"{field} may be null, and the model refuses a null there: such events become "
                "dead letters",
                "Train with missing = 'nan' (or a missing_value) if nulls are normal",
                fatal=False,
            )
        )
    if feature.type == "number" and any(branch.type == "long" for branch in real):
        found.append(
            Finding(
                f"{field} is a long: as a model's input it is exact up to 2^53 (2^24 in float32)",
                "Nothing to do for counts and amounts; an identifier is no number feature",
                fatal=False,
            )
        )
    return found


def _fits(feature: Feature, branch: Any) -> bool:
    # A decimal or duration is bytes underneath; a date or time is a number and counts as one.
    return branch.type in FITTING[feature.type]


def _name(branch: Any) -> str:
    logical = branch.props.get("logicalType")
    return f"{branch.type} ({logical})" if logical else str(branch.type)
