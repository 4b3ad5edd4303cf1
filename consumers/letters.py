"""Dead letters read from their topic: grouped by cause, found one by one, picked for a redrive.

Partitions are assigned, not subscribed to: no group is joined, no offset is committed. Reading ends
at what was committed when it came there.
"""

from __future__ import annotations

import logging
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    Message,
    TopicPartition,
)

from consumers.kafka import ask, consumer_config, require_broker, translate
from millstream.columnar import FRAME_BYTES, MAGIC
from millstream.columnar.resolve import Fields, Plan, resolve_records
from millstream.columnar.rows import RowReader, reader_of
from millstream.columnar.schema import parse_record
from millstream.errors import (
    ContractMismatch,
    DependencyUnavailable,
    OperatorNeeded,
    RecordRefused,
)
from millstream.letters import DeadLetter, Source, from_headers
from millstream.records import TIME_US_MAX
from millstream.settings import KafkaSettings
from millstream.stream import Stream

BATCH_RECORDS_MAX = 500
SILENT_POLLS_MAX = 30
"""Polls of a second without a record or an end before the broker counts as gone."""
JUMP_RECORDS_MIN = 2_000
"""Records between two wanted ones that are skipped by a new fetch, not by reading them."""
GROUPS_MAX = 1_000
"""A producer that makes up schema ids must not fill our memory with groups."""
SAMPLES_MAX = 3
DUMP_BYTES_MAX = 256
MASK = "(private)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cause:
    """What letters are grouped by."""

    stage: str
    error: str
    model_version: str
    event_schema_id: int | None


OTHERS = Cause("", "others", "", None)


@dataclass(frozen=True, slots=True)
class Filed:
    """One letter: where it stands (partition, offset), when it was written, what it says."""

    partition: int
    offset: int
    time: datetime
    letter: DeadLetter
    record: Message

    @property
    def cause(self) -> Cause:
        said = self.letter
        return Cause(said.stage, said.error, said.model_version, said.event_schema_id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters; None: any. since: those written then or later. limit: of a redrive."""

    stage: str | None = None
    error: str | None = None
    schema_id: int | None = None
    since: datetime | None = None
    limit: int | None = None

    def admits(self, filed: Filed) -> bool:
        said = filed.letter
        return (
            (self.stage is None or said.stage == self.stage)
            and (self.error is None or said.error == self.error)
            and (self.schema_id is None or said.event_schema_id == self.schema_id)
            and (self.since is None or filed.time >= self.since)
        )


@dataclass(slots=True)
class Group:
    """Letters of one cause. redriven: how many of them were. samples: the first few's places."""

    cause: Cause
    count: int = 0
    redriven: int = 0
    first: datetime | None = None
    last: datetime | None = None
    partitions: set[int] = field(default_factory=set)
    samples: list[tuple[int, int]] = field(default_factory=list)

    def add(self, filed: Filed, *, redriven: bool) -> None:
        self.count += 1
        self.redriven += redriven
        self.first = filed.time if self.first is None else min(self.first, filed.time)
        self.last = filed.time if self.last is None else max(self.last, filed.time)
        self.partitions.add(filed.partition)
        if len(self.samples) < SAMPLES_MAX:
            self.samples.append((filed.partition, filed.offset))


class Marks:
    """Which events of a topic were redriven: the keys of NAME.redrives."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._offsets: dict[int, array[int]] = {}
        self._sorted: dict[int, npt.NDArray[np.int64]] = {}

    def add(self, source: Source) -> None:
        if source.topic == self._topic:
            self._offsets.setdefault(source.partition, array("q")).append(source.offset)
            self._sorted.pop(source.partition, None)

    def have(self, partition: int, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """bool [n]: whether the events at these offsets were redriven."""
        if partition not in self._sorted:
            found = np.array(self._offsets.get(partition, array("q")), np.int64)
            self._sorted[partition] = np.sort(found)
        marks = self._sorted[partition]
        if not len(marks):
            return np.zeros(len(offsets), bool)
        places = np.minimum(np.searchsorted(marks, offsets), len(marks) - 1)
        return np.asarray(marks[places] == offsets)


class TopicReader:
    """Reads one topic, committed records only, without a trace on the broker. Close it.

    Raises SettingsInvalid where no broker answers, OperatorNeeded where it has no such topic.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        require_broker(settings)
        self.topic = topic
        name = f"millstream-letters-{uuid.uuid4()}"  # never joined; librdkafka wants one
        config = consumer_config(settings, name, name) | {"enable.partition.eof": True}
        self._consumer = Consumer(config)
        found = ask("reading metadata", lambda: self._consumer.list_topics(topic, timeout=10))
        metadata = found.topics[topic]
        if metadata.error is not None or not metadata.partitions:
            self.close()
            raise OperatorNeeded(
                f"the broker at {settings.bootstrap} has no topic {topic}",
                "Run `millstream topics` on the stream first",
            )
        self.partitions = sorted(metadata.partitions)

    def close(self) -> None:
        self._consumer.close()

    def to_end(self, partitions: Sequence[int] | None = None) -> Iterator[list[Message]]:
        """Batches of records from each partition's beginning to its end."""
        open_ends = set(self.partitions if partitions is None else partitions)
        self._place(dict.fromkeys(open_ends, OFFSET_BEGINNING))
        while open_ends:
            records, ended = self._batch()
            open_ends -= ended
            yield records

    def at(self, partition: int, offsets: Iterable[int]) -> dict[int, Message]:
        """The records at these offsets; those that are not there are left out."""
        wanted = sorted(set(offsets))
        found: dict[int, Message] = {}
        position: int | None = None
        for offset in wanted:
            if position is None or offset - position > JUMP_RECORDS_MIN:
                self._place({partition: offset})
                position = offset
            while position <= offset:
                records, ended = self._batch()
                for record in records:
                    place = record.offset()
                    assert place is not None, record
                    found[place] = record
                    position = place + 1
                if ended:
                    return {place: found[place] for place in wanted if place in found}
            found = {place: found[place] for place in wanted if place in found}
        return found

    def _place(self, offsets: dict[int, int]) -> None:
        parts = [TopicPartition(self.topic, number, at) for number, at in offsets.items()]
        ask("reading", lambda: self._consumer.assign(parts))

    def _taken(self) -> list[Message]:
        """Waits for one record, then takes what is there; `consume` alone would wait for all."""
        first = self._consumer.poll(1.0)
        if first is None:
            return []
        return [first, *self._consumer.consume(BATCH_RECORDS_MAX - 1, 0)]

    def _batch(self) -> tuple[list[Message], set[int]]:
        """Records, and the partitions that ended behind them."""
        for _ in range(SILENT_POLLS_MAX):
            records, ended = [], set()
            for each in ask("reading", self._taken):
                error, number = each.error(), each.partition()
                if error is None:
                    records.append(each)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(number)
                else:
                    raise translate(error, f"reading {self.topic}")
            if records or ended:
                return records, ended
        raise DependencyUnavailable("Kafka", f"{self.topic} was silent for {SILENT_POLLS_MAX} s")


def read_letters(settings: KafkaSettings, topic: str) -> Iterator[Filed]:
    """Every letter of the topic, each partition's in order; what is none is left out."""
    with closing(TopicReader(settings, topic)) as reader:
        for records in reader.to_end():
            yield from filter(None, map(filed, records))


def filed(record: Message) -> Filed | None:
    """The letter that a record is; None where it is none."""
    try:
        letter = from_headers(record.headers() or ())
    except RecordRefused as why:
        _log.warning("%s-%s:%s: %s", record.topic(), record.partition(), record.offset(), why)
        return None
    partition, offset = record.partition(), record.offset()
    assert partition is not None and offset is not None, record
    kind, millis = record.timestamp()
    known = 0 if kind == TIMESTAMP_NOT_AVAILABLE else min(max(millis, 0), TIME_US_MAX // 1000)
    return Filed(partition, offset, _EPOCH + timedelta(milliseconds=known), letter, record)


def read_marks(settings: KafkaSettings, topic: str, events: str) -> Marks:
    """The marks of every redrive that was committed. topic: NAME.redrives; events: NAME.events."""
    marks = Marks(events)
    with closing(TopicReader(settings, topic)) as reader:
        for records in reader.to_end():
            for record in records:
                try:
                    key: Any = record.key() or b""
                    marks.add(Source.parse(key))
                except ValueError:
                    where = f"{topic}-{record.partition()}:{record.offset()}"
                    _log.warning("%s is no mark of ours; it is passed over", where)
    return marks


def grouped(letters: Iterable[Filed], marks: Marks, wanted: Wanted) -> list[Group]:
    """The letters by cause, most frequent first; causes beyond GROUPS_MAX in one group."""
    groups: dict[Cause, Group] = {}
    for each in filter(wanted.admits, letters):
        cause = each.cause
        if cause not in groups and len(groups) >= GROUPS_MAX:
            cause = OTHERS
        source = each.letter.source
        redriven = bool(marks.have(source.partition, np.array([source.offset], np.int64))[0])
        groups.setdefault(cause, Group(cause)).add(each, redriven=redriven)
    return sorted(groups.values(), key=lambda group: -group.count)


def find(settings: KafkaSettings, topic: str, partition: int, offset: int) -> Filed:
    """The letter at these coordinates. Raises OperatorNeeded where there is none."""
    with closing(TopicReader(settings, topic)) as reader:
        found = {}
        if partition in reader.partitions:
            found = reader.at(partition, [offset])
    letter = filed(found[offset]) if offset in found else None
    if letter is None:
        raise _no_letter(f"{topic} has no letter at {partition}:{offset}")
    return letter


def find_by_source(settings: KafkaSettings, topic: str, partition: int, offset: int) -> Filed:
    """The letter of the event at these coordinates. Raises OperatorNeeded where there is none."""
    with closing(TopicReader(settings, topic)) as reader:
        if partition in reader.partitions:
            for records in reader.to_end([partition]):
                for letter in filter(None, map(filed, records)):
                    source = letter.letter.source
                    if (source.partition, source.offset) == (partition, offset):
                        return letter
    raise _no_letter(f"{topic} has no letter of the event at {partition}:{offset}")


def _no_letter(problem: str) -> OperatorNeeded:
    return OperatorNeeded(problem, "`millstream letters list` shows where letters are")


@dataclass(frozen=True, slots=True)
class Partial:
    """A refused event, decoded as far as it goes.

    fields: those read, private ones masked. reason: why reading stopped; None where it did not.
    rest: the first bytes that were not read; none where the stream has private fields.
    rest_bytes: how many were not read.
    """

    fields: dict[str, Any]
    reason: str | None
    rest: bytes
    rest_bytes: int


def decode_as_far(value: bytes | None, stream: Stream, schema_of: Callable[[int], str]) -> Partial:
    """What can be read of an event, field by field in its writer's order.

    Raises DependencyUnavailable where the registry does not answer.
    """
    raw = value or b""
    private = frozenset(stream.privacy.private)
    fields: dict[str, Any] = {}
    reason, position = None, 0
    if len(raw) < FRAME_BYTES or raw[:1] != MAGIC:
        reason = "no zero byte and four-byte schema id in front"
    else:
        position = FRAME_BYTES
        try:
            plans, misfit = _plans(schema_of(int.from_bytes(raw[1:FRAME_BYTES], "big")), stream)
        except RecordRefused as why:
            plans, misfit = [], why.reason
        except ContractMismatch as why:
            plans, misfit = [], why.problem
        for name, known, plan in plans:
            try:
                RowReader(Fields(((name, plan),), ((name, 0),), None)).read(raw, position)
            except RecordRefused as why:
                if why.name != "trailing_bytes":
                    reason = why.reason
                    break
            read, position = reader_of(plan)(raw, position)
            shown = not private or (known and name not in private)
            fields[name] = read if shown else MASK
        if reason is None and plans and position < len(raw):
            reason = f"{len(raw) - position} bytes follow the last field"
        reason = reason or misfit
    rest = b"" if private else raw[position : position + DUMP_BYTES_MAX]
    return Partial(fields, reason, rest, len(raw) - position)


def _plans(writer: str, stream: Stream) -> tuple[list[tuple[str, bool, Plan]], str | None]:
    """For each field as written its name in the stream's schema, whether it is there, and how it is
    read; and why the schemas do not fit, if they do not.
    """
    written, misfit = parse_record(writer), None
    ours = stream.schema_of_event
    try:
        plan = resolve_records(written, parse_record(ours.text))
    except ContractMismatch as why:
        plan, misfit = resolve_records(written, written), why.problem
        return [(name, name in ours.fields, each) for name, each in plan.reads], misfit
    names = {place: name for name, place in plan.picks if isinstance(place, int)}
    return [
        (names.get(place, name), place in names, each)
        for place, (name, each) in enumerate(plan.reads)
    ], None
