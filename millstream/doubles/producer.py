"""A transactional producer in memory, shaped like confluent_kafka.Producer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from millstream.doubles.broker import Kafka, Slot
from millstream.doubles.groups import Membership
from millstream.doubles.log import Transaction, delivered


class State(Enum):
    """NEW -> READY -> OPEN -> READY; an error in OPEN leads to DOOMED or LOST."""

    NEW = "new"
    READY = "ready"
    OPEN = "open"  # begin_transaction was called
    DOOMED = "doomed"  # the transaction can only be aborted
    UNKNOWN = "unknown"  # a commit or an abort got no answer
    LOST = "lost"  # a fatal error: the producer can only be given up


class MemoryProducer:
    """config: librdkafka's names; only transactional.id, transaction.timeout.ms and on_delivery
    matter. Errors are KafkaException with the codes and flags that were measured."""

    def __init__(self, kafka: Kafka, config: dict[str, Any]) -> None:
        self.kafka = kafka
        self.id: str = config["transactional.id"]
        self.epoch = 0
        self.state = State.NEW
        self._timeout_s = config.get("transaction.timeout.ms", 60_000) / 1000
        self._on_delivery: Callable[[KafkaError | None, Message], None] | None = config.get(
            "on_delivery"
        )
        self._failed: list[tuple[KafkaError, Message]] = []

    def init_transactions(self, timeout: float = -1) -> None:
        """A new epoch; whoever held the id before is fenced."""
        self._require(State.NEW, State.READY)
        self.kafka.tick()
        self.epoch = self.kafka.fence(self.id, self._timeout_s)
        self.state = State.READY

    def begin_transaction(self) -> None:
        """Local: the broker hears of it with the first record or offset."""
        self._require(State.READY)
        self.state = State.OPEN

    def produce(  # noqa: PLR0913, PLR0917 - confluent-kafka's own
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        callback: object = None,
        on_delivery: object = None,
        timestamp: int = 0,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Into the open transaction."""
        if self.state is State.LOST:
            raise KafkaException(KafkaError(KafkaError._FATAL, fatal=True))
        self._require(State.OPEN)
        self.kafka.log((topic, partition))
        try:
            transaction = self._transaction()
        except KafkaException:
            return  # librdkafka learns of it later too: the next transaction call says so
        self.kafka.append((topic, partition), key, value, tuple(headers or ()), transaction)

    def fail_delivery(self, error: KafkaError, topic: str, partition: int) -> None:
        """The broker refused a record that produce() took: the transaction can only be aborted."""
        self._failed.append((error, delivered(topic=topic, partition=partition, error=error)))
        self.state = State.DOOMED

    def poll(self, timeout: float = 0) -> int:
        """Serves delivery reports."""
        reports, self._failed = self._failed, []
        for error, record in reports:
            if self._on_delivery is not None:
                self._on_delivery(error, record)
        return len(reports)

    def flush(self, timeout: float = -1) -> int:
        """Everything is sent at once here."""
        self.poll()
        return 0

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group_metadata: Any, timeout: float = -1
    ) -> None:
        """The offsets are the group's when the transaction commits. A stale membership dooms the
        transaction."""
        self._require(State.OPEN)
        self.kafka.tick()
        held: Membership = group_metadata
        group = self.kafka.group(held.group)
        transaction = self._transaction()
        try:
            group.require(held)
        except KafkaException as why:
            self.state = State.DOOMED
            raise KafkaException(KafkaError(_error(why).code(), txn_requires_abort=True)) from why
        for offset in offsets:
            partition = (offset.topic, offset.partition)
            transaction.offsets[(held.group, partition)] = offset.offset
            group.propose(transaction, partition)

    def commit_transaction(self, timeout: float = -1) -> None:
        """All of it becomes visible, and its offsets the group's."""
        self.poll()
        self._require(State.OPEN)
        self._end(committed=True)

    def abort_transaction(self, timeout: float = -1) -> None:
        """None of it ever becomes visible. After a fatal error librdkafka says _CONFLICT and calls
        that retriable: asking again never helps."""
        self.poll()
        if self.state in (State.LOST, State.UNKNOWN):
            raise KafkaException(KafkaError(KafkaError._CONFLICT, retriable=True))
        self._require(State.OPEN, State.DOOMED)
        self._end(committed=False)

    def lose(self, error: KafkaError) -> KafkaException:
        """The producer is beyond repair from now on; the exception that says so."""
        self.state = State.LOST
        return KafkaException(error)

    def _end(self, committed: bool) -> None:
        self.kafka.tick()
        slot = self._slot()
        if slot.open is not None or committed:
            try:
                if slot.open is None:  # nothing was written: librdkafka does not ask the broker
                    self._transaction()
                self.kafka.end(self.id, self.epoch, committed)
            except KafkaException as why:
                raise self.lose(_error(why)) from why
        self.state = State.READY

    def _transaction(self) -> Transaction:
        slot = self._slot()
        if slot.open is None:
            slot.open = Transaction(self.kafka.clock())
        return slot.open

    def _slot(self) -> Slot:
        try:
            return self.kafka.current(self.id, self.epoch)
        except KafkaException as why:
            raise self.lose(_error(why)) from why

    def _require(self, *states: State) -> None:
        if self.state in states:
            return
        if self.state is State.LOST:
            raise KafkaException(KafkaError(KafkaError._FENCED, "the producer is lost", fatal=True))
        if self.state is State.DOOMED:
            raise KafkaException(KafkaError(KafkaError._INCONSISTENT, txn_requires_abort=True))
        raise KafkaException(KafkaError(KafkaError._STATE))


def _error(exception: KafkaException) -> KafkaError:
    error = exception.args[0]
    assert isinstance(error, KafkaError), error
    return error
