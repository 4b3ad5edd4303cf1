"""One exam, two candidates: the in-memory Kafka and a real one, behind the same few verbs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import consumer_config, producer_config
from millstream.doubles.broker import Kafka
from millstream.doubles.consumer import MemoryConsumer
from millstream.doubles.producer import MemoryProducer
from millstream.settings import KafkaSettings

WAIT_S = 30.0


class Cluster(Protocol):
    """What the exam needs of a candidate."""

    def create_topic(self, name: str, partitions: int) -> None: ...
    def producer(self, transactional_id: str) -> Producer: ...
    def consumer(self, group: str, instance: str | None = None) -> Consumer: ...
    def alone(self, isolation: str) -> Consumer: ...


class Memory:
    """The double; its time passes when somebody waits."""

    def __init__(self) -> None:
        self._now = 1_700_000_000.0
        self._kafka = Kafka(lambda: self._now, self._sleep)

    def create_topic(self, name: str, partitions: int) -> None:
        self._kafka.create_topic(name, partitions)

    def producer(self, transactional_id: str) -> Producer:
        config = producer_config(KafkaSettings(), "exam") | {"transactional.id": transactional_id}
        return cast(Producer, MemoryProducer(self._kafka, config))

    def consumer(self, group: str, instance: str | None = None) -> Consumer:
        return cast(
            Consumer, MemoryConsumer(self._kafka, _consumer(KafkaSettings(), group, instance))
        )

    def alone(self, isolation: str) -> Consumer:
        config = _consumer(KafkaSettings(), "alone", None) | _alone(isolation)
        return cast(Consumer, MemoryConsumer(self._kafka, config))

    def _sleep(self, seconds: float) -> None:
        self._now += seconds


class Real:
    """A broker at `bootstrap`."""

    def __init__(self, bootstrap: str) -> None:
        self._settings = KafkaSettings(bootstrap=bootstrap, session_timeout_ms=6_000)

    def create_topic(self, name: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._settings.bootstrap, "log_level": 0})
        for made in admin.create_topics([NewTopic(name, partitions)]).values():
            made.result(WAIT_S)

    def producer(self, transactional_id: str) -> Producer:
        config = producer_config(self._settings, "exam") | {"transactional.id": transactional_id}
        return Producer(config | {"log_level": 0})

    def consumer(self, group: str, instance: str | None = None) -> Consumer:
        return Consumer(_consumer(self._settings, group, instance) | {"log_level": 0})

    def alone(self, isolation: str) -> Consumer:
        config = _consumer(self._settings, "alone", None) | _alone(isolation)
        return Consumer(config | {"log_level": 0})


def _alone(isolation: str) -> dict[str, Any]:
    return {"isolation.level": isolation, "enable.partition.eof": True}


def _consumer(settings: KafkaSettings, group: str, instance: str | None) -> dict[str, Any]:
    config = consumer_config(settings, group, instance or "")
    if instance is None:
        del config["group.instance.id"]
    return config


class Reader:
    """A consumer that notes what its callbacks are told and what it reads."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self.consumer = consumer
        self.told: list[tuple[str, list[int]]] = []
        self.errors: list[int] = []
        self.read: list[tuple[int, int, bytes | None]] = []
        self._note_of = {kind: self._note(kind) for kind in ("assign", "revoke", "lost")}
        consumer.subscribe(
            [topic],
            on_assign=self._note_of["assign"],
            on_revoke=self._note_of["revoke"],
            on_lost=self._note_of["lost"],
        )

    @property
    def owned(self) -> set[int]:
        """Partitions that are assigned now."""
        return {part.partition for part in self.consumer.assignment()}

    def offsets(self, partition: int = 0) -> list[int]:
        """Of what was read."""
        return [offset for p, offset, _ in self.read if p == partition]

    def step(self) -> None:
        """One poll."""
        record = self.consumer.poll(0.1)
        if record is not None:
            self._take(record)

    def until(self, done: Callable[[], bool], *others: Reader) -> None:
        """Poll, with others, until something is true."""
        deadline = time.monotonic() + WAIT_S
        while not done():
            for reader in (self, *others):
                reader.step()
            assert time.monotonic() < deadline, (self.told, self.read, self.errors)

    def _take(self, record: Message) -> None:
        error = record.error()
        if error is not None:
            self.errors.append(error.code())
            return
        assert record.partition() is not None and record.offset() is not None
        self.read.append((record.partition(), record.offset(), record.value()))  # type: ignore[arg-type]

    def _note(self, kind: str) -> Callable[[Consumer, list[Any]], None]:
        def note(_: Consumer, partitions: list[Any]) -> None:
            self.told.append((kind, sorted(part.partition for part in partitions)))

        return note
