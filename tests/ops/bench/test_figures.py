"""Medians, percentiles, ratios and windows of the benchmark."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench import figures
from ops.bench.figures import Point, Window, percentiles, steady


def test_examples_of_the_docstrings() -> None:
    """What the docstrings show is what happens."""
    assert doctest.testmod(figures, extraglobs={"np": np}).failed == 0


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300))
def test_percentiles_are_values_that_were_observed(values: list[int]) -> None:
    """p99.9 of few values is the highest, never an invention between two of them."""
    found = percentiles(np.array(values, np.int64))
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        value = round(getattr(found, name) * 1000)
        assert value in values
        assert sum(each <= value for each in values) >= share * len(values)
    assert found.count == len(values)
    assert found.p50 <= found.p99 <= found.p999 <= found.highest


def test_latency_counts_from_the_scheduled_time() -> None:
    """An event that the generator sent late has waited since it was due; warm-up is left out."""
    scheduled = np.array([0, 1_000, 2_000], np.int64)
    arrived = np.array([500, 9_000, 9_000], np.int64)
    assert steady(scheduled, arrived, 1_000).tolist() == [8_000, 7_000]


def test_a_window_rates_what_was_committed_in_it() -> None:
    """Neither start-up nor the answers before it count."""
    window = Window(Point(2.0, 200), Point(4.0, 1_000))
    assert (window.events, window.seconds, window.rate) == (800, 2.0, 400.0)


def test_no_latency_is_no_percentile() -> None:
    """An empty run cannot look like a fast one."""
    with pytest.raises(AssertionError):
        percentiles(np.array([], np.int64))
