"""Measures with intervals, and what they cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millstream.models.evaluation import SLICE_ROWS_MIN, evaluate
from tests.millstream.models.graphs import BINARY, card, identity

CARD = card(identity(), **BINARY)
VALUES = card(identity())


def _answers(count: int, rng: np.random.Generator, run: int = 1) -> tuple[list[str], Any]:
    """Truths that come in runs of `run`, and scores that are right 80 % of the time, in runs."""
    truth = np.repeat(rng.random(-(-count // run)) < 0.5, run)[:count]
    right = np.repeat(rng.random(-(-count // run)) < 0.8, run)[:count]
    yes = np.where(truth == right, 0.7, 0.3)
    labels = ["yes" if one else "no" for one in truth]
    return labels, np.column_stack([1 - yes, yes])


def test_the_values_are_those_of_the_rows() -> None:
    """And every interval holds its value."""
    truth, scores = _answers(500, np.random.default_rng(0))
    found = evaluate(CARD, truth, scores)
    right = np.mean((scores[:, 1] >= 0.5) == (np.array(truth) == "yes"))
    accuracy = found.metric("accuracy")
    assert accuracy is not None
    assert accuracy.value == pytest.approx(right)
    assert all(m.low <= m.value <= m.high for m in found.metrics)
    assert {"accuracy", "log_loss", "auc", "brier", "f1"} <= {m.name for m in found.metrics}
    assert evaluate(CARD, truth, scores) == found, "the same rows give the same bits"


@pytest.mark.parametrize(("run", "least"), [(1, 0.86), (4, 0.8)])
def test_intervals_cover_the_truth(run: int, least: float) -> None:
    """The true accuracy is 0.8; 95 % intervals of 100 samples, rows independent or in runs."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        found = evaluate(CARD, *_answers(400, rng, run), resamples=60).metric("accuracy")
        assert found is not None
        covered += found.low <= 0.8 <= found.high
    assert covered / 100 >= least


def test_dependent_rows_give_wider_intervals() -> None:
    """Which resampling of single rows would not see."""
    widths = {}
    for run in (1, 8):
        rng = np.random.default_rng(2)
        found = [evaluate(CARD, *_answers(400, rng, run), resamples=60) for _ in range(20)]
        metrics = [each.metric("accuracy") for each in found]
        widths[run] = np.mean([m.high - m.low for m in metrics if m is not None])
    assert widths[8] > 1.5 * widths[1]


def test_slices_are_told_apart_and_small_ones_counted() -> None:
    """Each with its own rows, the largest first; what has too few rows is not measured."""
    truth, scores = _answers(300, np.random.default_rng(3))
    small = SLICE_ROWS_MIN - 1
    region = ["north"] * 170 + ["south"] * (130 - small) + ["west"] * small
    found = evaluate(CARD, truth, scores, {"region": region})
    shown = [(part.field, part.value, part.rows) for part in found.slices]
    assert shown == [("region", "north", 170), ("region", "south", 130 - small)]
    assert found.left_out == 1


def test_values_have_errors() -> None:
    """Regression: mean absolute and squared error."""
    truth = np.arange(50.0)
    found = evaluate(VALUES, truth, (truth + 1).reshape(-1, 1))
    assert {m.name: m.value for m in found.metrics} == {"mae": 1.0, "rmse": 1.0}


def test_rows_and_truths_must_be_as_many() -> None:
    """And there must be some."""
    _, scores = _answers(10, np.random.default_rng(4))
    with pytest.raises(ValueError, match="3 truths for 10 rows"):
        evaluate(CARD, ["yes"] * 3, scores)
    with pytest.raises(ValueError, match="0 truths"):
        evaluate(CARD, [], scores[:0])
    with pytest.raises(ValueError, match="slice s has 1 values for 10 rows"):
        evaluate(CARD, ["yes"] * 10, scores, {"s": ["x"]})
