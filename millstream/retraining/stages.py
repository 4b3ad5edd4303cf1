"""The stages of one retraining, and the log of all of them: NAME.retraining, folded.

    asked ─► collect ─► train ─► passport ─► register ─► shadow ─► judge ─► canary ─► promote
                └─────────┴──────────┴────────── over ◄─────┴─────────┴─────────┴──────────┘

Any stage may end the attempt: kept (the champion stays) or failed, with the reason; the last one
ends it as promoted. Each stage's start and its end are a record, under a key of its own, so that
compaction removes none. A stage that was started and has no end is run again by whoever comes
next; what it needs of those before it is in their records' facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from millstream.alerts.alarm import json_text, mapping, microseconds
from millstream.errors import InvariantBroken


class Stage(StrEnum):
    """In this order."""

    COLLECT = "collect"  # the labelled rows that everything else is about
    TRAIN = "train"  # fit candidates, compare them on held-back labels; a former champion may win
    PASSPORT = "passport"  # write the bundle, prove what may be relied on
    REGISTER = "register"  # the version is in the registry
    SHADOW = "shadow"  # it scores what the champion answers
    JUDGE = "judge"  # promote, reject or wait, by their matured labels
    CANARY = "canary"  # it answers a share of the keys, and is judged again
    PROMOTE = "promote"  # it is the champion


class Status(StrEnum):
    """What a record says of its stage."""

    ASKED = "asked"  # a person wants an attempt; its first record
    STARTED = "started"
    DONE = "done"
    OVER = "over"  # the whole attempt has ended in this stage


class Outcome(StrEnum):
    """How an attempt ended."""

    PROMOTED = "promoted"
    KEPT = "kept"  # the champion stays: nothing was better, or a gate said no
    FAILED = "failed"  # a stage could not be done


class Trigger(StrEnum):
    """Why an attempt began."""

    INCIDENT = "incident"
    SCHEDULE = "schedule"
    VOLUME = "volume"
    PERFORMANCE = "performance"
    BUSINESS = "business"
    MANUAL = "manual"


ORDER: Final = tuple(Stage)


@dataclass(frozen=True, slots=True)
class Step:
    """One record. number: of the attempt, 1, 2, 3... tries: how often the stage was started.

    facts: JSON's types; what the stage found out. reason: why it began, or why it is over.
    """

    attempt: str
    number: int
    stream: str
    stage: Stage
    status: Status
    trigger: Trigger
    reason: str
    at_us: int
    tries: int = 1
    outcome: Outcome | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    said_by: str = ""

    @property
    def key(self) -> str:
        """Its Kafka key."""
        return f"{self.attempt}/{self.stage}/{self.status}"

    def fields(self) -> dict[str, Any]:
        """By the contract's names; times are microseconds since 1970."""
        return {
            "attempt": self.attempt,
            "number": self.number,
            "stream": self.stream,
            "stage": self.stage.value,
            "status": self.status.value,
            "trigger": self.trigger.value,
            "reason": self.reason,
            "at": self.at_us,
            "tries": self.tries,
            "outcome": "" if self.outcome is None else self.outcome.value,
            "facts": json_text(self.facts),
            "said_by": self.said_by,
        }

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Step:
        """From the contract's values. Raises ValueError, KeyError or TypeError."""
        return cls(
            attempt=fields["attempt"],
            number=int(fields["number"]),
            stream=fields["stream"],
            stage=Stage(fields["stage"]),
            status=Status(fields["status"]),
            trigger=Trigger(fields["trigger"]),
            reason=fields["reason"],
            at_us=microseconds(fields["at"]),
            tries=int(fields["tries"]),
            outcome=Outcome(fields["outcome"]) if fields["outcome"] else None,
            facts=mapping(fields["facts"]),
            said_by=fields["said_by"],
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One retraining, as far as its records tell. done: stage -> its facts."""

    id: str
    number: int
    trigger: Trigger
    reason: str
    asked_us: int
    done: Mapping[Stage, Mapping[str, Any]] = field(default_factory=dict)
    running: Stage | None = None
    tries: int = 0
    over: Step | None = None
    begun: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the stage that is running, from its start."""
    cause: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the attempt's beginning: the incidents, and where the newest change began."""

    @property
    def next(self) -> Stage | None:
        """The stage to be run: the first that is not done; None: all are."""
        return next((stage for stage in ORDER if stage not in self.done), None)

    @property
    def is_open(self) -> bool:
        """Begun, and not over."""
        return self.over is None and (self.running is not None or bool(self.done))

    @property
    def trained(self) -> Mapping[str, Any]:
        """Facts of its training, also where that ended it; nothing where it did not come so far."""
        if Stage.TRAIN in self.done:
            return self.done[Stage.TRAIN]
        at_end = self.over is not None and self.over.stage is Stage.TRAIN
        return self.over.facts if self.over is not None and at_end else {}

    @property
    def due_in(self) -> int | None:
        """Labels behind its end at which the policy's next challenge is due; None where the attempt
        has failed, so that a fault does not begin one after another."""
        if self.over is None or self.over.outcome is Outcome.FAILED:
            return None
        due_in = self.trained.get("due_in")
        return None if due_in is None else int(due_in)

    def facts(self, stage: Stage) -> Mapping[str, Any]:
        """Of a stage that is done."""
        return self.done[stage]


class Log:
    """Every attempt, in the order in which they were begun or asked for."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._attempts: dict[str, Attempt] = {}

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """By number."""
        return tuple(sorted(self._attempts.values(), key=lambda one: one.number))

    @property
    def open(self) -> Attempt | None:
        """The one that is under way; there is never more than one."""
        return next((one for one in self.attempts if one.is_open), None)

    @property
    def asked(self) -> tuple[Attempt, ...]:
        """Those that people asked for and nobody has begun."""
        return tuple(one for one in self.attempts if one.over is None and not one.is_open)

    @property
    def number(self) -> int:
        """What the next attempt is called."""
        return max((one.number for one in self._attempts.values()), default=0) + 1

    def number_of(self, asked: Attempt) -> int:
        """What one that was asked for is called when it begins: no two have the same."""
        others = {one.number for one in self._attempts.values() if one.id != asked.id}
        return self.number if asked.number in others else asked.number

    def attempt(self, name: str) -> Attempt:
        """By its id."""
        return self._attempts[name]

    def add(self, step: Step) -> Attempt:
        """One record; a repeat of what is known changes nothing. Raises as `after`."""
        made = self._attempts[step.attempt] = self.after(step)
        return made

    def slim(self) -> None:
        """Of the policy's states and decisions, keep the newest attempt's: nothing goes on from
        those before, and a retrainer that runs for long has very many."""
        having = [one for one in self.attempts if "policy" in one.trained]
        for one in having[:-1]:
            if one.over is None:
                continue
            done = {stage: _without_policy(facts) for stage, facts in one.done.items()}
            over = replace(one.over, facts=_without_policy(one.over.facts))
            self._attempts[one.id] = replace(one, done=done, over=over)

    def after(self, step: Step) -> Attempt:
        """The attempt as this record would leave it. Raises InvariantBroken where it cannot follow
        what was there: two retrainers wrote, or records are missing."""
        known = self._attempts.get(step.attempt)
        if known is None:
            known = Attempt(step.attempt, step.number, step.trigger, step.reason, step.at_us)
        return self._moved(known, step)

    def _moved(self, known: Attempt, step: Step) -> Attempt:
        known_end = known.over is not None and step.status is Status.OVER
        known_stage = step.stage in known.done and step.status is not Status.OVER
        if step.status is Status.ASKED or known_end or known_stage:
            return known
        wrong = ""
        if known.over is not None:
            wrong = "the attempt is over"
        elif step.stage is not known.next and step.status is not Status.OVER:
            wrong = f"{known.next} comes first"
        elif step.status is not Status.STARTED and known.running is not step.stage:
            wrong = "the stage was not started"
        elif self.open is not None and self.open.id != known.id:
            wrong = f"attempt {self.open.number} is under way"
        if wrong:
            raise InvariantBroken(
                f"{self.stream}.retraining: attempt {step.number} has {step.stage} {step.status}, "
                f"but {wrong}",
                "Look at it with `millstream retrainings`; if two streams of one name share a "
                "broker, rename one",
            )
        if step.status is Status.STARTED:
            known = replace(known, running=step.stage, tries=step.tries, begun=step.facts)
            if step.stage is not Stage.COLLECT:
                return known
            # two people may have asked for the same number: the retrainer's word counts
            return replace(known, number=step.number, cause=step.facts)
        if step.status is Status.DONE:
            done = {**known.done, step.stage: step.facts}
            return replace(known, done=done, running=None, tries=0, begun={})
        return replace(known, running=None, over=step)


def _without_policy(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in facts.items() if name not in {"policy", "decisions"}}
