"""The alert program: rules and incidents become alarms; couriers tell people of them.

  1. what fires is read from NAME.alarms: the topic is the state
  2. incidents, and rules looked at on a schedule, go to the engine (millstream/alerts/engine.py)
  3. each change is written to NAME.alarms and waited for
  4. only then are the incidents' offsets committed
A crash before 3 leaves nothing: the change is found again. Between 3 and 4 an incident is read
again, and the engine, which has its alarm from the topic, says nothing. Each channel then reads the
topic for itself (courier.py), and tells of alarms whoever wrote them: verify does too.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, Message, TopicPartition

from consumers.alerts.channels import channels
from consumers.alerts.courier import Courier, now_us
from consumers.alerts.log import Alarms, Follower, value_of
from consumers.alerts.rules import Measures
from consumers.kafka import ask, consumer_config
from consumers.loop import Assignment, Loop
from consumers.metrics.instruments import current
from consumers.registry import Registry, subject_of
from consumers.topics import kinds_there, require_topics
from millstream.alerts.alarm import Alarm, Severity
from millstream.alerts.engine import Engine
from millstream.alerts.rules import Rule
from millstream.alerts.silence import Silence
from millstream.alerts.wire import Reader, Writer
from millstream.contracts import contract
from millstream.errors import ClientLost, MillstreamError, RecordRefused
from millstream.metrics.store import Store
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import (
    AlertsSettings,
    KafkaSettings,
    RegistrySettings,
    WarehouseSettings,
)
from millstream.stream import Stream

_log = logging.getLogger(__name__)


class Silences:
    """The silences of NAME.silences: the newest record of each id."""

    def __init__(self, kafka: KafkaSettings, stream: Stream, reader: Reader) -> None:
        self._reader = reader
        self._found: dict[str, Silence] = {}
        self._current: tuple[Silence, ...] = ()
        name = f"{stream.name}-alert-silences"
        self._follower = Follower(kafka, stream.topic("silences"), name)
        self._take(self._follower.to_end())

    @property
    def current(self) -> tuple[Silence, ...]:
        """All of them, also those that are over: whoever was silenced then asks."""
        return self._current

    def look(self) -> None:
        """Take what was written since, without waiting."""
        self._take(self._follower.take(0.0))

    def close(self) -> None:
        self._follower.close()

    def _take(self, records: Sequence[Message]) -> None:
        for record in records:
            try:
                silence = self._reader.silence(value_of(record))
            except RecordRefused as why:
                if record.value() is not None:
                    _log.error("a record of %s is no silence: %s", self._follower.topic, why.reason)
                continue
            self._found[silence.id] = silence
        if records:
            self._current = tuple(self._found.values())


class Alert:
    """The loop's program: incidents to alarms, and between polls one rule that is due.

    topic: that of the incidents, or one whose records are passed over (see `_input`).
    looks, failed: how many rules were looked at, and could not be, for whoever shows it.
    """

    guarded: frozenset[str] = frozenset()
    records_max = 500

    def __init__(
        self,
        topic: str,
        engine: Engine,
        rules: Sequence[Rule],
        measures: Measures,
        alarms: Alarms,
        reader: Reader,
        assignment: Assignment,
    ) -> None:
        self.topics: tuple[str, ...] = (topic,)
        self.looks = 0
        self.failed = 0
        self._engine = engine
        self._due_us = dict.fromkeys((rule.name for rule in rules), 0)
        self._rules = {rule.name: rule for rule in rules}
        self._measures = measures
        self._alarms = alarms
        self._reader = reader
        self._assignment = assignment
        self._between: list[Callable[[], None]] = []
        self._dropped = 0

    def between(self, call: Callable[[], None]) -> None:
        """Something more to do after each poll."""
        self._between.append(call)

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """At the group's committed offsets."""
        return dict.fromkeys(partitions)

    def leave(self, partitions: list[Partition]) -> None:
        """Nothing is in hand between two batches."""

    def rewind(self) -> None:
        """Back to the committed offsets."""
        self._assignment.rewind_to_committed()

    def drain(self) -> None:
        """Nothing is in hand between two batches."""

    def take(self, batch: list[Records]) -> None:
        """Steps 2 to 4."""
        for records in batch:
            if not records.topic.endswith(".incidents"):
                continue
            changes: list[Alarm] = []
            for value, offset in zip(records.values, records.offsets.tolist(), strict=True):
                try:
                    incident = self._reader.incident(value)
                except RecordRefused as why:
                    _log.error("offset %d of %s: %s", offset, records.topic, why.reason)
                    continue
                changes += self._engine.incident(incident, now_us())
            self._write(changes)
            self._finish(records)

    def _finish(self, records: Records) -> None:
        """Step 4."""
        offsets = records.next_offsets()
        parts = [TopicPartition(records.topic, p, o) for p, o in offsets.items()]
        consumer = self._assignment.consumer
        ask("committing", lambda: consumer.commit(offsets=parts, asynchronous=False))
        for partition, offset in offsets.items():
            self._assignment.positions.finish((records.topic, partition), offset)

    def idle(self) -> None:
        """The rule that has waited longest, if one is due: polls go on between two of them."""
        for call in self._between:
            call()
        name = min(self._due_us, key=lambda n: self._due_us[n], default=None)
        if name is None or self._due_us[name] > now_us():
            return
        rule = self._rules[name]
        self._due_us[name] = now_us() + round(rule.every_s * 1_000_000)
        self._write(self._looked(rule))
        self.looks += 1
        if self._engine.dropped > self._dropped:
            self._dropped = self._engine.dropped
            _log.warning("rule %s has too many subjects: some are not followed", rule.name)

    def show(self, store: Store) -> None:
        """What fires and what was looked at, as numbers."""
        severities = [alarm.severity for alarm in self._engine.firing]
        for severity in Severity:
            store.set(
                "millstream_alerts_firing", severities.count(severity), severity=severity.value
            )
        store.total("millstream_alerts_looks_total", self.looks)
        store.total("millstream_alerts_rules_failed_total", self.failed)

    def _looked(self, rule: Rule) -> list[Alarm]:
        try:
            readings = self._measures.readings(rule)
        except ClientLost:
            raise
        except MillstreamError as why:
            self.failed += 1
            return self._engine.failed(rule, str(why), now_us())
        return self._engine.observe(rule, readings, now_us())

    def _write(self, changes: list[Alarm]) -> None:
        if changes:
            self._alarms.write(changes)
        for alarm in changes:
            _log.info("%s %s: %s", alarm.status.value, alarm.rule, alarm.summary)


def run_alert(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    warehouse_settings: WarehouseSettings,
    settings: AlertsSettings,
    stop: threading.Event,
    ready: Callable[[Alert], None] = lambda _: None,
) -> None:
    """Watch and tell until `stop` is set. ready: called when everything is up.

    One program a stream: a second of the same slot ends the first.
    Raises OperatorNeeded before anything is told where a topic is missing, ClientLost where the
    process must be started again.
    """
    require_topics(stream, kafka, {"alarms", "silences"})
    registry = Registry(registry_settings)
    reader = Reader(registry.schema)
    topic = stream.topic("alarms")
    schema_id = registry.register(subject_of(topic), contract("alarm").text)
    alarms = Alarms(kafka, topic, Writer("alarm", schema_id))
    engine = Engine(stream.name, stream.alerts)
    engine.recover(read_alarms(kafka, stream, reader))
    over = engine.retire(now_us())
    if over:
        alarms.write(over)
    silences = Silences(kafka, stream, reader)
    couriers = [
        Courier(channel, stream, kafka, registry.schema, settings, lambda: silences.current)
        for channel in channels(settings)
    ]
    measures = Measures(stream, kafka, warehouse_settings)
    group = f"{stream.name}-alert"
    consumer = Consumer(consumer_config(kafka, group, f"{group}-{settings.slot}"))
    assignment = Assignment(consumer)
    rules = stream.alerts.scheduled()
    program = Alert(_input(stream, kafka), engine, rules, measures, alarms, reader, assignment)
    program.between(silences.look)
    program.between(lambda: _raise_first(couriers))

    def show(store: Store) -> None:
        program.show(store)
        for courier in couriers:
            courier.show(store)

    names = ", ".join(courier.channel.name for courier in couriers) or f"nobody but {topic}"
    _log.info("%d rules, %d firing; telling %s", len(rules), len(engine.firing), names)
    try:
        for courier in couriers:
            courier.start()
        ready(program)
        Loop(assignment, current().around(program, assignment, show), stop).run()
    finally:
        for courier in couriers:
            courier.stop()
        silences.close()
        measures.close()
        registry.close()


def read_alarms(kafka: KafkaSettings, stream: Stream, reader: Reader) -> list[Alarm]:
    """Every alarm that the topic holds, each one's revisions in order."""
    follower = Follower(kafka, stream.topic("alarms"), f"{stream.name}-alert-reader")
    found = []
    try:
        for record in follower.to_end():
            try:
                found.append(reader.alarm(value_of(record)))
            except RecordRefused as why:
                where = f"{follower.topic}-{record.partition()}:{record.offset()}"
                _log.warning("%s is no alarm: %s", where, why.reason)
    finally:
        follower.close()
    return found


def _input(stream: Stream, kafka: KafkaSettings) -> str:
    """The incidents; where the stream has none yet, the redrives' quiet topic: the group must have
    members, so that a second program of the same slot ends the first."""
    if "incidents" in kinds_there(stream, kafka):
        return stream.topic("incidents")
    _log.warning(
        "topic %s.incidents does not exist: no incident is told of until this program is started "
        "again after `millstream topics`",
        stream.name,
    )
    return stream.topic("redrives")


def _raise_first(couriers: Sequence[Courier]) -> None:
    for courier in couriers:
        if courier.error is not None:
            raise courier.error
