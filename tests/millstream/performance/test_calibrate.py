"""Calibration curves: scikit-learn's shape, and safe on few labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from millstream.performance.calibrate import beta, fit, isotonic


def _drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 1, count)
    true = 0.1 + 0.7 * scores**2
    return scores, (rng.random(count) < true).astype(np.float64), true


@pytest.mark.parametrize("kind", [isotonic, fit])
def test_a_curve_learns_how_often_scores_come_true(kind: object) -> None:
    """Within two points on average, of 20,000 labels; and it rises."""
    scores, hits, true = _drawn(20_000)
    curve = kind(scores, hits)  # type: ignore[operator]
    assert float(np.abs(curve(scores) - true).mean()) < 0.02
    assert (np.diff(curve(np.linspace(0, 1, 101))) >= 0).all()


def test_isotonic_is_near_scikit_learns() -> None:
    """Bins in place of rows make a small difference."""
    scores, hits, _ = _drawn(5_000)
    wanted = IsotonicRegression(out_of_bounds="clip").fit(scores, hits).predict(scores)
    assert float(np.abs(isotonic(scores, hits)(scores) - wanted).mean()) < 0.02


def test_beta_keeps_the_mean() -> None:
    """As a logistic regression with an intercept does."""
    scores, hits, _ = _drawn(5_000)
    assert float(beta(scores, hits)(scores).mean()) == pytest.approx(float(hits.mean()), abs=0.01)


def test_sure_scores_that_became_wrong_are_believed() -> None:
    """Confidence of 0.9999 that is right in 45 % of 400 cases: Newton's steps end there."""
    rng = np.random.default_rng(0)
    scores = 1 - rng.exponential(1e-4, 400)
    hits = (rng.random(400) < 0.45).astype(np.float64)
    assert float(beta(scores, hits)(scores).mean()) == pytest.approx(float(hits.mean()), abs=0.03)


@pytest.mark.parametrize("hit", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 5, 3_000])
def test_one_outcome_alone_makes_a_curve(hit: float, count: int) -> None:
    """Of one score too."""
    curve = fit(np.full(count, 0.7), np.full(count, hit))
    assert ((curve(np.array([0.0, 0.7, 1.0])) >= 0) & (curve(np.array([0.0, 0.7, 1.0])) <= 1)).all()
    if count == 3_000:
        assert float(curve(np.array([0.7]))[0]) == pytest.approx(hit, abs=0.02)


def test_scores_beyond_the_labels_are_not_covered() -> None:
    """At either end."""
    scores, hits, _ = _drawn(100)
    curve = fit(0.2 + scores / 2, hits)
    assert curve.covers(np.array([0.1, 0.5, 0.9])).tolist() == [False, True, False]
