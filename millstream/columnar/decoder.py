"""Kafka values to Arrow columns, with a verdict for every row.

    batch ──► compiled kernel ──► good rows ─────────────────────────► columns
                     └─ other rows ──────────────────────────────────► row reader

The row reader (rows.py) has the last word about a row, so a verdict does not depend on a row's
neighbours or on the size of its batch. It reads only what the kernel did not take, and names what
is wrong. Where a wanted field is a map, a record or an array of anything but doubles, or numba
cannot be loaded, pyruhvro takes the kernel's place (batches.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from millstream.columnar.batches import BatchDecoder
from millstream.columnar.decoded import Decoded, Decoder, Part, assembled, joined
from millstream.columnar.engine import Engine, kernels_load
from millstream.columnar.resolve import Fields, resolve_records
from millstream.columnar.rows import RowReader
from millstream.columnar.schema import parse_record, record_columns
from millstream.columnar.wire import WireReader, supported
from millstream.errors import ContractMismatch

if TYPE_CHECKING:
    from millstream.columnar.kernel_reader import KernelReader


def make_decoder(
    writer: str,
    reader: str | None = None,
    columns: Sequence[str] | None = None,
    engine: Engine | None = None,
) -> Decoder:
    """A decoder of values written by ``writer`` into columns of ``reader``, both Avro JSON texts.

    reader: None for the writer's own schema. columns: the reader's fields that are wanted, in this
    order; None for all. The others are checked as strictly and cost less. engine: None for the
    fastest that can be loaded and reads these types.

    Raises ContractMismatch, naming the field and type, where a type has no column, the writer's
    schema cannot be resolved to the reader's, or the reader lacks a wanted field.
    """
    written = parse_record(writer)
    wanted = written if reader is None else parse_record(reader)
    plan = resolve_records(written, wanted)
    schema = record_columns(wanted)
    if columns is not None:
        plan, schema = _projected(plan, schema, columns)
    rows = RowReader(plan)
    if engine != "pyruhvro" and kernels_load():
        from millstream.columnar.kernel_reader import kernel_reader  # noqa: PLC0415 - loads numba

        kernel = kernel_reader(plan, schema)
        if kernel is not None:
            return KernelDecoder(rows, kernel, schema)
    return BatchDecoder(rows, WireReader(plan, schema) if supported(plan) else None, schema)


def _projected(plan: Fields, schema: Any, columns: Sequence[str]) -> tuple[Fields, Any]:
    """The plan for some of the reader's fields."""
    places = {name: i for i, (name, _) in enumerate(plan.picks)}
    lacking = [name for name in columns if name not in places]
    if lacking or len(set(columns)) != len(columns) or not columns:
        raise ContractMismatch(
            f"the columns {', '.join(columns)} are not distinct fields of the reader's schema"
            + (f", which lacks {', '.join(lacking)}" if lacking else ""),
            "Name each field of the reader's schema at most once, and at least one of them",
        )
    picked = [places[name] for name in columns]
    kept = pa.schema([schema.field(i) for i in picked])
    return replace(plan, picks=tuple(plan.picks[i] for i in picked)), kept


class KernelDecoder:
    """The kernel for all rows, the row reader for those that it does not take."""

    def __init__(self, single: RowReader, kernel: KernelReader, schema: Any) -> None:
        self._single = single
        self._kernel = kernel
        self._schema = schema

    def decode(self, values: Sequence[bytes], skip: int = 0) -> Decoded:
        """See Decoder."""
        try:
            batch, rows = self._kernel.read(values, skip)
        except OverflowError:
            return self._decode_halves(values, skip)
        if len(rows) == len(values):
            return Decoded(batch, rows, ())
        left = np.ones(len(values), np.bool_)
        left[rows] = False
        doubtful = np.flatnonzero(left).tolist()
        part = Part([batch], [rows], doubtful) if len(rows) else Part([], [], doubtful)
        return assembled(self._single, self._schema, part, values, skip)

    def _decode_halves(self, values: Sequence[bytes], skip: int) -> Decoded:
        """A batch that is too large for 32-bit offsets."""
        if len(values) == 1:
            return assembled(self._single, self._schema, Part([], [], [0]), values, skip)
        half = len(values) // 2
        left, right = self.decode(values[:half], skip), self.decode(values[half:], skip)
        return Decoded(
            joined([left.columns, right.columns]),
            np.concatenate((left.rows, right.rows + half)),
            left.refusals + tuple(replace(r, row=r.row + half) for r in right.refusals),
        )
