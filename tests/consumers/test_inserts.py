"""Inserts beside the sink's loop."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import cast

import pytest
from confluent_kafka import Consumer

from consumers.inserts import WithinTheLoop
from consumers.kafka import consumer_config
from consumers.loop import Assignment, Loop
from consumers.metrics.instruments import Live, installed
from consumers.sink import Sink
from consumers.warehouse import Tables
from millstream.doubles.broker import Kafka
from millstream.doubles.consumer import MemoryConsumer
from millstream.doubles.tables import MemoryTables
from millstream.errors import InvariantBroken
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import KafkaSettings, SinkSettings
from millstream.warehouse.blocks import Block, Look
from millstream.warehouse.rows import LetterRows

TOPIC, TABLE = "t", "dead_letters"
PARTITIONS, RECORDS, ROWS_MAX = 3, 40, 7
WAIT_S = 20.0


class SlowTables(MemoryTables):
    """Every insert waits until it may end; how many of one partition ran at once is counted."""

    def __init__(self, may_end: threading.Event) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.running: dict[int, int] = {}
        self.together = 0
        self.twice = False
        self.doubles = False
        self._may_end = may_end
        self._lock = threading.Lock()

    def insert(self, block: Block, attempt: int) -> None:
        number = block.source.partition
        with self._lock:
            self.running[number] = self.running.get(number, 0) + 1
            self.twice |= self.running[number] > 1
            self.together = max(self.together, sum(self.running.values()))
        self.entered.set()
        assert self._may_end.wait(WAIT_S)
        with self._lock:
            super().insert(block, attempt)
            self.running[number] -= 1

    def look(self, block: Block) -> Look:
        with self._lock:
            found = super().look(block)
        return Look(found.mark, found.count + 1) if self.doubles else found


class Bed:
    """A topic of PARTITIONS partitions with RECORDS records each, and a sink that reads them."""

    def __init__(self, tables: SlowTables, executor: Executor) -> None:
        kafka = Kafka(lambda: 0.0, lambda _: None)
        kafka.create_topic(TOPIC, PARTITIONS)
        for number in range(PARTITIONS):
            for _ in range(RECORDS):
                kafka.append((TOPIC, number), b"k", b"v", [])
        consumer = MemoryConsumer(kafka, consumer_config(KafkaSettings(), "g", "g"))
        self.now = 0.0
        self.tables = tables
        self.assignment = Assignment(cast(Consumer, consumer))
        settings = SinkSettings(block_rows_max=ROWS_MAX, block_age_ms_max=1)
        self.sink = Sink(
            {TOPIC: LetterRows()}, cast(Tables, tables), self.assignment, settings, self._clock,
            executor,
        )  # fmt: skip
        self.sink.records_max = 10
        self.stop = threading.Event()
        self.loop = Loop(self.assignment, self.sink, self.stop)

    def _clock(self) -> float:
        self.now += 0.05
        return self.now


def test_every_row_lands_once_with_inserts_beside_the_loop() -> None:
    """Several partitions at once, never two inserts of one, and all of it is there at the end."""
    may_end = threading.Event()
    may_end.set()
    with ThreadPoolExecutor(2) as executor:
        bed = Bed(SlowTables(may_end), executor)
        running = threading.Thread(target=bed.loop.run)
        running.start()
        wanted = PARTITIONS * RECORDS
        for _ in range(2_000):
            if sum(bed.tables.count(TABLE, TOPIC, n) for n in range(PARTITIONS)) == wanted:
                break
            running.join(0.01)
        bed.stop.set()
        running.join(WAIT_S)
    assert [bed.tables.count(TABLE, TOPIC, n) for n in range(PARTITIONS)] == [RECORDS] * PARTITIONS
    assert not bed.tables.twice
    assert bed.sink.tally.rows == {TABLE: wanted}


def test_the_sink_shows_what_it_wrote_and_what_waits() -> None:
    """Rows by table, blocks, each insert's time, and that nothing is held at the end."""
    may_end = threading.Event()
    may_end.set()
    live = Live(Store("sink"), Health(lambda: 0.0, 10.0))
    with ThreadPoolExecutor(2) as executor, installed(live):
        bed = Bed(SlowTables(may_end), executor)
        shown = live.around(bed.sink, bed.assignment, bed.sink.tally.show)
        running = threading.Thread(target=Loop(bed.assignment, shown, bed.stop).run)
        running.start()
        wanted = PARTITIONS * RECORDS
        for _ in range(2_000):
            if sum(bed.tables.count(TABLE, TOPIC, n) for n in range(PARTITIONS)) == wanted:
                break
            running.join(0.01)
        bed.stop.set()
        running.join(WAIT_S)
    store, tally = live.store, bed.sink.tally
    assert store.value("millstream_sink_rows_total", table=TABLE) == wanted
    assert store.value("millstream_sink_blocks_total") == tally.blocks >= wanted / ROWS_MAX
    assert store.value("millstream_sink_insert_seconds") == tally.blocks
    assert store.value("millstream_sink_repeats_total") == 0
    assert store.value("millstream_sink_paused") == 0
    assert store.value("millstream_records_consumed_total", topic="other") == wanted


def test_a_partition_leaves_after_its_insert_has_ended() -> None:
    """Nothing is under way when the next owner reads the mark."""
    may_end = threading.Event()
    with ThreadPoolExecutor(2) as executor:
        bed = Bed(SlowTables(may_end), executor)
        running = threading.Thread(target=bed.loop.run)
        running.start()
        assert bed.tables.entered.wait(WAIT_S)
        bed.stop.set()
        running.join(0.05)
        assert running.is_alive()
        may_end.set()
        running.join(WAIT_S)
    assert not running.is_alive()
    assert sum(bed.tables.running.values()) == 0
    assert bed.tables.together == 2


def test_what_must_end_the_process_is_raised_in_the_loop() -> None:
    """A double that a thread counted back ends the loop, also of a partition that has left."""
    may_end = threading.Event()
    may_end.set()
    with ThreadPoolExecutor(2) as executor:
        tables = SlowTables(may_end)
        tables.doubles = True
        with pytest.raises(InvariantBroken):
            Bed(tables, executor).loop.run()


def test_within_the_loop_a_call_is_over_at_once() -> None:
    """Its result or its exception is in the future."""
    within = WithinTheLoop()
    assert within.submit(lambda: 3).result(0) == 3
    assert isinstance(within.submit(lambda: 1 // 0).exception(0), ZeroDivisionError)
