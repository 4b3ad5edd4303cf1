"""Kafka values to Arrow columns, with a verdict for every row.

    few rows, or a schema that pyruhvro cannot read ─────────────────► row reader
    many rows ──► pyruhvro ──► all rows proven exact ────────────────► columns
                     │   └──► some rows doubtful: these ─────────────► row reader
                     └─ gives up on the batch: again with each half; 64 rows or fewer ► row reader

The row reader (rows.py) has the last word about a row, so a verdict does not depend on a row's
neighbours or on the size of its batch. The worst batch, all bad, costs one reading of
each row and an attempt by pyruhvro for every 32 of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.resolve import resolve_records
from millstream.columnar.rows import RowReader
from millstream.columnar.schema import parse_record, record_columns
from millstream.columnar.wire import BatchUnreadable, WireReader, supported
from millstream.errors import RecordRefused, Refusal

FEW_ROWS: Final = 16  # up to here the row reader is faster than pyruhvro's fixed cost
HALVED_ROWS_MIN: Final = 64  # a part of a bad batch that is not worth another attempt


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


def make_decoder(writer: str, reader: str | None = None) -> Decoder:
    """A decoder of values written by ``writer`` into columns of ``reader``, both Avro JSON texts.

    reader: None for the writer's own schema. Raises ContractMismatch, naming the field and type,
    where a type has no column or the writer's schema cannot be resolved to the reader's.
    """
    written = parse_record(writer)
    wanted = written if reader is None else parse_record(reader)
    plan = resolve_records(written, wanted)
    columns = record_columns(wanted)
    wire = WireReader(plan, columns) if supported(plan) else None
    return BatchDecoder(RowReader(plan), wire, columns)


@dataclass(slots=True)
class _Verdicts:
    """What pyruhvro has made of one batch."""

    batches: list[Any] = field(default_factory=list)  # of the writer's fields, good rows only
    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    doubtful: list[npt.NDArray[np.int64]] = field(default_factory=list)  # for the row reader


class BatchDecoder:
    """pyruhvro for batches, the row reader for few rows and for rows in doubt."""

    def __init__(self, single: RowReader, wire: WireReader | None, schema: Any) -> None:
        self._single = single
        self._wire = wire
        self._schema = schema

    def decode(self, values: Sequence[bytes], skip: int = 0) -> Decoded:
        """See Decoder."""
        if self._wire is None or len(values) <= FEW_ROWS:
            return self._assemble([], [], values, skip, range(len(values)))
        verdicts = _Verdicts()
        bodies = [value[skip:] for value in values] if skip else list(values)
        self._read_batch(self._wire, bodies, 0, verdicts)
        batches = []
        if verdicts.batches:
            batches.append(self._wire.columns(_joined(verdicts.batches)))
        doubtful = np.concatenate(verdicts.doubtful).tolist() if verdicts.doubtful else ()
        return self._assemble(batches, verdicts.rows, values, skip, doubtful)

    def _read_batch(
        self, wire: WireReader, bodies: list[bytes], first: int, verdicts: _Verdicts
    ) -> None:
        """Sort rows into good and doubtful ones; ``first`` is the position of bodies[0]."""
        rows = np.arange(first, first + len(bodies), dtype=np.int64)
        try:
            batch, doubtful = wire.read(bodies)
        except BatchUnreadable:
            if len(bodies) <= HALVED_ROWS_MIN:
                verdicts.doubtful.append(rows)
                return
            half = len(bodies) // 2
            self._read_batch(wire, bodies[:half], first, verdicts)
            self._read_batch(wire, bodies[half:], first + half, verdicts)
            return
        if doubtful is not None:
            verdicts.doubtful.append(rows[doubtful])
            batch, rows = batch.filter(pa.array(~doubtful)), rows[~doubtful]
        if len(rows):
            verdicts.batches.append(batch)
            verdicts.rows.append(rows)

    def _assemble(
        self,
        batches: list[Any],
        rows: list[npt.NDArray[np.int64]],
        values: Sequence[bytes],
        skip: int,
        doubtful: Iterable[int],
    ) -> Decoded:
        """Read the doubtful rows one by one, and put the good ones among the rest."""
        read, good, refusals = [], [], []
        for row in doubtful:
            try:
                read.append(self._single.read(values[row], skip))
                good.append(row)
            except RecordRefused as refused:
                refusals.append(Refusal(row, refused.stage, refused.name, refused.reason))
        if read or not batches:
            made = self._single.columns(read)
            batches.append(pa.RecordBatch.from_arrays(made, schema=self._schema))
            rows.append(np.array(good, dtype=np.int64))
        batch, places = _joined(batches), np.concatenate(rows)
        if (places[1:] < places[:-1]).any():
            order = np.argsort(places)
            batch, places = batch.take(pa.array(order)), places[order]
        return Decoded(batch, places, tuple(refusals))


def _joined(batches: list[Any]) -> Any:
    """One batch of several; concat_batches alone would copy a single one."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
