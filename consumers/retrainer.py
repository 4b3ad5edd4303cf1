"""The retrainer: why a stream is retrained, and each stage of it, one at a time.

Two programs of one stream cannot work at once: the later fences the earlier (retraining/log.py). A
stage runs between two records; publishers.py's steps are those of each record:
  started   steps 1 to 4; killed behind it, the stage is run again by whoever comes next
  the stage's own work: it may be done again at any time, and comes to the same
  done, or over   steps 1 to 4; killed before it, the work is done again; behind it, never
So what a stage does outside has an id made of the attempt's: a release that was written is found,
a version that was registered is the same.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from consumers.retraining.log import Journal
from millstream.errors import (
    ClientLost,
    DependencyUnavailable,
    InvariantBroken,
    OperatorNeeded,
    SettingsInvalid,
)
from millstream.retraining.stages import Attempt, Outcome, Stage, Status, Step, Trigger
from millstream.retraining.triggers import Counted, Fired, Opened, Readings, Triggers

LOOK_S: Final = 1.0
"""Between two looks for a reason, or at what people ask for."""
WAIT_S: Final = 3.0
"""Between two looks at a stage that waits, or at the readings that are no labels. Too low asks
ClickHouse for nothing; too high is late."""
SAY_S: Final = 30.0
"""Between two lines of the log that say what a stage waits for."""
BACKOFF_S_MAX: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """The stage is over, the next one may begin."""

    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """The whole attempt is over."""

    outcome: Outcome
    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waits:
    """Nothing can be done now; the stage is asked again."""

    reason: str


Result = Done | Ended | Waits


class Steps(Protocol):
    """What the stages do. `run` may be called again for a stage at any time, in another process.

    It raises OperatorNeeded where the attempt cannot go on, DependencyUnavailable where it can
    later.
    """

    def run(self, stage: Stage, attempt: Attempt) -> Result: ...
    def end(self, stage: Stage, attempt: Attempt, how: Ended) -> Ended:
        """The attempt is about to end so in this stage: what it did outside is taken back, unless
        it ends as promoted. It may be called again, as `run`."""
        ...

    def readings(self) -> Readings:
        """What the triggers judge."""
        ...

    def heard(self) -> Readings:
        """The same of labels alone: how many there are, and whether the policy hears a change."""
        ...

    def labels(self) -> Counted:
        """Labelled rows so far."""
        ...

    def incidents(self) -> list[Opened]:
        """Those that came since the last call, in which the loss rose."""
        ...

    def close(self) -> None: ...


class Retrainer:
    """journal: open. now_us: microseconds since 1970. said_by: who writes."""

    def __init__(
        self,
        journal: Journal,
        steps: Steps,
        triggers: Triggers,
        now_us: Callable[[], int],
        said_by: str,
    ) -> None:
        self._journal = journal
        self._steps = steps
        self._triggers = triggers
        self._now_us = now_us
        self._said_by = said_by
        self._mine: tuple[str, Stage] | None = None  # what this process has started
        self._waits_us: int | None = None  # when that, or the readings, came to nothing
        self._said_us: int | None = None  # when the log was told what the stage waits for
        self._fired: Fired | None = None  # what has no attempt yet
        triggers.recover(journal.log.attempts)

    def look(self) -> bool:
        """One stage of the attempt that is open, or else a reason to begin one; whether something
        was done. Raises DependencyUnavailable: look again later."""
        attempt = self._journal.log.open
        if attempt is not None:
            return self._advance(attempt)
        self._hear()
        asked = self._journal.log.asked
        if asked:
            number = self._journal.log.number_of(asked[0])
            self._open(replace(asked[0], number=number))
            return True
        # what has fired does not fire again: it is kept until its attempt is on the log
        if self._fired is None:
            self._fired = self._triggers.fire(self._read())
        if self._fired is None:
            return False
        self.begin(self._fired)
        return True

    def begin(self, fired: Fired) -> Attempt:
        """Open an attempt, about all incidents that have come. Raises InvariantBroken where one is
        open."""
        self._hear()  # what people asked for meanwhile has numbers, too
        number, now = self._journal.log.number, self._now_us()
        attempt = Attempt(
            attempt_id(self._journal.log.stream, number, now),
            number,
            fired.trigger,
            fired.reason,
            now,
        )
        _log.info("retraining %d begins: %s", number, fired.reason)
        return self._open(attempt, fired)

    def finish(self, attempt: Attempt, stop: threading.Event) -> Attempt:
        """Run its stages to the end, or until stopped."""
        while not stop.is_set():
            if self._journal.log.attempt(attempt.id).over is not None:
                break
            if not self._patiently(stop, self.look):
                stop.wait(LOOK_S)
        return self._journal.log.attempt(attempt.id)

    def run(self, stop: threading.Event, between: Callable[[], None] = lambda: None) -> None:
        """Look until stopped. between: what else is to be done, before each look."""
        while not stop.is_set():
            between()
            if not self._patiently(stop, self.look):
                stop.wait(LOOK_S)

    def _patiently(self, stop: threading.Event, call: Callable[[], bool]) -> bool:
        """Again and again where a dependency is away; raises what ends the process."""
        wait_s = LOOK_S
        while not stop.is_set():
            try:
                return call()
            except ClientLost:
                raise
            except DependencyUnavailable as why:
                _log.warning("%s; the stage is run again in %.0f s", why, wait_s)
                stop.wait(wait_s)
                wait_s = min(2.0 * wait_s, BACKOFF_S_MAX)
        return False

    def _soon(self) -> bool:
        """Whether it was looked at just now, and came to nothing. A clock that was put back says
        nothing of that."""
        return self._waits_us is not None and 0 <= self._now_us() - self._waits_us < WAIT_S * 1e6

    def _read(self) -> Readings:
        """The labels at every look, all readings now and then."""
        if self._soon():
            return self._steps.heard()
        readings = self._steps.readings()
        self._waits_us = self._now_us()
        return readings

    def _hear(self) -> None:
        for incident in self._steps.incidents():
            self._triggers.opened(incident)
        self._journal.hear()

    def _open(self, attempt: Attempt, fired: Fired | None = None) -> Attempt:
        about = self._triggers.waiting
        facts: dict[str, Any] = {}
        changes = [each.since_us for each in about]
        if about:
            facts["incidents"] = [each.id for each in about]
        if fired is not None and fired.since_us is not None:
            changes.append(fired.since_us)
        if changes:
            facts["since_us"] = max(changes)  # where the newest change began
        if fired is not None and fired.due:
            facts["due"] = True
        made = self._start(attempt, Stage.COLLECT, facts)
        self._triggers.told(about)
        self._fired = self._waits_us = None
        return made

    def _advance(self, attempt: Attempt) -> bool:
        stage = attempt.next
        if stage is None:
            raise InvariantBroken(
                f"retraining {attempt.number} of {self._journal.log.stream} has done every stage "
                "and is not over",
                "Look at it with `millstream retrainings`",
            )
        if self._mine != (attempt.id, stage):
            attempt = self._start(attempt, stage, attempt.begun if attempt.running else {})
        elif self._soon():
            return False
        self._waits_us = None
        try:
            result = self._steps.run(stage, attempt)
        except InvariantBroken:
            raise
        except OperatorNeeded as why:
            result = Ended(Outcome.FAILED, f"{stage}: {why}")
        if isinstance(result, Waits):
            self._waits_us = self._now_us()
            self._say(attempt, stage, result, self._waits_us)
            return False
        if isinstance(result, Ended):
            result = self._steps.end(stage, attempt, result)
        now = self._now_us()
        if isinstance(result, Done):
            step = self._step(attempt, stage, Status.DONE, attempt.reason, now)
            self._write(step, result.facts)
        else:
            facts = {**result.facts, **self._steps.labels().facts}
            step = self._step(attempt, stage, Status.OVER, result.reason, now, result.outcome)
            ended = self._write(step, facts)
            self._triggers.over(now, int(facts["labels"]), ended.due_in)
            _log.info("retraining %d: %s, %s", attempt.number, result.outcome, result.reason)
        self._mine = None
        return True

    def _say(self, attempt: Attempt, stage: Stage, waits: Waits, now_us: int) -> None:
        """What it waits for, at the first look and then now and then."""
        if self._said_us is None or not 0 <= now_us - self._said_us < SAY_S * 1e6:
            self._said_us = now_us
            _log.info("retraining %d, %s: waits; %s", attempt.number, stage, waits.reason)

    def _start(self, attempt: Attempt, stage: Stage, facts: Mapping[str, Any]) -> Attempt:
        tries = attempt.tries + 1 if attempt.running is stage else 1
        step = self._step(attempt, stage, Status.STARTED, attempt.reason, self._now_us(), None)
        made = self._write(step, facts, tries)
        self._mine, self._said_us = (attempt.id, stage), None
        return made

    def _step(
        self,
        attempt: Attempt,
        stage: Stage,
        status: Status,
        reason: str,
        at_us: int,
        outcome: Outcome | None = None,
    ) -> Step:
        return Step(
            attempt.id,
            attempt.number,
            self._journal.log.stream,
            stage,
            status,
            attempt.trigger,
            reason,
            at_us,
            outcome=outcome,
            said_by=self._said_by,
        )

    def _write(self, step: Step, facts: Mapping[str, Any], tries: int = 1) -> Attempt:
        return self._journal.write(replace(step, facts=facts, tries=tries))


def attempt_id(stream: str, number: int, at_us: int) -> str:
    """Of one attempt, 16 characters."""
    return hashlib.sha256(f"{stream}/{number}/{at_us}".encode()).hexdigest()[:16]


def asked_for(stream: str, number: int, reason: str, at_us: int, who: str) -> Step:
    """The record with which a person asks the running retrainer for an attempt."""
    if not reason.strip():
        raise SettingsInvalid("a retraining by hand has a reason", "Give --reason TEXT")
    return Step(
        attempt_id(stream, number, at_us),
        number,
        stream,
        Stage.COLLECT,
        Status.ASKED,
        Trigger.MANUAL,
        reason,
        at_us,
        said_by=who,
    )
