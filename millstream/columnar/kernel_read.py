"""Avro bodies to the buffers of Arrow columns, compiled: one interpreter for all schemas.

A program (program.py) is a table of operations, made once from the writer's schema. `decode` runs
it over each record, and writes the values of good records one after the other into the arena of an
Arrow IPC message (ipc.py). A record that is damaged anywhere, also in a field that nobody wants,
ends its run at once, and the next record takes its place in the columns. Damage is not named here:
the row reader does that.

Bounds: a byte of a record is read only after its position was compared with the record's end, and
a position only grows. What is written per record is one value per column, whose room was reserved
for as many records as there are; texts are copied afterwards, into the room that is left, which is
checked.
"""

# ruff: noqa: PLR0911, PLR0912, PLR0913, PLR0917, PLR1714, SIM109 - an interpreter is one long choice
# over its state, and numba is quicker with `or` than with `in`

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from millstream.columnar import kernel_bytes, kernel_memory
from millstream.columnar.compiled import kernel, part, stamp_of
from millstream.columnar.kernel_bytes import count_bits, decimal, text, varint
from millstream.columnar.kernel_memory import (
    copy,
    i32,
    i64,
    put8,
    put32,
    put64,
    put_double,
    put_float,
    u8,
    widen,
)

# Operations, OP_BYTES each: kind, slot (-1: the value is checked and dropped), up to four numbers.
SKIP: Final = 0  # bytes
DOUBLES: Final = 1  # how many, into as many slots in a row
FLOATS: Final = 2  # how many, into as many slots in a row; 1: as doubles
BOOLEAN: Final = 3
INTEGER: Final = 4  # smallest, largest, how it is kept
TEXT: Final = 5  # 1: must be UTF-8
FIXED: Final = 6  # bytes
DECIMAL: Final = 7  # bytes (0: their number precedes them), first wrong number: high and low half
CHOICE: Final = 8  # row of its first symbol among the operations, how many symbols
UNION: Final = 9  # branch of null (-1: none), branch of the value, 1: refuse null, op after it
BLOCKS: Final = 10  # depth, op after it
AGAIN: Final = 11  # depth, op of its BLOCKS
MARK: Final = 12  # what follows, up to its MEASURE, is kept as bytes
MEASURE: Final = 13
OP_BYTES: Final = 48
# A symbol takes a row too: its start in the program's bytes (-1: refuse) and its length.

# How an INTEGER is kept.
AS_INT32: Final = 0
AS_INT64: Final = 1
AS_FLOAT: Final = 2
AS_DOUBLE: Final = 3

# Slots, SLOT_BYTES each: width of a value in bytes or one of these; 1: may be null; place among the
# texts; 1: the text is one of the symbols.
BITS: Final = 0
TEXTS: Final = -1
NULLS: Final = -2
SLOT_BYTES: Final = 32

# A program, in words of 8 bytes: this header, the operations and symbols, the slots, the bytes of
# the symbols. Positions are words of the program (OPS, SLOTS, SYMBOLS) or bytes of the arena.
OPS: Final = 0
OPS_COUNT: Final = 1
SLOTS: Final = 2
SLOTS_COUNT: Final = 3
SYMBOLS: Final = 4
DEPTH: Final = 5  # how deep blocks are nested
BODY: Final = 6
BODY_LENGTH: Final = 7
ROWS: Final = 8
NODES: Final = 9
BUFFERS: Final = 10
HEADER: Final = 11

_NO_ROOM: Final = -1
int64: Any = np.int64
# For each slot while a batch is read, BASE_BYTES each: address of its validity, of its values.
_BASE_BYTES: Final = 16


@part
def _put_bit(base: int, place: int, bit: int) -> None:
    at, shift = base + (place >> 3), place & 7
    kept = u8(at) & ((1 << shift) - 1) if shift else 0
    put8(at, kept | (bit << shift))


@part
def _put_nothing(base: int, width: int, place: int) -> None:
    """Zeroes under a null, so that what lies there never depends on the past."""
    if width == BITS:
        _put_bit(base, place, int64(0))
    elif width == 8:
        put64(base + 8 * place, 0)
    else:
        for at in range(base + place * width, base + (place + 1) * width):
            put8(at, 0)


@part
def _put_integer(base: int, place: int, value: int, how: int) -> None:
    if how == AS_INT64:
        put64(base + 8 * place, value)
    elif how == AS_INT32:
        put32(base + 4 * place, value)
    elif how == AS_DOUBLE:
        put_double(base + 8 * place, value)
    else:
        put_float(base + 4 * place, value)


@part
def _numbers(pos: int, op: int, place: int, bases: int) -> None:
    """A run of doubles or floats, whose bytes are known to be there."""
    base = bases + _BASE_BYTES * i64(op + 8) + 8
    count = i64(op + 16)
    if i64(op) == DOUBLES:
        for i in range(count):
            put64(i64(base + _BASE_BYTES * i) + 8 * place, i64(pos + 8 * i))
    elif i64(op + 24):
        for i in range(count):
            widen(pos + 4 * i, i64(base + _BASE_BYTES * i) + 8 * place)
    else:
        for i in range(count):
            put32(i64(base + _BASE_BYTES * i) + 4 * place, i32(pos + 4 * i))


@part
def _leaf(pos: int, end: int, op: int, ops: int, place: int, bases: int) -> Any:
    """Read a value that is no number of a run, keep it in its slot; the next position, or -1."""
    kind, slot = i64(op), i64(op + 8)
    base = i64(bases + _BASE_BYTES * slot + 8) if slot >= 0 else 0
    if kind == INTEGER:
        value, pos = varint(pos, end)
        if pos < 0 or value < i64(op + 16) or value > i64(op + 24):
            return -1
        if slot >= 0:
            _put_integer(base, place, value, i64(op + 32))
        return pos
    if kind == TEXT:
        start, stop = text(pos, end, i64(op + 16))
        if stop >= 0 and slot >= 0:
            put64(base + 16 * place, start)
            put64(base + 16 * place + 8, stop - start)
        return stop
    if kind == CHOICE:
        value, pos = varint(pos, end)
        if pos < 0 or value < 0 or value >= i64(op + 24):
            return -1
        symbol = ops + OP_BYTES * (i64(op + 16) + value)
        if i64(symbol) < 0:
            return -1
        if slot >= 0:
            put64(base + 16 * place, i64(symbol))
            put64(base + 16 * place + 8, i64(symbol + 8))
        return pos
    if kind == MARK:
        put64(base + 16 * place, pos)
        return pos
    if kind == MEASURE:
        put64(base + 16 * place + 8, pos - i64(base + 16 * place))
        return pos
    if kind == BOOLEAN:
        if pos >= end or u8(pos) > 1:
            return -1
        if slot >= 0:
            _put_bit(base, place, u8(pos))
        return pos + 1
    size = i64(op + 16)
    stop = pos + size
    if kind == DECIMAL and size == 0:
        pos, stop = text(pos, end, int64(0))
    if stop < 0 or stop > end:
        return -1
    if kind == DECIMAL:
        fits, high, low = decimal(pos, stop, i64(op + 24), i64(op + 32))
        if not fits:
            return -1
        if slot >= 0:
            put64(base + 16 * place, int64(low))
            put64(base + 16 * place + 8, int64(high))
    elif kind == FIXED:
        copy(base + size * place, pos, size)
    return stop


@part
def _keep_null(op: int, null: int, place: int, slots: int, bases: int) -> None:
    """Say in the slot of a union whether the value is null."""
    slot = i64(op + 8)
    if slot < 0 or not i64(slots + SLOT_BYTES * slot + 8):
        return
    width, base = i64(slots + SLOT_BYTES * slot), bases + _BASE_BYTES * slot
    _put_bit(i64(base), place, 1 - null)
    if null:
        _put_nothing(i64(base + 8), 16 if width == TEXTS else width, place)


@part
def _record(
    pos: int, end: int, ops: int, count: int, place: int, slots: int, bases: int, left: int
) -> bool:
    """Run the program over one record; False if it is damaged."""
    at = 0
    while at < count:
        op = ops + OP_BYTES * at
        kind = i64(op)
        at += 1
        if kind == DOUBLES or kind == FLOATS:
            size = i64(op + 16) * (8 if kind == DOUBLES else 4)
            if size > end - pos:
                return False
            _numbers(pos, op, place, bases)
            pos += size
        elif kind == UNION:
            branch, pos = varint(pos, end)
            if branch != i64(op + 24) and (branch != i64(op + 16) or i64(op + 32)):
                return False
            null = 1 if branch != i64(op + 24) else 0
            _keep_null(op, null, place, slots, bases)
            if null:
                at = i64(op + 40)
        elif kind == BLOCKS:
            items, pos = varint(pos, end)
            if pos >= 0 and items < 0:  # the size in bytes follows, of use to those who trust it
                items = -items
                _, pos = varint(pos, end)
            if pos < 0 or items < 0 or items > end - pos:  # every item takes at least a byte
                return False
            put64(left + 8 * i64(op + 16), items)
            if items == 0:
                at = i64(op + 24)
        elif kind == AGAIN:
            counter = left + 8 * i64(op + 16)
            items = i64(counter) - 1
            put64(counter, items)
            at = i64(op + 24) + (1 if items > 0 else 0)
        else:
            pos = _leaf(pos, end, op, ops, place, bases)
        if pos < 0:
            return False
    return pos == end


@part
def _rounded_up(size: int) -> Any:
    return (size + 63) & ~int64(63)


@part
def _reserve(slots: int, count: int, rows: int, at: int, texts: int, bases: int) -> int:
    """Room for every column but offsets and bytes of texts, whose places wait elsewhere."""
    for i in range(count):
        slot, base = slots + SLOT_BYTES * i, bases + _BASE_BYTES * i
        width = i64(slot)
        put64(base, at)
        if i64(slot + 8):
            at += _rounded_up((rows + 7) >> 3)
        put64(base + 8, at)
        if width == TEXTS:
            put64(base + 8, texts + 16 * rows * i64(slot + 16))
        elif width == BITS:
            at += _rounded_up((rows + 7) >> 3)
        elif width > 0:
            at += _rounded_up(rows * width)
    return at


@part
def _gather(waiting: int, source: int, rows: int, offsets: int, at: int, limit: int) -> int:
    """Offsets and bytes of one column of texts; where its bytes end, or _NO_ROOM."""
    start = at
    put32(offsets, 0)
    for i in range(rows):
        size = i64(waiting + 16 * i + 8)
        if size > limit - at:
            return _NO_ROOM
        copy(at, source + i64(waiting + 16 * i), size)
        at += size
        put32(offsets + 4 * i + 4, at - start)
    return at


@part
def _finish(program: int, rows: int, bases: int, arena: int, at: int, limit: int) -> int:
    """Copy the texts, and write down what lies where; the end of the body, or _NO_ROOM."""
    body = arena + i64(program + 8 * BODY)
    node, buffer = arena + i64(program + 8 * NODES), arena + i64(program + 8 * BUFFERS)
    slots = program + 8 * i64(program + 8 * SLOTS)
    for i in range(i64(program + 8 * SLOTS_COUNT)):
        slot, base = slots + SLOT_BYTES * i, bases + _BASE_BYTES * i
        width, validity, values = i64(slot), i64(base), i64(base + 8)
        put64(node, rows)
        put64(node + 8, rows if width == NULLS else 0)
        if width != NULLS:
            put64(buffer, validity - body)
            put64(buffer + 8, 0)
            if i64(slot + 8):
                put64(node + 8, rows - count_bits(validity, rows))
                put64(buffer + 8, (rows + 7) >> 3)
            put64(buffer + 16, values - body)
            put64(buffer + 24, rows * width if width > 0 else (rows + 7) >> 3)
            buffer += 32
        if width == TEXTS:
            # A symbol's start counts from the symbols, a text's is its address.
            source = program + 8 * i64(program + 8 * SYMBOLS) if i64(slot + 24) else 0
            offsets, at = at, at + _rounded_up(4 * (rows + 1))
            stop = _gather(values, source, rows, offsets, at, limit) if at <= limit else _NO_ROOM
            if stop < 0:
                return _NO_ROOM
            put64(buffer - 16, offsets - body)
            put64(buffer - 8, 4 * (rows + 1))
            put64(buffer, at - body)
            put64(buffer + 8, stop - at)
            buffer += 16
            at = _rounded_up(stop)
        node += 16
    put64(arena + i64(program + 8 * ROWS), rows)
    put64(arena + i64(program + 8 * BODY_LENGTH), at - body)
    return at


def _build(stamp: int) -> Any:
    def decode(src: Any, ends: Any, skip: int, plan: Any, arena8: Any, work: Any) -> int:
        """Decode a batch; how many of its records are good, or -1 where the arena is too small.

        src: the records, joined. ends: int32 [n + 1], where each begins and the last one ends.
        skip: bytes in front of each body. plan: the program. arena8: a message whose metadata are
        in place. work: int64 [n + slots * 2 + depth + 2 * n * texts]; its first n become the
        positions of the good records.
        """
        _ = stamp
        records = int64(len(ends) - 1)
        source, program = int64(src.ctypes.data), int64(plan.ctypes.data)
        arena, rows = int64(arena8.ctypes.data), int64(work.ctypes.data)
        limit = arena + len(arena8)
        count = i64(program + 8 * SLOTS_COUNT)
        bases = rows + 8 * records
        left = bases + _BASE_BYTES * count
        texts = left + 8 * i64(program + 8 * DEPTH)
        slots = program + 8 * i64(program + 8 * SLOTS)
        at = _reserve(slots, count, records, arena + i64(program + 8 * BODY), texts, bases)
        if at > limit:
            return _NO_ROOM
        ops = program + 8 * i64(program + 8 * OPS)
        ops_count = i64(program + 8 * OPS_COUNT)
        good = int64(0)  # a literal would have all parts compiled twice
        end = int64(ends[0])
        for row in range(records):
            pos, end = end + skip, int64(ends[row + 1])
            if pos <= end and _record(
                source + pos, source + end, ops, ops_count, good, slots, bases, left
            ):
                put64(rows + 8 * good, row)
                good += 1
        return good if _finish(program, good, bases, arena, at, limit) >= 0 else _NO_ROOM

    return decode


_SIGNATURE = types.int64(
    types.Array(types.uint8, 1, "C", readonly=True),
    types.Array(types.int32, 1, "C", readonly=True),
    types.int64,
    types.int64[::1],
    types.uint8[::1],
    types.int64[::1],
)
decode = kernel(_SIGNATURE)(
    _build(stamp_of(kernel_memory.__file__, kernel_bytes.__file__, __file__))
)
