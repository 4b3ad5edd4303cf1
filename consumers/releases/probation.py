"""New champions on probation, and back again without a hand where they do worse.

The one before scores beside the new champion (millstream/releases/probation.py) until the judge has
decided by the labels of both. A roll back has steps, each of which may be done again:

  1 the decision, with its evidence, is on NAME.decisions
  2 the alarm fires on NAME.alarms
  3 the version has a tag in the registry, so that it is not released again; the alias goes back
  4 the release that goes back is on NAME.releases: only this one changes who answers
  5 the alarm is resolved, when no partition is answered by that champion any more
Killed before 4, whoever comes next decides anew, by the same rows the same; behind it, the timeline
says that it is done, and what fires on NAME.alarms that 5 is not.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from consumers import judge
from consumers.alerts.alert import read_alarms
from consumers.alerts.log import Alarms
from consumers.models.registry import open_registry
from consumers.registry import Registry, subject_of
from consumers.releases.lineups import releasable
from consumers.releases.log import ReleaseLog, publish_release
from consumers.releases.releasing import ROLLED_BACK, own_reference
from consumers.topics import require_topics
from consumers.warehouse import Warehouse
from millstream.alerts.alarm import Alarm
from millstream.alerts.wire import Reader, Writer
from millstream.contracts import contract
from millstream.crash import CrashPoint
from millstream.errors import (
    BundleInvalid,
    DependencyUnavailable,
    InvariantBroken,
    OperatorNeeded,
)
from millstream.judging import alarms as alarm
from millstream.judging.evidence import Decision, Role, Verdict
from millstream.judging.records import DecisionRecord
from millstream.models.card import Card
from millstream.models.reference import ModelReference
from millstream.models.registry import TAG_CHARS_MAX, ModelRegistry
from millstream.releases.probation import Move, Probation, Said, moved, probation
from millstream.releases.release import AT_ONCE, Release
from millstream.releases.timeline import Timeline
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream

TOPICS: Final = ("releases", "decisions", "alarms", "labelled", "shadows")
LOOK_S: Final = 1.0
"""Between two looks at what was released."""
WAIT_S: Final = 5.0
"""Between two questions to ClickHouse. Too low asks for nothing; too high rolls back later."""
SETTLE_S: Final = 30.0
"""A release is left alone until every partition has switched to it; one that begins at once, no
longer than this, as a partition without events never switches. Too low takes its place before it
has answered; too high begins late."""
AGAIN_S: Final = 30.0
"""Before another try, where one failed."""
CHAMPION: Final = "champion"

_log = logging.getLogger(__name__)


class Probations:
    """Of one stream. now_us: microseconds since 1970. timeline: what was heard. Used by one thread.

    Raises OperatorNeeded where a topic is missing, DependencyUnavailable.
    """

    def __init__(
        self,
        stream: Stream,
        kafka: KafkaSettings,
        registry: Registry,
        warehouse: Warehouse,
        models: ModelRegistry,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        require_topics(stream, kafka, set(TOPICS))
        self._stream = stream
        self._kafka = kafka
        self._registry = registry
        self._warehouse = warehouse
        self._models = models
        self._now_us = now_us
        self._judge = judge.Judge(stream, warehouse, lambda: now_us() / 1e6)
        self._crash = CrashPoint("judge", os.environ)
        self._base = _base(stream, models)
        self._cards: dict[str, Card] = {}
        self._rests: tuple[int, int] | None = None  # from when to when it is not looked
        self._firing = self._fires()
        self.timeline = Timeline()
        self._log = ReleaseLog.open(stream, kafka, registry.schema)
        try:
            for entry in self._log.catch_up():
                self.timeline.add(entry)
        except BaseException:
            self._log.close()
            raise

    def tend(self) -> None:
        """`look`, whenever it is time; what fails is tried again later. Raises InvariantBroken."""
        now = self._now_us()
        if self._rests is not None and self._rests[0] <= now < self._rests[1]:
            return
        try:
            wait_s = LOOK_S if self.look() else WAIT_S
        except InvariantBroken:
            raise
        except (DependencyUnavailable, OperatorNeeded) as why:
            wait_s = AGAIN_S
            _log.warning("the new champion is not judged: %s; again in %.0f s", why, wait_s)
        self._rests = now, now + round(wait_s * 1e6)  # not before, where the clock is put back

    def look(self) -> bool:
        """What is to be done now; whether something was. Raises DependencyUnavailable or
        OperatorNeeded: look again later."""
        self.hear()
        done = self._resolve()
        now = probation(self.timeline, self._base)
        if now is None or now.is_over:
            return done
        if now.began is None:
            return self._begin(now) or done
        return self._decide(now, now.began) or done

    def hear(self) -> None:
        """What was released and switched since; never waits."""
        for entry in self._log.news():
            self.timeline.add(entry)

    def close(self) -> None:
        self._log.close()

    def _begin(self, now: Probation) -> bool:
        """The one before scores beside it from here on."""
        age_s = (self._now_us() - now.promotion.decided_us) / 1e6
        if age_s > self._stream.judge.probation_s or not self._settled():
            return False
        reason = f"{now.champion.label} is compared with {now.predecessor.label}, the one before it"
        self._move(now, Move.BEGIN, reason)
        return True

    def _decide(self, now: Probation, began: Release) -> bool:
        """By the labels so far; at the end of its time, it has passed."""
        late = self._now_us() - began.decided_us > self._stream.judge.probation_s * 1e6
        decision = self._judged(now)
        if decision is None:
            if late and self._settled():
                self._move(now, Move.KEEP, "nothing could be compared in its time")
                return True
            return False
        if decision.verdict is Verdict.HOLD and late:
            passed = f"in its time of {self._stream.judge.probation_s:,.0f} s"
            reason = f"not proven worse than its predecessor {passed}"
            decision = replace(decision, verdict=Verdict.KEEP, reason=reason)
        if decision.verdict is Verdict.ROLL_BACK:
            self._roll_back(now, DecisionRecord(decision, self._now_us()))
            return True
        if decision.verdict is Verdict.KEEP and self._settled():
            record = DecisionRecord(decision, self._now_us())
            judge.publish(self._stream, self._kafka, self._registry, [record])
            self._move(now, Move.KEEP, decision.reason, record)
            return True
        return False

    def _judged(self, now: Probation) -> Decision | None:
        """None where ClickHouse does not know yet that both score."""
        for contest in judge.contests(self._stream, self._warehouse):
            ours = contest.role is Role.PREDECESSOR and contest.champion.means(now.champion)
            if ours and contest.challenger.means(now.predecessor):
                cards = [self._card(contest.champion), self._card(contest.challenger)]
                return self._judge.decide(cards, contest)
        return None

    def _roll_back(self, now: Probation, record: DecisionRecord) -> None:
        """Steps 1 to 4."""
        _log.warning("%s is rolled back: %s", now.champion.label, record.decision.reason)
        judge.publish(self._stream, self._kafka, self._registry, [record])
        self._crash.after(1)
        fired = alarm.fired(record, now.promotion.id)
        self._tell(fired)
        self._firing[fired.id] = fired
        self._crash.after(2)
        self._mark(now, record)
        self._crash.after(3)
        self._move(now, Move.BACK, record.decision.reason, record)
        self._crash.after(4)

    def _mark(self, now: Probation, record: DecisionRecord) -> None:
        """Step 3. A model that the registry does not know has no version to be marked."""
        champion, predecessor = now.champion, now.predecessor
        said = f"decision {record.id}: {record.decision.reason}"[:TAG_CHARS_MAX]
        try:
            self._models.tag(champion.name, champion.version, ROLLED_BACK, said)
            meant = self._models.alias(champion.name, CHAMPION)
            if meant is not None and meant.means(champion) and predecessor.name == champion.name:
                self._models.set_alias(predecessor.name, CHAMPION, predecessor.version)
        except BundleInvalid as why:
            _log.warning("the registry is left as it is: %s", why)

    def _move(
        self, now: Probation, move: Move, reason: str, record: DecisionRecord | None = None
    ) -> None:
        """Write the release, unless who answers has changed meanwhile."""
        evidence: dict[str, Any] = {
            "promotion": now.promotion.id,
            "predecessor": now.predecessor.label,
        }
        if record is not None:
            found = record.decision.evidence.finding
            numbers = {"rows": found.rows, "difference": found.difference}
            evidence |= {"decision": record.id, **numbers}
        said = Said(reason, evidence, self._now_us())
        made = publish_release(
            self._stream,
            self._kafka,
            self._registry,
            lambda known: moved(known, self._base, now.promotion, move, said),
        )
        self.timeline.add(made)
        _log.info("release %d: %s (%s)", made.number, made.champion.label, made.reason)

    def _settled(self) -> bool:
        """Whether the newest release has answered where it can: another one may take its place."""
        newest = self.timeline.newest
        assert newest is not None
        last = [self.timeline.last(p) for p in range(self._stream.serving.partitions)]
        if all(one is not None and one.release.number >= newest.number for one in last):
            return True
        return newest.effective == AT_ONCE and self._now_us() - newest.decided_us > SETTLE_S * 1e6

    def _resolve(self) -> bool:
        """Step 5."""
        over = [each for each in self._firing.values() if not self._answers(each)]
        for each in over:
            self._tell(alarm.resolved(each, self._now_us()))
            del self._firing[each.id]
            self._crash.after(5)
        return bool(over)

    def _answers(self, firing: Alarm) -> bool:
        """Whether the champion that it is about answers, or shall, anywhere."""
        newest = self.timeline.newest
        last = [self.timeline.last(p) for p in range(self._stream.serving.partitions)]
        champions = [one.release.champion for one in last if one is not None]
        champions += [newest.champion] if newest is not None else []
        about = (firing.labels["model"], firing.evidence.get("champion_digest"))
        return any((each.label, each.digest) == about for each in champions)

    def _tell(self, said: Alarm) -> None:
        topic = self._stream.topic("alarms")
        schema_id = self._registry.register(subject_of(topic), contract("alarm").text)
        Alarms(self._kafka, topic, Writer("alarm", schema_id)).write([said])

    def _fires(self) -> dict[str, Alarm]:
        """Alarms of ours that are not resolved."""
        newest: dict[str, Alarm] = {}
        for each in read_alarms(self._kafka, self._stream, Reader(self._registry.schema)):
            if each.rule == alarm.RULE and each.source == "judge":
                newest[each.id] = each
        return {name: each for name, each in newest.items() if each.firing}

    def _card(self, model: ModelReference) -> Card:
        if model.digest not in self._cards:
            self._cards[model.digest] = releasable(self._stream, model).card
        return self._cards[model.digest]


def _base(stream: Stream, models: ModelRegistry) -> ModelReference | None:
    """The bundle of stream.toml, where it can be released again."""
    try:
        return own_reference(stream, models)
    except BundleInvalid as why:
        _log.warning("whoever takes the place of stream.toml's bundle is on no probation: %s", why)
        return None


@contextmanager
def tended(
    stream: Stream, kafka: KafkaSettings, registry: Registry, warehouse: Warehouse
) -> Iterator[Callable[[], None]]:
    """What is to be called again and again; it does nothing where [judge] probation is off."""
    if not stream.judge.probation:
        yield lambda: None
        return
    made = Probations(stream, kafka, registry, warehouse, open_registry(stream))
    try:
        yield made.tend
    finally:
        made.close()


def run_probations(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    warehouse_settings: WarehouseSettings,
    stop: threading.Event,
    ready: Callable[[object], None] = lambda _: None,
) -> None:
    """Judge new champions until stopped. Raises OperatorNeeded before anything where a part is
    missing."""
    registry = Registry(registry_settings)
    warehouse = Warehouse.connect(warehouse_settings)
    try:
        with tended(stream, kafka, registry, warehouse) as tend:
            ready(tend)
            while not stop.is_set():
                tend()
                stop.wait(LOOK_S)
    finally:
        warehouse.close()
        registry.close()
