"""Random Avro schemas with random records, damage to them, and two other readers as judges."""

from __future__ import annotations

import io
import json
import warnings
from decimal import Decimal
from typing import Any, Final

import avro.errors
import avro.io
import avro.schema
import fastavro
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from millstream.columnar import arrow_schema

LOGICAL: Final = {
    "date": "int",
    "time-millis": "int",
    "time-micros": "long",
    "timestamp-millis": "long",
    "timestamp-micros": "long",
    "timestamp-nanos": "long",
    "local-timestamp-millis": "long",
    "local-timestamp-micros": "long",
    "local-timestamp-nanos": "long",
    "uuid": "string",
}
_DAY: Final = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}
_FAST: Final = ["boolean", "int", "long", "float", "double", "string", *LOGICAL]


class NotAllowed(Exception):
    """The oracle read the bytes, but the value is none of its logical type."""


def _named(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    return {"type": kind, "name": f"n{draw(st.uuids(version=4)).hex}"}


@st.composite
def types(draw: st.DrawFn, depth: int = 2, slow: bool = True) -> Any:
    """A type; slow: also those that only the row reader reads."""
    kinds = [*_FAST, "enum"]
    if slow:
        kinds += ["bytes", "fixed", "decimal", "fixed decimal", "null"]
    if depth:
        kinds += ["array", "map", "record", "union", "union"]
    kind = draw(st.sampled_from(kinds))
    inner = types(depth=depth - 1, slow=slow)
    made: Any = kind
    match kind:
        case "enum":
            made = _named(draw, kind) | {"symbols": ["A", "B", "C"][: draw(st.integers(1, 3))]}
        case "fixed":
            made = _named(draw, kind) | {"size": draw(st.integers(1, 5))}
        case "decimal":
            made = {"type": "bytes", "logicalType": kind, "precision": 9, "scale": 2}
        case "fixed decimal":
            digits = {"logicalType": "decimal", "precision": 9, "scale": 4}
            made = _named(draw, "fixed") | {"size": 5} | digits
        case "array":
            made = {"type": kind, "items": draw(inner.filter(_takes_bytes))}
        case "map":
            made = {"type": kind, "values": draw(inner)}
        case "record":
            made = draw(records(depth=depth - 1, slow=slow))
        case "union":
            other = draw(inner.filter(lambda spec: not isinstance(spec, list) and spec != "null"))
            made = draw(st.permutations(["null", other]))
        case _ if kind in LOGICAL:
            made = {"type": LOGICAL[kind], "logicalType": kind}
    return made


def _takes_bytes(spec: Any) -> bool:
    if isinstance(spec, dict) and spec["type"] == "record":
        return any(_takes_bytes(field["type"]) for field in spec["fields"])
    return bool(spec != "null")


@st.composite
def records(draw: st.DrawFn, depth: int = 2, slow: bool = True) -> Any:
    """A record schema of one to five fields."""
    members = draw(st.lists(types(depth=depth, slow=slow), min_size=1, max_size=5))
    fields = [{"name": f"f{i}", "type": member} for i, member in enumerate(members)]
    return _named(draw, "record") | {"fields": fields}


def values(spec: Any) -> st.SearchStrategy[Any]:
    """Values of a type as fastavro writes them, logical types left aside."""
    if isinstance(spec, list):
        return st.one_of([values(branch) for branch in spec])
    kind = spec if isinstance(spec, str) else spec["type"]
    made: st.SearchStrategy[Any]
    match kind:
        case "fixed" | "bytes" if "logicalType" in spec:
            made = st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: n.to_bytes(5, signed=True))
        case "fixed":
            made = st.binary(min_size=spec["size"], max_size=spec["size"])
        case "enum":
            made = st.sampled_from(spec["symbols"])
        case "array":
            made = st.lists(values(spec["items"]), max_size=4)
        case "map":
            made = st.dictionaries(st.text(max_size=3), values(spec["values"]), max_size=3)
        case "record":
            made = st.fixed_dictionaries({f["name"]: values(f["type"]) for f in spec["fields"]})
        case _ if isinstance(spec, dict) and spec["logicalType"] in _DAY:
            made = st.integers(0, _DAY[spec["logicalType"]] - 1)
        case _:
            made = _PRIMITIVES[kind]
    return made


_PRIMITIVES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-70, 70) | st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-70, 70) | st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, width=32),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=8) | st.text("ab", min_size=60, max_size=70),
    "bytes": st.binary(max_size=9),
}


@st.composite
def batches(draw: st.DrawFn, slow: bool = True) -> tuple[Any, list[bytes]]:
    """A record schema and a few Avro bodies of it."""
    spec = draw(records(slow=slow))
    rows = draw(st.lists(values(spec), min_size=1, max_size=6))
    return spec, [written(spec, row) for row in rows]


@st.composite
def damaged(draw: st.DrawFn, slow: bool = True) -> tuple[Any, list[bytes]]:
    """The same, with some bodies damaged."""
    spec, bodies = draw(batches(slow=slow))
    return spec, [draw(damage(body)) if draw(st.booleans()) else body for body in bodies]


@st.composite
def damage(draw: st.DrawFn, body: bytes) -> bytes:
    """Flip a bit, cut, append, break a string, or put an extreme varint somewhere."""
    at = draw(st.integers(0, max(0, len(body) - 1)))
    match draw(st.integers(0, 4)):
        case 0 if body:
            flipped = bytearray(body)
            flipped[at] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case 1:
            return body[:at]
        case 2:
            return body + draw(st.binary(min_size=1, max_size=3))
        case 3:  # no byte of UTF-8
            return body[:at] + b"\xff" + body[at + 1 :]
    extremes = [-1, -2, -(2**63), 2**31, 2**60, 2**62, 2**63 - 1]
    extreme = draw(st.sampled_from([varint(n) for n in extremes] + [b"\x80" * 9 + b"\x02"]))
    return body[:at] + extreme + body[at + draw(st.integers(0, 1)) :]


def varint(value: int) -> bytes:
    """The shortest zigzag varint of a long."""
    zigzag = ((value << 1) ^ (value >> 63)) & (2**64 - 1)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def without_logical(spec: Any) -> Any:
    """The same bytes under a schema of plain types, which the oracles return as they are."""
    if isinstance(spec, list):
        return [without_logical(one) for one in spec]
    if isinstance(spec, dict):
        return {k: without_logical(v) for k, v in spec.items() if k != "logicalType"}
    return spec


def written(spec: Any, row: Any) -> bytes:
    """An Avro body by fastavro."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(without_logical(spec)), row)
    return out.getvalue()


class _StrictDecoder(avro.io.BinaryDecoder):
    """`avro` as the specification has it; each override is a place where `avro` is too mild."""

    def read_boolean(self) -> bool:
        byte = ord(self.read(1))
        if byte > 1:  # "a single byte whose value is either 0 or 1"; avro takes 2 for false
            raise avro.errors.InvalidAvroBinaryEncoding("boolean")
        return byte == 1

    def read_int(self) -> int:
        value = int(self.read_long())
        if not -(2**31) <= value < 2**31:  # "int: 32-bit signed integer"; avro reads 64 bits
            raise avro.errors.InvalidAvroBinaryEncoding("int")
        return value


def read_by_avro(spec: Any, body: bytes) -> Any:
    """The record by `avro`, made strict; raises on anything that Avro does not allow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = avro.schema.parse(json.dumps(without_logical(spec)))
    stream = io.BytesIO(body)
    value = avro.io.DatumReader(schema).read(_StrictDecoder(stream))
    if stream.read(1):
        raise avro.errors.InvalidAvroBinaryEncoding("trailing bytes")
    return value


def read_by_fastavro(spec: Any, body: bytes) -> Any:
    """The record by fastavro, which is milder than Avro in the ways that test_rows.py lists."""
    stream = io.BytesIO(body)
    value = fastavro.schemaless_reader(stream, fastavro.parse_schema(without_logical(spec)), None)
    if stream.read(1):
        raise EOFError("trailing bytes")
    return value


def judged(spec: Any, body: bytes) -> Any:
    """The record by strict `avro` as pyarrow takes it, or None where it must be refused."""
    try:
        return _column_value(spec, read_by_avro(spec, body))
    except (avro.errors.AvroException, UnicodeDecodeError, NotAllowed):
        return None


def _column_value(spec: Any, value: Any) -> Any:
    """An oracle's value in the types that pyarrow makes a column from."""
    made = value
    if isinstance(spec, list):
        other = next(branch for branch in spec if branch != "null")
        made = None if value is None else _column_value(other, value)
    elif isinstance(spec, dict):
        match spec["type"]:
            case "record":
                made = {
                    f["name"]: _column_value(f["type"], value[f["name"]]) for f in spec["fields"]
                }
            case "array":
                made = [_column_value(spec["items"], item) for item in value]
            case "map":
                made = [(key, _column_value(spec["values"], item)) for key, item in value.items()]
            case _:
                made = _logical_value(spec, value)
    return made


def _logical_value(spec: dict[str, Any], value: Any) -> Any:
    """Raises NotAllowed for a value that its logical type excludes."""
    logical = spec.get("logicalType")
    if logical in _DAY and not 0 <= value < _DAY[logical]:
        raise NotAllowed
    if logical != "decimal":
        return value
    number = int.from_bytes(value, "big", signed=True)
    if not value or abs(number) >= 10 ** spec["precision"]:
        raise NotAllowed
    return Decimal(number).scaleb(-spec["scale"])


def as_batch(spec: Any, rows: list[Any]) -> Any:
    """Oracle rows as a RecordBatch."""
    schema = arrow_schema(json.dumps(spec))
    return pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(list(schema))))


def same(left: Any, right: Any) -> bool:
    """Whether two arrays hold the same values, NaN being the same as NaN."""
    kind = left.type
    if kind != right.type or len(left) != len(right) or not left.is_null().equals(right.is_null()):
        return False
    if pa.types.is_floating(kind):
        first, second = (one.fill_null(0).to_numpy() for one in (left, right))
        return np.array_equal(first, second, equal_nan=True)
    if pa.types.is_map(kind):
        pairs = [one.cast(pa.list_(pa.struct(list(_entries(kind))))) for one in (left, right)]
        return same(*pairs)
    if pa.types.is_list(kind):
        lengths = [one.value_lengths() for one in (left, right)]
        return lengths[0].equals(lengths[1]) and same(left.flatten(), right.flatten())
    if pa.types.is_struct(kind):
        return all(map(same, left.flatten(), right.flatten()))
    return bool(left.equals(right))


def _entries(kind: Any) -> list[Any]:
    return [kind.key_field, kind.item_field]


def same_batch(left: Any, right: Any) -> bool:
    """Whether two batches have the same schema and values."""
    return bool(left.schema.equals(right.schema)) and all(map(same, left.columns, right.columns))
