"""How each value that a writer wrote becomes a value of the reader's schema.

`resolve` compares two schemas once, by the rules of the Avro specification ("Schema resolution"),
and gives a plan that the row reader and the column reader both follow. What can never be resolved
raises ContractMismatch here; what depends on the value (a null where the reader has none, a symbol
that the reader does not know) is refused row by row later.

Stricter than the specification in two places, where it would hand over wrong numbers in silence: a
logical type is never read as another one (timestamp-millis as timestamp-micros), and a decimal
needs the same precision and scale on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from millstream.columnar.schema import (
    MICROS_A_DAY,
    MILLIS_A_DAY,
    MISSING,
    Array,
    AvroType,
    Enum,
    Field,
    Fixed,
    Map,
    Plain,
    Record,
    Union,
    column_type,
)
from millstream.errors import ContractMismatch

_PROMOTES: Final = frozenset(
    {
        ("int", "long"),
        ("int", "float"),
        ("int", "double"),
        ("long", "float"),
        ("long", "double"),
        ("float", "double"),
        ("string", "bytes"),
        ("bytes", "string"),
    }
)
INT_LIMITS: Final = (-(2**31), 2**31 - 1)
LONG_LIMITS: Final = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A primitive or a fixed. ``column`` is the reader's Arrow type, here and below."""

    writer: Plain | Fixed
    reader: Plain | Fixed
    column: Any

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest allowed value of a writer's int or long."""
        low, high = INT_LIMITS if self.writer == Plain("int", self.writer.logical) else LONG_LIMITS
        match self.reader.logical:
            case "time-millis":
                return 0, MILLIS_A_DAY - 1
            case "time-micros":
                return 0, min(high, MICROS_A_DAY - 1)
        return low, high


@dataclass(frozen=True, slots=True)
class Choice:
    """An enum: for each of the writer's symbols the reader's, or None where it knows none."""

    symbols: tuple[str | None, ...]
    column: Any


@dataclass(frozen=True, slots=True)
class Items:
    """An array."""

    items: Plan
    column: Any


@dataclass(frozen=True, slots=True)
class Entries:
    """A map."""

    values: Plan
    column: Any


@dataclass(frozen=True, slots=True)
class Default:
    """A field that the writer does not have: the same value in every row."""

    value: Any
    column: Any


@dataclass(frozen=True, slots=True)
class Fields:
    """A record.

    reads: name and plan of every field of the writer, in its order. A field that the reader drops
        is still read, as itself: a record that breaks its schema anywhere is refused.
    picks: for each field of the reader, in its order, its name and its place in ``reads``, or its
        default.
    """

    reads: tuple[tuple[str, Plan], ...]
    picks: tuple[tuple[str, int | Default], ...]
    column: Any


@dataclass(frozen=True, slots=True)
class Maybe:
    """A writer's union: null at ``null_index`` (None: never), else ``value``.

    null_refused: the reader has no place for a null.
    """

    null_index: int | None
    value: Plan
    null_refused: bool

    @property
    def column(self) -> Any:
        """The Arrow type of the value inside."""
        return self.value.column


Plan: TypeAlias = Leaf | Choice | Items | Entries | Fields | Maybe


def resolve_records(writer: Record, reader: Record) -> Fields:
    """The plan for whole records. Raises ContractMismatch, naming the field."""
    return _records(writer, reader, "")


def _resolve(writer: AvroType, reader: AvroType, path: str) -> Plan:
    made: Plan
    match writer, reader:
        case Union(), _:
            nullable = isinstance(reader, Union) and reader.null_index is not None
            inner = reader.inner if isinstance(reader, Union) else reader
            value = _resolve(writer.inner, inner, path)
            made = Maybe(writer.null_index, value, null_refused=not nullable)
        case _, Union():
            made = _resolve(writer, reader.inner, path)
        case ((Plain() | Fixed()), (Plain() | Fixed())):
            made = _leaf(writer, reader, path)
        case Enum(), Enum():
            _same_name(writer, reader, path)
            known = frozenset(reader.symbols)
            chosen = tuple(s if s in known else reader.default for s in writer.symbols)
            made = Choice(chosen, column_type(reader))
        case Array(), Array():
            made = Items(_resolve(writer.items, reader.items, f"{path}[]"), column_type(reader))
        case Map(), Map():
            values = _resolve(writer.values, reader.values, f"{path}{{}}")
            made = Entries(values, column_type(reader))
        case Record(), Record():
            made = _records(writer, reader, path)
        case _:
            raise _mismatch(path, writer, reader)
    return made


def _records(writer: Record, reader: Record, path: str) -> Fields:
    _same_name(writer, reader, path)
    prefix = f"{path}." if path else ""
    places = {f.name: i for i, f in enumerate(writer.fields)}
    sources: dict[int, Field] = {}
    picks: list[tuple[str, int | Default]] = []
    for wanted in reader.fields:
        names = [name for name in (wanted.name, *wanted.aliases) if name in places]
        if names:
            place = places[names[0]]
            if place in sources:
                raise ContractMismatch(
                    f"the reader's fields {prefix}{sources[place].name} and {wanted.name} both "
                    f"claim the writer's field {names[0]}",
                    "Remove one of the aliases",
                )
            sources[place] = wanted
            picks.append((wanted.name, place))
        elif wanted.default is MISSING:
            raise ContractMismatch(
                f"the writer's schema has no field {prefix}{wanted.name}, and the reader's has no "
                "default for it",
                "Give the reader's field a default, or an alias that names the writer's field",
            )
        else:
            value = default_value(wanted.type, wanted.default, prefix + wanted.name)
            picks.append((wanted.name, Default(value, column_type(wanted.type))))
    reads = tuple(
        (f.name, _resolve(f.type, sources[i].type if i in sources else f.type, prefix + f.name))
        for i, f in enumerate(writer.fields)
    )
    return Fields(reads, tuple(picks), column_type(reader))


def _leaf(writer: Plain | Fixed, reader: Plain | Fixed, path: str) -> Leaf:
    if writer.logical and reader.logical:
        digits = (writer.logical, writer.precision, writer.scale)
        if digits != (reader.logical, reader.precision, reader.scale):
            raise _mismatch(path, writer, reader)
    match writer, reader:
        case Plain(), Plain():
            same = writer.kind == reader.kind or (writer.kind, reader.kind) in _PROMOTES
            # A decimal's bytes are a number: only as raw bytes, or as the same decimal.
            if same and not (writer.kind != reader.kind and "decimal" in _logicals(writer, reader)):
                return Leaf(writer, reader, column_type(reader))
        case Fixed(), Fixed() if writer.size == reader.size:
            _same_name(writer, reader, path)
            return Leaf(writer, reader, column_type(reader))
    raise _mismatch(path, writer, reader)


def _logicals(*types: Plain) -> tuple[str | None, ...]:
    return tuple(t.logical for t in types)


def _same_name(writer: Record | Enum | Fixed, reader: Record | Enum | Fixed, path: str) -> None:
    if writer.name != reader.name and writer.name not in reader.aliases:
        raise ContractMismatch(
            f"{f'field {path}' if path else 'the record'} is named {writer.name} by the writer and "
            f"{reader.name} by the reader",
            f"Give the reader's {reader.name} the alias {writer.name}",
        )


def default_value(of: AvroType, default: Any, path: str) -> Any:
    """A default from a schema's JSON, as the Python value that pyarrow takes for its column.

    Raises ContractMismatch where the JSON value is not one of the type.
    """
    made: Any = MISSING
    match of:
        case Union():
            # Avro 1.12 lets a default be of any branch.
            nothing = default is None and of.null_index is not None
            made = None if nothing else default_value(of.inner, default, path)
        case Array() if isinstance(default, list):
            made = [default_value(of.items, item, path) for item in default]
        case Map() if isinstance(default, dict):
            made = [(key, default_value(of.values, v, path)) for key, v in default.items()]
        case Enum() if default in of.symbols:
            made = default
        case Record() if isinstance(default, dict):
            made = {
                f.name: default_value(f.type, default.get(f.name, f.default), f"{path}.{f.name}")
                for f in of.fields
            }
        case Plain() | Fixed():
            made = _plain_default(of, default)
    if made is MISSING:
        raise ContractMismatch(
            f"the default of field {path} is not a value of its type", "Correct the default"
        )
    return made


def _plain_default(of: Plain | Fixed, default: Any) -> Any:
    made: Any = MISSING
    kind = of.kind if isinstance(of, Plain) else "fixed"
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    match kind, default:
        case ("null", None) | ("boolean", bool()) | ("string", str()):
            made = default
        case (("int" | "long"), int()) if number:
            low, high = Leaf(of, of, None).limits
            made = default if low <= default <= high else MISSING
        case (("float" | "double"), _) if number:
            made = float(default)
        case (("bytes" | "fixed"), str()):
            made = _bytes_default(of, default)
    return made


def _bytes_default(of: Plain | Fixed, default: str) -> Any:
    try:
        raw = default.encode("latin-1")  # the specification's spelling of bytes in JSON
    except UnicodeEncodeError:
        return MISSING
    if isinstance(of, Fixed) and len(raw) != of.size:
        return MISSING
    number = decimal_value(raw, of) if of.logical else raw
    return MISSING if number is None else number


def decimal_value(raw: bytes, of: Plain | Fixed) -> Decimal | None:
    """The decimal in big-endian two's complement; None where it has no digits or too many."""
    unscaled = int.from_bytes(raw, "big", signed=True)
    if not raw or abs(unscaled) >= 10**of.precision:
        return None
    digits = tuple(int(digit) for digit in str(abs(unscaled)))
    return Decimal((int(unscaled < 0), digits, -of.scale))  # exact, whatever the context's digits


def _mismatch(path: str, writer: AvroType, reader: AvroType) -> ContractMismatch:
    return ContractMismatch(
        f"field {path} is {describe(writer)} in the writer's schema and {describe(reader)} in the "
        "reader's",
        "Make the types match, or promote as Avro allows: int to long to float to double, string "
        "to bytes and back",
    )


def describe(of: AvroType) -> str:
    """A type in a few words, for errors."""
    match of:
        case Plain(logical="decimal") | Fixed(logical="decimal"):
            return f"decimal({of.precision}, {of.scale})"
        case Plain():
            return of.logical or of.kind
        case Union():
            return f"{describe(of.inner)} or null"
        case Fixed() | Enum() | Record():
            return f"{type(of).__name__.lower()} {of.name}"
        case _:
            return type(of).__name__.lower()
