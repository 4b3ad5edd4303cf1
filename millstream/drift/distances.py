"""Distances between histograms that are rows of two matrices, all features at once."""

from __future__ import annotations

import numpy as np

from millstream.drift.profile import Floats, Ints

_HALF_A_ROW = 0.5


def shares(counts: Floats | Ints) -> Floats:
    """Rows that add up to 1; a row of zeros stays one."""
    total = counts.sum(axis=1, keepdims=True)
    made: Floats = counts / np.maximum(total, 1e-300)
    return made


def psi(counts: Floats | Ints, reference: Floats | Ints, used: Floats) -> Floats:
    """Population stability index of each row; half a row is added to every cell that is used.

    used: [f, c], 1 for the cells that exist. Siddiqi, Credit Risk Scorecards (2006).
    """
    now = shares((counts + _HALF_A_ROW) * used)
    then = shares((reference + _HALF_A_ROW) * used)
    ratio = np.where(used > 0, now, 1.0) / np.where(used > 0, then, 1.0)
    made: Floats = ((now - then) * np.log(ratio)).sum(axis=1)
    return made


def jensen_shannon(now: Floats, then: Floats) -> Floats:
    """Jensen-Shannon divergence of each row of shares, in bits: 0 alike, 1 nothing in common.

    Lin, Divergence measures based on the Shannon entropy (IEEE Trans. Inf. Theory 37, 1991).
    """
    middle = (now + then) / 2
    made: Floats = (_relative(now, middle) + _relative(then, middle)) / 2
    return np.maximum(made, 0.0)


def kolmogorov_smirnov(now: Floats, then: Floats) -> Floats:
    """Largest difference of the cumulated shares of each row: exact on the bins' edges."""
    made: Floats = np.abs(np.cumsum(now, axis=1) - np.cumsum(then, axis=1)).max(axis=1)
    return made


def bernoulli_divergence(rate: Floats, reference: Floats) -> Floats:
    """Relative entropy of two coins, in nats: n times it bounds a tail's -log (Chernoff)."""
    high = np.clip(rate, 1e-12, 1 - 1e-12)
    low = np.clip(reference, 1e-12, 1 - 1e-12)
    made: Floats = high * np.log(high / low) + (1 - high) * np.log((1 - high) / (1 - low))
    return made


def _relative(now: Floats, middle: Floats) -> Floats:
    ratio = np.where(now > 0, now, 1.0) / np.where(now > 0, middle, 1.0)
    made: Floats = (now * np.log2(ratio)).sum(axis=1)
    return made
