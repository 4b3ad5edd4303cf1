"""The sink: events, predictions and whatever else has a table, each record one row.

Which topics: those of schemas/topics.toml with a `table`, as far as they exist at the start.

The steps, numbered as in ARCHITECTURE.md and in the tests' names:
  1. read the mark (the highest offset among the rows) and seek behind it
  2. cut a block that begins at the mark
  3. insert it, its token made of the mark and the attempt
  4. look: read the mark and count the range back
  5. only then count the block finished; Kafka's committed offset is for showing lag
Steps 3 and 4 run beside the loop, of one partition never two at once, and are over before anything
else is done with the partition: before it leaves, before it is read again, before the end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, wait

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from consumers.batch import by_partition
from consumers.inserts import (
    INSERTS_MAX,
    Tally,
    Try,
    UnderWay,
    WithinTheLoop,
    beside_the_loop,
)
from consumers.kafka import ask, consumer_config
from consumers.loop import Assignment, Loop
from consumers.metrics.instruments import current
from consumers.registry import Registry
from consumers.topics import kinds_there
from consumers.warehouse import Tables, Warehouse, broken, require_tables
from millstream.contracts import topic_table
from millstream.crash import CrashPoint
from millstream.errors import ClientLost, DependencyUnavailable, InvariantBroken
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import KafkaSettings, RegistrySettings, SinkSettings, WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Block, Finding, Pending, Source, judge
from millstream.warehouse.rows import RowMaker, row_makers

RECORDS_MAX = 20_000

_log = logging.getLogger(__name__)


class Sink:
    """The loop's program: rows wait in `Pending` until they make a block, then become a part.

    executor: where steps 3 and 4 run; None: within the loop.
    """

    def __init__(
        self,
        makers: dict[str, RowMaker],
        tables: Tables,
        assignment: Assignment,
        settings: SinkSettings,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
    ) -> None:
        self.topics = tuple(makers)
        self.guarded: frozenset[str] = frozenset()
        self.records_max = RECORDS_MAX
        self.tally = Tally()
        self._makers = makers
        self._tables = tables
        self._assignment = assignment
        self._settings = settings
        self._clock = clock
        self._pending: dict[Partition, Pending] = {}
        self._tries: dict[Partition, Try] = {}
        self._executor = executor or WithinTheLoop()
        self._under_way: dict[Partition, UnderWay] = {}
        self._failure: BaseException | None = None
        self._instruments = current()
        self._crash = CrashPoint("sink", os.environ)

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """Step 1."""
        places: dict[Partition, int | None] = {}
        for topic in sorted({topic for topic, _ in partitions}):
            table = self._makers[topic].table
            marks = self._tables.marks(table, topic)
            for partition in (p for p in partitions if p[0] == topic):
                mark = marks.get(partition[1])
                if mark is not None:
                    self._require_same_log(partition, mark)
                places[partition] = OFFSET_BEGINNING if mark is None else mark + 1
                source = Source(table, *partition)
                self._pending[partition] = Pending(source, -1 if mark is None else mark)
        self._crash.after(1)
        return places

    def leave(self, partitions: list[Partition]) -> None:
        self._let_end(partitions)
        for partition in partitions:
            self._pending.pop(partition, None)
            self._tries.pop(partition, None)

    def rewind(self) -> None:
        """Every owned partition back behind its mark; what waits is read again."""
        owned = sorted(self._assignment.positions.owned)
        self._let_end(list(self._under_way))
        for pending in self._pending.values():
            pending.clear()
        self._tries.clear()
        for partition, offset in self.place(owned).items():
            assert offset is not None, partition
            self._assignment.seek(partition, offset)

    def take(self, batch: list[Records]) -> None:
        """The records' rows, each to its partition's pending ones."""
        now = self._clock()
        for mixed in batch:
            records = by_partition(mixed)
            table = self._makers[records.topic].rows(records)
            numbers, starts = np.unique(records.partitions, return_index=True)
            ends = [*starts[1:], len(records)]
            for number, start, end in zip(numbers, starts, ends, strict=True):
                rows = table.slice(start, end - start)
                self._pending[(records.topic, int(number))].add(rows, now)

    def idle(self) -> None:
        """Insert every block that is ripe, the oldest first; while one waits for ClickHouse,
        nothing more is fetched."""
        if self._failure is not None:
            raise self._failure
        self._end_those_done()
        waiting = sorted(self._pending.items(), key=lambda item: item[1].since)
        self.tally.held_bytes = held = sum(pending.bytes for _, pending in waiting)
        for partition, pending in waiting:
            under_way, trying = self._under_way.get(partition), self._tries.get(partition)
            if under_way is not None:
                behind = pending.rows - under_way.trying.block.rows.num_rows
                if behind < self._settings.block_rows_max and held <= self._settings.held_bytes_max:
                    continue
                self._end(partition)  # the next block is there: reading waits for this one
                trying = self._tries.get(partition)
            is_due = (
                self._clock() >= trying.due
                if trying is not None
                else self._is_ripe(pending)
                or (pending.rows > 0 and held > self._settings.held_bytes_max)
            )
            if is_due:
                held -= pending.bytes if trying is None else 0
                self._begin(partition)
                self._end_those_done()
        self._throttle()

    def drain(self) -> None:
        """Insert everything that waits, each block tried once; called at the end."""
        if self._failure is not None:
            raise self._failure
        try:
            landed = [self._end(partition) for partition in list(self._under_way)]
            for partition, pending in list(self._pending.items()):
                while all(landed) and pending.rows:
                    landed.append(self.insert(partition))
            if not all(landed):
                _log.warning("the rows that wait are read again at the next start")
        except ClientLost:
            raise
        except DependencyUnavailable as why:
            _log.warning("%s; the rows that wait are read again at the next start", why)

    def insert(self, partition: Partition) -> bool:
        """Steps 2 to 5 for the partition's first block, once; as `_end`."""
        self._begin(partition)
        return self._end(partition)

    def _begin(self, partition: Partition) -> None:
        """Step 2, then steps 3 and 4 beside the loop."""
        while len(self._under_way) >= INSERTS_MAX:
            wait([one.ended for one in self._under_way.values()], return_when=FIRST_COMPLETED)
            self._end_those_done()
        trying = self._tries.get(partition)
        if trying is None:
            trying = Try(self._pending[partition].cut(self._settings.block_rows_max))
            self._crash.after(2)
        ended = self._executor.submit(self._send, trying.block, trying.attempt)
        self._under_way[partition] = UnderWay(trying, ended)

    def _send(self, block: Block, attempt: int) -> tuple[bool, Finding | None]:
        began = self._clock()
        acknowledged = self._try_insert(block, attempt)
        finding, count = self._look(block), block.rows.num_rows
        landed = finding not in {None, Finding.ABSENT}
        self._instruments.inserted(block.source.table, count, self._clock() - began, landed)
        return acknowledged, finding

    def _end(self, partition: Partition) -> bool:
        """Wait for steps 3 and 4 of the partition's block; step 5.

        True: its rows are there, whoever wrote them. False: it is tried again when it is due; the
        loop polls meanwhile, so that the group counts us in and may take the partition away.
        Raises ClientLost where that was the last try.
        """
        pending, under_way = self._pending[partition], self._under_way.pop(partition)
        trying = under_way.trying
        acknowledged, finding = under_way.ended.result()
        if finding is not None and finding is not Finding.ABSENT:
            self._tries.pop(partition, None)
            self._finish(pending, trying.block, finding)
            return True
        if finding is Finding.ABSENT:
            # Acknowledged and absent: the token was logged by a process that died before its part
            # was named. The next attempt has a token of its own. After an error the same token goes
            # out again: should the first insert still land, one of them is dropped.
            if acknowledged:
                trying.attempt += 1
                _log.warning(
                    "ClickHouse acknowledged the rows of %s-%d from offset %d and has none of "
                    "them; they are inserted again as attempt %d",
                    *partition,
                    trying.block.first,
                    trying.attempt,
                )
            self.tally.repeats += 1
        trying.count(self._clock())
        if trying.tries >= self._settings.attempts_max:
            source = trying.block.source
            raise ClientLost(
                "ClickHouse", f"{source.table} did not take a block in {trying.tries} tries"
            )
        self._tries[partition] = trying
        return False

    def _end_those_done(self) -> None:
        for partition in [p for p, one in self._under_way.items() if one.ended.done()]:
            self._end(partition)

    def _let_end(self, partitions: Iterable[Partition]) -> None:
        """Wait until none of these has an insert under way. What it came to is left to whoever goes
        on with the partition and reads its mark; what must end the process is raised by `idle`."""
        ended = [self._under_way.pop(p).ended for p in partitions if p in self._under_way]
        wait(ended)
        for each in ended:
            self._failure = self._failure or each.exception()

    def _throttle(self) -> None:
        """Back-pressure: while a block waits, the partitions are paused, so that what is in hand
        stays as it is. Those assigned meanwhile are paused too, hence every time."""
        if self._tries:
            if not self.tally.is_paused:
                _log.warning("reading pauses until ClickHouse takes the rows that wait")
            self.tally.is_paused = True
            self._instruments.trouble("ClickHouse takes no rows")
            self._assignment.pause()
        elif self.tally.is_paused:
            self._assignment.resume()
            self.tally.is_paused = False
            self._instruments.trouble("")
            _log.info("ClickHouse takes rows again; reading goes on")

    def _try_insert(self, block: Block, attempt: int) -> bool:
        """Step 3. Whether ClickHouse acknowledged it."""
        try:
            self._tables.insert(block, attempt)
        except DependencyUnavailable as why:
            _log.warning("%s; the rows from offset %d wait and are tried again", why, block.first)
            return False
        self._crash.after(3)
        return True

    def _look(self, block: Block) -> Finding | None:
        """Step 4. None where ClickHouse does not answer."""
        try:
            look = self._tables.look(block)
        except DependencyUnavailable as why:
            _log.warning("%s; asking again whether the rows are there", why)
            return None
        finding = judge(block, look)
        if finding is Finding.BROKEN:
            raise broken(block, look)
        self._crash.after(4)
        return finding

    def _finish(self, pending: Pending, block: Block, finding: Finding) -> None:
        """Step 5."""
        source = block.source
        partition = (source.topic, source.partition)
        if finding is Finding.OVERTAKEN:
            mark = self._tables.mark(source)
            assert mark is not None, block.first
            _log.warning("another sink wrote %s-%d up to offset %d", *partition, mark)
            pending.drop_through(mark)
            expected = self._assignment.positions.expected(partition)
            if expected is not None and mark >= expected:
                self._assignment.seek(partition, mark + 1)
            return
        pending.drop_through(block.last)
        self._assignment.positions.finish(partition, block.last + 1)
        rows = self.tally.rows
        rows[source.table] = rows.get(source.table, 0) + block.rows.num_rows
        self.tally.blocks += 1
        self._show_lag(partition, block.last + 1)

    def _show_lag(self, partition: Partition, offset: int) -> None:
        try:
            self._assignment.consumer.commit(
                offsets=[TopicPartition(*partition, offset)], asynchronous=True
            )
        except KafkaException as why:
            _log.debug("the committed offset only shows lag: %s", why)

    def _is_ripe(self, pending: Pending) -> bool:
        settings = self._settings
        if not pending.rows:
            return False
        age_ms = (self._clock() - pending.since) * 1000
        return (
            pending.rows >= settings.block_rows_max
            or pending.bytes >= settings.block_bytes_max
            or age_ms >= settings.block_age_ms_max
        )

    def _require_same_log(self, partition: Partition, mark: int) -> None:
        """A topic made anew begins at 0 again: its records would pass for known ones."""
        low, high = ask(
            "reading watermarks",
            lambda: self._assignment.consumer.get_watermark_offsets(
                TopicPartition(*partition), timeout=15
            ),
        )
        if mark >= high:
            raise InvariantBroken(
                f"ClickHouse has {partition[0]}-{partition[1]} up to offset {mark}, the topic only "
                f"reaches {high}: it was deleted and made anew",
                f"Move the old rows away or write to another stream name (log begins at {low})",
            )


def run_sink(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    warehouse_settings: WarehouseSettings,
    settings: SinkSettings,
    stop: threading.Event,
    watch: Callable[[Tally], None] | None = None,
) -> Tally:
    """Write the stream's topics to ClickHouse until `stop` is set; returns what was written.

    watch: called with the tally once the sink is ready.
    Raises OperatorNeeded before anything is read where a table is missing, ClientLost where the
    process must be started again.
    """
    warehouse = Warehouse.connect(warehouse_settings)
    executor = beside_the_loop()
    try:
        kinds = _kinds(stream, kafka)
        absent = {t.table for t in topic_table().values() if t.table and t.kind not in kinds}
        require_tables(warehouse, stream, absent)
        registry = Registry(registry_settings)
        makers = row_makers(stream, registry.schema, kinds)
        group = f"{stream.name}-sink"
        consumer = Consumer(consumer_config(kafka, group, f"{group}-{settings.slot}"))
        assignment = Assignment(consumer)
        tables = Tables(warehouse, stream.name)
        sink = Sink(makers, tables, assignment, settings, executor=executor)
        _log.info("writing %s to database %s", ", ".join(makers), stream.name)
        if watch:
            watch(sink.tally)
        Loop(assignment, current().around(sink, assignment, sink.tally.show), stop).run()
        return sink.tally
    finally:
        executor.shutdown()
        warehouse.close()


def _kinds(stream: Stream, kafka: KafkaSettings) -> set[str]:
    """The topics to write: all that must exist, and those of the optional ones that do."""
    there = kinds_there(stream, kafka)
    found = set()
    for kind, topic in topic_table().items():
        if kind in there or not topic.optional:
            found.add(kind)
        elif topic.table:
            _log.warning(
                "topic %s does not exist: table %s is left out until the sink is started again "
                "after `millstream topics`",
                topic.name(stream.name),
                topic.table,
            )
    return found
