"""Latencies are laid into the windows of swaps."""

from __future__ import annotations

import numpy as np

from ops.bench.swap import BEHIND_US, windows


def test_a_swap_is_compared_with_as_long_a_time_before_it() -> None:
    """By when events were due, not by when answers came; the slowest partition ends the window."""
    scheduled = np.arange(0, 4_000_000, 1_000)
    arrived = scheduled + np.where((scheduled >= 2_000_000) & (scheduled < 2_600_000), 9_000, 3_000)
    ((within, before),) = windows(scheduled, arrived, [2_000_000], [[2_010_000, 2_100_000]])
    assert len(within) == len(before) == (100_000 + BEHIND_US) // 1_000
    assert set(within.tolist()) == {9_000} and set(before.tolist()) == {3_000}


def test_the_same_windows_are_laid_where_nothing_happens() -> None:
    """As long, as far apart, only earlier."""
    scheduled = np.arange(0, 4_000_000, 1_000)
    arrived = scheduled + np.where(scheduled >= 2_000_000, 9_000, 3_000)
    ((within, before),) = windows(scheduled, arrived, [2_000_000], [[2_100_000]], 700_000)
    assert len(within) == len(before) == (100_000 + BEHIND_US) // 1_000
    assert set(within.tolist()) == set(before.tolist()) == {3_000}
