"""Kafka in memory: topics, consumer groups, and transactional ids with their epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException

from millstream.doubles.groups import Group
from millstream.doubles.log import Entry, Log, Transaction
from millstream.offsets import Partition
from millstream.records import Headers


@dataclass(slots=True)
class Slot:
    """A transactional id: who uses it now, and what is open under it."""

    epoch: int = 0
    timeout_s: float = 60.0
    open: Transaction | None = None


class Kafka:
    """clock: seconds since 1970. sleep: called with seconds wherever a client would wait."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.clock = clock
        self.sleep = sleep
        self.logs: dict[Partition, Log] = {}
        self.slots: dict[str, Slot] = {}
        self._groups: dict[str, Group] = {}

    def create_topic(self, name: str, partitions: int) -> None:
        """An empty topic."""
        for number in range(partitions):
            self.logs[(name, number)] = Log()

    def partitions(self, topic: str) -> list[Partition]:
        """The topic's partitions, in order."""
        return sorted(partition for partition in self.logs if partition[0] == topic)

    def group(self, name: str) -> Group:
        """The group of that name, made if there is none."""
        return self._groups.setdefault(name, Group(name))

    def log(self, partition: Partition) -> Log:
        """Raises KafkaException where there is none."""
        found = self.logs.get(partition)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return found

    def append(
        self,
        partition: Partition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        transaction: Transaction | None = None,
        stamp_ms: int | None = None,
    ) -> int:
        """Write one record; its offset. stamp_ms: its producer's own time, now if left out."""
        log = self.log(partition)
        if transaction is not None:
            transaction.logs[partition] = log
        stamp_ms = self._now_ms() if stamp_ms is None else stamp_ms
        return log.append(Entry(key, value, headers, stamp_ms, transaction))

    def fence(self, transactional_id: str, timeout_s: float) -> int:
        """A new epoch for the id; what the last one left open is aborted."""
        slot = self.slots.setdefault(transactional_id, Slot())
        slot.epoch += 1
        slot.timeout_s = timeout_s
        self._end(slot, committed=False)
        return slot.epoch

    def current(self, transactional_id: str, epoch: int) -> Slot:
        """The id's slot. Raises KafkaException, fatal, where another epoch has it now."""
        slot = self.slots[transactional_id]
        if slot.epoch != epoch:
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced by a newer", fatal=True))
        return slot

    def end(self, transactional_id: str, epoch: int, committed: bool) -> None:
        """Commit or abort what is open under the id. Raises KafkaException, fatal, where the epoch
        is old or nothing is open."""
        slot = self.current(transactional_id, epoch)
        if slot.open is None:
            raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE, fatal=True))
        self._end(slot, committed)

    def tick(self) -> None:
        """What time brings about: members that were silent leave, transactions time out."""
        now = self.clock()
        for group in self._groups.values():
            group.expire(now)
        for slot in self.slots.values():
            if slot.open is not None and now - slot.open.began > slot.timeout_s:
                slot.epoch += 1
                self._end(slot, committed=False)

    def _end(self, slot: Slot, committed: bool) -> None:
        transaction, slot.open = slot.open, None
        if transaction is None:
            return
        transaction.outcome = committed
        for log in transaction.logs.values():
            log.mark(transaction, self._now_ms())
        for (group, partition), offset in transaction.offsets.items():
            self.group(group).settle(transaction, partition, offset)

    def _now_ms(self) -> int:
        return int(self.clock() * 1000)
