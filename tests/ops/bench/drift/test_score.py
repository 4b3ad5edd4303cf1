"""Delays, missed changes and false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.drift.score import Score, judge
from ops.bench.drift.streams import Piece

ERRORS = np.zeros(10_000, np.int8)


def test_an_alarm_before_a_change_is_false() -> None:
    """And does not find it."""
    assert judge([100], Piece(ERRORS, ((3_000, 1),))) == ([], 1, 1)


def test_the_first_alarm_behind_a_change_finds_it() -> None:
    """Others soon after are of the same change; later ones are false."""
    piece = Piece(ERRORS, ((3_000, 1),))
    assert judge([3_050, 3_900, 5_000], piece) == ([50], 0, 1)


def test_a_gradual_change_may_be_found_again_until_it_is_over() -> None:
    """Its width counts."""
    piece = Piece(ERRORS, ((3_000, 2_000),))
    assert judge([3_500, 5_900, 6_100], piece) == ([500], 0, 1)


def test_each_change_has_its_own_alarms() -> None:
    """Until the next one."""
    piece = Piece(ERRORS, ((3_000, 1), (6_000, 1)))
    assert judge([3_010, 6_020], piece) == ([10, 20], 0, 0)
    assert judge([6_020], piece) == ([20], 1, 0)


def test_nothing_changes_so_everything_is_false() -> None:
    """On a stationary stream."""
    assert judge([1, 2], Piece(ERRORS, ())) == ([], 0, 2)


def test_the_interval_holds_the_rate_and_is_never_empty() -> None:
    """Without a false alarm it still says what could have been."""
    score, noisy = Score(), Score()
    for seed in range(50):
        score.add([(Piece(ERRORS, ()), [])], 0.1)
        noisy.add([(Piece(ERRORS, ()), list(range(seed % 3)))], 0.1)
    assert score.rate == 0
    assert score.interval() == pytest.approx((0.0, 1e4 * 3.689 / 500_000), rel=1e-3)
    low, high = noisy.interval()
    assert low < noisy.rate < high
    assert noisy.rate == pytest.approx(0.98)
    assert noisy.events_per_second == pytest.approx(100_000)
