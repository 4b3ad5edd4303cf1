"""Rule A6: what a row says against what its record says, column by column, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from millstream.audit.offsets import Offsets

Columns = Mapping[str, Sequence[Any]]


def differing(
    record_offsets: Offsets, records: Columns, row_offsets: Offsets, rows: Columns
) -> dict[int, list[str]]:
    """Offset -> the columns in which a row is not its record.

    Compared are the columns of `records`, in the offsets that both sides have; missing, doubled
    and extra rows are for others to find. Of doubled rows each is compared.
    """
    found: dict[int, list[str]] = {}
    aligned = len(record_offsets) == len(row_offsets) and bool(
        (record_offsets == row_offsets).all()
    )
    pairs = None if aligned else _pairs(record_offsets, row_offsets)
    for name, said in records.items():
        wanted, given = list(said), list(rows[name])
        if pairs is not None:
            wanted = [wanted[i] for i, _ in pairs]
            given = [given[j] for _, j in pairs]
        if wanted == given:
            continue
        for place, (want, have) in enumerate(zip(wanted, given, strict=True)):
            if want != have and not (_is_nan(want) and _is_nan(have)):
                at = place if pairs is None else pairs[place][0]
                found.setdefault(int(record_offsets[at]), []).append(name)
    return dict(sorted(found.items()))


def bits(numbers: Sequence[float | None]) -> list[int | None]:
    """Doubles as their 64 bits, so that -0.0 is not 0.0 and a NaN equals itself."""
    exact: list[int] = np.array([0.0 if n is None else n for n in numbers]).view(np.int64).tolist()
    return [None if n is None else b for n, b in zip(numbers, exact, strict=True)]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _pairs(record_offsets: Offsets, row_offsets: Offsets) -> list[tuple[int, int]]:
    """(place of the record, place of the row) for each row that has a record."""
    places = {int(offset): place for place, offset in enumerate(record_offsets)}
    return [
        (places[offset], row) for row, offset in enumerate(row_offsets.tolist()) if offset in places
    ]
