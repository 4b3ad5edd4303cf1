"""What the stages of a retraining do: its models (models.py), then releases and judges.

A stage that waits asks its judge again and again, which reads only what is new (judge.Judge). The
decision that ends a stage is a record of NAME.decisions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from consumers import judge
from consumers.alerts.log import Follower, value_of
from consumers.retrainer import Done, Ended, Result, Waits
from consumers.retraining.listening import Listener
from consumers.retraining.models import Models, Parts
from consumers.retraining.readings import (
    count_answered,
    count_labels,
    count_so_far,
    take_readings,
)
from consumers.retraining.releases import CANARY, PROMOTE, REJECT, SHADOW, Releases, Step
from millstream.alerts import wire
from millstream.drift.verdict import Verdict as Cause
from millstream.errors import BundleInvalid, InvariantBroken, OperatorNeeded, RecordRefused
from millstream.judging.evidence import Decision, Verdict
from millstream.judging.records import DecisionRecord
from millstream.models.bundle import Bundle
from millstream.models.reference import ModelReference
from millstream.releases.release import Release
from millstream.retraining.stages import Attempt, Outcome, Stage
from millstream.retraining.triggers import Counted, Opened, Readings

HARMFUL: Final = {Cause.HARMFUL_SHIFT.value, Cause.CONCEPT_CHANGE.value}
CHAMPION: Final = "champion"
_RELEASED: Final = (Stage.SHADOW, Stage.JUDGE, Stage.CANARY, Stage.PROMOTE)
"""Stages in which the candidate may be beside the champion."""

_log = logging.getLogger(__name__)


class StreamSteps:
    """consumers/retrainer.py's Steps on the real parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stream = parts.stream
        self._releases = Releases(
            parts.stream, parts.kafka, parts.registry, parts.models, parts.now_us
        )
        self._models = Models(parts, self._releases)
        self._listener = Listener(parts, self._releases, self._models)
        self._judged = judge.Judge(
            parts.stream, parts.warehouse, lambda: parts.now_us() / 1_000_000
        )
        self._checked: tuple[str, Stage] | None = None  # not overtaken when it began here
        self._reader = wire.Reader(parts.registry.schema)
        topic, group = parts.stream.topic("incidents"), f"{parts.stream.name}-retrain-incidents"
        self._follower = Follower(parts.kafka, topic, group)
        self._run: dict[Stage, Callable[[Attempt], Result]] = {
            Stage.COLLECT: self._models.collect,
            Stage.TRAIN: self._models.train,
            Stage.PASSPORT: self._passport,
            Stage.REGISTER: self._register,
            Stage.SHADOW: self._shadow,
            Stage.JUDGE: self._judge,
            Stage.CANARY: self._canary,
            Stage.PROMOTE: self._promote,
        }

    def run(self, stage: Stage, attempt: Attempt) -> Result:
        """One stage; see the protocol."""
        if stage in _RELEASED and self._checked != (attempt.id, stage):
            ended = self._ended_outside(attempt)
            if ended is not None:
                return ended
            self._checked = (attempt.id, stage)
        return self._run[stage](attempt)

    def end(self, stage: Stage, attempt: Attempt, how: Ended) -> Ended:
        """The champion answers alone again, unless the candidate is it; see the protocol."""
        if how.outcome is Outcome.PROMOTED or stage not in _RELEASED:
            return how
        try:
            self._releases.let_go(attempt, how.outcome, how.reason)
        except InvariantBroken:
            raise
        except OperatorNeeded as why:
            reason = f"{how.reason}; and the champion could not be released alone: {why}"
            return Ended(Outcome.FAILED, reason, how.facts)
        return how

    def readings(self) -> Readings:
        """From ClickHouse."""
        now_us, trained = self._parts.now_us(), self._trained()
        found = take_readings(self._stream, self._parts.warehouse, now_us, trained, self._counted())
        return replace(found, change_us=self._listener.listen(found.labels))

    def heard(self) -> Readings:
        """From ClickHouse."""
        labels = count_labels(self._stream, self._parts.warehouse, self._counted())
        change_us = self._listener.listen(labels)
        return Readings(self._parts.now_us(), labels, trained=self._trained(), change_us=change_us)

    def labels(self) -> Counted:
        """From ClickHouse."""
        return count_so_far(self._stream, self._parts.warehouse, self._counted())

    def incidents(self) -> list[Opened]:
        """The topic from its beginning: which ones were told is in the log."""
        follower = self._follower
        found = []
        for record in follower.take(0.0) if follower.caught_up else follower.to_end():
            try:
                incident = self._reader.incident(value_of(record))
            except RecordRefused:
                continue  # the alert program tells of it
            if incident.verdict in HARMFUL and not incident.resolved:
                opened = Opened(incident.id, incident.verdict, incident.started_us or 0)
                found.append(opened)
        return found

    def close(self) -> None:
        self._follower.close()
        self._releases.close()
        self._models.close()

    def _counted(self) -> Counted:
        return Counted.last(self._parts.log.attempts)

    def _trained(self) -> int:
        for attempt in reversed(self._parts.log.attempts):
            if attempt.over is not None and attempt.over.outcome is Outcome.PROMOTED:
                return int(attempt.over.facts.get("labels", 0))
        return 0

    def _passport(self, attempt: Attempt) -> Result:
        if "reference" in attempt.facts(Stage.TRAIN):
            return Done({"skipped": "a former champion has its passport"})
        bundle, passport = self._models.write(attempt)
        if not passport.passed:
            return Ended(Outcome.FAILED, f"its passport fails: {passport.first_failure}")
        return Done({"digest": bundle.digest})

    def _register(self, attempt: Attempt) -> Result:
        trained = attempt.facts(Stage.TRAIN)
        if "reference" in trained:
            return Done({"skipped": "it is registered", "reference": trained["reference"]})
        folder = self._models.folder(attempt)
        digest = attempt.facts(Stage.PASSPORT)["digest"]
        try:
            whole = Bundle.load(folder).digest == digest
        except BundleInvalid:
            whole = False
        if not whole:
            self._models.write(attempt)
        tags = {"retraining": attempt.id, "trigger": attempt.trigger.value}
        return Done({"reference": self._parts.models.add(folder, tags).as_dict()})

    def _shadow(self, attempt: Attempt) -> Result:
        if not self._stream.retrain.shadow:
            return Done({"skipped": "[retrain] shadow is off"})
        release = self._releases.make(attempt, Step(SHADOW, _reference(attempt), 0.0))
        if release is not None:
            return Done(_said(release))
        rival = self._releases.rival()
        if rival is None or rival.challenger is None:
            return self._overtaken()
        who = f"by {rival.decided_by or 'nobody named'}"
        reason = f"release {rival.number} ({who}) has {rival.challenger.label} on trial"
        if self._parts.now_us() - attempt.asked_us > self._stream.retrain.patience_s * 1e6:
            return Ended(Outcome.KEPT, f"{reason}, and it was waited for in vain")
        return Waits(reason)

    def _judge(self, attempt: Attempt) -> Result:
        if not self._stream.retrain.shadow:
            return Done({"skipped": "the comparison on held-back labels decides"})
        return self._decided(attempt, Stage.SHADOW)

    def _canary(self, attempt: Attempt) -> Result:
        """Labels behind its switches are counted, not the judge's rows: those have a maximum."""
        table = self._stream.retrain
        if not table.shadow or not table.canary_share:
            return Done({"skipped": "[retrain] asks for no canary"})
        step = Step(CANARY, _reference(attempt), table.canary_share)
        release = self._releases.make(attempt, step)
        if release is None:
            return self._overtaken()
        result = self._decided(attempt, Stage.JUDGE, release)
        if isinstance(result, Done):
            return Done({**_said(release), **result.facts})
        return result

    def _decided(self, attempt: Attempt, since: Stage, canary: Release | None = None) -> Result:
        """What the judges say; a canary waits for its labels, too."""
        stream, warehouse, now_us = self._stream, self._parts.warehouse, self._parts.now_us()
        began_us = int(attempt.facts(since).get("at_us", now_us))
        late = now_us - began_us > stream.retrain.patience_s * 1e6
        wanted = stream.retrain.canary_labels if canary else 0
        labels = count_answered(stream, warehouse, canary.number) if canary else 0
        if canary and not labels and not late:
            return Waits("no event behind its switches has a label yet")
        decision = self._decision(_reference(attempt))
        if decision is None:
            nobody = Ended(Outcome.KEPT, "nobody scored it in time") if late else None
            waits = Waits("no partition has switched to it yet")
            return self._ended_outside(attempt) or nobody or waits
        if decision.verdict is Verdict.REJECT:
            return self._kept(decision, decision.reason)
        if decision.verdict is Verdict.PROMOTE and labels >= wanted:
            self._publish(decision)
            rows = decision.evidence.finding.rows
            return Done({"rows": rows, "at_us": now_us, "evidence": decision.as_json()})
        if late:
            return self._kept(decision, f"not decided in time: {decision.reason}")
        return Waits(f"{decision.reason}; {labels:,} of {wanted:,} labels of the canary")

    def _decision(self, ours: ModelReference) -> Decision | None:
        stream, warehouse = self._stream, self._parts.warehouse
        for contest in judge.contests(stream, warehouse):
            if contest.challenger.means(ours):
                cards = [self._models.bundle(one).card for one in (contest.champion, ours)]
                return self._judged.decide(cards, contest)
        return None

    def _kept(self, decision: Decision, reason: str) -> Ended:
        self._publish(decision)
        return Ended(Outcome.KEPT, reason, {"evidence": decision.as_json()})

    def _publish(self, decision: Decision) -> None:
        parts = self._parts
        record = DecisionRecord(decision, parts.now_us())
        judge.publish(parts.stream, parts.kafka, parts.registry, [record])

    def _ended_outside(self, attempt: Attempt) -> Ended | None:
        """What the releases say: a dead process had let it go, or somebody else took its place."""
        if self._releases.made(attempt, PROMOTE) is not None:
            return None
        rejected = self._releases.made(attempt, REJECT)
        if rejected is not None:
            return Ended(Outcome(rejected.evidence["outcome"]), rejected.reason)
        other = self._releases.overtaken(attempt)
        if other is None:
            return self._displaced(attempt)
        said = f"release {other.number} ({other.kind}, by {other.decided_by or 'nobody named'})"
        if other.champion.means(_reference(attempt)):
            return Ended(Outcome.PROMOTED, f"{said} made it the champion", _said(other))
        return Ended(Outcome.KEPT, f"{said} took its place")

    def _overtaken(self) -> Result:
        """Somebody released between the look at the releases and ours: they are looked at again."""
        self._checked = None
        return Waits("somebody else released just now")

    def _displaced(self, attempt: Attempt) -> Ended | None:
        """Without a shadow nobody compares the candidate with who became the champion meanwhile."""
        against = attempt.facts(Stage.TRAIN).get("against")
        if self._stream.retrain.shadow or against is None:
            return None
        champion = self._releases.champion()
        if champion.digest == against or champion.means(_reference(attempt)):
            return None
        return Ended(Outcome.KEPT, f"{champion.label} became the champion meanwhile")

    def _promote(self, attempt: Attempt) -> Result:
        ours = _reference(attempt)
        against = None if self._stream.retrain.shadow else attempt.facts(Stage.TRAIN).get("against")
        release = self._releases.make(attempt, Step(PROMOTE, ours, shadows=(), against=against))
        if release is None:
            return self._overtaken()
        facts = _said(release)
        try:
            self._parts.models.set_alias(ours.name, CHAMPION, ours.version)
        except InvariantBroken:
            raise
        except OperatorNeeded as why:  # it answers all the same
            _log.warning("the registry's champion is not %s: %s", ours.label, why)
            facts["alias"] = str(why)
        reason = f"{ours.label} answers from release {release.number} on"
        return Ended(Outcome.PROMOTED, reason, facts)


def _said(release: Release) -> dict[str, Any]:
    """Of a stage's facts."""
    return {"release": release.id, "number": release.number, "at_us": release.decided_us}


def _reference(attempt: Attempt) -> ModelReference:
    return ModelReference(**attempt.facts(Stage.REGISTER)["reference"])
