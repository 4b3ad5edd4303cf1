"""The stages of a retraining, and the log that is folded of their records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millstream.errors import InvariantBroken
from millstream.retraining.stages import ORDER, Log, Outcome, Stage, Status, Step, Trigger


def step(stage: Stage, status: Status, attempt: str = "a", number: int = 1, tries: int = 1) -> Step:
    """A record of an attempt."""
    outcome = Outcome.KEPT if status is Status.OVER else None
    return Step(
        attempt, number, "loans", stage, status, Trigger.SCHEDULE, "why", 5, tries, outcome,
        {"stage": stage.value},
    )  # fmt: skip


def through(log: Log, *stages: Stage) -> Log:
    """Each of them started and done."""
    for stage in stages:
        log.add(step(stage, Status.STARTED))
        log.add(step(stage, Status.DONE))
    return log


def test_an_attempt_goes_through_every_stage_in_order() -> None:
    """Each is next when those before it are done; their facts stay."""
    log = Log("loans")
    for number, stage in enumerate(ORDER):
        through(log, stage)
        following = ORDER[number + 1] if number + 1 < len(ORDER) else None
        assert log.attempt("a").next is following
    assert log.attempt("a").facts(Stage.TRAIN) == {"stage": "train"}


def test_what_was_started_and_has_no_end_is_run_again() -> None:
    """With one more try."""
    log = through(Log("loans"), Stage.COLLECT)
    log.add(step(Stage.TRAIN, Status.STARTED))
    log.add(step(Stage.TRAIN, Status.STARTED, tries=2))
    attempt = log.open
    assert attempt is not None
    assert (attempt.next, attempt.running, attempt.tries) == (Stage.TRAIN, Stage.TRAIN, 2)


def test_any_stage_may_end_the_attempt() -> None:
    """Then it is no longer open, and the next one has the next number."""
    log = through(Log("loans"), Stage.COLLECT)
    log.add(step(Stage.TRAIN, Status.STARTED))
    log.add(step(Stage.TRAIN, Status.OVER))
    assert (log.open, log.number) == (None, 2)
    over = log.attempt("a").over
    assert over is not None and over.outcome is Outcome.KEPT
    log.add(step(Stage.COLLECT, Status.STARTED, "b", 2))
    assert log.open is not None and log.open.id == "b"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (step(Stage.PASSPORT, Status.STARTED), "train comes first"),
        (step(Stage.TRAIN, Status.DONE), "was not started"),
        (step(Stage.COLLECT, Status.STARTED, "b", 2), "attempt 1 is under way"),
    ],
)
def test_what_cannot_follow_is_refused(wrong: Step, said: str) -> None:
    """It names both attempts; nothing changes."""
    log = through(Log("loans"), Stage.COLLECT)
    with pytest.raises(InvariantBroken, match=said):
        log.add(wrong)
    assert log.open is not None and log.open.next is Stage.TRAIN


def test_a_repeat_changes_nothing() -> None:
    """A killed writer may have written what it did not count."""
    log = through(Log("loans"), Stage.COLLECT, Stage.TRAIN)
    before = log.attempts
    log.add(step(Stage.COLLECT, Status.STARTED))
    log.add(step(Stage.TRAIN, Status.DONE))
    assert log.attempts == before


def test_what_is_asked_for_waits_until_it_is_begun() -> None:
    """It is not open before."""
    log = Log("loans")
    log.add(step(Stage.COLLECT, Status.ASKED))
    assert (log.open, [one.id for one in log.asked]) == (None, ["a"])
    log.add(step(Stage.COLLECT, Status.STARTED))
    assert (log.open is not None, log.asked) == (True, ())


def test_no_two_attempts_have_one_number() -> None:
    """Two people may ask at once, neither seeing the other: the one that begins first moves on."""
    log = Log("loans")
    for name in ("a", "b"):
        log.add(step(Stage.COLLECT, Status.ASKED, name, 1))
    number = log.number_of(log.attempt("a"))
    log.add(step(Stage.COLLECT, Status.STARTED, "a", number))
    assert (log.attempt("a").number, log.number_of(log.attempt("b"))) == (2, 1)


@pytest.mark.parametrize("status", list(Status))
def test_a_record_is_what_its_fields_say(status: Status) -> None:
    """Through the contract's values; each stage and status has a key of its own."""
    made = replace(step(Stage.TRAIN, status), facts={"rows": 3, "share": 0.5})
    assert Step.of(made.fields()) == made
    assert made.key == f"a/train/{status.value}"


def test_only_the_newest_policy_stays_in_memory() -> None:
    """What else an attempt has found stays, and how it ended."""
    log, facts = Log("loans"), {"policy": {"much": 1}, "decisions": [1], "due_in": 20}
    for number, name in enumerate(("a", "b", "c"), 1):
        for stage in (Stage.COLLECT, Stage.TRAIN):
            log.add(step(stage, Status.STARTED, name, number))
            if stage is Stage.COLLECT:
                log.add(step(stage, Status.DONE, name, number))
        log.add(replace(step(Stage.TRAIN, Status.OVER, name, number), facts=facts))
        log.slim()
    first, second, newest = log.attempts
    assert newest.trained == facts
    assert first.trained == second.trained == {"due_in": 20}
    assert (first.due_in, log.open, log.number) == (20, None, 4)
    log.add(replace(step(Stage.TRAIN, Status.OVER, "a", 1), facts=facts))
    assert log.attempt("a").trained == {"due_in": 20}
