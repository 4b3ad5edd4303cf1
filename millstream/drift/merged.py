"""Rows of all partitions of a topic in the order of release: what the watch counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.drift.blocks import Rows
from millstream.drift.lanes import Ints, Piece, merged

Order = tuple[int, ...]
"""Clock, rank of the lane, offset: of the record that completed something; of a labelled record
that waited for others, these of the moment when it went, then its place among what went with it."""


@dataclass(frozen=True, slots=True)
class Merged:
    """keys: the order of the rows, int64 [n, 3 or more]."""

    columns: pa.RecordBatch
    keys: Ints

    @classmethod
    def of(cls, pieces: list[Piece]) -> Merged:
        columns, *keys = merged(pieces)
        return cls(columns, np.stack(keys, axis=1))

    def only(self, mask: np.ndarray[Any, Any]) -> Merged:
        if mask.all():
            return self
        return Merged(self.columns.filter(pa.array(mask)), self.keys[mask])

    def by_version(self) -> Iterator[tuple[str, Merged]]:
        """The rows of each model version, in the order of their first ones."""
        coded = self.columns["model_version"].dictionary_encode()
        codes = np.asarray(coded.indices)
        for code, version in enumerate(coded.dictionary.to_pylist()):
            yield version, self.only(codes == code)

    def order(self, row: int) -> Order:
        return tuple(self.keys[row].tolist())

    def numbers(self, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(self.columns[name].to_numpy(zero_copy_only=False), np.float64)

    def rows(
        self, values: Ints, bins: Ints | None = None, names: list[list[str]] | None = None
    ) -> Rows:
        return Rows(
            values,
            np.asarray(self.columns["event_time"].cast(pa.int64())),
            np.asarray(self.columns["source_partition"]),
            np.asarray(self.columns["source_offset"]),
            bins,
            names,
        )
