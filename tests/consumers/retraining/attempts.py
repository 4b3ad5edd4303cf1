"""An attempt driven by hand, as far as a test wants it."""

from __future__ import annotations

from millstream.retraining.stages import Attempt, Outcome, Stage, Trigger
from millstream.retraining.triggers import Fired
from tests.consumers.retraining_world import CHANGE, Hand, World

MANUAL = Fired(Trigger.MANUAL, "a test")


def ended(attempt: Attempt | None, outcome: Outcome) -> Attempt:
    """It has, so."""
    assert attempt is not None and attempt.over is not None
    assert attempt.over.outcome is outcome, attempt.over.reason
    return attempt


def through_shadow(world: World, hand: Hand) -> None:
    """The candidate is beside the champion, and the scorer has switched."""
    world.know(CHANGE + 600)
    hand.retrainer.begin(MANUAL)
    hand.until(Stage.JUDGE)
    assert world.switched() is not None
