"""What a budget means for a history."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from millstream.drift.calibrate import Calibration, Plan, calibrate, events_per_week
from millstream.drift.picture import WIDTH, calibration_plot
from tests.millstream.drift.errors import bursty, independent, shifted

PLAN = Plan(runs=6, shifts=(0.1, 0.3, -0.08), seed=1)


def found_of(errors: np.ndarray, plan: Plan = PLAN) -> Calibration:
    """At 50,000 events a week."""
    return calibrate(errors.astype(np.float64), 50_000, plan)


def test_a_quiet_history_keeps_its_budget() -> None:
    """The interval of its false alarms a week reaches below what was asked."""
    found = found_of(independent(0.1, 6_000, 1))
    assert found.interval[0] <= 1.0
    assert found.run_events == 50_000
    assert found.error_rate == pytest.approx(0.1, abs=0.02)
    assert found.history_alarms == ()


def test_larger_shifts_are_found_sooner() -> None:
    """In either direction, on bursts too."""
    found = found_of(bursty(6_000, 2))
    small, large, down = found.delays
    assert large.found >= small.found
    assert large.median_events is not None
    assert small.median_events is None or small.median_events > large.median_events
    assert down.shift == -0.08


def test_a_history_with_drift_says_so() -> None:
    """At which event."""
    found = found_of(shifted(0.1, 0.5, 3_000, 6_000, 3))
    assert 3_000 < found.history_alarms[0] < 3_150


def test_the_same_seed_finds_the_same() -> None:
    """And progress is told to the end."""
    errors, told = independent(0.2, 2_000, 4).astype(np.float64), []
    one = calibrate(errors, 50_000, PLAN, lambda done, total: told.append((done, total)))
    assert calibrate(errors, 50_000, PLAN) == one
    assert told[-1] == (24, 24)


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        (np.zeros(10), "too short"),
        (np.full(2_000, 2.0), "0 or 1"),
        (np.full(2_000, np.nan), "0 or"),
    ],
)
def test_what_cannot_be_played_is_refused(errors: np.ndarray, why: str) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=why):
        calibrate(errors, 1_000, PLAN)


def test_the_picture_has_the_history_its_alarms_and_a_bar_for_each_shift() -> None:
    """All of it inside."""
    found = found_of(shifted(0.1, 0.5, 3_000, 6_000, 3))
    root = ElementTree.fromstring(calibration_plot(found))
    name = "{http://www.w3.org/2000/svg}"
    red = [each for each in root.iter(f"{name}line") if each.attrib["stroke"] == "#d62728"]
    assert len(red) == len(found.history_alarms)
    bars = list(root.iter(f"{name}rect"))[1:]
    assert len(bars) == sum(delay.median_events is not None for delay in found.delays)
    for bar in bars:
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= WIDTH


def test_a_rate_is_made_of_events_and_seconds() -> None:
    """Two an hour are 336 a week."""
    assert events_per_week(48, 86_400) == 336
