"""Records one at a time, exactly: the judge of every row that is not plainly good.

Every damage has a name, no length is believed before the bytes are seen to be there, and nothing
is read past the record. fastavro is not used for this: 1.13 reads negative union branches and enum
positions, booleans other than 0 and 1 and integers of any size as values (tests/ lists them), and
reading the double check into it would cost more than this module does.

A varint may be longer than it has to be, up to ten bytes, as in Avro's Java and Python readers; it
must not carry more than 64 bits. An int must fit 32 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, groupby
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa

from millstream.columnar.resolve import (
    INT_LIMITS,
    LONG_LIMITS,
    Choice,
    Default,
    Entries,
    Fields,
    Items,
    Leaf,
    Maybe,
    Plan,
    decimal_value,
)
from millstream.columnar.schema import Fixed, Plain
from millstream.errors import RecordRefused, Stage

# (record, position) to (value, position after it)
Read: TypeAlias = Callable[[bytes, int], tuple[Any, int]]

_VARINT_SHIFT_MAX: Final = 63
_FLOATS: Final = {"float": "f", "double": "d"}


class RowReader:
    """Reads a record into the values of the reader's fields, or refuses it."""

    def __init__(self, plan: Fields) -> None:
        self._names = [name for name, _ in plan.reads]
        self._steps = _steps(plan)
        self._defaults: list[tuple[int, Default]] = []
        self._groups: dict[Any, list[tuple[int, int]]] = {}  # column type to (place, field read)
        for place, (_, pick) in enumerate(plan.picks):
            if isinstance(pick, Default):
                self._defaults.append((place, pick))
            else:
                self._groups.setdefault(plan.reads[pick][1].column, []).append((place, pick))

    def read(self, record: bytes, start: int) -> list[Any]:
        """Values of the writer's fields, already as the reader wants them, in the writer's order.

        start: where the Avro body begins. Raises RecordRefused (Stage.DECODE).
        """
        values: list[Any] = []
        pos = start
        try:
            for read, run in self._steps:
                value, pos = read(record, pos)
                if run:
                    values.extend(value)
                else:
                    values.append(value)
        except (IndexError, struct.error):
            self._refuse(len(values), "truncated", "the record ends before the value does")
        except UnicodeDecodeError:
            self._refuse(len(values), "bad_utf8", "the string is not UTF-8")
        except _Bad as bad:
            self._refuse(len(values), bad.name, bad.reason)
        if pos != len(record):
            surplus = f"{len(record) - pos} bytes follow the last field"
            raise RecordRefused(Stage.DECODE, "trailing_bytes", surplus)
        return values

    def columns(self, rows: list[list[Any]]) -> list[Any]:
        """One Arrow array per field of the reader, from what `read` returned for each row.

        Columns of the same type are made as one array and cut apart: for a few rows, making an
        array costs more than filling it.
        """
        count = len(rows)
        made: dict[int, Any] = {place: repeat(default, count) for place, default in self._defaults}
        across = list(zip(*rows, strict=True)) or [()] * len(self._names)
        for column, members in self._groups.items():
            whole = pa.array(list(chain.from_iterable([across[i] for _, i in members])), column)
            for at, (place, _) in enumerate(members):
                made[place] = whole.slice(at * count, count) if len(members) > 1 else whole
        return [made[place] for place in range(len(made))]

    def _refuse(self, at: int, name: str, reason: str) -> NoReturn:
        raise RecordRefused(Stage.DECODE, name, f"field {self._names[at]}: {reason}")


class _Bad(Exception):
    """A damaged value, before it is known in which field."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.name = name
        self.reason = reason


_VARINT = "an integer is longer than ten bytes or than 64 bits"


def repeat(default: Default, count: int) -> Any:
    """A default as a column of ``count`` rows."""
    return pa.array([default.value], default.column).take(pa.array(np.zeros(count, dtype=np.int64)))


def read_long(record: bytes, pos: int) -> tuple[int, int]:
    """A zigzag varint of at most 64 bits. Raises IndexError past the end."""
    byte = record[pos]
    pos += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), pos
    total = byte & 0x7F
    shift = 7
    while True:
        byte = record[pos]
        pos += 1
        total |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > _VARINT_SHIFT_MAX:
            raise _Bad("bad_varint", _VARINT)
    if total >> 64:
        raise _Bad("bad_varint", _VARINT)
    return (total >> 1) ^ -(total & 1), pos


def _read_null(record: bytes, pos: int) -> tuple[None, int]:
    return None, pos


def _read_boolean(record: bytes, pos: int) -> tuple[bool, int]:
    byte = record[pos]
    if byte > 1:
        raise _Bad("bad_boolean", "a boolean is neither 0 nor 1")
    return byte == 1, pos + 1


def _read_bytes(record: bytes, pos: int) -> tuple[bytes, int]:
    size, pos = read_long(record, pos)
    if size < 0:
        raise _Bad("bad_length", "a length is below zero")
    end = pos + size
    if end > len(record):
        raise IndexError
    return record[pos:end], end


def _read_string(record: bytes, pos: int) -> tuple[str, int]:
    raw, pos = _read_bytes(record, pos)
    return raw.decode(), pos


_SIMPLE: Final[dict[str, Read]] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "bytes": _read_bytes,
    "string": _read_string,
}


def _number(code: str) -> Read:
    unpack, size = struct.Struct(f"<{code}").unpack_from, struct.calcsize(f"<{code}")

    def read(record: bytes, pos: int) -> tuple[float, int]:
        return unpack(record, pos)[0], pos + size

    return read


def _run(codes: str) -> Read:
    """Several floats and doubles in one go; the value is a tuple."""
    unpack, size = struct.Struct(f"<{codes}").unpack_from, struct.calcsize(f"<{codes}")

    def read(record: bytes, pos: int) -> tuple[tuple[float, ...], int]:
        return unpack(record, pos), pos + size

    return read


def _integer(leaf: Leaf) -> Read:
    low, high = leaf.limits
    if (low, high) == LONG_LIMITS:
        return read_long
    name = "int_out_of_range" if (low, high) == INT_LIMITS else "out_of_range"
    reason = "an int needs more than 32 bits" if (low, high) == INT_LIMITS else "no time of a day"

    def read(record: bytes, pos: int) -> tuple[int, int]:
        value, pos = read_long(record, pos)
        if not low <= value <= high:
            raise _Bad(name, reason)
        return value, pos

    return read


def _fixed(size: int) -> Read:
    def read(record: bytes, pos: int) -> tuple[bytes, int]:
        end = pos + size
        if end > len(record):
            raise IndexError
        return record[pos:end], end

    return read


def _then(read: Read, convert: Callable[[Any], Any]) -> Read:
    def both(record: bytes, pos: int) -> tuple[Any, int]:
        value, pos = read(record, pos)
        return convert(value), pos

    return both


def _leaf(leaf: Leaf) -> Read:
    writer, reader = leaf.writer, leaf.reader
    read = _written(leaf)
    convert: Callable[[Any], Any] | None = None
    if reader.logical == "decimal":
        convert = partial(_decimal, of=reader)
    elif isinstance(reader, Plain) and isinstance(writer, Plain) and reader.kind != writer.kind:
        match writer.kind, reader.kind:
            case "bytes", "string":
                convert = bytes.decode
            case "string", "bytes":
                convert = str.encode
            case "long", "float":  # rounded once, as the columns are: by way of a double it is not
                convert = _rounded
            case "int" | "long", "double" | "float":
                convert = float
    return read if convert is None else _then(read, convert)


def _written(leaf: Leaf) -> Read:
    """Reads what the writer wrote, before any promotion."""
    writer = leaf.writer
    if isinstance(writer, Fixed):
        return _fixed(writer.size)
    if writer.kind in ("int", "long"):
        return _integer(leaf)
    if writer.kind in _FLOATS:
        return _number(_FLOATS[writer.kind])
    return _SIMPLE[writer.kind]


def _rounded(value: int) -> float:
    return float(np.int64(value).astype(np.float32))


def _decimal(raw: bytes, of: Plain | Fixed) -> Any:
    value = decimal_value(raw, of)
    if value is None:
        raise _Bad("out_of_range", f"a decimal has no digits, or more than {of.precision}")
    return value


def _choice(plan: Choice) -> Read:
    symbols = plan.symbols

    def read(record: bytes, pos: int) -> tuple[str, int]:
        index, pos = read_long(record, pos)
        if not 0 <= index < len(symbols):
            raise _Bad("bad_enum_index", "an enum names a symbol that is not in its schema")
        symbol = symbols[index]
        if symbol is None:
            raise _Bad("unknown_symbol", "the reader's enum lacks the symbol, and a default")
        return symbol, pos

    return read


def _blocks(item: Read) -> Callable[[bytes, int], tuple[list[Any], int]]:
    """Blocks of items; a count below zero is followed by the block's size in bytes."""

    def read(record: bytes, pos: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while True:
            count, pos = read_long(record, pos)
            if count == 0:
                return values, pos
            if count < 0:
                _, pos = read_long(record, pos)  # only of use to a reader that skips
                count = -count
            if count > len(record) - pos:  # every item takes at least a byte
                raise IndexError
            for _ in range(count):
                value, pos = item(record, pos)
                values.append(value)

    return read


def _entries(plan: Entries) -> Read:
    value_of = reader_of(plan.values)

    def entry(record: bytes, pos: int) -> tuple[tuple[str, Any], int]:
        key, pos = _read_string(record, pos)
        value, pos = value_of(record, pos)
        return (key, value), pos

    blocks = _blocks(entry)
    # A key written twice keeps its last value, as in every Avro reader.
    return _then(blocks, lambda pairs: list(dict(pairs).items()))


def _maybe(plan: Maybe) -> Read:
    value_of, null_index, refused = reader_of(plan.value), plan.null_index, plan.null_refused
    value_index = 1 if null_index == 0 else 0

    def read(record: bytes, pos: int) -> tuple[Any, int]:
        branch, pos = read_long(record, pos)
        if branch == value_index:
            return value_of(record, pos)
        if branch != null_index:
            raise _Bad("bad_union_branch", "a union names a type that is not in its schema")
        if refused:
            raise _Bad("null_for_non_null", "null, where the reader's schema allows none")
        return None, pos

    return read


def _record(plan: Fields) -> Read:
    steps = _steps(plan)
    picks = [(name, p) for name, p in plan.picks if isinstance(p, int)]
    constants = {name: p.value for name, p in plan.picks if isinstance(p, Default)}

    def read(record: bytes, pos: int) -> tuple[dict[str, Any], int]:
        values: list[Any] = []
        for step, run in steps:
            value, pos = step(record, pos)
            if run:
                values.extend(value)
            else:
                values.append(value)
        return {name: values[i] for name, i in picks} | constants, pos

    return read


def _steps(plan: Fields) -> list[tuple[Read, bool]]:
    """Readers of the writer's fields; True marks one that reads several fields at once."""
    steps: list[tuple[Read, bool]] = []
    for is_run, group in groupby(plan.reads, key=lambda named: _code(named[1]) is not None):
        plans: Iterable[Plan] = [one for _, one in group]
        if is_run:
            steps.append((_run("".join(_code(one) or "" for one in plans)), True))
        else:
            steps.extend((reader_of(one), False) for one in plans)
    return steps


def _code(plan: Plan) -> str | None:
    """The struct code of a float or double, which need no check and no conversion."""
    if isinstance(plan, Leaf) and isinstance(plan.writer, Plain):
        return _FLOATS.get(plan.writer.kind)
    return None


def reader_of(plan: Plan) -> Read:
    """The function that reads one value by its plan."""
    match plan:
        case Leaf():
            return _leaf(plan)
        case Choice():
            return _choice(plan)
        case Items():
            return _blocks(reader_of(plan.items))
        case Entries():
            return _entries(plan)
        case Fields():
            return _record(plan)
        case Maybe():
            return _maybe(plan)
