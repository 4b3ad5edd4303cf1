"""Calibration curves: from what a model said to how often it came true.

Two kinds. Beta calibration (Kull, Silva Filho, Flach, AISTATS 2017) has three parameters, drawn
towards the identity by a prior: good from a few hundred labels on. Isotonic regression (pooled
adjacent violators on equal-mass bins, Zadrozny and Elkan 2002) takes any rising shape, and needs a
thousand. `fit` takes the one whose held-out squared error is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from millstream.performance.metrics import Bools, Floats, Ints

ISOTONIC_ROWS_MIN: Final = 1_000
BINS_MAX: Final = 100
BIN_ROWS_MIN: Final = 20
FOLDS: Final = 5
PRIOR_ROWS: Final = 10.0
"""How many rows' worth the identity counts; keeps a handful of labels from tearing the curve."""
_BOUND: Final = 1e-6
_STEPS_MAX: Final = 50
_HALVINGS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Curve:
    """A rising map of [0, 1], linear between its knots.

    low, high: the scores between which it has seen labels; beyond them it guesses.
    """

    knots: Floats
    values: Floats
    low: float
    high: float

    def __call__(self, scores: Floats) -> Floats:
        """[n] scores -> [n] probabilities."""
        return np.interp(scores, self.knots, self.values)

    def covers(self, scores: Floats) -> Bools:
        """[n] whether each score lies where the curve has seen labels."""
        return (scores >= self.low) & (scores <= self.high)

    def mirrored(self) -> Curve:
        """The curve of the opposite: 1 - s to 1 - q."""
        return Curve(1 - self.knots[::-1], 1 - self.values[::-1], 1 - self.high, 1 - self.low)


def fit(scores: Floats, hits: Floats) -> Curve:
    """The better of the two curves for [n] scores and what came true (0 or 1); n >= 1."""
    if len(scores) < ISOTONIC_ROWS_MIN:
        return beta(scores, hits)
    places, bins = _binned(scores)
    fold = np.arange(len(scores)) % FOLDS
    rows, said, came = (
        _sums(fold * bins + places, mass, FOLDS * bins).reshape(FOLDS, bins)
        for mass in (np.ones(len(scores)), scores, hits)
    )
    losses = np.zeros(2)
    for number in range(FOLDS):
        others = [table.sum(axis=0) - table[number] for table in (rows, said, came)]
        held = rows[number] > 0
        at = said[number][held] / rows[number][held]
        for place, kind in enumerate((_beta, _isotonic)):
            guess = kind(*others)(at)
            # squared error, less what no curve changes
            loss = rows[number][held] * guess**2 - 2 * guess * came[number][held]
            losses[place] += float(loss.sum())
    made = (_beta, _isotonic)[int(np.argmin(losses))](*(t.sum(axis=0) for t in (rows, said, came)))
    return _spanning(scores, made)


def isotonic(scores: Floats, hits: Floats) -> Curve:
    """Pooled adjacent violators on at most 100 bins of equal mass, joined by lines."""
    return _spanning(scores, _isotonic(*_counts(scores, hits)))


def beta(scores: Floats, hits: Floats) -> Curve:
    """logit(q) = a log(s) - b log(1 - s) + c with a, b >= 0, by Newton's steps on the bins."""
    return _spanning(scores, _beta(*_counts(scores, hits)))


def _spanning(scores: Floats, curve: Curve) -> Curve:
    return Curve(curve.knots, curve.values, float(scores.min()), float(scores.max()))


def _binned(scores: Floats) -> tuple[Ints, int]:
    """[n] the bin of each score, and how many bins: of equal mass, one score in one bin only."""
    ordered = np.sort(scores)
    size = max(BIN_ROWS_MIN, -(-len(scores) // BINS_MAX))
    starts = np.unique(ordered[::size])
    return np.searchsorted(starts, scores, side="right") - 1, len(starts)


def _counts(scores: Floats, hits: Floats) -> tuple[Floats, Floats, Floats]:
    """Rows, sum of scores and sum of hits of each bin."""
    places, bins = _binned(scores)
    weights: tuple[Floats, ...] = (np.ones(len(scores)), scores, hits)
    rows, said, came = (_sums(places, mass, bins) for mass in weights)
    return rows, said, came


def _sums(places: Ints, mass: Floats, bins: int) -> Floats:
    found: Floats = np.bincount(places, weights=mass, minlength=bins).astype(np.float64)
    return found


def _isotonic(rows: Floats, said: Floats, came: Floats) -> Curve:
    full = rows > 0
    blocks: list[tuple[float, float, float]] = []
    for mass, at, hits in zip(*(t[full].tolist() for t in (rows, said, came)), strict=True):
        weight, score, hit = mass, at, hits
        while blocks and blocks[-1][2] * weight >= hit * blocks[-1][0]:
            before = blocks.pop()
            weight, score, hit = weight + before[0], score + before[1], hit + before[2]
        blocks.append((weight, score, hit))
    found = np.array(blocks, np.float64)
    return Curve(found[:, 1] / found[:, 0], found[:, 2] / found[:, 0], 0.0, 1.0)


def _beta(rows: Floats, said: Floats, came: Floats) -> Curve:
    full = rows > 0
    columns = _logs(said[full] / rows[full])
    free = np.ones(3, bool)
    weights = _newton(columns, rows[full], came[full], free)
    if (weights[:2] < 0).any():
        free[:2] = weights[:2] >= 0
        weights = _newton(columns, rows[full], came[full], free)
    return Curve(_KNOTS, _logistic(_KNOT_COLUMNS @ weights), 0.0, 1.0)


def _logs(scores: Floats) -> Floats:
    inside = np.clip(scores, _BOUND, 1 - _BOUND)
    return np.column_stack((np.log(inside), -np.log1p(-inside), np.ones(len(scores))))


def _newton(columns: Floats, rows: Floats, came: Floats, free: Bools) -> Floats:
    """Logistic regression with a quadratic prior at the identity; what is not free is 0.

    Starts at 0, where no row is saturated, and halves a step that makes things worse.
    """
    centre = np.where(free, np.array([1.0, 1.0, 0.0]), 0.0)
    prior = PRIOR_ROWS / 4

    def loss(at: Floats) -> float:
        value = columns @ at
        own = rows * np.logaddexp(0.0, value) - came * value
        return float(own.sum() + prior / 2 * ((at - centre) ** 2).sum())

    weights, best = np.zeros(3), loss(np.zeros(3))
    for _ in range(_STEPS_MAX):
        chances = _logistic(columns @ weights)
        slope = columns.T @ (rows * chances - came) + prior * (weights - centre)
        bend = (columns * (rows * chances * (1 - chances))[:, None]).T @ columns
        step = np.zeros(3)
        bend[np.diag_indices(3)] += prior
        step[free] = np.linalg.solve(bend[np.ix_(free, free)], slope[free])
        gained = False
        for _ in range(_HALVINGS_MAX):
            value = loss(weights - step)
            if value <= best:
                gained = best - value > 1e-9 * (1 + abs(best))
                weights, best = weights - step, value
                break
            step = step / 2
        if not gained:
            break
    return weights


def _logistic(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(values, -40, 40)))


_GRID: Final = 257
_ENDS: Final = np.geomspace(_BOUND, 1 / _GRID, 24)
_KNOTS: Final = np.unique(np.concatenate((np.linspace(0, 1, _GRID), _ENDS, 1 - _ENDS)))
"""Where a beta curve is kept: finer at both ends, where scores crowd."""
_KNOT_COLUMNS: Final = _logs(_KNOTS)
