"""Measures: scikit-learn's on the same rows, and defined where it has none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs
from sklearn.calibration import calibration_curve

from millstream.performance.metrics import (
    Classes,
    Measures,
    auc,
    calibration_error,
    classification,
    cost_table,
    regression,
)

BINARY = Classes(("no", "yes"), 1)
THREE = Classes(("a", "b", "c"))


@pytest.mark.parametrize("seed", range(5))
def test_binary_measures_are_scikit_learns(seed: int) -> None:
    """Ties and probabilities of exactly 0 and 1 among them."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(0.5, 0.5, 400), 2)
    truth = (rng.random(400) < p).astype(np.int64)
    truth[:3] = 1 - truth[:3]
    said = (p >= 0.4).astype(np.int64)
    ours = classification(truth, said, np.column_stack((1 - p, p)), BINARY)
    pairs = np.column_stack((1 - p, p))
    assert ours.accuracy == pytest.approx(theirs.accuracy_score(truth, said))
    assert ours.log_loss == pytest.approx(theirs.log_loss(truth, pairs))
    assert ours.auc == pytest.approx(theirs.roc_auc_score(truth, p))
    assert ours.brier == pytest.approx(theirs.brier_score_loss(truth, p))
    assert ours.f1 == pytest.approx(theirs.f1_score(truth, said))
    assert ours.precision == pytest.approx(theirs.precision_score(truth, said))
    assert ours.recall == pytest.approx(theirs.recall_score(truth, said))


@pytest.mark.parametrize("seed", range(5))
def test_multiclass_measures_are_scikit_learns(seed: int) -> None:
    """Means over the labels, each against the rest."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(3), 500)
    truth = np.array([rng.choice(3, p=row) for row in chances])
    said = chances.argmax(axis=1)
    ours = classification(truth, said, chances, THREE)
    assert ours.accuracy == pytest.approx(theirs.accuracy_score(truth, said))
    assert ours.log_loss == pytest.approx(theirs.log_loss(truth, chances))
    assert ours.auc == pytest.approx(theirs.roc_auc_score(truth, chances, multi_class="ovr"))
    assert ours.brier == pytest.approx(theirs.brier_score_loss(truth, chances))
    for name, call in (
        ("f1", theirs.f1_score),
        ("precision", theirs.precision_score),
        ("recall", theirs.recall_score),
    ):
        assert getattr(ours, name) == pytest.approx(call(truth, said, average="macro"))


def test_calibration_error_is_made_of_scikit_learns_bins() -> None:
    """Their curve, weighted by the rows of each bin."""
    rng = np.random.default_rng(0)
    p = rng.random(1_000)
    hits = (rng.random(1_000) < p**2).astype(np.float64)
    came, said = calibration_curve(hits, p, n_bins=10)
    rows = np.histogram(p, np.linspace(0, 1, 11))[0]
    assert calibration_error(p, hits) == pytest.approx(
        float((np.abs(came - said) * rows).sum()) / 1_000
    )


def test_regression_measures_are_scikit_learns() -> None:
    """MAE and RMSE."""
    rng = np.random.default_rng(0)
    truth, said = rng.normal(size=100), rng.normal(size=100)
    ours = regression(truth, said)
    assert ours.mae == pytest.approx(theirs.mean_absolute_error(truth, said))
    assert ours.rmse == pytest.approx(theirs.root_mean_squared_error(truth, said))


def test_of_no_rows_nothing_is_defined() -> None:
    """No zeros that look like results, and no warnings."""
    none = np.zeros(0, np.int64)
    assert classification(none, none, np.zeros((0, 2)), BINARY) == Measures(0)
    assert regression(np.zeros(0), np.zeros(0)) == Measures(0)
    assert Measures(0).as_json() == {"rows": 0}


def test_of_one_class_the_auc_is_not_defined() -> None:
    """Nor the recall of a label that was not there; the rest is."""
    truth, p = np.zeros(4, np.int64), np.array([0.1, 0.2, 0.3, 0.9])
    ours = classification(truth, (p > 0.5).astype(np.int64), np.column_stack((1 - p, p)), BINARY)
    assert (ours.accuracy, ours.auc, ours.recall) == (0.75, None, None)
    assert (ours.precision, ours.f1) == (0.0, 0.0)


def test_a_label_that_is_neither_said_nor_true_has_no_part_in_the_means() -> None:
    """As with scikit-learn's zero_division=nan."""
    truth = said = np.array([0, 1, 0, 1])
    chances = np.eye(3)[said]
    ours = classification(truth, said, chances, THREE)
    assert (ours.precision, ours.recall, ours.f1, ours.auc) == (1, 1, 1, 1)


def test_a_truth_that_is_no_label_is_a_wrong_answer() -> None:
    """Measures of probabilities leave its row out."""
    truth, p = np.array([0, 1, 2]), np.array([0.2, 0.9, 0.9])
    ours = classification(truth, np.array([0, 1, 1]), np.column_stack((1 - p, p)), BINARY)
    assert ours.accuracy == pytest.approx(2 / 3)
    assert ours.brier == pytest.approx((0.2**2 + 0.1**2) / 2)
    assert ours.precision == pytest.approx(1 / 2)


def test_weighted_auc_is_scikit_learns() -> None:
    """A row that is partly positive is two rows with weights."""
    rng = np.random.default_rng(1)
    scores, share = rng.random(50), rng.random(50)
    twice = np.concatenate((scores, scores))
    truth = np.repeat([1, 0], 50)
    weights = np.concatenate((share, 1 - share))
    wanted = theirs.roc_auc_score(truth, twice, sample_weight=weights)
    assert auc(scores, share, 1 - share) == pytest.approx(wanted)


def test_costs_are_those_of_the_streams_table() -> None:
    """By kind of error; per decision."""
    truth, said = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    costs = cost_table(BINARY, 2.0, 5.0, {})
    ours = classification(truth, said, np.full((4, 2), 0.5), BINARY, costs)
    assert ours.cost == pytest.approx((2 + 5) / 4)


def test_several_classes_cost_what_the_matrix_says() -> None:
    """Without one, nothing is said of their cost."""
    assert cost_table(THREE, 1.0, 1.0, {}) is None
    costs = cost_table(THREE, 1.0, 1.0, {"a": {"b": 3.0}})
    truth, said = np.array([0, 0, 1]), np.array([1, 2, 0])
    assert classification(truth, said, np.full((3, 3), 1 / 3), THREE, costs).cost == pytest.approx(
        1
    )
