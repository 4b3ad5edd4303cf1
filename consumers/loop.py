"""The one poll loop of all consumers; a program says what happens to a batch.

Nothing of a program runs inside a rebalance callback but `place` and `leave`: no transaction is
open while partitions move, and no insert of a partition that leaves.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumers.batch import column, records_of
from consumers.collector import rare_collections
from consumers.kafka import TransactionAborted, ask, kafka_error, translate
from millstream.errors import ClientLost, DependencyUnavailable, MillstreamError
from millstream.offsets import Partition, Positions, Verdict
from millstream.records import Records

CONSUME_RECORDS_MAX = 1_000
"""librdkafka's best batch: 0.5 to 0.8 µs a record; 100 and 20,000 are slower."""
BACKOFF_S_MAX = 10.0
ABORTS_MAX = 10
"""Transactions aborted in a row, over half a minute of growing waits, before the process leaves:
what no new attempt mends (a deleted topic, a right that was taken away) must be seen."""
REAL_HOLES_MAX = 3
"""Holes that stayed when read again; a partition with more of them is no longer watched."""

_log = logging.getLogger(__name__)


class Program(Protocol):
    """What a consumer does with its batches."""

    topics: tuple[str, ...]
    guarded: frozenset[str]
    """Those topics whose offsets have no holes: one there is read again before it is believed."""
    records_max: int
    """Records taken before `take` is called."""

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """Where to begin on newly assigned partitions; None: at the committed offset.

        Called inside the rebalance callback.
        """

    def leave(self, partitions: list[Partition]) -> None:
        """These partitions are gone: forget what is in hand, send nothing more for them."""

    def take(self, batch: list[Records]) -> None:
        """One Records for each topic that had any. Returns when they are finished or in hand.

        TransactionAborted and DependencyUnavailable make the loop wait and `rewind`; anything else
        ends it.
        """

    def rewind(self) -> None:
        """Read again from the last record that is finished; what is in hand is forgotten."""

    def drain(self) -> None:
        """Finish what is in hand: the loop has been stopped."""

    def idle(self) -> None:
        """Called after every poll, with or without records."""


class Assignment:
    """The consumer's partitions and their positions, kept in step."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.positions = Positions()
        self.ends: dict[Partition, int] = {}  # where logs last ended, if the client asks for EOF

    def is_at_end(self, partition: Partition) -> bool:
        """Whether it was read to where its log last ended."""
        return (self.positions.expected(partition) or 0) <= self.ends.get(partition, -1)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read this partition from `offset` on; nothing of it is in hand."""
        self.read_on(partition, offset)
        self.positions.place(partition, offset if offset >= 0 else None)

    def pause(self) -> None:
        """Fetch nothing more: polls still serve the group, and bring no records."""
        self.consumer.pause([TopicPartition(*p) for p in sorted(self.positions.owned)])

    def resume(self) -> None:
        """Read on behind what was admitted last."""
        owned = sorted(self.positions.owned)
        self.consumer.resume([TopicPartition(*p) for p in owned])
        for partition in owned:
            expected = self.positions.expected(partition)
            if expected is not None:
                self.read_on(partition, expected)

    def read_on(self, partition: Partition, offset: int) -> None:
        """Read this partition from `offset` on; what of it is in hand stays so."""
        self.ends.pop(partition, None)
        ask("seeking", lambda: self.consumer.seek(TopicPartition(*partition, offset)))

    def rewind_to_committed(self) -> None:
        """Every owned partition back to its committed offset, or its beginning."""
        self.seek_committed(self.positions.owned)

    def seek_committed(self, partitions: Iterable[Partition]) -> None:
        """These partitions to their committed offsets, or their beginnings."""
        wanted = [TopicPartition(*p) for p in sorted(partitions)]
        if not wanted:
            return
        committed = ask("reading offsets", lambda: self.consumer.committed(wanted, timeout=15))
        for part in committed:
            if part.error is not None:
                raise translate(part.error, "reading offsets")
            offset = part.offset if part.offset >= 0 else OFFSET_BEGINNING
            self.seek((part.topic, part.partition), offset)


class Loop:
    """Polls until `stop` is set, and leaves the group in order.

    together: the group is of the first topic; a partition of another goes where its number goes.
    """

    def __init__(
        self,
        assignment: Assignment,
        program: Program,
        stop: threading.Event,
        together: bool = False,
    ) -> None:
        self._assignment = assignment
        self._consumer = assignment.consumer
        self._program = program
        self._stop = stop
        self._together = together
        self._moved: set[Partition] = set()
        self._unplaced: set[Partition] = set()  # assigned, but `place` could not be asked
        self._latched: MillstreamError | None = None
        self._backoff_s = 0.0
        self._aborts = 0  # in a row
        self._holes: dict[Partition, set[int]] = {}  # read again, not yet known to be real
        self._real_holes: Counter[Partition] = Counter()

    def run(self) -> None:
        """Returns when stopped. Raises what the program or Kafka raised."""
        self._consumer.subscribe(
            list(self._program.topics[: 1 if self._together else None]),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        try:
            with rare_collections(self._program.records_max):
                while not self._stop.is_set():
                    self.step()
                self._program.drain()
        finally:
            self._consumer.close()

    def step(self) -> None:
        """One round: poll, take, idle."""
        try:
            batch = self._gather()
            if batch:
                self._program.take(batch)
            self._program.idle()
            if batch:  # only what was taken shows that the trouble is over
                self._backoff_s, self._aborts = 0.0, 0
        except ClientLost:
            raise
        except DependencyUnavailable as why:
            self._count_aborts(why)
            self._again(why)

    def _count_aborts(self, why: DependencyUnavailable) -> None:
        self._aborts = self._aborts + 1 if isinstance(why, TransactionAborted) else 0
        if self._aborts >= ABORTS_MAX:
            raise ClientLost(
                "Kafka", f"{ABORTS_MAX} transactions in a row were aborted, the last: {why.reason}"
            ) from why

    def _again(self, why: DependencyUnavailable) -> None:
        """Wait, then read again what is not finished; as often as it takes."""
        while not self._stop.is_set():
            self._backoff_s = min(max(2 * self._backoff_s, 0.1), BACKOFF_S_MAX)
            _log.warning("%s; reading again in %.1f s what is not finished", why, self._backoff_s)
            self._stop.wait(self._backoff_s)
            try:
                self._serve()
                self._place_rest()
                self._program.rewind()
                return
            except ClientLost:
                raise
            except DependencyUnavailable as still:
                why = still

    def _serve(self) -> None:
        """Let the group move partitions while we wait; a record that comes is read again."""
        try:
            self._consumer.poll(0)
        except KafkaException as why:
            raise ClientLost("Kafka", f"poll failed: {kafka_error(why).str()}") from why
        self._raise_latched()

    def _place_rest(self) -> None:
        """Begin on the partitions that could not be placed when they were assigned."""
        rest = sorted(self._unplaced)
        if not rest:
            return
        places = self._program.place(rest)
        self._assignment.seek_committed([p for p in rest if places[p] is None])
        for partition in rest:
            offset = places[partition]
            if offset is not None:
                self._assignment.seek(partition, offset)
        self._unplaced -= set(rest)

    def _gather(self) -> list[Records]:
        """What is there, in order: one poll that may wait, then consumes that do not."""
        self._moved.clear()
        try:
            first = self._consumer.poll(0.2)
            if first is None:
                self._raise_latched()
                return []
            room = self._program.records_max - 1
            found: list[Message] = []
            while room > 0:
                self._moved.clear()
                more = self._consumer.consume(min(room, CONSUME_RECORDS_MAX), 0)
                if self._moved:  # a rebalance ran inside: what came before it may not be ours
                    found = [m for m in found if _partition(m) not in self._moved]
                    if first is not None and _partition(first) in self._moved:
                        first = None
                found += more
                room -= len(more)
                if len(more) < CONSUME_RECORDS_MAX:
                    break
        except KafkaException as why:
            raise ClientLost("Kafka", f"poll failed: {kafka_error(why).str()}") from why
        self._raise_latched()
        return self._admitted(found if first is None else [first, *found])

    def _raise_latched(self) -> None:
        """A partition that waits for its place latches again; anything else has ended the loop."""
        latched, self._latched = self._latched, None
        if latched is not None:
            raise latched

    def _admitted(self, messages: list[Message]) -> list[Records]:
        """The records that are ours and in order, by topic."""
        if any(column(messages, "error")):
            messages = [message for message in messages if self._is_record(message)]
        made = (self._records(topic, found) for topic, found in self._by_topic(messages).items())
        return [records for records in made if len(records)]

    def _is_record(self, message: Message) -> bool:
        """False for what librdkafka tells in a record's place. Raises what must end the loop."""
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            self._assignment.ends[_partition(message)] = message.offset() or 0
        elif error is not None:
            self._on_error(error)
        return error is None

    def _by_topic(self, messages: list[Message]) -> dict[str, list[Message]]:
        if not messages or len(self._program.topics) == 1:
            return {self._program.topics[0]: messages} if messages else {}
        found: dict[str, list[Message]] = {}
        for message in messages:
            found.setdefault(message.topic() or "", []).append(message)
        return found

    def _on_error(self, error: KafkaError) -> None:
        translated = translate(error, "consuming")
        if isinstance(translated, DependencyUnavailable) and not isinstance(translated, ClientLost):
            _log.warning("%s; librdkafka goes on trying", translated)
            return
        raise translated

    def _records(self, topic: str, messages: list[Message]) -> Records:
        partitions = np.array(column(messages, "partition"), np.int32)
        offsets = np.array(column(messages, "offset"), np.int64)
        keep = np.ones(len(messages), bool)
        for number in np.flatnonzero(np.bincount(partitions)):
            mine = partitions == number
            if not self._admit((topic, int(number)), offsets[mine]):
                keep &= ~mine
        if not keep.all():
            kept = np.flatnonzero(keep)
            messages = [messages[i] for i in kept]
            partitions, offsets = partitions[keep], offsets[keep]
        return records_of(topic, messages, partitions, offsets)

    def _admit(self, partition: Partition, offsets: npt.NDArray[np.int64]) -> bool:
        """Whether this run of one partition is taken."""
        positions = self._assignment.positions
        first, last, count = int(offsets[0]), int(offsets[-1]), len(offsets)
        verdict = positions.judge(partition, first, last, count)
        if verdict is Verdict.FENCED:
            return False
        if verdict is Verdict.REPEATED:
            expected = positions.expected(partition)
            assert expected is not None
            _log.warning("%s-%d repeats offset %d; reading from %d", *partition, first, expected)
            self._assignment.read_on(partition, expected)
            return False
        if verdict is Verdict.GAP and self._is_doubtful(partition, offsets):
            return False
        positions.admit(partition, last)
        return True

    def _is_doubtful(self, partition: Partition, offsets: npt.NDArray[np.int64]) -> bool:
        """Read a hole once more: an exception in a callback swallows records. One that stays is
        real: transactions leave markers, and the head of a log expires.
        """
        if partition[0] not in self._program.guarded:
            return False
        if self._real_holes[partition] >= REAL_HOLES_MAX:
            return False
        expected = self._assignment.positions.expected(partition)
        before = np.concatenate([[offsets[0] - 1 if expected is None else expected - 1], offsets])
        holes = {int(offset) for offset in offsets[np.diff(before) > 1]}
        seen = self._holes.get(partition, set())
        self._holes[partition] = holes
        if holes <= seen:
            self._real_holes[partition] += len(holes)
            return False
        again = int(offsets[0]) if expected is None else expected
        _log.info("%s-%d has a hole before offset %d; reading it again", *partition, min(holes))
        self._assignment.seek(partition, again)
        return True

    def _moving(self, parts: list[TopicPartition]) -> list[Partition]:
        topics = self._program.topics if self._together else ()
        return [(topic, part.partition) for part in parts for topic in topics or (part.topic,)]

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """Never raises: librdkafka would drop records. What went wrong is raised by `step`."""
        partitions = self._moving(assigned)
        self._moved |= set(partitions)
        if partitions:
            _log.info("assigned %s", _shown(partitions))
        try:
            places = self._program.place(partitions)
            for partition in partitions:
                offset = places[partition]
                known = offset is not None and offset >= 0
                self._assignment.positions.place(partition, offset if known else None)
            consumer.incremental_assign([_start(p, places[p]) for p in partitions])
        except MillstreamError as why:
            # without a call of ours the client assigns them; fenced, their records are dropped
            self._unplaced |= set(partitions)
            self._latched = self._latched or why
        except Exception as why:  # noqa: BLE001 - see the docstring
            self._latched = ClientLost("Kafka", f"assigning partitions failed: {why!r}")

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        """Never raises, as `_on_assign`."""
        partitions = self._moving(revoked)
        self._moved |= set(partitions)
        _log.info("revoked %s", _shown(partitions))
        try:
            for partition in partitions:
                self._assignment.positions.fence(partition)
                self._assignment.ends.pop(partition, None)
                self._holes.pop(partition, None)
                self._real_holes.pop(partition, None)
                self._unplaced.discard(partition)
            self._program.leave(partitions)
            consumer.incremental_unassign([TopicPartition(*p) for p in partitions])
        except Exception as why:  # noqa: BLE001 - see the docstring
            self._latched = ClientLost("Kafka", f"giving partitions up failed: {why!r}")


def _start(partition: Partition, offset: int | None) -> TopicPartition:
    return TopicPartition(*partition) if offset is None else TopicPartition(*partition, offset)


def _shown(partitions: list[Partition]) -> str:
    return " ".join(f"{topic}-{number}" for topic, number in sorted(partitions))


def _partition(message: Message) -> Partition:
    return message.topic() or "", message.partition() or 0
