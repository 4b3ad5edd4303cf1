"""The gate: who wins, by how much, and what is said of it."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from millstream.retraining import challenge
from millstream.retraining.challenge import (
    Candidate,
    Challenge,
    Losses,
    Rows,
    Trial,
    decide,
    newest,
    standard_errors,
)

CHAMPION = Candidate("old", "champion", ((0, 100),))
NEW = Candidate("new", "new", ((0, 500),))
FORMER = Candidate("former", "former", ((0, 50),))


def made(*candidates: Candidate, gain_z: float = 2.0) -> Challenge:
    """On rows 500 to 900."""
    trials = tuple(Trial(one, one, 500) for one in candidates)
    return Challenge(1, "schedule", CHAMPION, trials, 900, 400, 900, gain_z)


def losing(**rates: float) -> challenge.LossesOf:
    """Everybody loses on the first so many rows of a hundred."""

    def losses(candidate: Candidate, begin: int, end: int) -> Losses:
        return (np.arange(begin, end) % 100 < 100 * rates[candidate.name]).astype(np.float64)

    return losses


def test_the_one_that_saves_most_wins() -> None:
    """Of those that pass the gate."""
    decision = decide(made(NEW, FORMER), losing(old=0.5, new=0.3, former=0.2))
    assert decision.winner is not None
    assert decision.winner.trial.candidate == FORMER
    assert decision.winner.gain == pytest.approx(0.3)
    assert "former does better than old by 0.3000 a row" in decision.reason


def test_without_a_sure_gain_the_champion_stays() -> None:
    """And the reason says who came nearest."""
    decision = decide(made(NEW, gain_z=2.1), losing(old=0.50, new=0.49))
    assert (decision.winner, decision.compared[0].rows) == (None, 400)
    assert decision.compared[0].z == pytest.approx(2.0)
    assert "new comes nearest: +0.0100 a row" in decision.reason


def test_where_nothing_can_be_compared_that_is_said() -> None:
    """No trial, or no row."""
    assert "nothing to compare" in decide(made(), losing()).reason


def test_the_evidence_is_plain_values() -> None:
    """As a record's facts hold it."""
    told = decide(made(NEW), losing(old=0.5, new=0.3)).as_json()
    assert told["winner"] == NEW.as_json()
    assert told["compared"][0]["rows"] == 400
    assert Candidate.of(told["winner"]) == NEW


def test_standard_errors_are_mcnemars() -> None:
    """(better - worse) / sqrt(better + worse) where losses are 0 or 1."""
    gains = np.array([1.0] * 30 + [-1.0] * 10 + [0.0] * 60)
    assert standard_errors(gains) == pytest.approx(20 / np.sqrt(40))
    assert standard_errors(np.zeros(5)) == 0.0


def test_ranges_are_of_the_newest_rows() -> None:
    """Joined where they touch, never counted twice."""
    assert newest(((0, 10), (10, 20)), 15) == ((5, 20),)
    assert newest(((0, 10),), 100) == ((0, 10),)
    assert newest((), 10) == ()


def test_rows_with_one_place_stay_together() -> None:
    """A range never cuts between them."""
    rows = Rows()
    rows.add([1, 2, 2, 2, 5])
    assert (rows.row(2), rows.row(3), rows.place(9), rows.count) == (1, 4, 6, 5)


def test_the_examples_in_the_docstrings_hold() -> None:
    """As doctests."""
    assert doctest.testmod(challenge).failed == 0
