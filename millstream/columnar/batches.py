"""Batches through pyruhvro, halved around rows that it cannot read.

    few rows, or a schema that pyruhvro cannot read ─────────────────► row reader
    many rows ──► pyruhvro ──► all rows proven exact ────────────────► columns
                     │   └──► some rows doubtful: these ─────────────► row reader
                     └─ gives up on the batch: again with each half; 64 rows or fewer ► row reader

The worst batch, all bad, costs one reading of each row and an attempt by pyruhvro for every 32 of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.decoded import Decoded, Part, assembled, joined
from millstream.columnar.rows import RowReader
from millstream.columnar.wire import BatchUnreadable, WireReader

FEW_ROWS: Final = 16  # up to here the row reader is faster than pyruhvro's fixed cost
HALVED_ROWS_MIN: Final = 64  # a part of a bad batch that is not worth another attempt


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
            part = Part([], [], range(len(values)))
            return assembled(self._single, self._schema, part, values, skip)
        verdicts = _Verdicts()
        bodies = [value[skip:] for value in values] if skip else list(values)
        self._read_batch(self._wire, bodies, 0, verdicts)
        batches = []
        if verdicts.batches:
            batches.append(self._wire.columns(joined(verdicts.batches)))
        doubtful = np.concatenate(verdicts.doubtful).tolist() if verdicts.doubtful else ()
        part = Part(batches, verdicts.rows, doubtful)
        return assembled(self._single, self._schema, part, values, skip)

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
