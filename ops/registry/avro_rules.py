"""Which Avro schemas are valid, which are the same, and which may follow which."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import avro.errors
import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

_Checker: Any = ReaderWriterCompatibilityChecker  # the library has no types


class SchemaInvalid(ValueError):
    """The text is not an Avro schema; str() says why in one sentence."""


class Level(StrEnum):
    """What a new version must be able to do; Confluent's names."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"  # the new schema reads what the latest one wrote
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"  # ... what every earlier one wrote
    FORWARD = "FORWARD"  # the latest schema reads what the new one writes
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"  # both
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def new_reads_old(self) -> bool:
        """Whether it asks for backward compatibility."""
        return self.value.startswith(("BACKWARD", "FULL"))

    @property
    def old_reads_new(self) -> bool:
        """Whether it asks for forward compatibility."""
        return self.value.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        """Whether every earlier version counts, not only the latest."""
        return self.value.endswith("_TRANSITIVE")


def parse(text: str) -> Any:
    """The ``avro.schema.Schema`` of a JSON text. Raises SchemaInvalid, defaults included."""
    try:
        schema = avro.schema.parse(text)
        wrong = next(_wrong_defaults(schema, set()), None)
    except avro.errors.AvroException as error:
        raise SchemaInvalid(str(error)) from error
    except RecursionError as error:
        raise SchemaInvalid("nested too deeply") from error
    except (TypeError, AttributeError, KeyError, ValueError, ArithmeticError) as error:
        # the parser trips over JSON of a shape that it does not expect
        raise SchemaInvalid(f"not an Avro schema ({error})") from error
    if wrong is not None:
        raise SchemaInvalid(f"the default of field {wrong} does not match its type")
    return schema


def canonical(schema: Any) -> str:
    """The text under which two schemas are one: no white space, keys sorted, names resolved.

    Defaults, aliases, logical types and docs stay, unlike in Avro's parsing canonical form: they
    decide what a reader makes of a record.
    """
    return json.dumps(schema.to_json(), sort_keys=True, separators=(",", ":"))


def violations(level: Level, new: Any, earlier: Sequence[tuple[int, Any]]) -> list[str]:
    """Why ``new`` may not follow the earlier (version, schema) pairs, oldest first; [] if it may.

    A level that is not transitive looks at the last pair alone.
    """
    reasons = []
    for version, old in earlier if level.transitive else earlier[-1:]:
        if level.new_reads_old:
            reasons += [f"the new schema cannot read version {version}: {why}" for why in
                        incompatibilities(reader=new, writer=old)]  # fmt: skip
        if level.old_reads_new:
            reasons += [f"version {version} cannot read the new schema: {why}" for why in
                        incompatibilities(reader=old, writer=new)]  # fmt: skip
    return reasons


def incompatibilities(*, reader: Any, writer: Any) -> list[str]:
    """Why ``reader`` cannot read what ``writer`` wrote, one sentence each; [] if it can."""
    result = _Checker().get_compatibility(reader, writer)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return _explain(reader, writer, "", set()) or sorted(result.messages)


def _explain(reader: Any, writer: Any, path: str, seen: set[tuple[int, int]]) -> list[str]:
    """The reasons field by field: the checker's own lose which reason belongs to which place."""
    checked = _Checker().get_compatibility(reader, writer)
    pair = (id(reader), id(writer))
    if checked.compatibility is SchemaCompatibilityType.compatible or pair in seen:
        return []
    seen.add(pair)
    place = f"field {path}: " if path else ""
    if reader.type == writer.type == "record":
        written = writer.fields_dict
        reasons = []
        if reader.name != writer.name and writer.fullname not in reader.props.get("aliases", ()):
            reasons.append(f"{place}{reader.fullname} is not {writer.fullname}")
        for field in reader.fields:
            inner = f"{path}.{field.name}" if path else field.name
            names = [field.name, *field.props.get("aliases", ())]
            found = next((written[name] for name in names if name in written), None)
            if found is not None:
                reasons += _explain(field.type, found.type, inner, seen)
            elif not field.has_default:
                reasons.append(f"field {inner} has no default and the writer does not have it")
        return reasons
    return [f"{place}{why}" for why in sorted(checked.messages)]


def _wrong_defaults(schema: Any, seen: set[int]) -> Iterator[str]:
    """The fields whose default is not of their type; the Avro library does not look."""
    if id(schema) in seen:
        return
    seen.add(id(schema))
    if schema.type == "record":
        for field in schema.fields:
            if field.has_default and not _fits(field.type, field.default):
                yield str(field.name)
            yield from (f"{field.name}.{inner}" for inner in _wrong_defaults(field.type, seen))
    elif schema.type == "union":
        for branch in schema.schemas:
            yield from _wrong_defaults(branch, seen)
    elif schema.type in {"array", "map"}:
        yield from _wrong_defaults(schema.items if schema.type == "array" else schema.values, seen)


def _fits(schema: Any, default: Any) -> bool:
    """Whether a JSON default is of the type, as the Avro specification writes defaults."""
    kind = schema.type
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    if kind == "union":  # any branch, as since Avro 1.12
        return any(_fits(branch, default) for branch in schema.schemas)
    if kind in {"array", "map"}:
        if kind == "array":
            return isinstance(default, list) and all(_fits(schema.items, v) for v in default)
        return isinstance(default, dict) and all(_fits(schema.values, v) for v in default.values())
    if kind == "record":
        return isinstance(default, dict) and all(
            _fits(field.type, default[field.name]) if field.name in default else field.has_default
            for field in schema.fields
        )
    bits = {"int": 31, "long": 63}.get(kind)
    if bits is not None:
        return is_number and default == int(default) and -(2**bits) <= default < 2**bits
    return {
        "null": default is None,
        "boolean": isinstance(default, bool),
        "float": is_number,
        "double": is_number,
        "enum": kind == "enum" and default in schema.symbols,
    }.get(kind, isinstance(default, str))  # string, bytes, fixed
