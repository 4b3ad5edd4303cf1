"""Many records at once, through pyruhvro, and the proof that it read each of them exactly.

pyruhvro 0.4 (Rust, Avro to Arrow) is fast and stays within the record, but it takes more than Avro
allows: bytes after the last field, strings that are not UTF-8, ints of 64 bits cut to 32, varints
whose tenth byte carries bits that it drops, a repeated key in a map. And it panics on some types.
So:

1. It is only given types that it reads well: every integer, date, time and enum position as
   ``long``; float, double, boolean, string; arrays, maps, records and nullable unions of those.
   A schema with bytes, fixed or decimals is read row by row instead (`supported`).
2. Afterwards `measure` computes how many bytes Avro needs to write what was read. A row is good if
   that is its length. Everything pyruhvro overlooks makes the row longer than that, or is a value
   that is not allowed, which `measure` gives a length that no record has. Rows that are odd but
   legal (arrays in several blocks, varints longer than needed) look suspicious too; the row reader
   decides about them.
3. `convert` then makes the reader's columns, mostly by looking at the same buffers as another type.

Why 2 is a proof: reading consumes at least the bytes that writing the same values shortest takes,
and only within the record; with equal length nothing is left over, no varint was longer than
needed, and no block was split. A dropped tenth-byte bit can only meet a varint of ten bytes, and
values that need ten are sent to the row reader.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from millstream.columnar.measure import (
    Longs,
    fixed_width,
    longs_of,
    measure,
    text_lengths,
    varint_bytes,
    varint_limits,
)
from millstream.columnar.resolve import (
    Choice,
    Default,
    Entries,
    Fields,
    Items,
    Leaf,
    Maybe,
    Plan,
)
from millstream.columnar.rows import repeat
from millstream.columnar.schema import Plain

_STRING: Final = pa.string().id


class BatchUnreadable(Exception):
    """pyruhvro gave up on the batch because of one of its rows; it does not say which."""


class WireReader:
    """Reads a batch by the writer's schema, finds the rows to doubt, makes the columns."""

    def __init__(self, plan: Fields, columns: Any) -> None:
        """columns: the reader's pyarrow.Schema. The plan must be `supported`."""
        self._schema = json.dumps(_Wire().record(plan))
        self._reads = plan.reads
        self._picks = plan.picks
        self._columns = columns
        self._identity = pyruhvro.avro_to_arrow_schema(self._schema).equals(columns) and [
            i for _, i in plan.picks
        ] == list(range(len(plan.reads)))
        widths = [fixed_width(read) for _, read in plan.reads]
        self._fixed_bytes = sum(width for width in widths if width is not None)
        self._varying = [i for i, width in enumerate(widths) if width is None]

    def read(self, bodies: list[bytes]) -> tuple[Any, npt.NDArray[np.bool_] | None]:
        """A batch of the writer's fields, and which rows are not plainly good (None: all are).

        Raises BatchUnreadable if any body cannot be read at all.
        """
        try:
            batch = pyruhvro.deserialize_array(bodies, self._schema)
        except ValueError as error:
            raise BatchUnreadable from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # pyo3 gives Rust's panics no other name
                raise
            raise BatchUnreadable from error
        lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
        doubtful = lengths != self._fixed_bytes + self._measure_varying(batch)
        return batch, doubtful if doubtful.any() else None

    def _measure_varying(self, batch: Any) -> Longs | int:
        """What the fields without a fixed length add up to in each row.

        The same as the sum of `measure` over them; but the integers and string lengths of all
        fields are sized in one go, since a numpy call costs more than its work on a few rows.
        """
        if not self._varying:
            return 0
        total = np.zeros(batch.num_rows, dtype=np.int64)
        varints: list[Longs] = []
        limits: list[tuple[int, int]] = []
        for i in self._varying:
            plan, array = self._reads[i][1], batch.column(i)
            if isinstance(plan, Maybe) and not array.null_count:
                plan = plan.value
                total += 1
            allowed = varint_limits(plan)
            if allowed is None:
                total += measure(plan, array)
                continue
            limits.append(allowed)
            if array.type.id == _STRING:
                lengths = text_lengths(array)
                total += lengths
                varints.append(lengths)
            else:
                varints.append(longs_of(array))
        if varints:
            total += varint_bytes(np.stack(varints), np.array(limits)).sum(axis=0)
        return total

    def columns(self, batch: Any) -> Any:
        """The reader's columns of a batch without doubtful rows."""
        if self._identity:
            return batch
        made = [
            repeat(pick, batch.num_rows)
            if isinstance(pick, Default)
            else convert(self._reads[pick][1], batch.column(pick))
            for _, pick in self._picks
        ]
        return pa.RecordBatch.from_arrays(made, schema=self._columns)


def supported(plan: Plan) -> bool:
    """Whether pyruhvro reads the writer's type safely."""
    match plan:
        case Leaf():
            return isinstance(plan.writer, Plain) and plan.writer.kind not in ("bytes", "null")
        case Choice():
            return True
        case Items():
            return supported(plan.items)
        case Entries():
            return supported(plan.values)
        case Fields():
            return bool(plan.reads) and all(supported(read) for _, read in plan.reads)
        case Maybe():
            return plan.null_index is not None and supported(plan.value)


class _Wire:
    """The writer's schema in the types that pyruhvro reads well."""

    def __init__(self) -> None:
        self._serial = count()

    def record(self, plan: Fields) -> dict[str, Any]:
        # Fresh names, since a named type that is used twice would be defined twice.
        fields = [{"name": name, "type": self.type_of(read)} for name, read in plan.reads]
        return {"type": "record", "name": f"r{next(self._serial)}", "fields": fields}

    def type_of(self, plan: Plan) -> Any:
        match plan:
            case Leaf():
                assert isinstance(plan.writer, Plain)
                return "long" if plan.writer.kind == "int" else plan.writer.kind
            case Choice():
                return "long"
            case Items():
                return {"type": "array", "items": self.type_of(plan.items)}
            case Entries():
                return {"type": "map", "values": self.type_of(plan.values)}
            case Fields():
                return self.record(plan)
            case Maybe():
                value = self.type_of(plan.value)
                return ["null", value] if plan.null_index == 0 else [value, "null"]


def convert(plan: Plan, array: Any) -> Any:
    """A wire array of allowed values as the reader's column. The array must not be a slice."""
    assert array.offset == 0, f"a slice from {array.offset}"
    if not len(array):  # Arrow may leave out the buffers of an empty array
        return pa.array([], plan.column)
    made: Any
    match plan:
        case Leaf():
            made = _convert_leaf(plan, array)
        case Choice():
            made = _symbols(plan.symbols).take(array)
        case Items():
            made = _rebuilt(plan, array, [convert(plan.items, array.values)])
        case Entries():
            pairs = pa.StructArray.from_arrays(
                [array.keys, convert(plan.values, array.items)],
                fields=[plan.column.key_field, plan.column.item_field],
            )
            made = _rebuilt(plan, array, [pairs])
        case Fields():
            children = [
                repeat(pick, len(array))
                if isinstance(pick, Default)
                else convert(plan.reads[pick][1], array.field(pick))
                for _, pick in plan.picks
            ]
            made = _rebuilt(plan, array, children)
        case Maybe():
            made = convert(plan.value, array)
    return made


def _rebuilt(plan: Items | Entries | Fields, array: Any, children: list[Any]) -> Any:
    """The same nulls and offsets around other children."""
    buffers: Sequence[Any] = array.buffers()[: 1 if isinstance(plan, Fields) else 2]
    return pa.Array.from_buffers(plan.column, len(array), list(buffers), children=children)


def _convert_leaf(plan: Leaf, array: Any) -> Any:
    column = plan.column
    if array.type.equals(column):
        return array
    assert isinstance(plan.writer, Plain)
    if plan.writer.kind == "string":
        return array.cast(column)
    if plan.writer.kind == "float":
        return _with_nulls(array, np.frombuffer(array.buffers()[1], np.float32), column)
    longs = longs_of(array)
    if column.bit_width == 64 and not pa.types.is_floating(column):
        return array.view(column)  # the same eight bytes as a time or a timestamp
    return _with_nulls(array, longs, column)


def _with_nulls(array: Any, values: npt.NDArray[Any], column: Any) -> Any:
    """Numbers in the column's width, with the array's nulls."""
    plain = column.to_pandas_dtype() if pa.types.is_floating(column) else np.int32
    data = pa.py_buffer(np.ascontiguousarray(values[: len(array)].astype(plain)))
    return pa.Array.from_buffers(column, len(array), [array.buffers()[0], data])


@lru_cache(maxsize=64)
def _symbols(symbols: tuple[str | None, ...]) -> Any:
    return pa.array(symbols, pa.string())
