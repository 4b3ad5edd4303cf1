"""Where an Arrow IPC message keeps its numbers, so that a kernel can fill one in or read one.

pyarrow makes or takes a whole batch of columns in one call when they stand in an IPC message, which
costs about 10 µs; handing it buffers one column at a time costs 2 µs for each column. A message is
metadata (a FlatBuffer with the number of rows, and for each buffer its place in the body) and the
body. The metadata of one schema differ only in their numbers.

Source: Arrow Columnar Format 1.5, "IPC"; Message.fbs and Schema.fbs; FlatBuffers' binary format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

PREFIX: Final = 8  # a marker and the length of the metadata, four bytes each
ALIGNED: Final = 64  # bytes; where the body begins, and each buffer in it
_MARKER: Final = b"\xff\xff\xff\xff"
# Fields of the tables, in the order of their .fbs files.
_MESSAGE_HEADER, _MESSAGE_BODY_LENGTH = 2, 3
_BATCH_LENGTH, _BATCH_NODES, _BATCH_BUFFERS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Message:
    """Positions in a message, all in bytes from its first.

    nodes: of the first node (int64 rows, int64 nulls). buffers: of the first buffer (int64 offset
    in the body, int64 length). rows, body_length: of an int64 each. body: where the body begins.
    """

    body: int
    body_length: int
    rows: int
    nodes: int
    buffers: int


def locate(message: Any) -> Message:
    """Find the numbers of a batch that pyarrow has written, at least one row and one buffer."""
    (size,) = struct.unpack_from("<i", message, 4)
    root = PREFIX + _u32(message, PREFIX)
    batch = _pointed(message, _field(message, root, _MESSAGE_HEADER))
    return Message(
        body=PREFIX + size,
        body_length=_field(message, root, _MESSAGE_BODY_LENGTH),
        rows=_field(message, batch, _BATCH_LENGTH),
        nodes=4 + _pointed(message, _field(message, batch, _BATCH_NODES)),
        buffers=4 + _pointed(message, _field(message, batch, _BATCH_BUFFERS)),
    )


def template(schema: Any) -> tuple[bytes, Message]:
    """The metadata for batches of a schema, to be copied and filled in; the body comes after it."""
    one = pa.RecordBatch.from_arrays([pa.nulls(1, f.type) for f in schema], schema=schema)
    message = one.serialize().to_pybytes()
    found = locate(message)
    padded = -(-found.body // ALIGNED) * ALIGNED
    metadata = message[PREFIX : found.body].ljust(padded - PREFIX, b"\x00")
    head = _MARKER + struct.pack("<i", len(metadata)) + metadata
    return head, Message(padded, found.body_length, found.rows, found.nodes, found.buffers)


def _u32(message: Any, at: int) -> int:
    value: int = struct.unpack_from("<I", message, at)[0]
    return value


def _pointed(message: Any, at: int) -> int:
    return at + _u32(message, at)


def _field(message: Any, table: int, place: int) -> int:
    """Where a table keeps its field."""
    back: int = struct.unpack_from("<i", message, table)[0]
    offset: int = struct.unpack_from("<H", message, table - back + 4 + 2 * place)[0]
    assert offset, f"field {place} of the table at {table} has its default"
    return table + offset
