"""False alarms a week, in events."""

from __future__ import annotations

import json

import pytest

from millstream.drift.budget import RUN_EVENTS, RUN_EVENTS_MIN, Budget

SECOND = 1_000_000


def played(budget: Budget, rate: float, seconds: int, start: int = 0) -> Budget:
    """So many events a second for so long."""
    for second in range(start, start + seconds, 60):
        budget.seen(rate * 60, second * SECOND)
    return budget


def test_the_rate_turns_weeks_into_events() -> None:
    """Half a false alarm a week at 10 events a second is one in 12 million events."""
    budget = played(Budget(0.5), 10, 3_600)
    assert budget.events_per_second == pytest.approx(10)
    assert budget.run_events == pytest.approx(2 * 10 * 604_800)
    assert budget.share == pytest.approx(1 / budget.run_events)


def test_an_unknown_rate_has_a_default() -> None:
    """Until a minute of events was seen; a batch without time before it tells no rate."""
    budget = Budget()
    budget.seen(1e9, 0)
    assert budget.events_per_second is None
    assert budget.run_events == RUN_EVENTS


def test_the_rate_is_followed() -> None:
    """A week after it rose tenfold, the new one holds."""
    budget = played(Budget(), 1, 86_400 * 7)
    played(budget, 10, 86_400 * 7, 86_400 * 7)
    assert budget.events_per_second == pytest.approx(10, rel=0.4)


def test_time_that_goes_back_counts_nothing() -> None:
    """Several partitions do not arrive in order."""
    budget = played(Budget(), 5, 600)
    before = budget.events_per_second
    budget.seen(0, 0)
    budget.seen(0, 30 * SECOND)
    assert budget.events_per_second == before


def test_few_events_a_week_have_a_least_run() -> None:
    """A detector cannot be asked to cry wolf every other event."""
    budget = Budget(1_000)
    for hour in range(100):
        budget.seen(1, hour * 3_600 * SECOND)
    assert budget.run_events == RUN_EVENTS_MIN


def test_it_goes_on_from_its_state() -> None:
    """Through JSON, to the bit."""
    one = played(Budget(2), 3, 7_200)
    other = Budget(2)
    other.restore(json.loads(json.dumps(one.state())))
    assert played(other, 4, 600, 7_200).state() == played(one, 4, 600, 7_200).state()
