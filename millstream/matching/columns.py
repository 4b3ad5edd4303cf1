"""Predictions and outcomes as columns, and the columns of what they become."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import ByWriter
from millstream.contracts import contract
from millstream.matching.state import Emitted


class Reader(ByWriter):
    """Values of one contract. columns: the contract's fields that are wanted."""

    def __init__(self, subject: str, columns: list[str], schema_of: Callable[[int], str]) -> None:
        super().__init__(contract(subject).text, columns, schema_of)


def labelled(
    predictions: pa.RecordBatch, emitted: list[Emitted], schema: pa.Schema
) -> pa.RecordBatch:
    """Columns of the labelled contract: the prediction's own, and what it met."""
    versions = pa.array([version for _, version, _, _ in emitted], pa.int32())
    never = np.fromiter((truth == (None, None) for _, _, truth, _ in emitted), bool, len(emitted))
    statuses = np.where(
        never, "never_labelled", np.where(np.asarray(versions) == 1, "labelled", "corrected")
    )
    known = pa.array([known_at for _, _, _, known_at in emitted], pa.int64(), mask=never)
    number = pa.string()
    own = {
        "id": pc.binary_join_element_wise(
            predictions.column("source_partition").cast(number),
            predictions.column("source_offset").cast(number),
            versions.cast(number),
            "/",
        ),
        "version": versions,
        "status": pa.array(statuses, pa.string()),
        "label": pa.array([truth[0] for _, _, truth, _ in emitted], pa.string()),
        "value": pa.array([truth[1] for _, _, truth, _ in emitted], pa.float64()),
        "known_at": known.cast(schema.field("known_at").type),
        "predicted": predictions.column("label"),
    }
    names = set(predictions.schema.names)
    arrays = [
        own[f.name] if f.name in own or f.name not in names else predictions.column(f.name)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
