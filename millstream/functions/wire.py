"""ClickHouse's executable functions: chunks of rows in, as many answers out.

A chunk is a line with its number of rows, then each argument of each row as RowBinary has strings:
a length of seven bits a byte, lowest first, and the bytes. (ClickHouse: executable user-defined
functions, `send_chunk_header`; formats, RowBinary.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from millstream.errors import ContractMismatch

TEXT_BYTES_MAX: Final = 1 << 24
"""Of one argument. A longer one is no row of features but a damaged length."""
NULL: Final = b"\x01"

_REMEDY: Final = "Write the configuration again: millstream sql-functions"
_NULLABLE: Final = np.dtype([("null", "u1"), ("value", "<f8")])


def chunks(requests: BinaryIO, arguments: int) -> Iterator[list[tuple[bytes, ...]]]:
    """Chunk after chunk, each as its rows; ends where the requests end between two of them.

    Takes no byte more than a chunk has before it is yielded, since the other side waits for its
    answers. Raises ContractMismatch where the bytes are no such chunk.
    """
    while True:
        head = requests.readline(32)
        if not head:
            return
        if not head.rstrip(b"\n").isdigit():
            raise ContractMismatch("ClickHouse sent rows without their number", _REMEDY)
        yield [tuple(_text(requests) for _ in range(arguments)) for _ in range(int(head))]


def text(value: bytes) -> bytes:
    """A String."""
    return _length(len(value)) + value


def nullable_doubles(values: npt.NDArray[np.float64]) -> list[bytes]:
    """Nullable(Float64) for each value [n]; NaN is null."""
    packed = np.zeros(len(values), _NULLABLE)
    packed["value"] = values
    whole, size = packed.tobytes(), _NULLABLE.itemsize
    found = [whole[start : start + size] for start in range(0, len(whole), size)]
    for row in np.flatnonzero(np.isnan(values)).tolist():
        found[row] = NULL
    return found


def doubles(values: npt.NDArray[np.float64]) -> bytes:
    """Array(Float64)."""
    return _length(len(values)) + values.astype("<f8", copy=False).tobytes()


def nullable_text(value: str | None) -> bytes:
    """Nullable(String)."""
    return NULL if value is None else b"\x00" + text(value.encode())


def _text(requests: BinaryIO) -> bytes:
    size = shift = 0
    while True:
        byte = requests.read(1)
        if not byte:
            raise ContractMismatch("ClickHouse sent fewer rows than it said", _REMEDY)
        size |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80 or shift > 28:
            break
    if size > TEXT_BYTES_MAX:
        raise ContractMismatch(f"ClickHouse sent an argument of {size:,} bytes", _REMEDY)
    found = requests.read(size)
    if len(found) < size:
        raise ContractMismatch("ClickHouse sent fewer rows than it said", _REMEDY)
    return found


def _length(size: int) -> bytes:
    found = bytearray()
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)
