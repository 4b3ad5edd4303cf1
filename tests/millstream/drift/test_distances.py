"""Distances between histograms, against scipy's."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from millstream.drift.distances import (
    bernoulli_divergence,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    shares,
)


def test_jensen_shannon_is_scipys_squared() -> None:
    """Row by row, in bits, with empty cells."""
    rng = np.random.default_rng(1)
    now, then = rng.integers(0, 5, (20, 9)), rng.integers(0, 5, (20, 9))
    wanted = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(now, then, strict=True)]
    np.testing.assert_allclose(jensen_shannon(shares(now), shares(then)), wanted, atol=1e-12)


def test_kolmogorov_smirnov_is_scipys_on_the_binned_values() -> None:
    """Bins as values."""
    rng = np.random.default_rng(2)
    now, then = rng.integers(0, 8, 500), rng.integers(0, 8, 700)
    counts = [np.bincount(values, minlength=8)[None] for values in (now, then)]
    found = kolmogorov_smirnov(shares(counts[0]), shares(counts[1]))
    np.testing.assert_allclose(found, ks_2samp(now, then).statistic)


def test_psi_is_its_formula_and_finite_for_empty_cells() -> None:
    """Half a row more in each used cell; none in the others."""
    now, then = np.array([[10, 0, 30, 0]]), np.array([[20, 20, 0, 0]])
    used = np.array([[1.0, 1.0, 1.0, 0.0]])
    p = np.array([10.5, 0.5, 30.5]) / 41.5
    q = np.array([20.5, 20.5, 0.5]) / 41.5
    np.testing.assert_allclose(psi(now, then, used), [((p - q) * np.log(p / q)).sum()])
    assert psi(now, now, used).tolist() == [0.0]


def test_the_divergence_of_equal_coins_is_nothing() -> None:
    """And it is finite at 0 and 1."""
    rates = np.array([0.0, 0.3, 1.0])
    np.testing.assert_allclose(bernoulli_divergence(rates, rates), 0, atol=1e-9)
    assert np.isfinite(bernoulli_divergence(rates, rates[::-1])).all()
