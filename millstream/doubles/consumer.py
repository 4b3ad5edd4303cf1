"""A consumer of a group in memory, shaped like confluent_kafka.Consumer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from millstream.doubles.broker import Kafka
from millstream.doubles.groups import Member, Membership
from millstream.doubles.log import delivered
from millstream.offsets import Partition

Rebalance = Callable[[Any, list[TopicPartition]], None]


class _Fetch:
    """Where one assigned partition is read; a new one after every seek makes what the old one
    delivered outdated. position: None until the committed offset is known."""

    __slots__ = ("paused", "position", "told_end")

    def __init__(self, position: int | None, paused: bool = False) -> None:
        self.position = position
        self.paused = paused
        self.told_end = -1


class MemoryConsumer:
    """config: librdkafka's names; only group.id, group.instance.id, session.timeout.ms,
    max.poll.interval.ms, enable.partition.eof and, for the watermarks, isolation.level matter.
    read_committed, no automatic commits, earliest."""

    def __init__(self, kafka: Kafka, config: dict[str, Any]) -> None:
        self.kafka = kafka
        self._group = kafka.group(config["group.id"])
        self._instance: str | None = config.get("group.instance.id")
        self._session_s: float = config.get("session.timeout.ms", 45_000) / 1000
        self._poll_s_max: float = config.get("max.poll.interval.ms", 300_000) / 1000
        self._polled = kafka.clock()
        self._topics: tuple[str, ...] = ()
        self._callbacks: dict[str, Rebalance | None] = {}
        self._member: Member | None = None
        self._fetches: dict[Partition, _Fetch] = {}
        self._turn = 0
        self._was_assigned = False
        self._was_unassigned = False
        self._tells_ends: bool = config.get("enable.partition.eof", False)
        self._sees_all = config.get("isolation.level") == "read_uncommitted"

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read exactly these, without a group."""
        self._fetches.clear()
        self.incremental_assign(partitions)

    def subscribe(
        self,
        topics: list[str],
        on_assign: Rebalance | None = None,
        on_revoke: Rebalance | None = None,
        on_lost: Rebalance | None = None,
    ) -> None:
        """Join the group at the next poll."""
        self._topics = tuple(topics)
        self._callbacks = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost or on_revoke}

    def poll(self, timeout: float = -1) -> Message | None:
        """Serves rebalances, then the next record or error; None where the time-out passed."""
        for may_wait in (True, False):
            found = self.consume(1, 0)
            if found:
                return found[0]
            if may_wait:
                self.kafka.sleep(timeout)
        return None

    def consume(self, num_messages: int = 1, timeout: float = 0) -> list[Message]:
        """Records and errors, at once. What a rebalance in the middle made outdated is dropped."""
        del timeout
        self.kafka.tick()
        if not self._topics:
            return [m for _, m in self._fetched(num_messages)]
        got = self._fetched(self.records_before_rebalance(num_messages))
        problem = None
        for _ in range(self.rebalances_at_once()):
            problem = problem or self._serve()
        found = [m for fetch, m in got if self._fetches.get(_partition(m)) is fetch]
        if problem is not None:
            return [*found, delivered(error=problem)]
        return found + [m for _, m in self._fetched(num_messages - len(found))]

    def records_before_rebalance(self, count: int) -> int:
        """How many of `count` records the client has in hand before it hears of a rebalance."""
        del count
        return 0

    def rebalances_at_once(self) -> int:
        """How many steps of a rebalance one call may serve."""
        return 1

    def seek(self, partition: TopicPartition) -> None:
        """Raises KafkaException where the partition is not assigned."""
        fetch = self._fetches.get((partition.topic, partition.partition))
        if fetch is None:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._start(partition, fetch.paused)

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Deliver nothing of these until `resume`, or until they are assigned anew."""
        self._set_paused(partitions, True)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Deliver these again, from where they stand."""
        self._set_paused(partitions, False)

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The offsets after what was delivered last."""
        return [
            TopicPartition(p.topic, p.partition, OFFSET_INVALID if at is None else at)
            for p in partitions
            for at in [self._position((p.topic, p.partition))]
        ]

    def assignment(self) -> list[TopicPartition]:
        """What is read now."""
        return [TopicPartition(*partition) for partition in sorted(self._fetches)]

    def committed(
        self, partitions: list[TopicPartition], timeout: float = 5
    ) -> list[TopicPartition]:
        """The group's offsets. Raises KafkaException where an open transaction keeps one unsettled
        for longer than the time-out."""
        deadline = self.kafka.clock() + timeout
        wanted = [(p.topic, p.partition) for p in partitions]
        self.kafka.tick()
        while not all(self._group.is_settled(partition) for partition in wanted):
            if self.kafka.clock() >= deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))
            self.kafka.sleep(timeout / 4)
            self.kafka.tick()
        offsets = self._group.offsets
        return [TopicPartition(*p, offsets.get(p, OFFSET_INVALID)) for p in wanted]

    def commit(
        self, offsets: list[TopicPartition] | None = None, asynchronous: bool = True
    ) -> list[TopicPartition] | None:
        """Outside of any transaction. Raises KafkaException, unless asynchronous, where the
        membership is stale."""
        try:
            self._group.require(self.consumer_group_metadata())
        except KafkaException:
            if asynchronous:
                return None
            raise
        for offset in offsets or []:
            self._group.offsets[(offset.topic, offset.partition)] = offset.offset
        return None if asynchronous else offsets

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 5, cached: bool = False
    ) -> tuple[int, int]:
        """The log's first offset, and the end of what the isolation level may read."""
        del timeout, cached
        log = self.kafka.log((partition.topic, partition.partition))
        return log.start, log.end if self._sees_all else log.stable_end

    def consumer_group_metadata(self) -> Any:
        """What send_offsets_to_transaction needs."""
        member = self._member
        if member is None:
            return Membership(self._group.name, "", -1)
        return Membership(self._group.name, member.id, member.generation)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these too, each from its offset, or from the committed one if it has none."""
        self._was_assigned = True
        for partition in partitions:
            self._start(partition)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Read these no more."""
        self._was_unassigned = True
        for partition in partitions:
            self._fetches.pop((partition.topic, partition.partition), None)

    def close(self) -> None:
        """Give everything up. A static member (group.instance.id) keeps its place until its session
        ends; another one leaves."""
        if self._member is None:
            return
        self._rebalance("revoke", set(self._fetches))
        if self._instance is None:
            self._group.leave(self._member.id)
        else:
            self._member.silent_since = self.kafka.clock()
        self._member = None

    def freeze(self) -> None:
        """The process is stopped or dead: no heartbeats any more."""
        if self._member is not None and self._member.silent_since is None:
            self._member.silent_since = self.kafka.clock()

    def thaw(self) -> None:
        """The process runs again."""
        self.kafka.tick()
        if self._member is not None:
            self._member.silent_since = None

    def _serve(self) -> KafkaError | None:
        """What the group wants of this member; an error to be delivered as a record."""
        now, group = self.kafka.clock(), self._group
        late, self._polled = now - self._polled > self._poll_s_max, now
        if self._member is None:
            self._join()
        member = self._member
        assert member is not None
        if member.id in group.fenced:
            return KafkaError(KafkaError.FENCED_INSTANCE_ID, fatal=True)
        if late and member.id in group.members:
            group.leave(member.id)
            return KafkaError(KafkaError._MAX_POLL_EXCEEDED)
        if member.id not in group.members:
            self._rebalance("lost", set(self._fetches))
            self._join()
            return None
        given = group.to_give_up(member)
        if given:
            self._rebalance("revoke", given)
            member.owned -= given
        member.generation = group.generation
        taken = group.to_take(member)
        if taken:
            member.owned |= taken
            self._rebalance("assign", taken)
        return None

    def _join(self) -> None:
        every = [p for topic in self._topics for p in self.kafka.partitions(topic)]
        self._member = self._group.join(self._instance, self._topics, every, self._session_s)

    def _rebalance(self, kind: str, partitions: set[Partition]) -> None:
        """Tell the program; do what it left undone, as confluent-kafka does."""
        if not partitions:
            return
        moved = [TopicPartition(*partition) for partition in sorted(partitions)]
        self._was_assigned = self._was_unassigned = False
        callback = self._callbacks.get(kind)
        if callback is not None:
            callback(self, moved)
        if kind == "assign" and not self._was_assigned:
            self.incremental_assign(moved)
        if kind != "assign" and not self._was_unassigned:
            self.incremental_unassign(moved)

    def _set_paused(self, partitions: list[TopicPartition], paused: bool) -> None:
        for partition in partitions:
            fetch = self._fetches.get((partition.topic, partition.partition))
            if fetch is not None:
                fetch.paused = paused

    def _start(self, partition: TopicPartition, paused: bool = False) -> None:
        named = (partition.topic, partition.partition)
        offset = partition.offset
        if offset == OFFSET_BEGINNING:
            offset = self.kafka.log(named).start
        self._fetches[named] = _Fetch(None if offset == OFFSET_INVALID else offset, paused)

    def _position(self, partition: Partition) -> int | None:
        fetch = self._fetches.get(partition)
        return None if fetch is None else fetch.position

    def _fetched(self, count_max: int) -> list[tuple[_Fetch, Message]]:
        """Records of the assigned partitions, another one first each time."""
        found: list[tuple[_Fetch, Message]] = []
        names = sorted(self._fetches)
        if not names or count_max <= 0:
            return found
        self._turn += 1
        start = self._turn % len(names)
        for name in names[start:] + names[:start]:
            if len(found) >= count_max:
                break
            fetch = self._fetches[name]
            if fetch.paused:
                continue
            if fetch.position is None:
                if not self._group.is_settled(name):
                    continue
                fetch.position = self._group.offsets.get(name, self.kafka.log(name).start)
            entries, fetch.position = self.kafka.log(name).read(
                fetch.position, count_max - len(found)
            )
            for offset, entry in entries:
                record = delivered(
                    topic=name[0],
                    partition=name[1],
                    offset=offset,
                    key=entry.key,
                    value=entry.value,
                    headers=list(entry.headers) or None,
                    timestamp=(1, entry.stamp_ms),
                )
                found.append((fetch, record))
            if self._tells_ends and not entries and fetch.told_end != fetch.position:
                fetch.told_end = fetch.position
                found.append((fetch, _end_of(name, fetch.position)))
        return found


def _end_of(partition: Partition, offset: int) -> Message:
    """What librdkafka tells where a partition was read to its end."""
    error = KafkaError(KafkaError._PARTITION_EOF)
    return delivered(topic=partition[0], partition=partition[1], offset=offset, error=error)


def _partition(record: Message) -> Partition:
    return record.topic() or "", record.partition() or 0
