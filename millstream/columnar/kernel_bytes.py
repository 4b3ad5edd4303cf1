"""Reading single values of Avro, compiled.

Each function takes the address of the first byte that may be read and the address after the last,
and compares before it reads. A position of -1 says that the value is damaged.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from millstream.columnar.compiled import part
from millstream.columnar.kernel_memory import i64, ones, u8, zeros_below

_VARINT_MORE: Final = 9  # bytes after the first
uint64: Any = np.uint64  # never in a sum with an int64: numba makes a float of it
_HIGH_BITS: Final = -0x7F7F7F7F7F7F7F80  # of eight bytes; none is set in ASCII


@part
def varint(pos: int, end: int) -> Any:
    """A long and the position after it."""
    if pos >= end:
        return 0, -1
    byte = u8(pos)
    pos += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), pos
    if end - pos >= 7:
        word = i64(pos - 1)
        stops = ~word & _HIGH_BITS
        if stops:  # up to eight bytes: seven bits of each are moved together, pair by pair
            word &= ((stops & -stops) - 1) & 0x7F7F7F7F7F7F7F7F
            word = (word & 0x007F007F007F007F) | ((word & 0x7F007F007F007F00) >> 1)
            word = (word & 0x00003FFF00003FFF) | ((word & 0x3FFF00003FFF0000) >> 2)
            word = (word & 0x000000000FFFFFFF) | ((word & 0x0FFFFFFF00000000) >> 4)
            return (word >> 1) ^ -(word & 1), pos + (zeros_below(stops) >> 3)
    total, shift = byte & 0x7F, 7
    for _ in range(_VARINT_MORE):
        if pos >= end:
            break
        byte = u8(pos)
        pos += 1
        total |= (byte & 0x7F) << shift
        if byte < 0x80:
            if shift == 63 and byte > 1:
                break
            return ((total >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(total & 1), pos
        shift += 7
    return 0, -1


@part
def is_utf8(pos: int, end: int) -> bool:
    """The Unicode Standard 16, table 3-7: well-formed UTF-8."""
    while pos < end:
        if end - pos >= 8 and i64(pos) & _HIGH_BITS == 0:
            pos += 8
            continue
        byte = u8(pos)
        pos += 1
        if byte < 0x80:
            continue
        if byte < 0xC2 or byte > 0xF4:
            return False
        more = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
        if more > end - pos:
            return False
        low, high = 0x80, 0xBF
        if byte == 0xE0:
            low = 0xA0
        elif byte == 0xED:
            high = 0x9F
        elif byte == 0xF0:
            low = 0x90
        elif byte == 0xF4:
            high = 0x8F
        for _ in range(more):
            byte = u8(pos)
            if byte < low or byte > high:
                return False
            low, high = 0x80, 0xBF
            pos += 1
    return True


@part
def text(pos: int, end: int, utf8: int) -> Any:
    """Start and end of a length's bytes."""
    size, pos = varint(pos, end)
    if pos < 0 or size < 0 or size > end - pos:
        return 0, -1
    if utf8 and not is_utf8(pos, pos + size):
        return 0, -1
    return pos, pos + size


@part
def decimal(pos: int, end: int, limit_high: int, limit_low: int) -> Any:
    """Whether big-endian bytes are a number below the limit; its halves, high and low."""
    zero = uint64(0)
    high = low = zero
    if pos == end:
        return False, high, low
    negative = u8(pos) >> 7
    fill = 0xFF if negative else 0
    while end - pos > 16:
        if u8(pos) != fill:
            return False, high, low
        pos += 1
    if u8(pos) >> 7 != negative:
        return False, high, low
    if negative:
        high = low = ~zero
    for at in range(pos, end):
        high = (high << uint64(8)) | (low >> uint64(56))
        low = (low << uint64(8)) | uint64(u8(at))
    above, below = high, low
    if negative:
        below = ~low + uint64(1)
        above = ~high + (uint64(1) if below == zero else zero)
    most, least = uint64(limit_high), uint64(limit_low)
    return above < most or (above == most and below < least), high, low


@part
def count_bits(start: int, bits: int) -> int:
    """How many of the first bits from an address are set."""
    found = 0
    for word in range(bits >> 6):
        found += ones(i64(start + 8 * word))
    for bit in range(bits & ~63, bits):
        found += (u8(start + (bit >> 3)) >> (bit & 7)) & 1
    return found
