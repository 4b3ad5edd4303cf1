"""When time stands still: what the feeder makes of the retrainer's records."""

from __future__ import annotations

from typing import Any

from millstream.retraining.stages import Log, Outcome, Stage, Status, Step, Trigger
from ops.bench.loop.following import Retrainings

S = 1_000_000


def step(stage: Stage, status: Status, at_s: float, number: int = 1, **given: Any) -> Step:
    """One record of attempt `number`."""
    trigger = Trigger.SCHEDULE
    at_us = int(at_s * S)
    return Step(f"a{number}", number, "s", stage, status, trigger, "due", at_us, **given)


def kept(retrainings: Retrainings, labels: int, number: int = 1, **facts: int) -> None:
    """An attempt that ends in its second stage."""
    over: dict[str, Any] = {"outcome": Outcome.KEPT, "facts": {"labels": labels, **facts}}
    for each in (
        step(Stage.COLLECT, Status.STARTED, 1.0, number),
        step(Stage.COLLECT, Status.DONE, 1.5, number),
        step(Stage.TRAIN, Status.STARTED, 1.5, number),
        step(Stage.TRAIN, Status.OVER, 3.5, number, **over),
    ):
        retrainings.add(each)


def test_a_retraining_is_owed_from_so_many_labels_on() -> None:
    """Counted from where the last one ended."""
    retrainings = Retrainings(Log("s"), trial=True)
    kept(retrainings, 200)
    assert [retrainings.is_owed(labels, 100) for labels in (200, 299, 300)] == [False, False, True]


def test_a_retraining_is_owed_where_the_last_ones_policy_says_so() -> None:
    """Where it says nothing, as the stream's table."""
    retrainings = Retrainings(Log("s"), trial=True)
    kept(retrainings, 200, due_in=30)
    assert [retrainings.is_owed(labels, 100) for labels in (229, 230)] == [False, True]
    kept(retrainings, 300, number=2)
    assert retrainings.due(100) == 400


def test_an_incident_is_owed_one_until_an_attempt_begins() -> None:
    """Its later revisions ask for none."""
    retrainings = Retrainings(Log("s"), trial=True)
    retrainings.opened("i")
    assert retrainings.is_owed(0, 100)
    kept(retrainings, 50)
    retrainings.opened("i")
    assert not retrainings.is_owed(50, 100)


def test_stages_that_compute_hold_the_events_up_and_those_that_wait_for_labels_do_not() -> None:
    """Between two stages it computes."""
    retrainings, seen = Retrainings(Log("s"), trial=True), []
    for stage in Stage:
        retrainings.add(step(stage, Status.STARTED, 1.0))
        seen.append(retrainings.computes)
        assert retrainings.waits is not retrainings.computes
        if stage is not Stage.PROMOTE:
            retrainings.add(step(stage, Status.DONE, 2.0))
            assert retrainings.computes
    assert seen == [stage not in {Stage.JUDGE, Stage.CANARY} for stage in Stage]


def test_without_a_trial_every_stage_holds_the_events_up() -> None:
    """Those that would wait are passed through: what was sent then came before the release."""
    retrainings = Retrainings(Log("s"), trial=False)
    for stage in Stage:
        retrainings.add(step(stage, Status.STARTED, 1.0))
        assert retrainings.computes
        assert not retrainings.waits
        if stage is not Stage.PROMOTE:
            retrainings.add(step(stage, Status.DONE, 2.0))


def test_what_stages_took_and_how_attempts_ended_is_told() -> None:
    """The medians, by the records' own times."""
    retrainings = Retrainings(Log("s"), trial=True)
    kept(retrainings, 200)
    kept(retrainings, 300, number=2)
    assert retrainings.seconds() == {"collect": 0.5, "train": 2.0}
    assert (retrainings.outcomes(), retrainings.triggers()) == ({"kept": 2}, {"schedule": 2})


def test_a_release_is_known_of_before_it_is_read() -> None:
    """A promotion's record comes on another topic: what was sent between the two would be answered
    by the model before."""
    retrainings = Retrainings(Log("s"), trial=True)
    for stage in Stage:
        retrainings.add(step(stage, Status.STARTED, 1.0))
        if stage is not Stage.PROMOTE:
            retrainings.add(step(stage, Status.DONE, 2.0))
    assert retrainings.released == 0
    over = {"number": 3, "labels": 400}
    retrainings.add(step(Stage.PROMOTE, Status.OVER, 3.0, outcome=Outcome.PROMOTED, facts=over))
    assert (retrainings.released, retrainings.ended) == (3, 400)
