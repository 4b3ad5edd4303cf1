"""Calibration that the ONNX graph holds exactly.

binary: the rising curve of performance/calibrate.py (beta or isotonic, whichever does better on
held-out folds), linear between knots, kept off 0 and 1 by what its rows cannot rule out. As nodes:
the sum of its pieces. multiclass: one temperature (Guo, Pleiss, Sun, Weinberger, ICML 2017), which
moves no decision. Neither is kept where it does not lessen the log loss of alternate rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from onnx import TensorProto

from millstream.performance import calibrate
from millstream.performance.metrics import Classes, Floats, Ints
from millstream.training.nodes import Nodes

ROWS_MIN: Final = 200
"""Too few would trade a bias for noise."""
_FLOOR: Final = 1e-9


class Calibration(Protocol):
    """A map of probabilities [n, k] to better ones."""

    @property
    def name(self) -> str:
        """For the card and the report."""
        ...

    def __call__(self, scores: Floats) -> Floats: ...

    def add_to(self, graph: Nodes, source: str) -> str:
        """The same as nodes."""
        ...


@dataclass(frozen=True, slots=True)
class Curved:
    """Two labels: the positive one's probability by a curve. knots, values: [m], both rising."""

    knots: Floats
    values: Floats
    positive: int
    name: str = "curve"

    def __call__(self, scores: Floats) -> Floats:
        chance = np.interp(scores[:, self.positive], self.knots, self.values)
        both = (1 - chance, chance)
        return np.column_stack(both if self.positive else both[::-1])

    def add_to(self, graph: Nodes, source: str) -> str:
        # Which piece is counted in whole numbers: sums of doubles depend on a row's batch mates.
        place = graph.constant(np.array([self.positive], np.int64))
        chance = graph.add("Gather", source, place, axis=1)
        chance = graph.add("Max", chance, graph.constant(self.knots[0]))
        chance = graph.add("Min", chance, graph.constant(self.knots[-1]))
        inner = graph.constant(self.knots[1:-1].reshape(1, -1))
        passed = graph.add("Cast", graph.add("GreaterOrEqual", chance, inner), to=TensorProto.INT64)
        axis = graph.constant(np.array([1], np.int64))
        piece = graph.add("ReduceSum", passed, axis, keepdims=1)
        slopes = np.diff(self.values) / np.diff(self.knots)
        start, level, slope = (
            graph.add("Gather", graph.constant(each), piece)
            for each in (self.knots[:-1], self.values[:-1], slopes)
        )
        risen = graph.add("Mul", graph.add("Sub", chance, start), slope)
        chance = graph.add("Add", risen, level)
        other = graph.add("Sub", graph.constant(1.0), chance)
        return graph.join([other, chance] if self.positive else [chance, other])


@dataclass(frozen=True, slots=True)
class Temperature:
    """Several labels: every probability to the power of `sharpness`, then sum 1."""

    sharpness: float
    name: str = "temperature"

    def __call__(self, scores: Floats) -> Floats:
        logs = np.log(np.maximum(scores, _FLOOR)) * self.sharpness
        found: Floats = np.exp(logs - logs.max(axis=1, keepdims=True))
        found /= found.sum(axis=1, keepdims=True)
        return found

    def add_to(self, graph: Nodes, source: str) -> str:
        logs = graph.add("Log", graph.add("Max", source, graph.constant(_FLOOR)))
        return graph.add("Softmax", graph.add("Mul", logs, graph.constant(self.sharpness)), axis=1)


def calibration_of(scores: Floats, truth: Ints, classes: Classes) -> Calibration | None:
    """What makes these [n, k] probabilities of [n] true classes better; None where nothing does.

    Judged on each half of the rows by what was fitted on the other half.
    """
    if len(truth) < ROWS_MIN:
        return None
    halves = np.arange(len(truth)) % 2 == 0
    before = after = 0.0
    for learnt in (halves, ~halves):
        made = _fit(scores[learnt], truth[learnt], classes)
        if made is None:
            return None
        before += _loss(scores[~learnt], truth[~learnt])
        after += _loss(made(scores[~learnt]), truth[~learnt])
    return _fit(scores, truth, classes) if after < before else None


def _fit(scores: Floats, truth: Ints, classes: Classes) -> Calibration | None:
    if classes.positive is None or classes.count != 2:
        return _temperature(scores, truth)
    curve = calibrate.fit(
        scores[:, classes.positive], (truth == classes.positive).astype(np.float64)
    )
    knots, first = np.unique(curve.knots, return_index=True)
    unseen = 1.0 / (len(truth) + 2)
    values = np.clip(curve.values[first], unseen, 1 - unseen)
    return Curved(knots, values, classes.positive) if len(knots) > 1 else None


def _temperature(scores: Floats, truth: Ints) -> Temperature:
    from scipy.optimize import minimize_scalar  # noqa: PLC0415

    found = minimize_scalar(
        lambda power: _loss(Temperature(float(np.exp(power)))(scores), truth),
        bounds=(np.log(0.1), np.log(10.0)),
        method="bounded",
    )
    return Temperature(float(np.exp(found.x)))


def _loss(scores: Floats, truth: Ints) -> float:
    hit = np.clip(scores[np.arange(len(truth)), truth], np.finfo(np.float64).eps, None)
    return float(-np.log(hit).sum())
