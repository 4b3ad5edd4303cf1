"""NAME.releases: read from its beginning and on, without a group; releases written, one by one."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from consumers.alerts.log import value_of
from consumers.kafka import KAFKA, ask, consumer_config, require_broker
from consumers.publishers import AtLeastOnce, ExactlyOnce, Extra, Route
from consumers.registry import Registry, subject_of
from millstream.alerts import wire
from millstream.alerts.alarm import Alarm, Severity, Status, alarm_id
from millstream.contracts import contract
from millstream.errors import DependencyUnavailable, OperatorNeeded, RecordRefused
from millstream.releases.release import Entry, Failure, Release, Switch
from millstream.releases.switching import Turn
from millstream.releases.timeline import Timeline
from millstream.releases.wire import Reader, Writer
from millstream.settings import KafkaSettings, ScorerSettings
from millstream.stream import Stream

CATCH_UP_S_MAX: Final = 45.0
"""Above a transaction's time-out: a scorer that died in a switch holds its readers up for that."""
ANSWER_S_MAX: Final = 15.0
RECORDS_MAX: Final = 500
RULE: Final = "release_failed"

_log = logging.getLogger(__name__)


class ReleaseLog:
    """consumer: read_committed, tells of ends. watermarks: read_uncommitted, only asked where the
    logs end. clock: seconds. Used by one thread.
    """

    def __init__(
        self,
        topic: str,
        partitions: list[int],
        reader: Reader,
        consumer: Consumer,
        watermarks: Consumer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self._reader = reader
        self._consumer = consumer
        self._watermarks = watermarks
        self._clock = clock
        self._at = dict.fromkeys(partitions, 0)
        self._raw: deque[Message] = deque()
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])

    @classmethod
    def open(
        cls, stream: Stream, kafka: KafkaSettings, schema_of: Callable[[int], str]
    ) -> ReleaseLog:
        """Raises OperatorNeeded where the broker has no such topic."""
        topic = stream.topic("releases")
        found = ask(
            "reading metadata",
            lambda: require_broker(kafka).list_topics(topic, timeout=ANSWER_S_MAX),
        )
        metadata = found.topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise OperatorNeeded(
                f"the broker at {kafka.bootstrap} has no topic {topic}",
                "Run `millstream topics` on the stream first",
            )
        name = f"millstream-releases-{uuid.uuid4()}"  # never joined; librdkafka wants one
        config = consumer_config(kafka, name, name) | {
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 1_024,
        }
        return cls(
            topic,
            sorted(metadata.partitions),
            Reader(schema_of),
            Consumer(config),
            Consumer(config | {"isolation.level": "read_uncommitted"}),
        )

    def news(self) -> list[Entry]:
        """What came since; never waits. Raises DependencyUnavailable as the schema registry: what
        it was about is told the next time."""
        while True:
            found = self._consumer.consume(RECORDS_MAX, 0)
            self._take(found)
            if len(found) < RECORDS_MAX:
                return self._entries()

    def catch_up(self) -> list[Entry]:
        """Everything whose transaction began before now and is committed; waits for those that are
        open. Raises DependencyUnavailable where that takes too long."""
        ends = {p: self._end(p) for p in self.partitions}
        deadline = self._clock() + CATCH_UP_S_MAX
        while any(self._at[p] < end for p, end in ends.items()):
            if self._clock() > deadline:
                behind = [f"{self.topic}-{p}" for p, end in ends.items() if self._at[p] < end]
                raise DependencyUnavailable(KAFKA, f"{', '.join(behind)} is not read to its end")
            found = self._consumer.poll(0.1)
            self._take([] if found is None else [found])
        return self._entries()

    def close(self) -> None:
        self._consumer.close()
        self._watermarks.close()

    def _end(self, partition: int) -> int:
        """The high watermark: what lies below it was produced before now, committed or not."""
        part = TopicPartition(self.topic, partition)
        ends: tuple[int, int] = ask(
            f"asking where {self.topic} ends",
            lambda: self._watermarks.get_watermark_offsets(part, timeout=ANSWER_S_MAX),
        )
        return ends[1]

    def _take(self, found: list[Message]) -> None:
        for record in found:
            error, partition = record.error(), record.partition()
            if error is None:
                self._raw.append(record)
                self._at[partition or 0] = (record.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                at = self._at.get(partition or 0, 0)
                self._at[partition or 0] = max(at, record.offset() or 0)
            else:
                _log.warning("reading %s: %s; librdkafka goes on trying", self.topic, error.str())

    def _entries(self) -> list[Entry]:
        entries = []
        while self._raw:
            record = self._raw[0]
            try:
                entries.append(self._reader.entry(value_of(record)))
            except RecordRefused as why:
                _log.error(
                    "%s-%s offset %s is no release and is passed over: %s",
                    *(self.topic, record.partition(), record.offset(), why),
                )
            except DependencyUnavailable:
                if not entries:
                    raise
                break
            self._raw.popleft()
        return entries


def read_timeline(
    stream: Stream, kafka: KafkaSettings, schema_of: Callable[[int], str]
) -> Timeline:
    """Everything that was decided and switched so far. Raises as ReleaseLog."""
    timeline = Timeline()
    with closing(ReleaseLog.open(stream, kafka, schema_of)) as log:
        for entry in log.catch_up():
            timeline.add(entry)
    return timeline


class _Fenced(ExactlyOnce):
    """One transactional id for all who release on a stream: the later one ends the earlier."""

    program = "release"


def publish_release(
    stream: Stream,
    kafka: KafkaSettings,
    registry: Registry,
    draft: Callable[[Timeline], Release],
) -> Release:
    """Write the release that `draft` makes of what was decided so far, and return it.

    Who releases at the same time comes first or after, never between: the draft saw everything. An
    id that is there already is returned as it was written: whoever was killed can repeat this.
    Raises OperatorNeeded without the topic, ClientLost where nobody knows whether it was written.
    """
    subject = subject_of(stream.topic("releases"))
    writer = Writer(registry.register(subject, contract("release").text))
    name, route = f"{stream.name}-release", Route("", stream.topic("releases"), "")
    exactly = not kafka.embedded and stream.serving.guarantee == "exactly_once"
    publisher = (_Fenced if exactly else AtLeastOnce)(kafka, ScorerSettings(), name, route)
    try:
        publisher.open()
        while True:
            timeline = read_timeline(stream, kafka, registry.schema)
            made = draft(timeline)
            for known in timeline.releases:
                if known.id == made.id:
                    return known
            key, value = made.key.encode(), writer.value(made)
            publisher.note([Extra(stream.topic("releases"), [made.partition], [key], [value])])
            # nobody was fenced: who wrote the same number first has it, and ours has the next
            if exactly or read_timeline(stream, kafka, registry.schema).has(made):
                return made
    finally:
        publisher.close()


class Clerk:
    """Makes a scorer's records of NAME.releases, and the alarms of its failures.

    stream: its name. scorer: group and slot. partitions: of the topic. alarms: topic and writer,
    None where the stream has none. now_us: microseconds.
    """

    def __init__(
        self,
        stream: Stream,
        scorer: str,
        writer: Writer,
        partitions: int,
        alarms: wire.Writer | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self.scorer = scorer
        self._stream = stream
        self._writer = writer
        self._partitions = partitions
        self._alarms = alarms
        self._now_us = now_us

    def switch(self, turn: Turn, partition: int, before: tuple[str, str]) -> Switch:
        """Of this partition; before: version and digest of the champion until then."""
        return Switch(
            turn.release,
            partition,
            turn.first_offset,
            turn.late,
            before,
            self.scorer,
            self._now_us(),
        )

    def failed(self, release: Release, error: str, *, over: bool = False) -> Failure:
        """A failure, or its end."""
        return Failure(release, self.scorer, error, over, self._now_us())

    def record(self, entry: Switch | Failure) -> Extra:
        """The record to be produced. A switch goes to its partition's number, so that a scorer
        that died in one holds up only those who must know of it."""
        topic, partition = self._stream.topic("releases"), entry.partition % self._partitions
        return Extra(topic, [partition], [entry.key.encode()], [self._writer.value(entry)])

    def failure(self, failure: Failure, began_us: int) -> list[Extra]:
        """Its record and its alarm, which is the same one from its beginning to its end.

        began_us: when the release was first noted not to load; microseconds.
        """
        extras = [self.record(failure)]
        if self._alarms is not None:
            alarm = _alarm_of(failure, began_us)
            key, value = alarm.id.encode(), self._alarms.values([alarm])[0]
            extras.append(Extra(self._stream.topic("alarms"), [-1], [key], [value]))
        return extras


def _alarm_of(failure: Failure, began_us: int) -> Alarm:
    """It fires until the failure is over."""
    release, labels = failure.release, {"release": failure.release.id, "scorer": failure.scorer}
    return Alarm(
        id=alarm_id(release.stream, RULE, labels, began_us),
        stream=release.stream,
        rule=RULE,
        severity=Severity.TICKET,
        status=Status.RESOLVED if failure.over else Status.FIRING,
        summary=f"release {release.number} ({release.champion.label}) does not load at "
        f"{failure.scorer}; what answered before goes on",
        cause=RULE,
        started_us=began_us,
        updated_us=failure.at_us,
        evidence={"error": failure.error, "number": release.number},
        labels=labels,
        revision=2 if failure.over else 1,
        source="scorer",
    )
