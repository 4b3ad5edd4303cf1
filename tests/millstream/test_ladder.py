"""The overload ladder: one step at a time, late in its steps and later in its returns."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import ladder as module
from millstream.ladder import Ladder

STEPS = ("full", "cheaper", "abstained")
MS = 1_000


def ladder() -> Ladder:
    """Late above 100 ms; up after 50 ms, down after 500."""
    return Ladder(STEPS, 100 * MS, 50 * MS, 500 * MS)


def test_its_docstring_is_right() -> None:
    """The example runs."""
    assert doctest.testmod(module).failed == 0


def test_it_goes_one_step_for_each_time_that_events_were_late() -> None:
    """And stays at its last."""
    steps = [made.observe(now * MS, 101 * MS) for made in [ladder()] for now in range(0, 250, 25)]
    assert steps[:2] == ["full", "full"]
    assert steps[2:4] == ["cheaper", "cheaper"]
    assert set(steps[4:]) == {"abstained"}


def test_one_late_batch_moves_nothing() -> None:
    """A batch in time between two late ones begins the count anew."""
    made = ladder()
    for now in range(0, 1_000, 40):
        assert made.observe(now * MS, (200 if now % 80 else 90) * MS) == "full"


def test_it_goes_back_only_after_a_calm() -> None:
    """Below half the limit, for longer than it took to come; between the two it stays."""
    made = ladder()
    made.observe(0, 200 * MS)
    assert made.observe(50 * MS, 200 * MS) == "cheaper"
    assert made.observe(10_000 * MS, 60 * MS) == "cheaper"
    assert made.observe(20_000 * MS, 60 * MS) == "cheaper"
    assert made.observe(20_001 * MS, 49 * MS) == "cheaper"
    assert made.observe(20_500 * MS, 49 * MS) == "cheaper"
    assert made.observe(20_501 * MS, 49 * MS) == "full"


def test_a_clock_that_goes_back_begins_anew() -> None:
    """It neither jumps nor sticks."""
    made = ladder()
    made.observe(1_000 * MS, 200 * MS)
    assert made.observe(0, 200 * MS) == "full"
    assert made.observe(50 * MS, 200 * MS) == "cheaper"


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=60))
def test_it_never_jumps(batches: list[tuple[int, int]]) -> None:
    """Whatever happens, two batches are at most one step apart."""
    made, now, at = ladder(), 0, 0
    for later, waited in batches:
        now += later * MS
        step = STEPS.index(made.observe(now, waited * MS))
        assert abs(step - at) <= 1
        at = step


def test_a_ladder_without_steps_or_times_is_refused() -> None:
    """Nobody could mean that."""
    with pytest.raises(ValueError, match="a ladder has a step"):
        Ladder((), 1, 1, 1)
    with pytest.raises(ValueError, match="positive"):
        Ladder(STEPS, 0, 1, 1)
