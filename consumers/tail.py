"""Reading a stream's topics as they grow, without leaving a trace on the broker.

Partitions are assigned, not subscribed to: no group is joined, no offset is committed. Aborted
records are not shown. What cannot be decoded is shown as such.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    Message,
    TopicPartition,
)

from consumers.kafka import ask, consumer_config, require_broker, translate
from millstream.columnar import FRAME_BYTES, Decoder, make_decoder, split_frames
from millstream.contracts import contract, dead_letter_headers
from millstream.errors import ContractMismatch, OperatorNeeded, RecordRefused
from millstream.settings import KafkaSettings
from millstream.stream import Stream

BATCH_RECORDS_MAX: Final = 500
WAIT_S: Final = 0.2
ANSWER_S_MAX: Final = 10.0
MASK: Final = "(private)"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """Which of a stream's topics."""

    PREDICTIONS = "predictions"
    EVENTS = "events"
    DEAD_LETTERS = "dead-letters"

    @property
    def key(self) -> str:
        """Its name in schemas/topics.toml."""
        return self.value.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Seen:
    """One record. fields is empty where `undecodable` says why there are none."""

    partition: int
    offset: int
    timestamp: datetime | None
    fields: dict[str, Any] = field(default_factory=dict)
    undecodable: str | None = None


class Reader(Protocol):
    """Turns records into what may be shown of them, one for one."""

    def read(self, records: Sequence[Message]) -> list[Seen]: ...


def follow(
    settings: KafkaSettings, topic: str, *, from_beginning: bool
) -> Generator[Sequence[Message], None, None]:
    """Batches of records as they come, for ever; an empty one when none came for 0.2 s.

    The first one is always empty, and comes when reading has begun: from_beginning with the oldest
    record, else with the first that is written from now on. Close the generator to leave.
    Raises SettingsInvalid where no broker answers, OperatorNeeded where it has no such topic.
    """
    require_broker(settings)
    name = f"millstream-tail-{uuid.uuid4()}"  # never joined; librdkafka wants one
    consumer = Consumer(consumer_config(settings, name, name))
    try:
        consumer.assign(_positions(consumer, settings, topic, from_beginning))
        yield ()
        while True:
            yield _batch(consumer, topic)
    finally:
        consumer.close()


def _positions(
    consumer: Consumer, settings: KafkaSettings, topic: str, from_beginning: bool
) -> list[TopicPartition]:
    found = ask("reading metadata", lambda: consumer.list_topics(topic, timeout=ANSWER_S_MAX))
    metadata = found.topics[topic]
    if metadata.error is not None or not metadata.partitions:
        raise OperatorNeeded(
            f"the broker at {settings.bootstrap} has no topic {topic}",
            "Run `millstream topics` on the stream first",
        )
    return [
        TopicPartition(
            topic,
            number,
            OFFSET_BEGINNING if from_beginning else _end(consumer, TopicPartition(topic, number)),
        )
        for number in metadata.partitions
    ]


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    """The offset of the next record."""
    _, high = ask(
        f"reading the end of {partition.topic}",
        lambda: consumer.get_watermark_offsets(partition, timeout=ANSWER_S_MAX),
    )
    return int(high)


def _batch(consumer: Consumer, topic: str) -> list[Message]:
    """Waits for one record, then takes what is there."""
    first = consumer.poll(WAIT_S)
    if first is None:
        return []
    records = [first, *consumer.consume(BATCH_RECORDS_MAX - 1, 0)]
    for record in records:
        error = record.error()
        if error is not None:
            raise translate(error, f"reading {topic}")
    return records


def reader_of(kind: Kind, stream: Stream, schema_of: Callable[[int], str]) -> Reader:
    """The reader of one of a stream's topics, with its private fields masked.

    schema_of: the writer's schema of an id; raises RecordRefused where there is none.
    """
    private = set(stream.privacy.private)
    if kind is Kind.EVENTS:
        return AvroReader(stream.schema_of_event.text, schema_of, private)
    if kind is Kind.PREDICTIONS:
        masked = {"key"} if stream.event.key in private else set()
        masked |= {"event_id"} if stream.event.id in private else set()
        masked |= {"event_time"} if stream.event.time in private else set()
        return AvroReader(contract("prediction").text, schema_of, masked)
    return LetterReader()


class AvroReader:
    """Framed Avro, by each record's own writer's schema."""

    def __init__(self, schema: str, schema_of: Callable[[int], str], masked: set[str]) -> None:
        self._schema = schema
        self._schema_of = schema_of
        self._masked = masked
        self._decoders: dict[int, Decoder] = {}

    def read(self, records: Sequence[Message]) -> list[Seen]:
        values = [record.value() for record in records]
        framed = split_frames(values)
        reasons = {refusal.row: refusal.reason for refusal in framed.refusals}
        fields: dict[int, dict[str, Any]] = {}
        for schema_id, rows in framed.groups.items():
            try:
                decoder = self._decoder(schema_id)
            except RecordRefused as why:
                reasons |= dict.fromkeys(rows.tolist(), why.reason)
                continue
            except ContractMismatch as why:
                reason = f"schema id {schema_id} does not fit: {why.problem}"
                reasons |= dict.fromkeys(rows.tolist(), reason)
                continue
            decoded = decoder.decode([values[row] for row in rows], FRAME_BYTES)
            good = rows[decoded.rows].tolist()
            fields |= dict(zip(good, decoded.columns.to_pylist(), strict=True))
            reasons |= {int(rows[refusal.row]): refusal.reason for refusal in decoded.refusals}
        return [
            seen(record, self._shown(fields.get(row, {})), reasons.get(row))
            for row, record in enumerate(records)
        ]

    def _decoder(self, schema_id: int) -> Decoder:
        found = self._decoders.get(schema_id)
        if found is None:
            found = make_decoder(self._schema_of(schema_id), self._schema)
            self._decoders[schema_id] = found
        return found

    def _shown(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: MASK if name in self._masked else value for name, value in fields.items()}


class LetterReader:
    """A dead letter's headers; its key and value are the event's own and are never shown."""

    def read(self, records: Sequence[Message]) -> list[Seen]:
        return [seen(record, _letter(record)) for record in records]


def _letter(record: Message) -> dict[str, Any]:
    headers = dict(record.headers() or [])
    fields: dict[str, Any] = {}
    for name, header in dead_letter_headers().items():
        value = headers.get(header)
        fields[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return fields


def seen(record: Message, fields: dict[str, Any], undecodable: str | None = None) -> Seen:
    """What Kafka says of a record, and its fields."""
    kind, millis = record.timestamp()
    time = None if kind == TIMESTAMP_NOT_AVAILABLE else _EPOCH + timedelta(milliseconds=millis)
    partition, offset = record.partition(), record.offset()
    assert partition is not None and offset is not None, record
    return Seen(partition, offset, time, fields, undecodable)
