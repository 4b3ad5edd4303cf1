"""One broker and one registry for all contenders: topics, events, and what has been committed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from consumers.kafka import kafka_error
from consumers.registry import Registry, subject_of
from millstream.columnar import Encoder, frame
from millstream.errors import DependencyUnavailable
from millstream.settings import RegistrySettings
from ops.bench.data import Shape, event_schema, events
from ops.kafka.broker import Broker
from ops.registry.process import EmbeddedRegistry

HEAP_MB = 1_024
TIMEOUT_S = 30.0
READ_S_MAX = 90.0
SESSION_MS = 6_000
"""Of Millstream's scorer here: its group can be deleted so long after it has left."""
RECORD_BYTES_MAX = "9437184"
COMPACTED = (".redrives", ".releases")

_NOT_YET = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._NOENT,
}


class Ground:
    """A context manager. folder: for the broker's log, the registry's schemas and their logs."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.partitions = partitions
        self._exits = ExitStack()
        self._folder = folder
        self._broker = Broker(
            folder / "kafka",
            heap_mb=HEAP_MB,
            settings={"log.retention.check.interval.ms": "3600000"},
        )
        self._registry = EmbeddedRegistry(folder / "registry")
        self._admin: AdminClient = None  # type: ignore[assignment] # __enter__

    def __enter__(self) -> Self:
        try:
            with full_jit():
                self._exits.enter_context(self._broker)
            self._exits.enter_context(self._registry)
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 3})
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._admin  # before the broker, or it says that nobody answers
        self._exits.close()

    @property
    def bootstrap(self) -> str:
        """host:port of the broker."""
        return self._broker.bootstrap

    @property
    def broker_pid(self) -> int:
        """The broker's process id."""
        return self._broker.pid

    def environment(self) -> dict[str, str]:
        """What Millstream's programs need to find both."""
        return {
            "MILLSTREAM_KAFKA_BOOTSTRAP": self.bootstrap,
            "MILLSTREAM_REGISTRY_URL": self._registry.url,
            "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": str(SESSION_MS),
        }

    def create(self, *topics: str) -> None:
        """Empty topics; those that are there are deleted first."""
        self.delete(*topics)
        for topic in topics:
            new = NewTopic(topic, self.partitions, 1, config={
                "cleanup.policy": "compact" if topic.endswith(COMPACTED) else "delete",
                "max.message.bytes": RECORD_BYTES_MAX,
            })  # fmt: skip
            self._again(
                partial(self._create, new),
                f"creating {topic}",
                {KafkaError.TOPIC_ALREADY_EXISTS},
            )
        for topic in topics:
            self._again(partial(self._led, topic), f"waiting for {topic}", _NOT_YET)

    def _create(self, topic: NewTopic) -> None:
        self._admin.create_topics([topic])[topic.topic].result(TIMEOUT_S)

    def _led(self, topic: str) -> None:
        """Raise KafkaException until every partition has its leader."""
        self._admin.list_topics(topic, timeout=TIMEOUT_S)  # or an old answer is believed
        self.committed(topic)

    def delete(self, *topics: str) -> None:
        """Delete those of them that are there."""
        there = self._admin.list_topics(timeout=TIMEOUT_S).topics
        for topic in topics:
            if topic in there:
                with contextlib.suppress(KafkaException):
                    self._admin.delete_topics([topic])[topic].result(TIMEOUT_S)

    def forget_group(self, group: str) -> None:
        """Delete a group's offsets, once its last member's session has run out."""
        with contextlib.suppress(KafkaException):
            self._again(
                lambda: self._admin.delete_consumer_groups([group])[group].result(TIMEOUT_S),
                f"deleting group {group}",
                {KafkaError.NON_EMPTY_GROUP},
            )

    def _again(self, call: Callable[[], Any], doing: str, retried: set[int]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                call()
                return
            except KafkaException as why:
                if kafka_error(why).code() not in retried:
                    raise
                if time.monotonic() > deadline:
                    raise DependencyUnavailable("Kafka", f"{doing} takes too long") from why
            time.sleep(0.2)

    def register(self, topic: str, shape: Shape) -> int:
        """The id of the events' schema."""
        registry = Registry(RegistrySettings(url=self._registry.url))
        try:
            return registry.register(subject_of(topic), event_schema(shape))
        finally:
            registry.close()

    def publish(self, topic: str, shape: Shape, count: int, said: Callable[[int], None]) -> None:
        """`count` events, evenly over the partitions. said: is told how many went out."""
        encoder = Encoder(event_schema(shape), frame(self.register(topic, shape)))
        producer = fast_producer(self.bootstrap)
        for batch in events(shape, count):
            keys = [key.encode() for key in batch.column("key").to_pylist()]
            for row, (value, key) in enumerate(zip(encoder.encode(batch), keys, strict=True)):
                while True:
                    try:
                        producer.produce(topic, value, key, row % self.partitions)
                        break
                    except BufferError:
                        producer.poll(0.05)
            said(batch.num_rows)
        if producer.flush(60):
            raise DependencyUnavailable("Kafka", f"{topic} did not take its events in 60 s")

    def committed(self, topic: str) -> int:
        """Offsets up to which a read_committed reader may read, added up over the partitions.

        Every transaction adds a marker to each partition that it wrote to.
        """
        wanted: dict[TopicPartition, OffsetSpec] = {
            TopicPartition(topic, number): OffsetSpec.latest() for number in range(self.partitions)
        }
        found: Any = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
        )
        return sum(future.result().offset for future in found.values())

    def read(self, topic: str) -> Iterator[list[Any]]:
        """The committed records of a topic in groups, until all that were there are read.

        Raises DependencyUnavailable where that takes more than READ_S_MAX.
        """
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 5,
                "enable.partition.eof": True,
            }
        )
        ended = 0
        deadline = time.monotonic() + READ_S_MAX
        try:
            consumer.assign([TopicPartition(topic, n, 0) for n in range(self.partitions)])
            while ended < self.partitions:
                if time.monotonic() > deadline:
                    raise DependencyUnavailable("Kafka", f"{topic} was not read to its end")
                found = consumer.consume(5_000, 0.2)
                ended += sum(_is_end(record) for record in found)
                yield [record for record in found if record.error() is None]
        finally:
            consumer.close()


def _is_end(record: Message) -> bool:
    error = record.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def fast_producer(bootstrap: str, linger_ms: int = 20) -> Producer:
    """For publishing what contenders will read."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": linger_ms,
            "batch.size": 1_000_000,
            "batch.num.messages": 10_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
        }
    )


@contextlib.contextmanager
def full_jit() -> Iterator[None]:
    """The broker of tests compiles with C1 alone, to start quickly; a real one does not."""
    name = "_JAVA_OPTIONS"  # the one variable that wins over the command line
    before = os.environ.get(name)
    os.environ[name] = "-XX:TieredStopAtLevel=4"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
