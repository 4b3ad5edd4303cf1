"""The retrainer's turns on a real journal; its stages are the test's."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consumers.registry import Registry
from consumers.retrainer import SAY_S, WAIT_S, Done, Ended, Result, Retrainer, Waits, asked_for
from consumers.retraining.log import Journal, ask_for
from millstream.errors import DependencyUnavailable, OperatorNeeded
from millstream.retraining.stages import Attempt, Outcome, Stage, Trigger
from millstream.retraining.table import RetrainTable
from millstream.retraining.triggers import Counted, Fired, Opened, Readings, Triggers
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.warehouses import stream_in

SECOND_US = 1_000_000
WAIT_S_MAX = 60.0
WHY = Fired(Trigger.MANUAL, "a test")


@dataclass
class Told:
    """Does what it is told. says: stage -> what it comes to, else Done."""

    says: dict[Stage, Result | Exception] = field(default_factory=dict)
    new: list[Opened] = field(default_factory=list)
    ran: list[Stage] = field(default_factory=list)
    ends: list[tuple[Stage, Ended]] = field(default_factory=list)

    def run(self, stage: Stage, attempt: Attempt) -> Result:
        """Its turn."""
        self.ran.append(stage)
        said = self.says.get(stage, Done({"number": attempt.number}))
        if isinstance(said, Exception):
            raise said
        return said

    def end(self, stage: Stage, attempt: Attempt, how: Ended) -> Ended:
        """Kept, so that a test sees it."""
        self.ends.append((stage, how))
        return how

    def readings(self) -> Readings:
        """Nothing but incidents asks."""
        return Readings(0, 5)

    def heard(self) -> Readings:
        """Nothing has changed."""
        return Readings(0, 5)

    def labels(self) -> Counted:
        """Five."""
        return Counted(5, {0: 9})

    def incidents(self) -> list[Opened]:
        """Those that are new."""
        new, self.new = self.new, []
        return new

    def close(self) -> None:
        """Nothing is open."""


class Bed:
    """A stream's journal, its stages, and a clock that the test moves."""

    def __init__(self, stream: Stream, kafka: KafkaSettings, registry: Registry) -> None:
        self.stream, self.kafka, self.registry = stream, kafka, registry
        self.now_us = SECOND_US
        self.steps = Told()
        self.journal = Journal(stream, kafka, registry)
        triggers = Triggers(RetrainTable(schedule_labels=0))
        self.retrainer = Retrainer(self.journal, self.steps, triggers, lambda: self.now_us, "me")

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """By number."""
        return self.journal.log.attempts

    def ask(self, at_us: int) -> None:
        """A person does, who has seen no other attempt."""
        ask_for(
            self.stream,
            self.kafka,
            self.registry,
            lambda _: asked_for(self.stream.name, 1, "please", at_us, "a person"),
        )

    def hear(self, asked: int) -> None:
        """Until what so many people ask for is heard."""
        deadline = time.monotonic() + WAIT_S_MAX
        while len(self.journal.log.asked) < asked:
            assert time.monotonic() < deadline, self.attempts
            self.journal.hear()
            time.sleep(0.01)

    def settle(self, attempts: int) -> None:
        """Look until there are so many, and all of them are over."""
        deadline = time.monotonic() + WAIT_S_MAX
        while len(self.attempts) < attempts or any(each.over is None for each in self.attempts):
            assert time.monotonic() < deadline, self.attempts
            if not self.retrainer.look():
                time.sleep(0.01)


@pytest.fixture
def bed(
    tmp_path: Path,
    topic_name: str,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
) -> Iterator[Bed]:
    """On the embedded broker."""
    stream = stream_in(tmp_path, f"s{topic_name[-8:]}")
    embedded.create_topic(stream.topic("retraining"), 1)
    client = Registry(RegistrySettings(url=embedded_registry.url))
    made = Bed(stream, KafkaSettings(bootstrap=embedded.bootstrap, embedded=True), client)
    yield made
    made.journal.close()
    client.close()


def test_a_stage_that_waits_is_asked_again_in_a_while(bed: Bed) -> None:
    """However often the retrainer looks; what it does between costs nothing."""
    bed.steps.says = {Stage.TRAIN: Waits("no label yet")}
    bed.retrainer.begin(WHY)
    for _ in range(5):
        bed.retrainer.look()
    assert bed.steps.ran == [Stage.COLLECT, Stage.TRAIN]
    bed.now_us += round(WAIT_S * SECOND_US)
    assert not bed.retrainer.look()
    assert bed.steps.ran == [Stage.COLLECT, Stage.TRAIN, Stage.TRAIN]


def test_the_log_says_what_a_stage_waits_for(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """At the first look, and now and then; not at each."""
    caplog.set_level(logging.INFO, "consumers.retrainer")
    bed.steps.says = {Stage.TRAIN: Waits("no label yet")}
    bed.retrainer.begin(WHY)
    for _ in range(8):
        bed.retrainer.look()
        bed.now_us += round(WAIT_S * SECOND_US)
    assert caplog.text.count("train: waits; no label yet") == 1
    bed.now_us += round(SAY_S * SECOND_US)
    bed.retrainer.look()
    assert caplog.text.count("train: waits; no label yet") == 2


def test_a_clock_that_is_put_back_holds_nothing_up(bed: Bed) -> None:
    """A stage that waits is asked at the next look, not when the clock is where it was."""
    bed.now_us = 3_600 * SECOND_US
    bed.steps.says = {Stage.TRAIN: Waits("no label yet")}
    bed.retrainer.begin(WHY)
    for _ in range(3):
        bed.retrainer.look()
    bed.now_us = SECOND_US
    bed.retrainer.look()
    assert bed.steps.ran == [Stage.COLLECT, Stage.TRAIN, Stage.TRAIN]


def test_what_a_failed_attempt_did_outside_is_taken_back(bed: Bed) -> None:
    """Before its end is written: a kill between the two repeats both."""
    bed.steps.says = {Stage.COLLECT: OperatorNeeded("no such table", "Migrate")}
    bed.retrainer.begin(WHY)
    assert bed.retrainer.look()
    ((stage, how),) = bed.steps.ends
    assert (stage, how.outcome) == (Stage.COLLECT, Outcome.FAILED)
    (attempt,) = bed.attempts
    assert attempt.over is not None
    assert (attempt.over.outcome, attempt.over.facts["labels"]) == (Outcome.FAILED, 5)
    assert Counted.last([attempt]) == Counted(5, {0: 9})
    assert "no such table" in attempt.over.reason


def test_a_dependency_that_is_away_ends_nothing(bed: Bed) -> None:
    """The stage is run again, and the attempt goes on."""
    bed.steps.says = {Stage.COLLECT: DependencyUnavailable("ClickHouse", "it is away")}
    bed.retrainer.begin(WHY)
    with pytest.raises(DependencyUnavailable):
        bed.retrainer.look()
    bed.steps.says = {}
    assert bed.retrainer.look()
    assert (bed.steps.ends, list(bed.attempts[0].done)) == ([], [Stage.COLLECT])


@pytest.mark.parametrize("asked", [False, True])
def test_one_attempt_is_about_every_incident_that_has_come(bed: Bed, asked: bool) -> None:
    """Also one that a person asked for; the newest of the changes is where it cuts."""
    bed.steps.new = [Opened(f"i-{n}", "concept_change", n * SECOND_US) for n in (1, 3, 2)]
    bed.steps.says = {Stage.COLLECT: Ended(Outcome.KEPT, "nothing better")}
    if asked:
        bed.ask(1)
        bed.hear(1)
    bed.settle(1)
    (attempt,) = bed.attempts
    assert attempt.trigger is (Trigger.MANUAL if asked else Trigger.INCIDENT)
    assert attempt.cause == {"incidents": ["i-1", "i-3", "i-2"], "since_us": 3 * SECOND_US}
    assert not bed.retrainer.look()
    assert len(bed.attempts) == 1


def test_what_people_ask_for_meanwhile_has_a_number_of_its_own(bed: Bed) -> None:
    """Two who saw the same log ask for the same number, and a third attempt begins beside them."""
    bed.ask(1)
    bed.ask(2)
    bed.steps.says = {Stage.COLLECT: Ended(Outcome.KEPT, "nothing better")}
    bed.hear(2)
    bed.retrainer.begin(WHY)
    bed.settle(3)
    assert [each.number for each in bed.attempts] == [1, 2, 3]
