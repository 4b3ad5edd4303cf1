"""Arrow columns to Kafka values: a prefix and an Avro body for each row.

The compiled kernel writes them. Where numba cannot be loaded, many rows go through pyruhvro, which
has a fixed cost of about 100 µs; a few rows, and schemas with bytes or fixed (pyruhvro panics on
them), are written here. All write the same bytes, and the same as fastavro: one block for an array,
the shortest varints.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyruhvro

from millstream.columnar.engine import Engine, kernels_load
from millstream.columnar.schema import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Plain,
    Union,
    parse_record,
    record_columns,
)
from millstream.errors import ContractMismatch

if TYPE_CHECKING:
    from millstream.columnar.kernel_writer import KernelWriter

Write: TypeAlias = Callable[[Any], bytes]

FEW_ROWS: Final = 12  # up to here writing in Python is faster than pyruhvro's fixed cost
_ONE_BYTE: Final = [bytes((i,)) for i in range(0x80)]


class Encoder:
    """Writes columns by one Avro schema.

    Supported: every primitive but null, date, time, timestamp and uuid, enum, fixed, arrays of
    plain primitives, and each of them or null.
    """

    def __init__(
        self,
        schema: str,
        prefix: bytes = b"",
        engine: Engine | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        """schema: Avro JSON text. prefix: bytes in front of every body, such as ``frame(id)``.

        engine: None for the fastest that can be loaded. constants: values (Python's, or
        pyarrow scalars) of fields that are the same in every row, and have no column in batches.
        Raises ContractMismatch, naming the field, where a type is not supported.
        """
        record = parse_record(schema)
        whole = record_columns(record)
        given = constants or {}
        self._constants = {
            place: _scalar(given[field.name], field.type)
            for place, field in enumerate(whole)
            if field.name in given
        }
        if len(self._constants) < len(given) or len(given) == len(whole):
            raise ValueError("each constant is of a field, and one field at least is none")
        self._columns = pa.schema([f for i, f in enumerate(whole) if i not in self._constants])
        self._fields = [(f.name, f.type) for f in record.fields]
        self._writes = [_writer(f.type, f.name) for f in record.fields]
        self._raw = [_raw_type(column.type) for column in whole]
        self._raw_schema = pa.schema(
            [
                pa.field(column.name, raw or column.type, column.nullable)
                for column, raw in zip(whole, self._raw, strict=True)
            ]
        )
        self._wire = _wire_schema(self._fields)
        self._prefix = prefix
        self._kernel: KernelWriter | None = None
        if engine != "pyruhvro" and kernels_load():
            from millstream.columnar.kernel_writer import KernelWriter  # noqa: PLC0415 - loads numba

            literals = {
                self._fields[at][0]: self._writes[at](_raw_scalar(value, self._raw[at]))
                for at, value in self._constants.items()
            }
            self._kernel = KernelWriter(record, self._columns, prefix, literals)
        self._accepted: Any = None  # the last pyarrow.Schema that was found to fit

    def encode(self, columns: pa.RecordBatch) -> list[bytes]:
        """One Kafka value per row of a batch whose columns are those of ``arrow_schema(schema)``,
        in that order, constants left out.

        Raises ContractMismatch if names or types differ from that, and ValueError, naming the
        field, for a null or an enum symbol that the schema lacks: the caller has checked its rows.
        """
        schema = columns.schema
        if self._accepted is None or not schema.equals(self._accepted):
            self._accept(schema)
        if self._kernel is not None:
            written = self._kernel.write(columns)
            if written is not None:
                return written
        arrays = columns.columns
        for at, value in sorted(self._constants.items()):
            arrays.insert(at, pa.repeat(value, columns.num_rows))
        raw = [
            array if raw is None else array.view(raw)
            for array, raw in zip(arrays, self._raw, strict=True)
        ]
        for (name, of), array in zip(self._fields, raw, strict=True):
            _refuse_nulls(name, of, array)
        if self._wire is not None and columns.num_rows > FEW_ROWS:
            batch = pa.RecordBatch.from_arrays(raw, schema=self._raw_schema)
            try:
                chunks = pyruhvro.serialize_record_batch(batch, self._wire, 1)
            except ValueError:
                return self._encode_rows(raw)  # names the field
            prefix = self._prefix
            return [prefix + body for chunk in chunks for body in chunk.to_pylist()]
        return self._encode_rows(raw)

    def _encode_rows(self, raw: list[Any]) -> list[bytes]:
        parts: list[list[bytes]] = []
        for (name, _), write, array in zip(self._fields, self._writes, raw, strict=True):
            try:
                parts.append([write(value) for value in array.to_pylist()])
            except KeyError as error:
                raise ValueError(f"field {name} has a value outside its enum") from error
        prefix = self._prefix
        return [prefix + b"".join(row) for row in zip(*parts, strict=True)]

    def _accept(self, schema: Any) -> None:
        expected = [(column.name, column.type) for column in self._columns]
        given = [(column.name, column.type) for column in schema]
        if expected != given:
            wrong = [f"{name} {kind}" for name, kind in expected if (name, kind) not in given]
            raise ContractMismatch(
                f"the columns to encode are not those of the schema: {', '.join(wrong) or 'order'}",
                "Build the batch with arrow_schema(schema)",
            )
        self._accepted = schema


def _writer(of: AvroType, name: str) -> Write:
    match of:
        case Union(inner=inner, null_index=int(place)):
            write, null, branch = (
                _writer(inner, name),
                _ONE_BYTE[2 * place],
                _ONE_BYTE[2 - 2 * place],
            )
            return lambda value: null if value is None else branch + write(value)
        case Enum():
            positions = {symbol: _long(i) for i, symbol in enumerate(of.symbols)}
            return positions.__getitem__
        case Fixed(logical=None):
            return bytes
        case Array(items=Plain(logical=None) | Union(inner=Plain(logical=None), null_index=int())):
            return _array(_writer(of.items, name))
        case Plain() if of.logical != "decimal" and of.kind in _WRITES:
            return _WRITES[of.kind]
    raise ContractMismatch(
        f"field {name} has a type that cannot be encoded",
        "Use a primitive, a date, time or timestamp, an enum, a fixed, an array of primitives, "
        "or one of them or null",
    )


def _long(value: int) -> bytes:
    zigzag = (value << 1) ^ (value >> 63)
    if zigzag < 0x80:
        return _ONE_BYTE[zigzag]
    out = bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def _bytes(value: bytes) -> bytes:
    return _long(len(value)) + value


def _string(value: str) -> bytes:
    return _bytes(value.encode())


def _boolean(value: bool) -> bytes:
    return _ONE_BYTE[value]


_WRITES: Final[dict[str, Write]] = {
    "boolean": _boolean,
    "int": _long,
    "long": _long,
    "float": struct.Struct("<f").pack,
    "double": struct.Struct("<d").pack,
    "bytes": _bytes,
    "string": _string,
}


def _array(write: Write) -> Write:
    def write_block(values: list[Any]) -> bytes:
        items = b"".join(map(write, values))
        return _long(len(values)) + items + b"\x00" if values else b"\x00"

    return write_block


def _refuse_nulls(name: str, of: AvroType, array: Any) -> None:
    """A null is no value of a type without one; pyruhvro would write what lies under it."""
    nullable = isinstance(of, Union) and of.null_index is not None
    inner = of.inner if isinstance(of, Union) else of
    nulls = 0 if nullable else array.null_count
    if isinstance(inner, Array) and not isinstance(inner.items, Union):
        nulls += array.flatten().null_count
    if nulls:
        raise ValueError(f"field {name} has {nulls} nulls, and its schema allows none")


def _scalar(value: Any, kind: Any) -> Any:
    return value if isinstance(value, pa.Scalar) else pa.scalar(value, kind)


def _raw_scalar(value: Any, raw: Any) -> Any:
    array = pa.repeat(value, 1)
    return (array if raw is None else array.view(raw))[0].as_py()


def _raw_type(column: Any) -> Any:
    """The integer type under a date, time or timestamp; None for other columns."""
    if not pa.types.is_temporal(column):
        return None
    return pa.int32() if column.bit_width == 32 else pa.int64()


def _wire_schema(fields: list[tuple[str, AvroType]]) -> str | None:
    """The schema for pyruhvro, or None where it cannot write a field."""
    made = []
    for i, (name, of) in enumerate(fields):
        wire = _wire_type(of, i)
        if wire is None:
            return None
        made.append({"name": name, "type": wire})
    return json.dumps({"type": "record", "name": "r", "fields": made})


def _wire_type(of: AvroType, serial: int) -> Any:
    made: Any = None
    match of:
        case Plain() if of.kind != "bytes":
            made = of.kind
        case Enum():
            made = {"type": "enum", "name": f"e{serial}", "symbols": list(of.symbols)}
        case Array():
            items = _wire_type(of.items, serial)
            made = items and {"type": "array", "items": items}
        case Union():
            inner = _wire_type(of.inner, serial)
            made = inner and (["null", inner] if of.null_index == 0 else [inner, "null"])
    return made
