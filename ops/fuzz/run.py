"""Damaged records through two readers that must agree about each of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.columnar.kernel_reader import KernelReader, kernel_reader
from millstream.columnar.resolve import Fields, resolve_records
from millstream.columnar.rows import RowReader
from millstream.columnar.schema import parse_record, record_columns
from millstream.errors import RecordRefused
from ops.fuzz.draw import damage, record, schema
from ops.fuzz.guarded import Guarded

BATCH_RECORDS: Final = 250
BATCHES_A_SCHEMA: Final = 8
ALONE: Final = 5  # records of each batch that are read alone as well
_GUARDED_BYTES: Final = 1 << 24
_DOUBLES: Final = pa.list_(pa.field("item", pa.float64(), nullable=False))


class Disagreement(Exception):
    """The readers differ about a record; the text says how to see it again."""


@dataclass(slots=True)
class Counts:
    """What has been read so far."""

    records: int = 0
    good: int = 0
    schemas: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def fuzz(seed: int, records: int, counts: Counts) -> Iterator[int]:
    """Read that many damaged records; yields the number of each batch.

    counts: filled in as it goes. Raises Disagreement.
    """
    joined, arena = Guarded(_GUARDED_BYTES), Guarded(_GUARDED_BYTES)
    serial = 0
    while counts.records < records:
        random = Random(f"{seed}-{serial}")  # noqa: S311 - to be repeated, not to be secret
        spec = schema(random)
        pair = _Pair(spec, random, f"seed {seed}, schema {serial}: {json.dumps(spec)}")
        serial += 1
        if pair.kernel is None:
            continue
        counts.schemas += 1
        bodies = [record(random, spec) for _ in range(20)]
        for _ in range(BATCHES_A_SCHEMA):
            batch = [
                damage(random, random.choice(bodies), random.choice(bodies))
                for _ in range(BATCH_RECORDS)
            ]
            pair.compare(batch, joined, arena, counts)
            for body in batch[:ALONE]:
                pair.compare([body], joined, arena, Counts())
            yield len(batch)


class _Pair:
    """Both readers of one schema; a random part of the flat fields is wanted."""

    def __init__(self, spec: dict[str, Any], random: Random, where: str) -> None:
        written = parse_record(json.dumps(spec))
        plan, columns = resolve_records(written, written), record_columns(written)
        wanted = [
            i
            for i, of in enumerate(columns.types)
            if (not pa.types.is_nested(of) or of == _DOUBLES) and random.random() < 0.8
        ]
        picks = tuple(plan.picks[i] for i in wanted)
        self._plan = Fields(plan.reads, picks, plan.column)
        self._columns = pa.schema([columns.field(i) for i in wanted])
        self._rows = RowReader(self._plan)
        self._where = where
        self.kernel: KernelReader | None = kernel_reader(self._plan, self._columns)

    def compare(self, batch: list[bytes], joined: Guarded, arena: Guarded, counts: Counts) -> None:
        """Read a batch both ways. Raises Disagreement."""
        assert self.kernel is not None
        ends = np.fromiter(accumulate(map(len, batch), initial=0), np.int32, len(batch) + 1)
        ends.flags.writeable = False
        columns, rows = self.kernel.read_joined(
            joined.holding(b"".join(batch)), ends, 0, arena.allocate
        )
        read, good = [], []
        for row, body in enumerate(batch):
            try:
                read.append(self._rows.read(body, 0))
                good.append(row)
            except RecordRefused as refused:
                counts.refused[refused.name] += 1
        if rows.tolist() != good:
            row = min(set(rows.tolist()) ^ set(good))
            raise Disagreement(f"{self._where}: only one reader takes {batch[row].hex()}")
        made = self._rows.columns(read)
        columns.validate(full=True)
        if not all(map(_same, columns.columns, made)):
            raise Disagreement(f"{self._where}: other values from {[batch[i].hex() for i in good]}")
        counts.records += len(batch)
        counts.good += len(good)


def _same(left: Any, right: Any) -> bool:
    """Whether two columns are equal, NaN being the same as NaN."""
    if left.equals(right):
        return True
    if pa.types.is_list(left.type):
        long = [one.value_lengths() for one in (left, right)]
        return bool(long[0].equals(long[1])) and _same(left.flatten(), right.flatten())
    if not pa.types.is_floating(left.type) or not left.is_null().equals(right.is_null()):
        return False
    first, second = (one.fill_null(0).to_numpy() for one in (left, right))
    return np.array_equal(first, second, equal_nan=True)
