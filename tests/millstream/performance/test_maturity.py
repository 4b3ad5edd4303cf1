"""How late labels come, learned from those that came and those that wait."""

from __future__ import annotations

import numpy as np
import pytest

from millstream.performance.maturity import learn, share_in

HOUR = 3_600_000_000
DAY = 24 * HOUR


def _stream(
    count: int, age: float, ever: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Delays (exponential, a mean of an hour) that are known, and ages of those that wait, of
    predictions made evenly in the last `age` µs."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(0, age, count)
    delays = np.where(rng.random(count) < ever, rng.exponential(HOUR, count), np.inf)
    known = delays <= ages
    return delays[known].astype(np.int64), ages[~known].astype(np.int64)


def test_waiting_labels_do_not_make_it_look_quick() -> None:
    """The curve is the true one, though late labels of new predictions are not there yet."""
    curve = learn(*_stream(50_000, 5 * HOUR), 30 * DAY)
    ages = np.array([HOUR // 2, HOUR, 2 * HOUR, 4 * HOUR])
    np.testing.assert_allclose(curve.share(ages), 1 - np.exp(-ages / HOUR), atol=0.02)


def test_the_age_at_which_most_labels_are_in_is_known() -> None:
    """95 % after three times the mean of an exponential delay."""
    age = learn(*_stream(50_000, 20 * HOUR), 30 * DAY).age_of(0.95)
    assert age is not None
    assert age / HOUR == pytest.approx(np.log(20), abs=0.15)


def test_a_young_stream_has_learned_nothing_yet() -> None:
    """In the first half hour nobody knows when 95 % will be in."""
    curve = learn(*_stream(10_000, HOUR // 2), 30 * DAY)
    assert (curve.settled, curve.age_of(0.95)) == (False, None)
    assert learn(np.zeros(0, np.int64), np.full(100, HOUR), 30 * DAY).age_of(0.95) is None


def test_labels_that_never_come_are_not_waited_for() -> None:
    """A fifth never comes: once the curve is flat, 95 % is of the others."""
    curve = learn(*_stream(50_000, 40 * HOUR, ever=0.8), 30 * DAY)
    assert curve.settled
    assert curve.ever == pytest.approx(0.8, abs=0.02)
    age = curve.age_of(0.95)
    assert age is not None
    assert age / HOUR == pytest.approx(np.log(20), abs=0.3)


def test_where_all_waited_in_vain_no_label_is_expected() -> None:
    """Every set is complete: there is nothing to come."""
    curve = learn(np.zeros(0, np.int64), np.full(100, DAY), DAY)
    assert (curve.settled, curve.ever, curve.age_of(0.95)) == (True, 0.0, None)
    assert share_in(0, np.full(5, HOUR), curve) is None


def test_a_window_knows_how_much_is_missing() -> None:
    """Known ones over those that are known or may still come."""
    curve = learn(*_stream(50_000, 40 * HOUR), 30 * DAY)
    fresh, old = np.zeros(50, np.int64), np.full(50, 39 * HOUR)
    assert share_in(50, fresh, curve) == pytest.approx(0.5, abs=0.01)
    assert share_in(50, old, curve) == pytest.approx(1.0, abs=0.01)


def test_a_label_from_before_the_prediction_came_at_once() -> None:
    """A history that is played again has its outcomes first."""
    curve = learn(np.full(100, -DAY), np.zeros(0, np.int64), 30 * DAY)
    assert (curve.age_of(0.95), curve.ever) == (0, 1.0)
