"""A retraining's stages, counted: each run, what came of it, and whether one is under way."""

from __future__ import annotations

import pytest

from consumers.metrics.instruments import Live
from consumers.retrainer import Done, Ended, Result, Waits
from consumers.retraining.seen import SeenSteps
from millstream.errors import BundleInvalid, DependencyUnavailable
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.retraining.stages import Attempt, Outcome, Stage, Trigger
from millstream.retraining.triggers import Counted, Opened, Readings

BEGAN = "millstream_retraining_stage_began_timestamp_seconds"
ATTEMPT = Attempt("a", 1, Trigger.MANUAL, "because", 0)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Script:
    """Stages that take 90 s and come to what is given, by turns."""

    def __init__(self, clock: Clock, live: Live, results: list[Result | Exception]) -> None:
        self.began: list[float] = []
        self.alive: list[list[str]] = []
        self._clock, self._live, self._results = clock, live, results

    def run(self, stage: Stage, attempt: Attempt) -> Result:
        """The next one."""
        self._clock.now += 90.0
        self.began.append(self._live.store.value(BEGAN))
        self.alive.append(self._live.health.why_not_live())
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def end(self, stage: Stage, attempt: Attempt, how: Ended) -> Ended:
        """Nothing is taken back."""
        return how

    def labels(self) -> Counted:
        """None."""
        return Counted()

    def readings(self) -> Readings:
        """None."""
        return Readings(0, 0, None, None, 0)

    def heard(self) -> Readings:
        """None."""
        return Readings(0, 0)

    def incidents(self) -> list[Opened]:
        """None."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def seen(*results: Result | Exception) -> tuple[SeenSteps, Script, Live]:
    """These stages under instruments whose loop may stand still for 10 s."""
    clock = Clock()
    live = Live(Store("retrain"), Health(clock, 10.0, needs_partitions=False))
    live.up()
    script = Script(clock, live, list(results))
    return SeenSteps(script, live, clock), script, live


def test_each_stage_is_counted_as_what_came_of_it() -> None:
    """A stage that waits is asked again and counts when it is over."""
    steps, _, live = seen(Waits("labels"), Done({}), Ended(Outcome.KEPT, "no better"))
    assert isinstance(steps.run(Stage.JUDGE, ATTEMPT), Waits)
    assert isinstance(steps.run(Stage.JUDGE, ATTEMPT), Done)
    assert isinstance(steps.run(Stage.TRAIN, ATTEMPT), Ended)
    store = live.store
    assert store.value("millstream_retraining_stages_total", stage="judge") == 1
    assert store.value("millstream_retraining_stage_seconds", stage="judge") == 1
    assert store.value("millstream_retraining_stage_seconds", stage="train") == 1
    assert store.value("millstream_retraining_attempts_total", outcome="kept") == 1
    assert store.value("millstream_retraining_attempts_total", outcome="failed") == 0


def test_what_a_person_must_mend_is_a_failed_attempt() -> None:
    """As the retrainer writes it; what is only away is an error, and not ready meanwhile."""
    steps, _, live = seen(
        DependencyUnavailable("ClickHouse", "it sleeps"), BundleInvalid("b", "mend it"), Done({})
    )
    with pytest.raises(DependencyUnavailable):
        steps.run(Stage.COLLECT, ATTEMPT)
    assert live.health.why_not_ready() == ["what the stage needs is away"]
    with pytest.raises(BundleInvalid):
        steps.run(Stage.PASSPORT, ATTEMPT)
    store = live.store
    assert store.value("millstream_retraining_errors_total", stage="collect") == 1
    assert store.value("millstream_retraining_attempts_total", outcome="failed") == 1
    steps.run(Stage.COLLECT, ATTEMPT)
    assert live.health.why_not_ready() == []


def test_a_stage_under_way_is_shown_and_alive() -> None:
    """However long it lasts; behind it the gauge is 0."""
    steps, script, live = seen(Done({}))
    steps.run(Stage.TRAIN, ATTEMPT)
    assert script.alive == [[]]
    assert script.began[0] > 1_700_000_000
    assert live.store.value(BEGAN) == 0.0
    assert live.health.why_not_live() == []


def test_a_look_for_reasons_is_a_turn_of_the_loop() -> None:
    """The retrainer has no loop of Kafka's."""
    steps, _, live = seen()
    steps.readings()
    steps.incidents()
    assert live.store.value("millstream_loop_turn_timestamp_seconds") > 1_700_000_000
    steps.close()
