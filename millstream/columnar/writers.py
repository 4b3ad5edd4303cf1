"""Kafka values of one subject as columns, whatever version of its schema wrote each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.decoded import Decoder
from millstream.columnar.decoder import make_decoder
from millstream.columnar.frame import FRAME_BYTES, split_frames
from millstream.columnar.schema import arrow_schema
from millstream.errors import ContractMismatch, RecordRefused

Finish = Callable[[pa.RecordBatch, int], pa.RecordBatch]
"""What is made of the columns of one writer, by its schema id; -1 where there are no rows."""


def _as_they_are(columns: pa.RecordBatch, schema_id: int) -> pa.RecordBatch:
    return columns


class ByWriter:
    """Reads some fields of a reader's schema.

    text: the reader's Avro schema. columns: the fields that are wanted. schema_of: a writer's
    schema by its id. finish: applied to what each writer's values became.
    """

    def __init__(
        self,
        text: str,
        columns: list[str],
        schema_of: Callable[[int], str],
        finish: Finish = _as_they_are,
    ) -> None:
        self._text = text
        self._columns = columns
        self._schema_of = schema_of
        self._finish = finish
        self._decoders: dict[int, Decoder | None] = {}
        whole = arrow_schema(text)
        self._schema = pa.schema([whole.field(name) for name in columns])
        make_decoder(text, text, columns)  # compiles it before the first record comes

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
            parts.append(self._finish(decoded.columns, schema_id))
            places.append(group[decoded.rows])
        if not parts:
            empty = [pa.array([], field.type) for field in self._schema]
            columns = pa.RecordBatch.from_arrays(empty, schema=self._schema)
            return self._finish(columns, -1), np.empty(0, np.int64)
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
