"""A program for the tests of the loop: it commits what it takes, and remembers it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from consumers.kafka import ask, consumer_config, producer_config
from consumers.loop import Assignment, Loop
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import KafkaSettings

WAIT_S = 60.0
Taken = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Taker:
    """A program that commits what it takes. `faults` are raised by turns, one a call of `take`."""

    topics: tuple[str, ...]
    assignment: Assignment
    guarded: frozenset[str] = frozenset()
    records_max: int = 1_000
    taken: list[Taken] = field(default_factory=list)
    batches: list[Records] = field(default_factory=list)
    faults: list[Exception | None] = field(default_factory=list)
    place_faults: list[Exception] = field(default_factory=list)
    rewind_faults: list[Exception] = field(default_factory=list)
    start: int | None = None
    behind: int = 0
    """So many of a partition's batches stay in hand before the oldest is finished, as a sink's."""
    held: dict[Partition, list[int]] = field(default_factory=dict)
    before: Callable[[list[Records]], None] = lambda batch: None
    after: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """At the committed offsets, or at `start`."""
        self.calls.append("place")
        if self.place_faults:
            raise self.place_faults.pop(0)
        return dict.fromkeys(partitions, self.start)

    def leave(self, partitions: list[Partition]) -> None:
        """Only remembered."""
        self.calls.append("leave")

    def take(self, batch: list[Records]) -> None:
        """Commit, then remember."""
        self.before(batch)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        for records in batch:
            parts = [
                TopicPartition(records.topic, p, offset)
                for p, offset in records.next_offsets().items()
            ]
            self._commit(parts)
            for part in parts:
                partition = (part.topic, part.partition)
                held = self.held.setdefault(partition, [])
                held.append(part.offset)
                if len(held) > self.behind:
                    self.assignment.positions.finish(partition, held.pop(0))
            where = zip(records.partitions.tolist(), records.offsets.tolist(), strict=True)
            self.taken += [(records.topic, p, o) for p, o in where]
            self.batches.append(records)

    def _commit(self, parts: list[TopicPartition]) -> None:
        consumer = self.assignment.consumer
        ask("committing", lambda: consumer.commit(offsets=parts, asynchronous=False))

    def rewind(self) -> None:
        """To what was committed."""
        self.calls.append("rewind")
        if self.rewind_faults:
            raise self.rewind_faults.pop(0)
        self.assignment.rewind_to_committed()

    def drain(self) -> None:
        """Only remembered."""
        self.calls.append("drain")

    def idle(self) -> None:
        """The test's own turn."""
        self.after()


def taker_of(
    settings: KafkaSettings, topic: str, client: type[Consumer] = Consumer, member: str = "one"
) -> Taker:
    """A program that reads the topic, in the topic's own group."""
    consumer = client(consumer_config(settings, f"{topic}-group", f"{topic}-{member}"))
    return Taker((topic,), Assignment(consumer))


def run(taker: Taker, until: Callable[[], bool]) -> None:
    """The loop in this thread, until the test has seen enough; fails if that never comes."""
    stop, deadline = threading.Event(), time.monotonic() + WAIT_S
    watch = threading.Timer(WAIT_S, stop.set)
    watch.start()

    def look() -> None:
        if until():
            stop.set()

    taker.after = look
    try:
        Loop(taker.assignment, taker, stop).run()
    finally:
        watch.cancel()
    assert time.monotonic() < deadline, f"not reached; {len(taker.taken)} taken"


def publish(
    settings: KafkaSettings, topic: str, counts: Sequence[int], **others: Any
) -> set[Taken]:
    """So many records into each partition; where they lie, if these are the first."""
    producer = Producer(producer_config(settings, "test"))
    for partition, count in enumerate(counts):
        for offset in range(count):
            producer.produce(topic, f"v{offset}".encode(), b"k", partition, **others)
    assert producer.flush(WAIT_S) == 0
    return {(topic, p, o) for p, count in enumerate(counts) for o in range(count)}


def once_and_in_order(taken: list[Taken], wanted: set[Taken]) -> None:
    """What was taken is what was wanted, each partition's ascending."""
    assert sorted(taken) == sorted(wanted)
    for number in {p for _, p, _ in wanted}:
        offsets = [o for _, p, o in taken if p == number]
        assert offsets == sorted(offsets)
