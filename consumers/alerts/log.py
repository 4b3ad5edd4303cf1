"""NAME.alarms and NAME.silences: read from their beginnings and on, without a group; written."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)

from consumers.kafka import KAFKA, ask, consumer_config, producer_config, translate
from millstream.alerts.wire import Said, Writer
from millstream.errors import ClientLost, DependencyUnavailable, OperatorNeeded
from millstream.settings import KafkaSettings

ANSWER_S_MAX: Final = 15.0
SILENCE_S_MAX: Final = 60.0
"""Too low gives a slow broker up at the start; too high notices a dead one late."""
DELIVERY_S_MAX: Final = 60.0
"""Too low gives up at a broker's restart; too high stands still for so long."""
RECORDS_MAX: Final = 500

_log = logging.getLogger(__name__)


class Follower:
    """Reads one topic. `group` only keeps its mark: an offset a partition, and a number with it.

    Raises OperatorNeeded where the broker has no such topic. Used by one thread.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, group: str) -> None:
        self.topic = topic
        self._consumer = Consumer(consumer_config(kafka, group, group) | _EOF)
        try:
            self.partitions = self._partitions(kafka)
            self._behind = set(self.partitions)
            self._consumer.assign(
                [TopicPartition(topic, p, OFFSET_BEGINNING) for p in self.partitions]
            )
        except BaseException:
            self._consumer.close()
            raise

    def _partitions(self, kafka: KafkaSettings) -> list[int]:
        found = ask(
            "reading metadata",
            lambda: self._consumer.list_topics(self.topic, timeout=ANSWER_S_MAX),
        )
        metadata = found.topics[self.topic]
        if metadata.error is not None or not metadata.partitions:
            raise OperatorNeeded(
                f"the broker at {kafka.bootstrap} has no topic {self.topic}",
                "Run `millstream topics` on the stream first",
            )
        return sorted(metadata.partitions)

    @property
    def caught_up(self) -> bool:
        """Whether the end of every partition was seen once."""
        return not self._behind

    def take(self, wait_s: float) -> list[Message]:
        """What is there, at most RECORDS_MAX; [] where nothing comes within `wait_s`."""
        good = []
        for record in self._consumer.consume(RECORDS_MAX, wait_s):
            error = record.error()
            if error is None:
                good.append(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._behind.discard(record.partition() or 0)
            else:
                self._on_error(error)
        return good

    def to_end(self) -> list[Message]:
        """Everything up to where each partition ends. Raises DependencyUnavailable where nothing
        comes for SILENCE_S_MAX."""
        found: list[Message] = []
        heard = time.monotonic()
        while not self.caught_up:
            before = len(self._behind)
            records = self.take(0.2)
            found += records
            if records or len(self._behind) < before:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S_MAX:
                raise DependencyUnavailable(KAFKA, f"nothing comes of {self.topic}")
        return found

    def marks(self) -> dict[int, tuple[int, int]]:
        """Partition -> (offset, number) that the group has committed, where it has."""
        asked = [TopicPartition(self.topic, p) for p in self.partitions]
        doing = f"reading the mark in {self.topic}"
        found = ask(doing, lambda: self._consumer.committed(asked, timeout=ANSWER_S_MAX))
        marks = {}
        for each in found:
            if each.error is not None:
                raise translate(each.error, doing)
            if each.offset >= 0:
                said = each.metadata or ""
                marks[each.partition] = (each.offset, int(said) if said.isdigit() else 0)
        return marks

    def commit(self, offsets: Mapping[int, int], number: int) -> None:
        """Keep these marks. Raises DependencyUnavailable where the broker does not answer."""
        parts = [TopicPartition(self.topic, p, o, str(number)) for p, o in offsets.items()]
        doing = f"keeping the mark in {self.topic}"
        for each in ask(doing, lambda: self._consumer.commit(offsets=parts, asynchronous=False)):
            if each.error is not None:
                raise translate(each.error, doing)

    def close(self) -> None:
        self._consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        why = translate(error, f"reading {self.topic}")
        if isinstance(why, DependencyUnavailable) and not isinstance(why, ClientLost):
            _log.warning("%s; librdkafka goes on trying", why)
            return
        raise why


class Named(Said, Protocol):
    """What has an id, by which its record is known."""

    @property
    def id(self) -> str:
        """Its Kafka key."""
        ...


class Alarms:
    """Writes alarms, silences or decisions to their topic, each under its id."""

    def __init__(
        self, kafka: KafkaSettings, topic: str, writer: Writer, delivery_s: float = DELIVERY_S_MAX
    ) -> None:
        self._topic = topic
        self._writer = writer
        self._delivery_s = delivery_s
        config = producer_config(kafka, f"{topic}-writer")
        self._producer = Producer(config | {"message.timeout.ms": int(delivery_s * 1000)})
        self._failed: list[str] = []

    def write(self, said: Sequence[Named]) -> None:
        """Returns when the broker has them all. Raises ClientLost where it may not have: what the
        caller believes of the topic may be wrong, so it must start again and read it."""
        self._failed.clear()
        for each, value in zip(said, self._writer.values(said), strict=True):
            self._send(each.id.encode(), value)
        left = self._producer.flush(self._delivery_s + 5.0)
        if self._failed or left:
            why = self._failed[0] if self._failed else "no answer"
            raise ClientLost(KAFKA, f"{self._topic} did not take {len(said)} records: {why}")

    def _send(self, key: bytes, value: bytes) -> None:
        produce = self._producer.produce
        ask(
            f"writing to {self._topic}",
            lambda: produce(self._topic, value, key, on_delivery=self._delivered),
        )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error.str())


def value_of(record: Message) -> bytes | None:
    """A consumed record's value, whatever its type says."""
    value = record.value()
    return value if isinstance(value, bytes) else None


_EOF: Final = {"enable.partition.eof": True}
