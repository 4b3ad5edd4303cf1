"""Tables as one batch."""

from __future__ import annotations

import pyarrow as pa

from millstream.columnar.block import block_of


def test_chunks_become_one_batch() -> None:
    """In their order."""
    part = pa.table({"a": [1, 2], "b": ["x", None]})
    found = block_of(pa.concat_tables([part, part]))
    assert found.to_pydict() == {"a": [1, 2, 1, 2], "b": ["x", None, "x", None]}


def test_of_no_rows_there_is_a_batch_without_rows() -> None:
    """With the table's columns."""
    schema = pa.schema([("a", pa.int32()), ("b", pa.string())])
    found = block_of(schema.empty_table())
    assert (found.num_rows, found.schema) == (0, schema)
