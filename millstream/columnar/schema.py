"""Avro schema texts as a small tree of types, and the Arrow type of each.

The `avro` package judges the text; this module then resolves names, drops what does not matter to
bytes (docs, unknown properties, logical types that do not fit their type, as the specification
says) and refuses by name what has no stable column: unions of several branches, recursive
records, arrays of items that take no bytes (a few damaged bytes could claim 2**62 of them).
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

import avro.errors
import avro.schema
import pyarrow as pa

from millstream.errors import ContractMismatch

PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)
DECIMAL_DIGITS_MAX: Final = 38  # what decimal128 holds
MILLIS_A_DAY: Final = 86_400_000
MICROS_A_DAY: Final = 86_400_000_000

# The logical types that mean something on each primitive, with their columns.
_LOGICAL: Final[dict[tuple[str, str], Any]] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", tz="UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", tz="UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", tz="UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
    ("string", "uuid"): pa.string(),
}
_PLAIN: Final[dict[str, Any]] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Missing:
    """Says that a field has no default (null is a default)."""


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Plain:
    """A primitive; ``logical`` only where it fits ``kind``; digits and scale of a decimal."""

    kind: str
    logical: str | None = None
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Fixed:
    """``size`` bytes, perhaps a decimal."""

    name: str
    size: int
    aliases: tuple[str, ...] = ()
    logical: str | None = None
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Enum:
    """One of ``symbols``, by position."""

    name: str
    symbols: tuple[str, ...]
    default: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of ``items``."""

    items: AvroType


@dataclass(frozen=True, slots=True)
class Map:
    """Strings to ``values``."""

    values: AvroType


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record; ``default`` is the schema's JSON value, or MISSING."""

    name: str
    type: AvroType
    aliases: tuple[str, ...] = ()
    default: Any = MISSING


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields, in order."""

    name: str
    fields: tuple[Field, ...]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Union:
    """One type, with null at ``null_index`` (0, 1, or None: a union of that type alone)."""

    inner: AvroType
    null_index: int | None


AvroType: TypeAlias = Plain | Fixed | Enum | Array | Map | Record | Union


@lru_cache(maxsize=256)  # a program reads the same few contracts a dozen times, 2 ms each
def parse_record(text: str) -> Record:
    """The record that an Avro schema text describes; remembered, so nobody may change a default.

    Raises ContractMismatch where the text is no schema, is no record, has no fields, or has a type
    without a column; the problem names the field.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown logical types are legal, and handled below
            avro.schema.parse(text)
        parsed = _Names().type_of(json.loads(text), "", "")
    except (avro.errors.AvroException, ValueError) as error:
        raise ContractMismatch(
            f"not an Avro schema: {str(error)[:200]}", "Correct the schema text"
        ) from error
    if not isinstance(parsed, Record) or not parsed.fields:
        raise ContractMismatch(
            "the Avro schema is not a record with at least one field",
            "Wrap the value in a record",
        )
    return parsed


def arrow_schema(schema: str) -> Any:
    """The pyarrow.Schema of the columns that a decoder with this reader schema yields.

    string, uuid and enum are string; bytes are binary; fixed(n) is fixed_size_binary(n); decimal is
    decimal128; timestamp-* is timestamp with tz UTC, local-timestamp-* without; a field is
    nullable where its type is a union with null. Raises ContractMismatch as make_decoder does.
    """
    return record_columns(parse_record(schema))


def record_columns(record: Record) -> Any:
    """The pyarrow.Schema of a record's fields."""
    return pa.schema([column_field(f.name, f.type) for f in record.fields])


def column_field(name: str, of: AvroType) -> Any:
    """The pyarrow.Field for a type: nullable where the type is a union with null."""
    return pa.field(name, column_type(of), nullable=is_nullable(of))


def is_nullable(of: AvroType) -> bool:
    """Whether a value of this type may be null."""
    if isinstance(of, Union):
        return of.null_index is not None
    return isinstance(of, Plain) and of.kind == "null"


def column_type(of: AvroType) -> Any:
    """The pyarrow.DataType for a type."""
    made: Any
    match of:
        case Plain(logical="decimal") | Fixed(logical="decimal"):
            made = pa.decimal128(of.precision, of.scale)
        case Plain():
            made = _LOGICAL[of.kind, of.logical] if of.logical else _PLAIN[of.kind]
        case Fixed():
            made = pa.binary(of.size)
        case Enum():
            made = pa.string()
        case Array():
            made = pa.list_(column_field("item", of.items))
        case Map():
            made = pa.map_(pa.string(), column_field("value", of.values))
        case Record():
            made = pa.struct([column_field(f.name, f.type) for f in of.fields])
        case Union():
            made = column_type(of.inner)
    return made


def bytes_min(of: AvroType) -> int:
    """The fewest bytes that a value of this type takes."""
    match of:
        case Plain(kind="null"):
            return 0
        case Fixed():
            return of.size
        case Record():
            return sum(bytes_min(f.type) for f in of.fields)
        case _:
            return 1


@dataclass(slots=True)
class _Names:
    """Named types met so far, by full name; None while a record is still being read."""

    known: dict[str, AvroType | None] = field(default_factory=dict)

    def type_of(self, spec: Any, namespace: str, path: str) -> AvroType:
        """The type that a JSON value describes; ``path`` names the field in errors."""
        if isinstance(spec, list):
            return self._union(spec, namespace, path)
        if isinstance(spec, str):
            return Plain(spec) if spec in PRIMITIVES else self._named(spec, namespace, path)
        kind = spec["type"]
        if kind == "array":
            items = self.type_of(spec["items"], namespace, f"{path}[]")
            if bytes_min(items) == 0:
                raise _unsupported(path, "an array whose items take no bytes")
            return Array(items)
        if kind == "map":
            return Map(self.type_of(spec["values"], namespace, f"{path}{{}}"))
        if kind in ("record", "error", "enum", "fixed"):
            return self._define(spec, namespace, path)
        return _plain(spec, path)

    def _named(self, name: str, namespace: str, path: str) -> AvroType:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        found = self.known.get(full, self.known.get(name))
        if found is None:
            raise _unsupported(path, f"the recursive record {name}")
        return found

    def _define(self, spec: dict[str, Any], namespace: str, path: str) -> AvroType:
        name = str(spec["name"])
        if "." in name:
            namespace, name = name.rsplit(".", 1)
        else:
            namespace = spec.get("namespace") or namespace
        full = f"{namespace}.{name}" if namespace else name
        aliases = tuple(alias.rsplit(".", 1)[-1] for alias in spec.get("aliases", ()))
        self.known[full] = None
        made: AvroType
        if spec["type"] == "enum":
            made = Enum(name, tuple(spec["symbols"]), spec.get("default"), aliases)
        elif spec["type"] == "fixed":
            if spec["size"] < 1:
                raise _unsupported(path, "a fixed of no bytes")
            made = Fixed(name, spec["size"], aliases, *_decimal_of(spec, path))
        else:
            prefix = f"{path}." if path else ""
            fields = tuple(
                Field(
                    f["name"],
                    self.type_of(f["type"], namespace, prefix + f["name"]),
                    tuple(f.get("aliases", ())),
                    f.get("default", MISSING),
                )
                for f in spec["fields"]
            )
            made = Record(name, fields, aliases)
        self.known[full] = made
        return made

    def _union(self, spec: list[Any], namespace: str, path: str) -> Union:
        branches = [self.type_of(branch, namespace, path) for branch in spec]
        others = [branch for branch in branches if branch != Plain("null")]
        if len(others) != 1:
            raise _unsupported(path, f"a union of {len(others)} types besides null")
        nulls = [i for i, branch in enumerate(branches) if branch == Plain("null")]
        return Union(others[0], nulls[0] if nulls else None)


def _plain(spec: dict[str, Any], path: str) -> Plain:
    kind = spec["type"]
    if kind == "bytes":
        return Plain(kind, *_decimal_of(spec, path))
    logical = spec.get("logicalType")
    return Plain(kind, logical if (kind, logical) in _LOGICAL else None)


def _decimal_of(spec: dict[str, Any], path: str) -> tuple[str | None, int, int]:
    """Logical type, digits and scale; an ill-formed decimal is plain bytes, says Avro."""
    precision, scale = spec.get("precision"), spec.get("scale", 0)
    if spec.get("logicalType") != "decimal" or not isinstance(precision, int):
        return None, 0, 0
    if not isinstance(scale, int) or not 0 <= scale <= precision or precision < 1:
        return None, 0, 0
    if precision > DECIMAL_DIGITS_MAX:
        raise _unsupported(path, f"a decimal of {precision} digits")
    return "decimal", precision, scale


def _unsupported(path: str, what: str) -> ContractMismatch:
    where = f"field {path} is" if path else "the schema is"
    return ContractMismatch(
        f"{where} {what}, which has no column", "Give the field a type that the manual lists"
    )
