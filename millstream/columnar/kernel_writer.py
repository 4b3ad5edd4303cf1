"""Batches of columns through the compiled interpreter: Kafka values out."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.columnar import ipc
from millstream.columnar import kernel_write as k
from millstream.columnar.schema import Array, AvroType, Enum, Fixed, Plain, Record, Union

_OUT_BYTES_MAX: Final = 2**31 - 1
_FEW_ROWS: Final = 8  # up to here cutting bytes apart in Python is faster than by pyarrow
_OP_NUMBERS: Final = k.OP_BYTES // 8
_VARINT_BYTES: Final = {4: 5, 8: 10}
_LENGTH_BYTES: Final = 5  # a text's, which is below 2**31
_COUNT_BYTES: Final = 6  # of an array's block, and the zero that ends it


class KernelWriter:
    """Writes columns by one schema."""

    def __init__(
        self,
        record: Record,
        columns: Any,
        prefix: bytes,
        literals: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """columns: the pyarrow.Schema of the record's fields, all of types that Encoder takes.

        literals: by name, fields that have no column, and their bytes in every row.
        """
        self._prefix = np.frombuffer(prefix, np.uint8)
        self._prefix.flags.writeable = False
        made = _Compiler(columns)
        for field in record.fields:
            if field.name in literals:
                made.add_literal(literals[field.name])
            else:
                made.add(field.type, columns.field(field.name).type)
        self._row_bytes = made.row_bytes + len(prefix)
        self._items = made.items
        self._has_texts = made.has_texts
        self._count = len(made.ops)
        self._words = made.program(self._row_bytes)

    def write(self, columns: Any) -> list[bytes] | None:
        """One value per row of a batch; None where a row cannot be written or 2 GiB are too few."""
        rows = columns.num_rows
        if not rows:
            return []
        return self.write_message(columns.serialize(), rows)

    def write_message(self, message: Any, rows: int) -> list[bytes] | None:
        """The same for a batch of at least one row that stands in an IPC message."""
        found = ipc.locate(message)
        size = self._row_bytes * (rows + 1) + (len(message) if self._has_texts else 0)
        for node, most in self._items:
            size += most * struct.unpack_from("<q", message, found.nodes + 16 * node)[0]
        if size > _OUT_BYTES_MAX:
            return None
        words = self._words.copy()
        words[k.BODY : k.HEADER] = found.body, found.nodes, found.buffers
        source = np.frombuffer(message, np.uint8)
        source.flags.writeable = False
        out, ends = np.empty(size, np.uint8), np.empty(rows + 1, np.int32)
        work = np.empty(4 * self._count, np.int64)
        if k.encode(source, words, self._prefix, rows, out, ends, work) < 0:
            return None
        return _cut(out, ends, rows)


def _cut(out: Any, ends: Any, rows: int) -> list[bytes]:
    if rows <= _FEW_ROWS:
        places = ends.tolist()
        text = out[: places[-1]].tobytes()
        return [text[places[i] : places[i + 1]] for i in range(rows)]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(out)]
    cut: list[bytes] = pa.Array.from_buffers(pa.binary(), rows, buffers).to_pylist()
    return cut


class _Compiler:
    """Operations so far, and what a row takes at most, texts and items aside."""

    def __init__(self, columns: Any) -> None:
        self.ops: list[list[int]] = []
        self.row_bytes = 0
        self.items: list[tuple[int, int]] = []  # node of an array's items, most bytes of each
        self.has_texts = False
        self._symbols: list[tuple[int, tuple[str, ...]]] = []
        self._literals: dict[int, bytes] = {}  # by operation

    def add_literal(self, raw: bytes) -> None:
        """Append what writes these bytes; literals that follow each other become one."""
        self.row_bytes += len(raw)
        last = len(self.ops) - 1
        if last not in self._literals:
            last = self._op(k.LITERAL, (-1, 0))
        self._literals[last] = self._literals.get(last, b"") + raw

    def add(self, of: AvroType, column: Any) -> None:
        """Append what writes one field."""
        inner = of.inner if isinstance(of, Union) else of
        if isinstance(inner, Array):
            branches = self._branches(of)
            at = self._op(k.ARRAY, branches, 0)
            item_bytes = self._value(inner.items, column.value_type)
            self.ops[at][3] = item_bytes
            self.items.append((at + 1, item_bytes))
            self.row_bytes += 1 + _COUNT_BYTES
        else:
            self.row_bytes += self._value(of, column)

    def _value(self, of: AvroType, column: Any) -> int:
        """Append what writes one value; the most bytes it takes, a text aside."""
        branches = self._branches(of)
        inner = of.inner if isinstance(of, Union) else of
        match inner:
            case Plain(kind="boolean"):
                self._op(k.BOOLEAN, branches)
                most = 1
            case Plain(kind="float" | "double"):
                most = column.bit_width // 8
                self._op(k.NUMBER, branches, most)
            case Plain(kind="int" | "long"):
                self._op(k.INTEGER, branches, column.bit_width // 8)
                most = _VARINT_BYTES[column.bit_width // 8]
            case Fixed(size=size):
                self._op(k.FIXED, branches, size)
                most = size
            case Enum(symbols=symbols):
                self._symbols.append((self._op(k.ENUM, branches), symbols))
                most = _LENGTH_BYTES
            case _:
                assert isinstance(inner, Plain), inner
                self._op(k.TEXT, branches)
                self.has_texts = True
                most = _LENGTH_BYTES
        return 1 + most

    def _branches(self, of: AvroType) -> tuple[int, int]:
        if not isinstance(of, Union):
            return -1, 0
        assert of.null_index is not None
        return 2 * of.null_index, 2 - 2 * of.null_index

    def _op(self, kind: int, branches: tuple[int, int], number: int = 0) -> int:
        self.ops.append([kind, *branches, number, 0])
        return len(self.ops) - 1

    def program(self, row_bytes: int) -> Any:
        """The words of kernel_write.py, but for what differs from batch to batch."""
        rows, text = [list(op) for op in self.ops], b""
        for at, symbols in self._symbols:
            rows[at][3:5] = len(rows), len(symbols)
            raws = [(raw := symbol.encode(), len(raw), i) for i, symbol in enumerate(symbols)]
            for raw, size, i in sorted(raws, key=lambda one: (one[1], one[0])):
                rows.append([len(text), size, i, 0, 0])
                text += raw
        for at, raw in self._literals.items():
            rows[at][3:5] = len(raw), len(text)
            text += raw
        symbols_at = k.HEADER + _OP_NUMBERS * len(rows)
        header = [len(self.ops), symbols_at, row_bytes, 0, 0, 0]
        padded = text.ljust(-(-len(text) // 8) * 8, b"\x00")
        numbers = np.array([*header, *chain.from_iterable(rows)], np.int64)
        return np.concatenate((numbers, np.frombuffer(padded, np.int64)))
