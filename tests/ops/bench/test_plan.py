"""The order of the benchmark's trials."""

from __future__ import annotations

import doctest

from ops.bench import plan
from ops.bench.plan import alternate, reachable, trials


def test_examples_of_the_docstrings() -> None:
    """What the docstrings show is what happens."""
    assert doctest.testmod(plan).failed == 0


def test_every_contender_runs_once_a_round() -> None:
    """And nobody is always first."""
    made = alternate(["x", "y", "z"], 3)
    assert sorted(made) == sorted((n, name) for n in (1, 2, 3) for name in "xyz")
    assert [name for number, name in made if number == 2] == ["z", "y", "x"]


def test_subjects_follow_one_another() -> None:
    """All rounds of one stream's events are over before the next stream's are published."""
    made = trials([("p", "exactly_once"), ("q", "at_least_once")], ["a", "b"], 2)
    assert [trial.subject for trial in made] == ["a"] * 4 + ["b"] * 4
    assert {(t.contender, t.guarantee) for t in made} == {
        ("p", "exactly_once"),
        ("q", "at_least_once"),
    }


def test_a_contender_without_a_known_rate_tries_all() -> None:
    """Only what was measured leaves a rate out."""
    assert reachable([1, 2], None) == [1, 2]
    assert reachable([1_000], 1_000.0) == []
