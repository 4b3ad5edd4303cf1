"""The join: predictions and outcomes in, labelled records out, exactly once.

consume -> Matcher (millstream/matching/) -> one transaction of labelled records, state and offsets

The group is of the predictions' topic alone; the outcomes' partition of the same number goes where
the predictions' goes. The state is a compacted topic, NAME.join-state: whoever takes a partition
reads it there, and goes on at the offsets that it tells. The steps, with publishers.py's numbers:
  1. begin
  2. produce the batch's labelled records and the chunks of the state, and delete old chunks
  3. send the offsets of both topics, with the group's metadata
  4. commit
  5. only then are the records finished
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from consumers.kafka import ask, consumer_config
from consumers.letters import TopicReader
from consumers.loop import Assignment, Loop
from consumers.metrics.instruments import current
from consumers.publishers import SLOW_COMMIT_S, AtLeastOnce, ExactlyOnce, Route, send
from consumers.registry import Registry, subject_of
from millstream.contracts import contract
from millstream.errors import InvariantBroken
from millstream.matching import Counts, Joined, Matcher
from millstream.metrics.store import Store
from millstream.metrics.vocabulary import STATUSES
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import JoinSettings, KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream

SILENCE_S = 1.0
"""How often the clocks of topics that are silent are moved on."""
STATE_READS_MAX = 20
"""Readings of the state that is behind the committed offsets, over ten seconds: the broker ends a
dead worker's transaction partition by partition."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What a join has finished since it started."""

    counts: Counts = field(default_factory=Counts)
    batches: int = 0
    restored: int = 0
    """Chunks of the state that were read."""


class JoinPublisher(Protocol):
    """Makes a batch durable, or raises: see publishers.Publisher."""

    guarantee: str

    def open(self) -> None: ...
    def join(self, joined: Joined, offsets: list[TopicPartition], consumer: Consumer) -> None: ...
    def close(self) -> None: ...


class JoinExactlyOnce(ExactlyOnce):
    """One Kafka transaction a batch. labelled, state: the topics."""

    program = "join"

    def __init__(
        self, kafka: KafkaSettings, settings: JoinSettings, group: str, labelled: str, state: str
    ) -> None:
        super().__init__(kafka, _as_scorer(settings), group, Route("", labelled, state))
        self._topics = (labelled, state)

    def join(self, joined: Joined, offsets: list[TopicPartition], consumer: Consumer) -> None:
        """Steps 1 to 4."""

        def fill(producer: Producer) -> None:
            produce_labelled(producer, joined, self._topics[0])
            produce_state(producer, joined, self._topics[1])

        def send_offsets() -> None:
            group = ask("reading the group", consumer.consumer_group_metadata)
            self._call(
                "send_offsets_to_transaction",
                lambda p: p.send_offsets_to_transaction(offsets, group, self._wait_s),
            )

        took_s = self.transact(fill, send_offsets)
        if took_s > SLOW_COMMIT_S:
            _log.warning("a commit took %.1f s: the producer is replaced", took_s)
            self.open()


class JoinAtLeastOnce(AtLeastOnce):
    """Labelled records first, then the state, then the offsets, each delivered before the next: a
    crash repeats labelled records, with the ids that they had."""

    program = "join"

    def __init__(
        self, kafka: KafkaSettings, settings: JoinSettings, group: str, labelled: str, state: str
    ) -> None:
        super().__init__(kafka, _as_scorer(settings), group, Route("", labelled, state))
        self._topics = (labelled, state)

    def join(self, joined: Joined, offsets: list[TopicPartition], consumer: Consumer) -> None:
        """Steps 2 to 4."""
        produce_labelled(self._producer, joined, self._topics[0])
        self.deliver()
        self._crash.after(2)
        produce_state(self._producer, joined, self._topics[1])
        self.deliver()
        self._crash.after(3)
        ask("committing", lambda: consumer.commit(offsets=offsets, asynchronous=False))
        self._crash.after(4)


def _as_scorer(settings: JoinSettings) -> ScorerSettings:
    """What a transaction needs to know."""
    return ScorerSettings(
        slot=settings.slot,
        transaction_timeout_ms=settings.transaction_timeout_ms,
        call_s_max=settings.call_s_max,
    )


def produce_labelled(producer: Producer, joined: Joined, topic: str) -> None:
    """Every labelled record into the client's queue, to its event's partition."""
    headers: list[Any] = []
    for partition, key, value in zip(joined.partitions, joined.keys, joined.values, strict=True):
        send(producer, topic, value, key, partition, headers)


def produce_state(producer: Producer, joined: Joined, topic: str) -> None:
    """The chunks, then the deletions of those before them."""
    for partition, key, value in joined.state:
        send(producer, topic, value, key, partition, [])


def show(store: Store, counts: Counts, held: int) -> None:
    """What became of records, and how many are held, as numbers."""
    for status in STATUSES:
        store.total("millstream_join_records_total", getattr(counts, status), status=status)
    given_up = {"prediction": counts.given_up, "outcome": counts.outcomes_given_up}
    refused = {"prediction": counts.predictions_refused, "outcome": counts.outcomes_refused}
    for side, count in given_up.items():
        store.total("millstream_join_given_up_total", count, side=side)
    for side, count in refused.items():
        store.total("millstream_join_refused_total", count, side=side)
    store.set("millstream_join_held", held)


class Joiner:
    """The loop's program: restore what is new, join a batch, publish it, count it finished.

    clock: seconds, for SILENCE_S. rebuild: whether state that was lost is made anew.
    """

    def __init__(
        self,
        stream: Stream,
        matcher: Matcher,
        publisher: JoinPublisher,
        assignment: Assignment,
        state: StateReader,
        settings: JoinSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._predictions = stream.topic("predictions")
        self._outcomes = stream.topic("outcomes")
        self.topics: tuple[str, ...] = (self._predictions, self._outcomes)
        self.guarded: frozenset[str] = frozenset()
        self.records_max = settings.transaction_records_max
        self.tally = Tally()
        self._matcher = matcher
        self._publisher = publisher
        self._assignment = assignment
        self._state = state
        self._clock = clock
        self._looked = clock()

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """Where the state says; it is read here, in the callback (docs/JOIN.md: what it takes)."""
        places: dict[Partition, int | None] = {}
        for number in sorted({number for _, number in partitions}):
            count = self._state.restore(self._matcher, number, self._committed(number))
            self.tally.restored += count
            if count:
                _log.info("partition %d: the state was read, %d chunks of it", number, count)
            for topic, offset in self._offsets(number):
                places[(topic, number)] = offset if offset >= 0 else OFFSET_BEGINNING
        return places

    def leave(self, partitions: list[Partition]) -> None:
        for number in {number for _, number in partitions}:
            self._matcher.forget(number)

    def rewind(self) -> None:
        """Everything anew from the state: what the matcher took was not made durable."""
        for partition, offset in self.place(sorted(self._assignment.positions.owned)).items():
            assert offset is not None, partition
            self._assignment.seek(partition, offset)

    def drain(self) -> None:
        """Nothing is in hand between two batches."""

    def idle(self) -> None:
        """Move the clocks of silent topics on, from time to time."""
        if self._clock() - self._looked >= SILENCE_S:
            self._looked = self._clock()
            self._join(None, None)

    def take(self, batch: list[Records]) -> None:
        """Join and publish; the records are finished only when `join` has returned."""
        by_topic = {records.topic: records for records in batch}
        self._join(by_topic.get(self._predictions), by_topic.get(self._outcomes))
        for records in batch:
            for number, offset in records.next_offsets().items():
                self._assignment.positions.finish((records.topic, number), offset)
        self.tally.batches += 1

    def show(self, store: Store) -> None:
        """What was finished, and what is held, as numbers."""
        show(store, self.tally.counts, self._matcher.held)

    def _join(self, predictions: Records | None, outcomes: Records | None) -> None:
        joined = self._matcher.take(
            predictions, outcomes, self._silent(self._predictions), self._silent(self._outcomes)
        )
        touched = {partition for partition, _, _ in joined.state}
        if not touched:
            return
        offsets = []
        for number in sorted(touched):
            places = self._offsets(number)
            offsets += [TopicPartition(topic, number, at) for topic, at in places if at >= 0]
        self._publisher.join(joined, offsets, self._assignment.consumer)
        self.tally.counts.add(joined.counts)

    def _offsets(self, number: int) -> list[tuple[str, int]]:
        """What the state says is to be read next; -1 where nothing was read yet."""
        return list(zip(self.topics, self._matcher.offsets(number), strict=True))

    def _silent(self, topic: str) -> list[int]:
        at_end = self._assignment.is_at_end
        return [number for number in self._matcher.partitions if at_end((topic, number))]

    def _committed(self, number: int) -> tuple[int, int]:
        """Of predictions and outcomes; -1 where there is none."""
        wanted = [TopicPartition(topic, number) for topic in self.topics]
        consumer = self._assignment.consumer
        found = ask("reading offsets", lambda: consumer.committed(wanted, timeout=15))
        places = [max(part.offset, -1) for part in found]
        return places[0], places[1]


class StateReader:
    """Reads the join-state topic. rebuild: whether a state that was lost is begun anew.

    wait: sleeps between two readings.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        *,
        rebuild: bool,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._rebuild = rebuild
        self._wait = wait

    def restore(self, matcher: Matcher, partition: int, committed: tuple[int, int]) -> int:
        """The partition's state into the matcher; the number of its chunks.

        Raises InvariantBroken where chunks are missing, or all of them while offsets were
        committed: unless it may be made anew, from the beginning of both topics.
        """
        for attempt in range(STATE_READS_MAX):
            try:
                count = matcher.restore(partition, self._chunks(partition))
            except InvariantBroken as why:
                if not self._rebuild:
                    raise
                _log.warning("%s; the state is made anew", why.problem)
                return matcher.restore(partition, [])
            behind = any(
                at < place for at, place in zip(matcher.offsets(partition), committed, strict=True)
            )
            if not behind or self._rebuild:
                return count
            if attempt:
                _log.warning(
                    "%s-%d is behind the committed offsets; reading it again",
                    self._topic,
                    partition,
                )
            self._wait(0.5)
        matcher.forget(partition)
        raise InvariantBroken(
            f"{self._topic}-{partition} ends before the offsets that the join has committed: "
            "its records were deleted",
            "`millstream join --rebuild` reads predictions and outcomes again and repeats labelled "
            "records, with the ids that they had",
        )

    def _chunks(self, partition: int) -> list[bytes]:
        """Values of the partition's newest records, those deleted left out."""
        found: dict[bytes, bytes] = {}
        with closing(TopicReader(self._kafka, self._topic)) as reader:
            for records in reader.to_end([partition]):
                for record in records:
                    key, value = record.key() or b"", record.value()
                    if value is None:
                        found.pop(key, None)
                    else:
                        found[key] = value
        return list(found.values())


def run_join(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    settings: JoinSettings,
    stop: threading.Event,
    watch: Callable[[Tally], None] | None = None,
    *,
    rebuild: bool = False,
) -> Tally:
    """Join the stream's predictions and outcomes until `stop` is set; returns what was finished.

    watch: called with the tally once the join is ready. rebuild: whether lost state is made anew.
    Raises OperatorNeeded before anything is read where a part does not fit another, InvariantBroken
    where the state was damaged, ClientLost where the process must be started again.
    """
    registry = Registry(registry_settings)
    labelled, state = stream.topic("labelled"), stream.topic("join_state")
    matcher = Matcher(
        stream.label.kind,
        stream.label.outcome_wait_s * 1_000_000,
        registry.schema,
        registry.register(subject_of(labelled), contract("labelled").text),
        registry.register(subject_of(state), contract("join_chunk").text),
        settings.held_max,
    )
    group = f"{stream.name}-join"
    made = JoinAtLeastOnce if _at_least_once(stream, kafka) else JoinExactlyOnce
    publisher: JoinPublisher = made(kafka, settings, group, labelled, state)
    publisher.open()
    config = consumer_config(kafka, group, f"{group}-{settings.slot}")
    assignment = Assignment(Consumer(config | {"enable.partition.eof": True}))
    # what the embedded broker forgets is no sign of damage
    reader = StateReader(kafka, state, rebuild=rebuild or kafka.embedded)
    joiner = Joiner(stream, matcher, publisher, assignment, reader, settings)
    _log.info(
        "joining %s and %s within %d s, %s",
        *joiner.topics,
        stream.label.outcome_wait_s,
        publisher.guarantee,
    )
    if watch:
        watch(joiner.tally)
    try:
        seen = current().around(joiner, assignment, joiner.show)
        Loop(assignment, seen, stop, together=True).run()
    finally:
        publisher.close()
    return joiner.tally


def _at_least_once(stream: Stream, kafka: KafkaSettings) -> bool:
    if kafka.embedded and stream.serving.guarantee == "exactly_once":
        _log.warning(
            "the embedded broker keeps no transactions: labelled records are written at least "
            "once; exactly once needs a real broker"
        )
    return kafka.embedded or stream.serving.guarantee == "at_least_once"
