"""Predictions and outcomes as columns, and the columns of what they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import FRAME_BYTES, Decoder, arrow_schema, make_decoder, split_frames
from millstream.contracts import contract
from millstream.errors import ContractMismatch, RecordRefused
from millstream.matching.state import Emitted


class Reader:
    """Values of one contract, whatever version wrote them, as columns.

    columns: the contract's fields that are wanted. schema_of: a writer's schema by its id.
    """

    def __init__(self, subject: str, columns: list[str], schema_of: Callable[[int], str]) -> None:
        self._text = contract(subject).text
        self._columns = columns
        self._schema_of = schema_of
        self._decoders: dict[int, Decoder | None] = {}
        whole = arrow_schema(self._text)
        self._schema = pa.schema([whole.field(name) for name in columns])
        make_decoder(self._text, self._text, columns)  # compiles it before the first record comes

    def read(self, values: Sequence[bytes | None]) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """Columns of the readable rows, and which rows these are, ascending.

        Raises DependencyUnavailable where the registry does not answer.
        """
        parts, places = [], []
        for schema_id, group in split_frames(values).groups.items():
            decoder = self._decoder(schema_id)
            if decoder is None:
                continue
            picked = values if len(group) == len(values) else [values[row] for row in group]
            decoded = decoder.decode(picked, FRAME_BYTES)  # type: ignore[arg-type]
            parts.append(decoded.columns)
            places.append(group[decoded.rows])
        if not parts:
            empty = [pa.array([], f.type) for f in self._schema]
            return pa.RecordBatch.from_arrays(empty, schema=self._schema), np.empty(0, np.int64)
        if len(parts) == 1:
            return parts[0], places[0]
        rows = np.concatenate(places)
        order = np.argsort(rows)
        return pa.concat_batches(parts).take(pa.array(order)), rows[order]

    def _decoder(self, schema_id: int) -> Decoder | None:
        """None where the schema is none of ours; asked again, as it may be registered yet."""
        if schema_id in self._decoders:
            return self._decoders[schema_id]
        try:
            writer = self._schema_of(schema_id)
        except RecordRefused:
            return None
        try:
            made: Decoder | None = make_decoder(writer, self._text, self._columns)
        except ContractMismatch:
            made = None
        self._decoders[schema_id] = made
        return made


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
