"""Cutting answers into windows of event time, and fields into slices or groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millstream.performance.metrics import Ints

Names = npt.NDArray[np.object_]

SECOND_US: Final = 1_000_000
WIDTHS_S: Final = (
    *(1, 5, 10, 30, 60, 300, 600, 1_800),
    *(3_600, 21_600, 43_200, 86_400, 604_800, 2_419_200, 31_536_000),
)
WINDOWS_AIM: Final = 12
VALUES_MAX: Final = 12
"""Distinct values of a field that are slices of their own."""
NULL: Final = "(null)"
OTHERS: Final = "(other)"


def width_for(times_us: Ints) -> int:
    """The round width in µs that makes at most 12 windows of these times."""
    if not len(times_us):
        return SECOND_US
    span = int(times_us.max()) - int(times_us.min())
    fitting = [s for s in WIDTHS_S if span < s * SECOND_US * (WINDOWS_AIM - 1)]
    return (fitting[0] if fitting else WIDTHS_S[-1]) * SECOND_US


def starts_of(times_us: Ints, width_us: int) -> Ints:
    """[n] start of each time's window; windows begin at whole multiples of the width."""
    found: Ints = times_us // width_us * width_us
    return found


def latency_ms(published_us: Ints, scored_us: Ints) -> tuple[float, float] | None:
    """Median and 99th percentile from published to scored; None of nothing."""
    if not len(scored_us):
        return None
    p50, p99 = np.percentile((scored_us - published_us) / 1_000, (50, 99))
    return float(p50), float(p99)


def sliced(values: Sequence[Any], edges: Sequence[float] | None = None) -> Names:
    """[n] the slice of each value, as text.

    Numbers with `edges` are cut there; numbers of more than 12 distinct values at their quartiles.
    Of more than 12 other values the most frequent 11 stand, the rest is "(other)".
    """
    raw = np.array(list(values), dtype=object)
    null = np.array([value is None or value != value for value in raw], dtype=bool)  # noqa: PLR0124
    found = np.full(len(raw), NULL, dtype=object)
    there = raw[~null]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in there.tolist())
    if len(there) and numeric:
        numbers = there.astype(np.float64)
        cuts = None if edges is None else np.array(edges, np.float64)
        if cuts is None and len(np.unique(numbers)) > VALUES_MAX:
            cuts = np.unique(np.quantile(numbers, (0.25, 0.5, 0.75)))
        if cuts is not None:
            names = np.array(_ranges(cuts), dtype=object)
            found[~null] = names[np.searchsorted(cuts, numbers, side="right")]
            return found
    texts = np.array([_text(value) for value in there.tolist()], dtype=object)
    kinds, places, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    if len(kinds) > VALUES_MAX:
        rare = np.argsort(-counts, kind="stable")[VALUES_MAX - 1 :]
        kinds = kinds.astype(object)
        kinds[rare] = OTHERS
    found[~null] = kinds.astype(object)[places]
    return found


def _ranges(cuts: npt.NDArray[np.float64]) -> list[str]:
    shown = [f"{cut:g}" for cut in cuts]
    middle = [f"{low} to {high}" for low, high in pairwise(shown)]
    return [f"< {shown[0]}", *middle, f">= {shown[-1]}"]


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
