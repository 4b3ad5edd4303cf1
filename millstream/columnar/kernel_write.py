"""Arrow columns to Avro bodies, compiled: one interpreter for all schemas.

The columns come as one Arrow IPC message (ipc.py), so that there is one address, and every buffer
is known to lie within it or is refused. `encode` runs a table of operations over each row and
writes the bodies one after the other. It gives up, and says no more, at a null or a symbol that the
schema lacks: the encoder's rows in Python name the field.

Bounds: a row begins only where the room for its longest form, texts and items of arrays left
aside, is there; a text or an item is written only where that room is left after it.
"""

# ruff: noqa: PLR0911 - an interpreter is one long choice over its state

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from millstream.columnar import kernel_memory
from millstream.columnar.compiled import kernel, part, stamp_of
from millstream.columnar.kernel_memory import copy, i32, i64, put8, put32, put64, u8

# Operations, OP_BYTES each: kind, branch of null as it is written (-1: none allowed), branch of the
# value as it is written, then two numbers.
INTEGER: Final = 0  # width of the column's values
NUMBER: Final = 1  # a float or a double: width
BOOLEAN: Final = 2
TEXT: Final = 3
FIXED: Final = 4  # bytes
ENUM: Final = 5  # row of its first symbol among the operations, how many symbols
ARRAY: Final = 6  # the most bytes that an item takes, texts aside; the next operation is its items'
LITERAL: Final = 7  # bytes that are the same in every row, and has no column: length, start
OP_BYTES: Final = 40
# Symbols stand behind the operations in order of length and bytes: start in the program's bytes,
# length, position in the enum. A literal's start is there too.

# A program, in words of 8 bytes: this header, operations and symbols, then the bytes of symbols and
# literals.
OPS_COUNT: Final = 0
SYMBOLS: Final = 1  # word of the program where the symbols' bytes begin
ROW_BYTES: Final = 2  # the most that a row takes, with its prefix, but for texts and items
BODY: Final = 3  # bytes of the message, here and below
NODES: Final = 4
BUFFERS: Final = 5
HEADER: Final = 6

_FAILED: Final = -1
# For each operation while a batch is written, _COLUMN_BYTES each: addresses of validity (0: no
# nulls), values or offsets, bytes of texts; how many bytes of text, or rows of items, there are.
_COLUMN_BYTES: Final = 32
int64: Any = np.int64


@part
def _put_varint(at: int, value: int) -> int:
    zigzag = (value << 1) ^ (value >> 63)
    while zigzag & ~int64(0x7F):
        put8(at, zigzag & 0x7F | 0x80)
        zigzag = (zigzag >> 7) & 0x1FFFFFFFFFFFFFF
        at += 1
    put8(at, zigzag)
    return at + 1


@part
def _buffer(message: int, size: int, body: int, buffer: int, wanted: int) -> Any:
    """The address of a buffer of at least so many bytes; _FAILED if it does not lie in the body."""
    offset, length = i64(buffer), i64(buffer + 8)
    if offset < 0 or length < wanted or offset + length > size - body:
        return _FAILED
    return message + body + offset


@part
def _column(op: int, node: int, buffer: int, message: int, size: int, body: int, into: int) -> Any:
    """Find the buffers of one column; how many it has, or _FAILED."""
    kind, rows = i64(op), i64(node)
    put64(into, 0)
    if i64(node + 8):
        if i64(op + 8) < 0:
            return _FAILED
        put64(into, _buffer(message, size, body, buffer, (rows + 7) >> 3))
    wanted = rows * i64(op + 24)
    if kind == BOOLEAN:
        wanted = (rows + 7) >> 3
    elif kind in (TEXT, ENUM, ARRAY):
        wanted = 4 * (rows + 1) if rows else 0
    values = _buffer(message, size, body, buffer + 16, wanted)
    put64(into + 8, values)
    if values < 0 or i64(into) < 0:
        return _FAILED
    if kind not in (TEXT, ENUM):
        return 2
    text = _buffer(message, size, body, buffer + 32, int64(0))
    put64(into + 16, text)
    put64(into + 24, i64(buffer + 40))
    return 3 if text >= 0 else _FAILED


@part
def _columns(program: int, message: int, size: int, rows: int, columns: int) -> bool:
    """Find all columns' buffers."""
    body = i64(program + 8 * BODY)
    node, buffer = message + i64(program + 8 * NODES), message + i64(program + 8 * BUFFERS)
    ops, inner = program + 8 * HEADER, False
    for at in range(i64(program + 8 * OPS_COUNT)):
        op, into = ops + OP_BYTES * at, columns + _COLUMN_BYTES * at
        if i64(op) == LITERAL:
            put64(into + 8, program + 8 * i64(program + 8 * SYMBOLS) + i64(op + 32))
            continue
        if inner:
            put64(into - _COLUMN_BYTES + 24, i64(node))
        elif i64(node) != rows:
            return False
        found = _column(op, node, buffer, message, size, body, into)
        if found < 0:
            return False
        node += 16
        buffer += 16 * found
        inner = i64(op) == ARRAY
    return True


@part
def _position(program: int, op: int, text: int, size: int) -> Any:
    """The position of a symbol in its enum, or _FAILED."""
    symbols = program + 8 * HEADER + OP_BYTES * i64(op + 24)
    known = program + 8 * i64(program + 8 * SYMBOLS)
    low, high = 0, i64(op + 32)
    while low < high:
        middle = (low + high) >> 1
        symbol = symbols + OP_BYTES * middle
        order = i64(symbol + 8) - size
        start = known + i64(symbol)
        for i in range(size if order == 0 else 0):
            order = u8(start + i) - u8(text + i)
            if order:
                break
        if order == 0:
            return i64(symbol + 16)
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return _FAILED


@part
def _value(op: int, column: int, row: int, at: int, limit: int, program: int) -> Any:
    """Write one value that is no array; the address after it, or _FAILED."""
    kind, values = i64(op), i64(column + 8)
    if i64(op + 8) >= 0:
        validity = i64(column)
        if validity and not (u8(validity + (row >> 3)) >> (row & 7)) & 1:
            put8(at, i64(op + 8))
            return at + 1
        put8(at, i64(op + 16))
        at += 1
    width = i64(op + 24)
    if kind == LITERAL:
        copy(at, values, width)
        return at + width
    if kind == INTEGER:
        return _put_varint(at, i64(values + 8 * row) if width == 8 else i32(values + 4 * row))
    if kind == NUMBER:
        if width == 8:
            put64(at, i64(values + 8 * row))
        else:
            put32(at, i32(values + 4 * row))
        return at + width
    if kind == BOOLEAN:
        put8(at, (u8(values + (row >> 3)) >> (row & 7)) & 1)
        return at + 1
    if kind == FIXED:
        copy(at, values + width * row, width)
        return at + width
    start, stop = int64(i32(values + 4 * row)), int64(i32(values + 4 * row + 4))
    if start < 0 or stop < start or stop > i64(column + 24):
        return _FAILED
    text, size = i64(column + 16) + start, stop - start
    if kind == ENUM:
        position = _position(program, op, text, size)
        return _put_varint(at, position) if position >= 0 else _FAILED
    if size > limit - at:
        return _FAILED
    at = _put_varint(at, size)
    copy(at, text, size)
    return at + size


@part
def _array(op: int, column: int, row: int, at: int, limit: int, program: int) -> Any:
    """Write one array; the address after it, or _FAILED."""
    if i64(op + 8) >= 0:
        validity = i64(column)
        if validity and not (u8(validity + (row >> 3)) >> (row & 7)) & 1:
            put8(at, i64(op + 8))
            return at + 1
        put8(at, i64(op + 16))
        at += 1
    offsets, most = i64(column + 8), i64(op + 24)
    start, stop = int64(i32(offsets + 4 * row)), int64(i32(offsets + 4 * row + 4))
    if start < 0 or stop < start or stop > i64(column + 24):
        return _FAILED
    if start < stop:
        at = _put_varint(at, stop - start)
        for item in range(start, stop):
            if most > limit - at:
                return _FAILED
            at = _value(op + OP_BYTES, column + _COLUMN_BYTES, item, at, limit, program)
            if at < 0:
                return _FAILED
    put8(at, 0)
    return at + 1


def _build(stamp: int) -> Any:
    def encode(
        source: Any, plan: Any, prefix: Any, rows: int, out8: Any, ends32: Any, work: Any
    ) -> int:
        """Write all rows; 0, or -1 where the rows in Python must write them or say what is wrong.

        source: the message. plan: the program. prefix: in front of every body. rows: n >= 1. out8:
        for the values. ends32: int32 [n + 1], becomes the offsets of the values in out8. work:
        int64 [operations * 4].
        """
        _ = stamp
        message, program = int64(source.ctypes.data), int64(plan.ctypes.data)
        out, ends, columns = out8.ctypes.data, ends32.ctypes.data, int64(work.ctypes.data)
        begin, ends, head = int64(out), int64(ends), int64(prefix.ctypes.data)
        if not _columns(program, message, len(source), rows, columns):
            return _FAILED
        ops, count = program + 8 * HEADER, i64(program + 8 * OPS_COUNT)
        # Texts and items stop where the rest of the longest row still fits.
        limit = begin + len(out8) - i64(program + 8 * ROW_BYTES)
        at = begin
        put32(ends, 0)
        for row in range(rows):
            if at > limit:
                return _FAILED
            copy(at, head, len(prefix))
            at += len(prefix)
            step = 0
            while step < count:
                op, column = ops + OP_BYTES * step, columns + _COLUMN_BYTES * step
                if i64(op) == ARRAY:
                    at = _array(op, column, row, at, limit, program)
                    step += 2
                else:
                    at = _value(op, column, row, at, limit, program)
                    step += 1
                if at < 0:
                    return _FAILED
            put32(ends + 4 * row + 4, at - begin)
        return 0

    return encode


_SIGNATURE = types.int64(
    types.Array(types.uint8, 1, "C", readonly=True),
    types.int64[::1],
    types.Array(types.uint8, 1, "C", readonly=True),
    types.int64,
    types.uint8[::1],
    types.int32[::1],
    types.int64[::1],
)
encode = kernel(_SIGNATURE)(_build(stamp_of(kernel_memory.__file__, __file__)))
