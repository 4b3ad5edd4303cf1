"""The shift test: what moved, and what is only season, dependence or chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from millstream.drift.inputs import InputMonitor
from millstream.drift.profile import make_profile

Values = npt.NDArray[np.float64]
ROWS = 30_000


def moved(values: Values, reference: int = 4_000) -> list[int]:
    """First events of the windows of 500 in which any column [rows, f] was said to have moved."""
    names = [f"x{place}" for place in range(values.shape[1])]
    first = {name: values[:reference, place] for place, name in enumerate(names)}
    monitor = InputMonitor(make_profile("s", names, first))
    rows = np.arange(len(values))
    windows = monitor.add_matrix(np.ascontiguousarray(values.T), rows, rows * 10_000)
    return [window.first.offset for window in windows if window.moved]


def _drawn(seed: int, columns: int = 5) -> Values:
    return np.random.default_rng(seed).normal(size=(ROWS, columns))


def _bursty(seed: int) -> Values:
    """Stretches of about 100 events share a mean: one client after the other."""
    rng = np.random.default_rng(seed)
    lengths = rng.geometric(0.01, ROWS)
    means = np.repeat(rng.normal(0, 1.5, ROWS), lengths)[:ROWS]
    return means[:, None] + rng.normal(size=(ROWS, 5))


def _autocorrelated(seed: int) -> Values:
    made = _drawn(seed)
    for row in range(1, ROWS):
        made[row] += 0.98 * made[row - 1]
    return made


def _seasonal(seed: int) -> Values:
    wave: Values = np.sin(np.arange(ROWS) / 500)
    return _drawn(seed) + 2 * wave[:, None]


def _trend(seed: int) -> Values:
    return _drawn(seed) + 5 * (np.arange(ROWS) / ROWS)[:, None]


def _heavy(seed: int) -> Values:
    made: Values = np.random.default_rng(seed).standard_t(1.5, size=(ROWS, 5))
    return made


@pytest.mark.parametrize("kind", [_drawn, _bursty, _autocorrelated, _seasonal, _trend, _heavy])
def test_season_dependence_and_slow_change_move_nothing(kind: Any) -> None:
    """Over 1,200 windows and columns of each kind."""
    assert [moved(kind(seed)) for seed in range(4)] == [[], [], [], []]


@pytest.mark.parametrize("kind", [_drawn, _heavy])
def test_an_abrupt_shift_is_found_in_two_windows(kind: Any) -> None:
    """By one standard deviation, where windows differ by chance alone."""
    values = kind(7)
    low, high = np.quantile(values[:15_000, 2], [0.16, 0.84])
    values[15_200:, 2] += (high - low) / 2
    found = moved(values)
    assert found[0] in (15_500, 16_000)


@pytest.mark.parametrize(
    ("kind", "size"), [(_bursty, 4.0), (_autocorrelated, 4.0), (_seasonal, 2.0)]
)
def test_values_where_none_were_are_a_shift_however_much_windows_differ(
    kind: Any, size: float
) -> None:
    """By so many standard deviations, where distances between windows are large by nature."""
    for seed in range(3):
        values = kind(seed)
        values[15_200:, 2] += size * values[:15_000, 2].std()
        assert 15_500 <= moved(values)[0] <= 16_500


def test_a_single_odd_window_is_no_shift() -> None:
    """It takes two in a row against the same recent windows."""
    values = _drawn(1)
    values[15_000:15_500] += 5
    assert moved(values) == []


def test_a_shift_is_over_when_the_values_are_back() -> None:
    """After two windows near the old state."""
    values = _drawn(1)
    values[15_000:18_000] += 2
    assert moved(values) == list(range(15_500, 18_500, 500))


def test_a_state_that_stays_becomes_the_normal_one_and_the_old_one_is_remembered() -> None:
    """After twenty windows; going back to what was normal before is no new shift."""
    values = _drawn(1)
    values[8_000:22_000] += 2
    assert moved(values) == list(range(8_500, 18_500, 500))


def test_nothing_is_said_before_it_knows_how_much_windows_differ() -> None:
    """In the first eight windows."""
    values = _drawn(1)
    values[2_000:3_000] += 3
    assert moved(values, 1_500) == []
