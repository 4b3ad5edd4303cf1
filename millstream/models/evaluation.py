"""How good a model was on rows that it was not trained on: each measure with its interval.

Rows of a stream depend on their neighbours, so the intervals come from resampled blocks of
neighbouring rows (moving-block bootstrap, Künsch 1989; percentiles, Efron 1979), blocks as long as
the cube root of the rows. Resampling single rows would make them too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from millstream.models.card import Card
from millstream.performance import metrics
from millstream.performance.metrics import Classes, Measures

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESAMPLES: Final = 200
SLICE_ROWS_MIN: Final = 30
"""Fewer say nothing about a slice; they are counted in `left_out`."""
SLICES_MAX: Final = 64
"""Of one field, the largest first."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Part):
    """A measure and the interval in which the truth lies with the evaluation's confidence."""

    name: Annotated[str, Field(min_length=1)]
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class SliceMetrics(_Part):
    """The same of the rows whose `field` is `value`."""

    field: Annotated[str, Field(min_length=1)]
    value: str
    rows: Annotated[int, Field(ge=1)]
    metrics: tuple[Metric, ...]


class Evaluation(_Part):
    """Of `rows` held-out rows. left_out: slices too small or too many to be measured."""

    rows: Annotated[int, Field(ge=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    block: Annotated[int, Field(ge=1)]
    resamples: Annotated[int, Field(ge=1)]
    metrics: tuple[Metric, ...]
    slices: tuple[SliceMetrics, ...] = ()
    left_out: Annotated[int, Field(ge=0)] = 0

    def metric(self, name: str) -> Metric | None:
        """The measure of this name, if it was defined."""
        return next((found for found in self.metrics if found.name == name), None)


def evaluate(
    card: Card,
    truth: Sequence[Any] | npt.NDArray[Any],
    scores: Floats,
    slices: Mapping[str, Sequence[Any]] | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Evaluation:
    """Measures of rows in the order in which they happened; the same rows give the same bits.

    truth: [n] labels as the card has them, or values. scores: [n, k] as Session gives them. slices:
    field -> [n] values. Raises ValueError where the lengths differ or there are no rows.
    """
    if not len(truth) or len(truth) != len(scores):
        raise ValueError(f"{len(truth)} truths for {len(scores)} rows of scores")
    measured = _measurer(card, truth, scores)
    size = max(1, round(len(scores) ** (1 / 3)))
    chosen, left_out = _chosen(slices or {}, len(scores))
    found = Bootstrap(measured, resamples, confidence)
    return Evaluation(
        rows=len(scores),
        confidence=confidence,
        block=size,
        resamples=resamples,
        metrics=found.of(np.arange(len(scores))),
        slices=tuple(
            SliceMetrics(field=field, value=value, rows=len(rows), metrics=found.of(rows))
            for field, value, rows in chosen
        ),
        left_out=left_out,
    )


class Bootstrap:
    """Intervals of whatever `measured` says of some rows, given by their numbers."""

    def __init__(
        self, measured: Callable[[Ints], Measures], resamples: int, confidence: float
    ) -> None:
        self._measured, self._resamples = measured, resamples
        self._tails = [100 * (1 - confidence) / 2, 100 * (1 + confidence) / 2]

    def of(self, rows: Ints) -> tuple[Metric, ...]:
        """Each measure that these rows define."""
        found = self._measured(rows).as_json()
        values = {n: v for n, v in found.items() if n != "rows" and np.isfinite(v)}
        drawn: dict[str, list[float]] = {name: [] for name in values}
        rng = np.random.default_rng(0)
        size = max(1, round(len(rows) ** (1 / 3)))
        blocks = -(-len(rows) // size)
        for _ in range(self._resamples):
            starts = rng.integers(0, len(rows) - size + 1, blocks)
            places = (starts[:, None] + np.arange(size)).ravel()[: len(rows)]
            again = self._measured(rows[places]).as_json()
            for name, kept in drawn.items():
                if name in again and np.isfinite(again[name]):
                    kept.append(again[name])
        made = []
        for name, value in values.items():
            low, high = np.percentile([*drawn[name], value], self._tails)
            made.append(Metric(name=name, value=value, low=min(low, value), high=max(high, value)))
        return tuple(made)


def _measurer(
    card: Card, truth: Sequence[Any] | npt.NDArray[Any], scores: Floats
) -> Callable[[Ints], Measures]:
    if card.kind == "regression":
        values, answers = np.asarray(truth, np.float64), scores[:, 0]
        return lambda rows: metrics.regression(values[rows], answers[rows])
    place = {label: number for number, label in enumerate(card.labels)}
    codes = np.array([place.get(str(label), len(place)) for label in truth], np.int64)
    predicted = decided(card, scores)
    positive = place[card.positive] if card.positive is not None else None
    classes = Classes(card.labels, positive)
    return lambda rows: metrics.classification(codes[rows], predicted[rows], scores[rows], classes)


def decided(card: Card, scores: Floats) -> Ints:
    """[n] places among the card's labels: what these scores decide, as Session does."""
    if card.kind == "binary":
        positive = card.labels.index(card.positive or "")
        yes = scores[:, positive] >= (card.threshold or 0.0)
        return np.where(yes, positive, 1 - positive).astype(np.int64)
    found: Ints = np.nan_to_num(scores, nan=-np.inf).argmax(axis=1)
    return found


def _chosen(
    slices: Mapping[str, Sequence[Any]], count: int
) -> tuple[list[tuple[str, str, Ints]], int]:
    """(field, value, rows) to be measured, and how many slices are not."""
    chosen: list[tuple[str, str, Ints]] = []
    left_out = 0
    for field, column in slices.items():
        if len(column) != count:
            raise ValueError(f"slice {field} has {len(column)} values for {count} rows")
        values, places = np.unique(np.array([str(value) for value in column]), return_inverse=True)
        sizes = np.bincount(places)
        ranked = np.argsort(-sizes, kind="stable")
        kept = [number for number in ranked[:SLICES_MAX] if sizes[number] >= SLICE_ROWS_MIN]
        left_out += len(values) - len(kept)
        chosen += [(field, str(values[n]), np.flatnonzero(places == n)) for n in kept]
    return chosen, left_out
