"""Silences: which alarms they cover, and from when to when."""

from __future__ import annotations

import doctest

import pytest

from millstream.alerts import silence as module
from millstream.alerts.silence import Matcher, Silence, silenced
from millstream.errors import SettingsInvalid
from tests.millstream.alerts.alarms import NOON, alarm


def test_the_examples_in_the_docstrings_hold() -> None:
    """To the letter."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("text", "covers"),
    [
        ("rule=lag", True),
        ("rule!=lag", False),
        ("rule=~l.*", True),
        ("rule=~l", False),
        ("rule!~x|y", True),
        ("program=p1", True),
        ("severity=ticket", True),
        ("missing=", True),
        ("missing!=", False),
        ("summary=x", False),
    ],
)
def test_a_matcher_is_equal_unequal_or_a_whole_regular_expression(text: str, covers: bool) -> None:
    """On labels and on the alarm's own names; a missing one is empty."""
    made = Matcher.parse(text)
    assert str(made) == text
    assert Silence("s", (made,), 0, 1).covers(alarm()) is covers


def test_every_matcher_must_match_and_there_must_be_one() -> None:
    """A silence without matchers would silence everything by mistake."""
    both = (Matcher.parse("rule=lag"), Matcher.parse("program=p2"))
    assert not Silence("s", both, 0, 1).covers(alarm(1))
    assert Silence("s", both, 0, 1).covers(alarm(2))
    assert not Silence("s", (), 0, 1).covers(alarm())


def test_a_silence_holds_from_its_start_until_just_before_its_end() -> None:
    """And another one that holds is enough."""
    early = Silence("a", (Matcher.parse("rule=lag"),), NOON, NOON + 10)
    late = Silence("b", (Matcher.parse("rule=lag"),), NOON + 20, NOON + 30)
    held = [silenced(alarm(), [early, late], NOON + at) for at in (-1, 0, 9, 10, 19, 20, 30)]
    assert held == [False, True, True, False, False, True, False]


@pytest.mark.parametrize("text", ["", "rule", "=x", "a b=c", "rule=~(", "x=" + "y" * 300])
def test_what_is_no_matcher_is_named_with_the_remedy(text: str) -> None:
    """Also one whose regular expression is none."""
    with pytest.raises(SettingsInvalid):
        Matcher.parse(text)
