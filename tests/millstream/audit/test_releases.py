"""Predictions of the wrong side of a switch are named by their offsets."""

from __future__ import annotations

import numpy as np

from millstream.audit.releases import Named, wrong_side
from millstream.models.reference import ModelReference
from millstream.releases.release import Switch
from millstream.releases.timeline import Timeline
from tests.millstream.releases.made import model, release


def named(reference: ModelReference) -> Named:
    """As a prediction names it."""
    return reference.version, reference.digest


OLD, NEW, NEXT = named(model(1)), named(model(2)), named(model(3))


def timeline() -> Timeline:
    """Model 1 until offset 10, then 2, from 20 on a canary of 3 beside 2."""
    made = Timeline()
    first = release(1, champion=model(2))
    canary = release(2, champion=model(2), challenger=model(3), canary_share=0.5)
    for switch in (Switch(first, 0, 10, before=OLD), Switch(canary, 0, 20, before=NEW)):
        made.add(switch)
    return made


def wrong(answered: dict[int, Named], always: tuple[Named, ...] = ()) -> list[int]:
    """The offsets that are named."""
    offsets = np.array(list(answered), np.int64)
    found: list[int] = wrong_side(timeline(), 0, offsets, list(answered.values()), always).tolist()
    return found


def test_what_its_release_let_answer_is_right() -> None:
    """Both sides of a canary, and whatever answered before the first release."""
    assert wrong({8: ("older", "sha256:0"), 9: OLD, 10: NEW, 19: NEW, 20: NEW, 21: NEXT}) == []


def test_the_new_model_below_its_switch_is_wrong() -> None:
    """As is the old one from there on, and a canary before its release."""
    assert wrong({9: NEW, 10: OLD, 19: NEXT, 21: OLD}) == [9, 10, 19, 21]


def test_the_cheaper_model_may_always_answer() -> None:
    """It is the overload ladder's, not a release's."""
    cheap = ("cheap", "sha256:c")
    assert wrong({5: cheap, 15: cheap}, (cheap,)) == []
    assert wrong({15: cheap}) == [15]


def test_without_a_switch_nothing_is_wrong() -> None:
    """Another partition has not switched."""
    offsets = np.array([5, 500], np.int64)
    assert wrong_side(timeline(), 1, offsets, [NEW, OLD]).tolist() == []
