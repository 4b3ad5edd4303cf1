"""A table as one batch, which is what a session scores."""

from __future__ import annotations

import pyarrow as pa


def block_of(table: pa.Table) -> pa.RecordBatch:
    """All of a table's rows as one batch; of no rows an empty one with its columns.

    Raises ValueError where a column is longer than one batch holds (2 GiB of texts).
    """
    batches = table.combine_chunks().to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    (batch,) = batches
    return batch
