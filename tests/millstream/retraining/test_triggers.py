"""What asks for a retraining, once."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from millstream.retraining.stages import Attempt, Outcome, Stage, Status, Step, Trigger
from millstream.retraining.table import RetrainTable
from millstream.retraining.triggers import Fired, Opened, Readings, Triggers

SECOND = 1_000_000
QUIET = RetrainTable(schedule_labels=0)


def table(**values: object) -> RetrainTable:
    """Nothing but this asks."""
    return RetrainTable.model_validate({"schedule_labels": 0, **values})


def kinds(triggers: Triggers, *readings: Readings) -> list[Trigger | None]:
    """What each reading asks for."""
    fired: list[Fired | None] = [triggers.fire(each) for each in readings]
    return [None if each is None else each.trigger for each in fired]


def accuracies(*values: float) -> list[Readings]:
    """One second after another."""
    return [Readings(n * SECOND, 100, accuracy=value) for n, value in enumerate(values)]


def test_an_incident_asks_once() -> None:
    """Its revisions do not, nor after a restart that reads what it was about."""
    triggers = Triggers(QUIET)
    incident = Opened("91ab", "concept_drift", 7)
    triggers.opened(incident)
    fired = triggers.fire(Readings(0, 0))
    assert fired == Fired(Trigger.INCIDENT, "incident 91ab: concept_drift")
    triggers.told(triggers.waiting)
    triggers.opened(incident)
    assert triggers.fire(Readings(0, 0)) is None
    again = Triggers(QUIET)
    again.recover([Attempt("a", 1, Trigger.INCIDENT, "", 0, cause={"incidents": ["91ab"]})])
    again.opened(incident)
    assert again.fire(Readings(0, 0)) is None


def test_one_retraining_is_about_all_incidents_that_wait() -> None:
    """None of them asks for another; what did not begin keeps them."""
    triggers = Triggers(QUIET)
    for number in (1, 2, 3):
        triggers.opened(Opened(f"i-{number}", "concept_change", number))
    fired = triggers.fire(Readings(0, 0))
    assert fired == Fired(Trigger.INCIDENT, "incident i-1: concept_change, and 2 more")
    assert triggers.fire(Readings(0, 0)) == fired
    assert [each.id for each in triggers.waiting] == ["i-1", "i-2", "i-3"]
    triggers.told(triggers.waiting)
    assert (triggers.waiting, triggers.fire(Readings(0, 0))) == ((), None)


def test_a_fall_of_accuracy_asks_again_only_after_it_was_good() -> None:
    """By its band: just above the bound is not good enough."""
    triggers = Triggers(table(accuracy_min=0.8, accuracy_band=0.05))
    asks, nothing = Trigger.PERFORMANCE, None
    found = kinds(triggers, *accuracies(0.9, 0.79, 0.7, 0.81, 0.79, 0.86, 0.79))
    assert found == [nothing, asks, nothing, nothing, nothing, nothing, asks]


def test_a_business_metric_has_two_bounds() -> None:
    """Either asks, and says which."""
    triggers = Triggers(table(query="SELECT 1", query_min=1.0, query_max=3.0))
    said = [triggers.fire(Readings(0, 0, business=value)) for value in (2.0, 0.5, 2.0, 3.5)]
    assert [each and each.reason for each in said] == [
        None,
        "the business metric is 0.5, below 1",
        None,
        "the business metric is 3.5, above 3",
    ]


def test_labels_and_seconds_since_the_last_retraining_ask() -> None:
    """Each for itself."""
    by_labels = Triggers(RetrainTable(schedule_labels=500))
    assert kinds(by_labels, Readings(0, 499), Readings(0, 500)) == [None, Trigger.SCHEDULE]
    by_labels.over(0, 500)
    assert kinds(by_labels, Readings(0, 999), Readings(0, 1_000)) == [None, Trigger.SCHEDULE]
    by_time = Triggers(table(schedule_s=60))
    by_time.over(0, 0)
    assert kinds(by_time, Readings(59 * SECOND, 0)) == [None]
    assert kinds(by_time, Readings(60 * SECOND, 0)) == [Trigger.SCHEDULE]


def ended(labels: int, outcome: Outcome, stage: Stage = Stage.TRAIN, due_in: int = 30) -> Attempt:
    """One whose policy has its next challenge in so many labels."""
    trained = {"due_in": due_in}
    facts = {"labels": labels} | (trained if stage is Stage.TRAIN else {})
    done = {} if stage is Stage.TRAIN else {Stage.TRAIN: trained}
    over = Step(
        "a", 1, "loans", stage, Status.OVER, Trigger.SCHEDULE, "", 9, outcome=outcome, facts=facts
    )
    return Attempt("a", 1, Trigger.SCHEDULE, "", 0, done, over=over)


@pytest.mark.parametrize(
    ("attempt", "due"),
    [
        (ended(1_000, Outcome.KEPT), 1_030),
        (ended(1_000, Outcome.KEPT, due_in=500), 1_500),
        (ended(1_000, Outcome.PROMOTED, Stage.PROMOTE), 1_030),
        (ended(1_000, Outcome.FAILED, Stage.PASSPORT), 1_400),
    ],
)
def test_labels_count_to_where_the_last_attempts_policy_is_due(attempt: Attempt, due: int) -> None:
    """From its end; as [retrain] says where it failed, so that a fault does not ask at once.
    Whoever reads its records counts the same, also by a clock that was put back."""
    triggers = Triggers(RetrainTable(schedule_labels=400))
    triggers.recover([attempt])
    assert triggers.fire(Readings(0, due - 1)) is None
    fired = triggers.fire(Readings(0, due))
    assert fired is not None and fired.due
    assert (fired.trigger, fired.since_us) == (Trigger.SCHEDULE, None)


def test_a_change_that_is_heard_brings_the_schedule_of_labels_forward() -> None:
    """With its place. Without such a schedule nobody asks for it; in a cool-down it waits."""
    heard = Readings(0, 10, change_us=7)
    fired = Triggers(RetrainTable(schedule_labels=500)).fire(heard)
    assert fired is not None and fired.due
    assert (fired.trigger, fired.since_us) == (Trigger.SCHEDULE, 7)
    assert Triggers(QUIET).fire(heard) is None
    cooling = Triggers(RetrainTable(schedule_labels=500, cooldown_labels=100))
    cooling.over(0, 0)
    assert cooling.fire(heard) is None
    assert cooling.fire(Readings(0, 100, change_us=7)) is not None


def test_a_schedule_of_seconds_asks_for_a_challenge() -> None:
    """It is not the policy's count."""
    triggers = Triggers(table(schedule_s=60))
    triggers.over(0, 0)
    fired = triggers.fire(Readings(60 * SECOND, 0))
    assert fired is not None and not fired.due


def test_without_a_retraining_yet_time_counts_from_the_first_label() -> None:
    """So a stream with a schedule of seconds alone has its first one, whatever is restarted."""
    triggers = Triggers(table(schedule_s=60))
    assert kinds(triggers, Readings(999 * SECOND, 0)) == [None]
    first = 1_000 * SECOND
    early, late = (Readings(first + n * SECOND, 5, first_us=first) for n in (59, 60))
    assert kinds(triggers, early, late) == [None, Trigger.SCHEDULE]


def test_a_volume_of_unseen_labels_asks_once_for_each_such_volume() -> None:
    """Counted from the champion's training, and from the last attempt."""
    triggers = Triggers(table(volume_labels=1_000))
    first = Readings(0, 1_500, trained=500)
    assert kinds(triggers, first) == [Trigger.VOLUME]
    triggers.over(0, 1_500)
    assert kinds(triggers, first, Readings(0, 2_400, trained=500)) == [None, None]


def test_in_a_cool_down_nothing_asks_and_nothing_is_forgotten() -> None:
    """What is still bad when it is over asks then."""
    triggers = Triggers(table(cooldown_s=10, accuracy_min=0.8))
    triggers.over(0, 0)
    triggers.opened(Opened("91ab", "concept_drift", 7))
    soon, later = Readings(9 * SECOND, 0, accuracy=0.7), Readings(11 * SECOND, 0, accuracy=0.7)
    assert kinds(triggers, soon, later) == [None, Trigger.INCIDENT]
    triggers.told(triggers.waiting)
    assert kinds(triggers, later) == [None]
    by_labels = Triggers(table(cooldown_labels=100, accuracy_min=0.8))
    by_labels.over(0, 50)
    assert kinds(by_labels, Readings(1, 149, accuracy=0.7)) == [None]
    assert kinds(by_labels, Readings(2, 150, accuracy=0.7)) == [Trigger.PERFORMANCE]


def test_a_restart_knows_when_the_last_one_was_over() -> None:
    """From its record."""
    over = Step(
        "a", 1, "loans", Stage.TRAIN, Status.OVER, Trigger.SCHEDULE, "", 5 * SECOND,
        outcome=Outcome.KEPT, facts={"labels": 700},
    )  # fmt: skip
    triggers = Triggers(RetrainTable(schedule_labels=500))
    triggers.recover([Attempt("a", 1, Trigger.SCHEDULE, "", 0, over=over)])
    assert (triggers.ended_us, triggers.ended_labels) == (5 * SECOND, 700)


def test_a_query_without_a_bound_is_refused() -> None:
    """Nobody could say when it is bad."""
    with pytest.raises(ValidationError, match="query needs"):
        table(query="SELECT 1")
