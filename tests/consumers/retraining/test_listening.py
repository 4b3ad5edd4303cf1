"""Between two attempts, on real parts: what is heard of the champion, and whose count it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.models.registry import open_registry
from consumers.releases.releasing import release
from millstream.releases.decide import Wanted
from millstream.retraining.stages import Attempt, Outcome, Trigger
from tests.consumers.answers import SECOND_US, START_US
from tests.consumers.retraining.attempts import MANUAL
from tests.consumers.retraining_world import ALONE, CHANGE, Clock, Hand, World

Make = Callable[[str], World]
QUIETLY = f"{ALONE}incident = false\nschedule_labels = 3_000\n"
LOOKS = 20


def over(hand: Hand, outcome: Outcome = Outcome.KEPT) -> Attempt:
    """The newest attempt, at its end."""
    attempt = hand.look(LOOKS)
    assert attempt.over is not None and attempt.over.outcome is outcome, attempt
    return attempt


def test_the_schedule_of_labels_is_the_policys_count_also_behind_a_restart(make: Make) -> None:
    """No attempt before it is due; then it challenges, and the next is due behind its end."""
    world = make(f"{ALONE}incident = false\nschedule_labels = 200\n")
    world.know(1_500)
    with world.by_hand() as hand:
        hand.retrainer.begin(MANUAL)
        assert over(hand).trained["due_in"] == 200
        world.know(1_699)
        assert not hand.retrainer.look()
    with world.by_hand() as hand:
        assert not hand.retrainer.look()
        world.know(1_700)
        assert hand.retrainer.look()
        attempt = over(hand)
    (decision,) = attempt.trained["decisions"]
    assert (attempt.trigger, attempt.cause) == (Trigger.SCHEDULE, {"due": True})
    assert (decision["why"], attempt.trained["due_in"]) == ("schedule", 200)


def test_a_change_is_heard_as_labels_come_and_cuts_the_next_attempts_rows(make: Make) -> None:
    """Long before the schedule; whoever starts again hears it too, and what begins is about it."""
    world = make(QUIETLY)
    world.know(1_500)
    begun = []
    with world.by_hand(Clock(step_us=1_000)) as hand:
        hand.retrainer.begin(MANUAL)
        over(hand)
        for labels in (CHANGE - 200, CHANGE - 100, CHANGE):
            world.know(labels)
            assert not hand.retrainer.look()
        world.know(CHANGE + 60)
        begun.append(hand.steps.heard().change_us)
    with world.by_hand() as hand:
        begun.append(hand.steps.readings().change_us)
        assert hand.retrainer.look()
        attempt = over(hand)  # too few rows behind it yet: again when they have grown by half
    since_us = attempt.cause["since_us"]
    assert abs(since_us - START_US - CHANGE * SECOND_US) < 20 * SECOND_US
    assert (begun, attempt.trigger) == ([since_us] * 2, Trigger.SCHEDULE)
    (decision,) = attempt.trained["decisions"]
    assert (decision["why"], attempt.trained["due_in"]) == ("cut", 30)
    assert attempt.trained["policy"]["tracks"][0]["cut"] == since_us


def test_a_clock_that_is_years_ahead_deafens_nobody(make: Make) -> None:
    """One of its events is as new as its publication."""
    world = make(QUIETLY)
    world.know(CHANGE)
    for table in ("labelled", "predictions"):
        world.warehouse.command(
            f"ALTER TABLE {world.stream.name}.{table} UPDATE event_time = '2099-01-01 00:00:00' "
            "WHERE source_offset = 1500 SETTINGS mutations_sync = 1"
        )
    with world.by_hand() as hand:
        assert hand.steps.heard().change_us is None
        world.know(CHANGE + 60)
        since_us = hand.steps.heard().change_us
    assert since_us is not None and abs(since_us - START_US - CHANGE * SECOND_US) < 20 * SECOND_US


def test_without_a_schedule_of_labels_nothing_is_heard(make: Make) -> None:
    """Then only what [retrain] names asks."""
    world = make(f"{ALONE}schedule_labels = 0\n")
    world.know(CHANGE + 200)
    with world.by_hand() as hand:
        assert hand.steps.readings().change_us is None
        assert not hand.retrainer.look()


def test_without_a_champion_it_goes_on_and_hears_nothing(make: Make) -> None:
    """The attempt tells what is missing."""
    world = make(QUIETLY)
    world.know(1_500)
    for file in sorted(world.stream.bundle_path.rglob("*"), reverse=True):
        file.unlink()
    with world.by_hand() as hand:
        assert hand.steps.readings().change_us is None
        assert not hand.retrainer.look()


def test_behind_a_roll_back_it_goes_on_from_the_model_before(make: Make) -> None:
    """That one is compared, and heard; what was rolled back is no candidate any more; the cut
    stays."""
    world = make(QUIETLY)
    world.know(CHANGE + 600)
    with world.by_hand() as hand:
        hand.retrainer.begin(MANUAL)
        promoted = over(hand, Outcome.PROMOTED)
        wanted = Wanted("back", world.champion, reason="it was worse", decided_by="me")
        release(world.stream, world.kafka, world.client, open_registry(world.stream), wanted)
        world.know(CHANGE + 700)
        steps = hand.steps
        assert steps.readings().change_us is None  # by the cut that it knows, it is bad all along
        hand.retrainer.begin(MANUAL)
        hand.look(LOOKS)
        trained = hand.attempt.trained
    (decision,) = trained["decisions"]
    winner = promoted.trained["winner"]
    assert decision["champion"]["name"] == world.champion.label
    assert winner["ranges"] not in [one["candidate"]["ranges"] for one in decision["compared"]]
    (before, after) = (one["policy"]["tracks"][0] for one in (promoted.trained, trained))
    assert after["cut"] == before["cut"] is not None
