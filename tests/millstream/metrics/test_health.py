"""Health: what /live and /ready are made of."""

from __future__ import annotations

import doctest

import pytest

from millstream.metrics import health as module
from millstream.metrics.health import Health
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """At 100 s."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """A loop may stand still for 10 s."""
    made = Health(clock, 10.0)
    made.up()
    made.assigned()
    return made


def test_the_examples_hold() -> None:
    """As the docstrings say them."""
    assert doctest.testmod(module).failed == 0


def test_a_loop_that_stands_still_is_neither_live_nor_ready(health: Health, clock: Clock) -> None:
    """Until it turns again."""
    clock.now += 10.0
    assert health.why_not_live() == health.why_not_ready() == []
    clock.now += 0.5
    assert health.why_not_live() == health.why_not_ready() == ["the loop has not turned for 10 s"]
    health.turned()
    assert health.why_not_ready() == []


def test_a_start_that_hangs_is_not_live(clock: Clock) -> None:
    """Its time counts from the beginning."""
    made = Health(clock, 10.0)
    clock.now += 11.0
    assert made.why_not_live() == ["the loop has not turned for 11 s"]


def test_trouble_makes_it_unready_and_not_dead(health: Health) -> None:
    """A restart would not bring Kafka back."""
    health.trouble("Kafka is away")
    assert health.why_not_ready() == ["Kafka is away"]
    assert health.why_not_live() == []
    health.trouble("")
    assert health.why_not_ready() == []


def test_a_long_stage_is_alive(health: Health, clock: Clock) -> None:
    """Training takes as long as it takes; the bound holds again behind it."""
    health.stage("train")
    clock.now += 10_000.0
    assert health.why_not_live() == []
    health.stage("")
    assert health.why_not_live() == []
    clock.now += 11.0
    assert health.why_not_live()


def test_what_needs_no_partitions_waits_for_none(clock: Clock) -> None:
    """The retrainer has no group of the loop's."""
    made = Health(clock, 10.0, needs_partitions=False)
    assert made.why_not_ready() == ["it is still starting"]
    made.up()
    assert made.why_not_ready() == []
