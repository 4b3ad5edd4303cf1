"""The doubles' clients with faults: every call can fail before or after it took effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from millstream.doubles.consumer import MemoryConsumer
from millstream.doubles.producer import MemoryProducer, State
from millstream.errors import DependencyUnavailable
from millstream.warehouse.blocks import Block, Look, Source
from tests.simulation.world import Process, World

SLOW_S = 4.0
"""Above publishers.SLOW_COMMIT_S."""
IDLE = 4.0
FREEZES = 8.0


def _timed_out() -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))


class FaultyConsumer(MemoryConsumer):
    """guarded: whether records may be swallowed, as an exception in a callback does: this program
    says that it reads holes again."""

    def __init__(
        self, world: World, process: Process, config: dict[str, Any], guarded: bool
    ) -> None:
        super().__init__(world.kafka, config)
        self._world = world
        self._guarded = guarded
        self._swallowed: set[Any] = set()
        self._begun: set[Any] = set()
        process.consumers.append(self)

    def poll(self, timeout: float = -1) -> Message | None:
        """Waits longer than asked where nothing comes: idle polls are most of a seed's time."""
        self._world.step("poll")
        return super().poll(timeout * IDLE)

    def consume(self, num_messages: int = 1, timeout: float = 0) -> list[Message]:
        self._world.step("consume")
        return super().consume(num_messages, timeout)

    def records_before_rebalance(self, count: int) -> int:
        return self._world.rng.randint(0, count)

    def rebalances_at_once(self) -> int:
        return self._world.rng.choice([1, 3])

    def seek(self, partition: TopicPartition) -> None:
        self._world.step(f"seek {partition.topic}-{partition.partition} to {partition.offset}")
        if self._world.errs(0.3):
            raise _timed_out()
        super().seek(partition)

    def committed(
        self, partitions: list[TopicPartition], timeout: float = 5
    ) -> list[TopicPartition]:
        self._world.step("committed")
        if self._world.errs():
            raise _timed_out()
        return super().committed(partitions, timeout)

    def commit(
        self, offsets: list[TopicPartition] | None = None, asynchronous: bool = True
    ) -> list[TopicPartition] | None:
        self._world.step("commit")
        if self._world.errs():
            return None  # asynchronous: nobody hears of it
        return super().commit(offsets, asynchronous)

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 5, cached: bool = False
    ) -> tuple[int, int]:
        self._world.step("watermarks")
        if self._world.errs(0.3):
            raise _timed_out()
        return super().get_watermark_offsets(partition, timeout, cached)

    def consumer_group_metadata(self) -> Any:
        if self._world.errs(0.1):
            raise _timed_out()
        return super().consumer_group_metadata()

    def close(self) -> None:
        self._world.step("close")
        super().close()

    def _fetched(self, count_max: int) -> list[Any]:
        """Neither the first record after an assignment or a seek is swallowed nor the log's last
        one: nobody could miss them. One that was swallowed once comes the next time."""
        world, kept = self._world, []
        for fetch, record in super()._fetched(count_max):
            where: Any = (record.topic(), record.partition(), record.offset())
            if (
                self._guarded
                and fetch in self._begun
                and where not in self._swallowed
                and where[2] + 1 < self.kafka.logs[where[:2]].stable_end
                and world.rng.random() < world.odds.swallow
            ):
                self._swallowed.add(where)
                world.count("swallow")
                world.tell("%s-%d: record %d is swallowed", *where)
                continue
            self._begun.add(fetch)
            kept.append((fetch, record))
        return kept


class FaultyProducer(MemoryProducer):
    """Refused calls, lost answers, fatal errors, failed deliveries, slow commits, late EndTxns."""

    def __init__(self, world: World, config: dict[str, Any]) -> None:
        super().__init__(world.kafka, config)
        self._world = world

    def init_transactions(self, timeout: float = -1) -> None:
        self._faulty("init_transactions", lambda: MemoryProducer.init_transactions(self, timeout))

    def begin_transaction(self) -> None:
        self._world.step("begin_transaction")
        super().begin_transaction()

    def produce(
        self, topic: str, value: Any = None, key: Any = None, *rest: Any, **more: Any
    ) -> None:
        world = self._world
        world.step(f"produce {topic} {value!r}")
        if world.errs(0.1):
            world.count("produce refused")
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        super().produce(topic, value, key, *rest, **more)
        if self.id in world.late_ends and world.rng.random() < 0.5:
            self._late_end()
        if world.errs(0.1) and self.state is State.OPEN:
            world.count("delivery failed")
            error = KafkaError(KafkaError._MSG_TIMED_OUT)
            self.fail_delivery(error, topic, rest[0] if rest else more["partition"])

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group_metadata: Any, timeout: float = -1
    ) -> None:
        said = ", ".join(f"{o.topic}-{o.partition}={o.offset}" for o in offsets)
        self._faulty(
            f"send_offsets_to_transaction {said}",
            lambda: MemoryProducer.send_offsets_to_transaction(
                self, offsets, group_metadata, timeout
            ),
        )

    def commit_transaction(self, timeout: float = -1) -> None:
        self._faulty("commit_transaction", self._commit)

    def abort_transaction(self, timeout: float = -1) -> None:
        self._faulty("abort_transaction", lambda: MemoryProducer.abort_transaction(self, timeout))

    def _commit(self) -> None:
        super().commit_transaction()
        world = self._world
        if not world.errs():
            return
        world.count("slow commit")
        world.tell("the commit is slow")
        world.late_ends[self.id] = self.epoch
        world.sleep(SLOW_S)

    def _late_end(self) -> None:
        """A repeated EndTxn(commit) arrives when its answer has long been had: without KIP-890 part
        2 it ends whatever the same epoch has open by then."""
        epoch = self._world.late_ends.pop(self.id, None)
        slot = self.kafka.slots[self.id]
        if epoch == slot.epoch and slot.open is not None:
            self._world.tell("a late EndTxn arrives")
            self.kafka.end(self.id, epoch, committed=True)

    def _faulty(self, call: str, do: Callable[[], None]) -> None:
        world = self._world
        world.step(call)
        if world.errs():
            self._fail(call)
        do()
        if world.errs(0.5):
            world.count("answer lost")
            world.tell("the answer is lost")
            self.state = State.UNKNOWN
            raise _timed_out()
        world.step(f"{call.partition(' ')[0]} returns")

    def _fail(self, call: str) -> NoReturn:
        world = self._world
        kind = world.rng.choice(["refused", "abortable", "fatal"])
        world.count(f"{kind} call")
        world.tell("%s: %s", call, kind)
        if kind == "fatal":
            raise self.lose(KafkaError(KafkaError._FENCED, fatal=True))
        if kind == "abortable" and self.state is State.OPEN:
            self.state = State.DOOMED
            raise KafkaException(
                KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE, txn_requires_abort=True)
            )
        if self.state is not State.NEW:
            self.state = State.UNKNOWN
        raise _timed_out()


class FaultyTables:
    """One sink's connection to the shared ClickHouse."""

    def __init__(self, world: World) -> None:
        self._world = world

    def marks(self, table: str, topic: str) -> dict[int, int]:
        self._reach("marks")
        return self._world.tables.marks(table, topic)

    def mark(self, source: Source) -> int | None:
        self._reach("mark")
        return self._world.tables.mark(source)

    def look(self, block: Block) -> Look:
        self._reach("look")
        found = self._world.tables.look(block)
        self._world.tell("sees %s of %s %d..%d", found, block.source, block.first, block.last)
        return found

    def insert(self, block: Block, attempt: int) -> None:
        world, tables = self._world, self._world.tables
        source = block.source
        self._reach(
            f"insert {source.topic}-{source.partition} {block.first}..{block.last} "
            f"as {block.token(attempt)}"
        )
        if not world.errs(2):
            tables.insert(block, attempt)
            world.step("insert returns")
            return
        kind = world.rng.choice(["answer lost", "late insert", "hole"])
        world.count(kind)
        world.tell("insert: %s", kind)
        if kind == "answer lost":
            tables.insert(block, attempt)
        elif kind == "late insert":
            life = world.server_life
            world.later(world.rng.uniform(0, 3), lambda: _arrive(world, life, block, attempt))
        else:
            world.server_life += 1  # the server died: what was on its way to it is lost too
            tables.dies_before_part = world.rng.randint(0, 1)
            try:
                tables.insert(block, attempt)
            finally:
                tables.dies_before_part = None
        raise DependencyUnavailable("ClickHouse", kind)

    def _reach(self, call: str) -> None:
        """Sinks are frozen here more often than elsewhere: who wakes has rivals."""
        world = self._world
        world.step(call, FREEZES)
        if world.now < world.tables_down_until:
            raise DependencyUnavailable("ClickHouse", "it is down")
        if world.errs(0.5):
            world.count("outage")
            world.tables_down_until = world.now + world.rng.uniform(0.1, 4)
            world.tell("ClickHouse is down for a while")
            raise DependencyUnavailable("ClickHouse", "it is down")


def _arrive(world: World, life: int, block: Block, attempt: int) -> None:
    if life == world.server_life:
        world.tell("a late insert of %s arrives", block.token(attempt))
        world.tables.insert(block, attempt)
