"""What the feeder listens to: retrainings, incidents, releases and their switches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from consumers.alerts.log import Follower, value_of
from consumers.registry import Registry
from consumers.releases.log import ReleaseLog
from consumers.retraining.steps import HARMFUL
from millstream.alerts import wire
from millstream.errors import RecordRefused
from millstream.releases.release import Switch
from millstream.releases.timeline import Timeline
from millstream.retraining.stages import Attempt, Log, Stage, Status, Step
from millstream.settings import KafkaSettings
from millstream.stream import Stream

WAITING: Final = frozenset({Stage.JUDGE, Stage.CANARY})
"""Stages that wait for labels where there is a trial: time must not stand still for them. Without
one they are passed through in an instant, in which nothing may be sent."""


@dataclass(slots=True)
class Retrainings:
    """NAME.retraining as far as it was read, and the incidents that nobody has retrained for.

    ended: labels when the last attempt was over. due_in: labels behind it at which its policy has
    the next challenge, None where it does not say. released: number of the newest release that an
    attempt has told of. trial: whether candidates are shadowed, judged and tried.
    """

    log: Log
    trial: bool
    ended: int = 0
    due_in: int | None = None
    released: int = 0
    incidents: dict[str, None] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    _began: dict[tuple[str, Stage], int] = field(default_factory=dict)
    _took: dict[Stage, list[float]] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """One record. Raises InvariantBroken where it cannot follow what was there."""
        attempt = self.log.add(step)
        key = (step.attempt, step.stage)
        if step.status is Status.STARTED:
            self._began[key] = step.at_us
            if step.stage is Stage.COLLECT:
                self.incidents.clear()  # it began behind them: it is about them, or they are late
            return
        if key in self._began:
            took = (step.at_us - self._began.pop(key)) / 1e6
            self._took.setdefault(step.stage, []).append(took)
        self.released = max(self.released, int(step.facts.get("number", 0)))
        if step.status is Status.OVER:
            self.ended = max(self.ended, int(step.facts.get("labels", 0)))
            self.due_in = attempt.due_in

    def opened(self, incident: str) -> None:
        """An incident in which the loss rose."""
        if incident not in self.told:
            self.told.add(incident)
            self.incidents[incident] = None

    @property
    def computes(self) -> bool:
        """Whether an attempt is at a stage that more labels do nothing for."""
        return self.log.open is not None and not self.waits

    @property
    def waits(self) -> bool:
        """Whether an attempt is at a stage that waits for labels."""
        attempt = self.log.open
        return self.trial and attempt is not None and attempt.running in WAITING

    def due(self, schedule: int) -> int:
        """Labels at which the next attempt is due."""
        return self.ended + (schedule if self.due_in is None else self.due_in)

    def is_owed(self, labels: int, schedule: int) -> bool:
        """Whether the retrainer has a reason to begin, and has not begun."""
        if self.log.open is not None:
            return False
        return labels >= self.due(schedule) or bool(self.incidents)

    @property
    def over(self) -> list[Attempt]:
        """The attempts that have ended, by number."""
        return [one for one in self.log.attempts if one.over is not None]

    def outcomes(self) -> dict[str, int]:
        """How many ended how."""
        return dict(Counter(str(one.over.outcome) for one in self.over if one.over))

    def triggers(self) -> dict[str, int]:
        """How many began why."""
        return dict(Counter(one.trigger.value for one in self.log.attempts))

    def failures(self) -> list[str]:
        """Why attempts failed, each reason once."""
        ends = [one.over for one in self.over if one.over]
        return sorted({end.reason for end in ends if str(end.outcome) == "failed"})

    def seconds(self) -> dict[str, float]:
        """Stage -> the median of what it took."""
        return {stage.value: round(median(took), 2) for stage, took in self._took.items()}


class Ears:
    """Reads the topics from their beginning on; used by one thread."""

    def __init__(self, stream: Stream, kafka: KafkaSettings, registry: Registry) -> None:
        self.retrainings = Retrainings(Log(stream.name), stream.retrain.shadow)
        self.timeline = Timeline()
        self._reader = wire.Reader(registry.schema)
        with ExitStack() as exits:
            name = f"{stream.name}-bench"
            self._steps = Follower(kafka, stream.topic("retraining"), f"{name}-retraining")
            exits.callback(self._steps.close)
            self._incidents = Follower(kafka, stream.topic("incidents"), f"{name}-incidents")
            exits.callback(self._incidents.close)
            self._releases = ReleaseLog.open(stream, kafka, registry.schema)
            exits.callback(self._releases.close)
            self._exits = exits.pop_all()

    def hear(self) -> None:
        """Take what is there; never waits."""
        for record in self._incidents.take(0.0):
            try:
                incident = self._reader.incident(value_of(record))
            except RecordRefused:
                continue
            if incident.verdict in HARMFUL and not incident.resolved:
                self.retrainings.opened(incident.id)
        for record in self._steps.take(0.0):
            self.retrainings.add(Step.of(self._reader.fields(value_of(record))))
        for entry in self._releases.news():
            self.timeline.add(entry)

    @property
    def switching(self) -> bool:
        """Whether a release waits for its first event, or was told of and is not read yet."""
        newest = self.timeline.newest
        if (newest.number if newest else 0) < self.retrainings.released:
            return True
        waiting = self.timeline.pending(0)
        failed = {failure.release.number for failure in self.timeline.failures}
        return any(release.number not in failed for release in waiting)

    def swaps(self) -> list[Switch]:
        """Switches that changed the champion."""
        found: list[Switch] = []
        for switch in self.timeline.switches:
            digest = found[-1].release.champion.digest if found else ""
            if switch.release.champion.digest != digest:
                found.append(switch)
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._exits.close()


def await_true(
    asked: Callable[[], bool], within_s: float, look: Callable[[], None], wait_s: float = 0.03
) -> bool:
    """Ask until it is so, or the time is up; whether it is so. look: done before each question."""
    deadline = time.monotonic() + within_s
    while True:
        look()
        if asked():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(wait_s)
