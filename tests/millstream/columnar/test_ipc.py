"""Where Arrow's messages keep their numbers."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from millstream.columnar import ipc

SCHEMAS = [
    pa.schema([("a", pa.float64())]),
    pa.schema([("a", pa.string()), ("b", pa.bool_()), ("c", pa.null())]),
    pa.schema([("a", pa.list_(pa.string())), ("b", pa.timestamp("us", tz="UTC"))]),
]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_numbers_are_found_where_they_are(schema: pa.Schema, rows: int) -> None:
    """Rows, length of the body, first node and first buffer are those of the batch."""
    batch = pa.RecordBatch.from_arrays([pa.nulls(rows, f.type) for f in schema], schema=schema)
    message = batch.serialize().to_pybytes()
    found = ipc.locate(message)
    assert struct.unpack_from("<q", message, found.rows) == (rows,)
    assert struct.unpack_from("<q", message, found.body_length) == (len(message) - found.body,)
    assert struct.unpack_from("<qq", message, found.nodes) == (rows, rows)
    assert struct.unpack_from("<qq", message, found.buffers)[0] == 0


def test_a_filled_template_is_a_batch() -> None:
    """Metadata with its numbers filled in, and a body, are what pyarrow reads."""
    schema = SCHEMAS[0]
    head, at = ipc.template(schema)
    assert at.body == len(head)
    assert at.body % ipc.ALIGNED == 0
    values = np.array([1.5, 2.5, 3.5])
    message = bytearray(head + values.tobytes())
    struct.pack_into("<q", message, at.rows, 3)
    struct.pack_into("<q", message, at.body_length, 24)
    struct.pack_into("<qq", message, at.nodes, 3, 0)
    struct.pack_into("<qqqq", message, at.buffers, 0, 0, 0, 24)
    batch = pa.ipc.read_record_batch(pa.py_buffer(bytes(message)), schema)
    assert batch.column("a").to_pylist() == values.tolist()
