"""What decoding a batch gives, and how its parts are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.rows import RowReader
from millstream.errors import RecordRefused, Refusal


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of a batch.

    columns: pyarrow.RecordBatch of the good rows, one column per field of the reader's schema, in
        its order; its schema is ``arrow_schema(reader)`` whatever the batch was.
    rows: for each good row its position in the input, ascending.
    refusals: the other rows (Stage.DECODE), ascending. rows and refusals cover the input exactly.
    """

    columns: Any
    rows: npt.NDArray[np.int64]
    refusals: tuple[Refusal, ...]


class Decoder(Protocol):
    """Reads values that were written by one schema into columns of another."""

    def decode(self, values: Sequence[bytes], skip: int = 0) -> Decoded:
        """Decode a batch.

        values: Kafka values. skip: bytes in front of each Avro body, 5 for the Confluent frame.
        """
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """What a fast reader has made of a batch.

    batches: of the reader's columns. rows: the positions of their rows, as many arrays as batches.
    doubtful: positions of the rows that are left to the row reader, ascending.
    """

    batches: list[Any]
    rows: list[npt.NDArray[np.int64]]
    doubtful: Sequence[int]


def assembled(
    single: RowReader, schema: Any, part: Part, values: Sequence[bytes], skip: int
) -> Decoded:
    """The good rows of a part with those that the row reader takes of the doubtful ones."""
    read, good, refusals = [], [], []
    for row in part.doubtful:
        try:
            read.append(single.read(values[row], skip))
            good.append(row)
        except RecordRefused as refused:
            refusals.append(Refusal(row, refused.stage, refused.name, refused.reason))
    batches, rows = part.batches, part.rows
    if read or not batches:
        batches = [*batches, pa.RecordBatch.from_arrays(single.columns(read), schema=schema)]
        rows = [*rows, np.array(good, dtype=np.int64)]
    batch, places = joined(batches), np.concatenate(rows)
    if (places[1:] < places[:-1]).any():
        order = np.argsort(places)
        batch, places = batch.take(pa.array(order)), places[order]
    return Decoded(batch, places, tuple(refusals))


def joined(batches: list[Any]) -> Any:
    """One batch of several; concat_batches alone would copy a single one."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
