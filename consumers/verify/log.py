"""The audit's own eyes on Kafka: where the logs end, what the groups have committed, what is there.

Everything under read_committed. No group is joined and nothing is committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from consumers.kafka import (
    KAFKA,
    RECORD_BYTES_MAX,
    ask,
    connection,
    kafka_error,
    require_broker,
    translate,
)
from millstream.audit.offsets import Offsets
from millstream.errors import DependencyUnavailable, OperatorNeeded
from millstream.settings import KafkaSettings

ANSWER_S_MAX: Final = 15.0
SILENCE_S_MAX: Final = 30.0
"""Too low gives a slow broker up; too high notices a dead one late."""
BATCH_RECORDS_MAX: Final = 20_000
WAIT_S: Final = 0.03


@dataclass(frozen=True, slots=True)
class End:
    """Where one partition is read to. low: its first offset now. end: read below this.

    hidden: an open transaction kept `end` below the high watermark although it was waited for.
    """

    low: int
    end: int
    hidden: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition, in order."""

    partition: int
    offsets: Offsets
    records: list[Message]


@dataclass(frozen=True, slots=True)
class Removed:
    """Retention was faster: offsets first..end-1 are gone."""

    partition: int
    first: int
    end: int


def gathered(
    chunks: Iterable[Chunk | Removed], records_max: int, bytes_max: int
) -> Iterator[Chunk | Removed]:
    """The same records in fewer chunks: of a partition, until one of the bounds is passed."""
    held: dict[int, list[Chunk]] = {}
    weight: dict[int, int] = {}

    def whole(partition: int) -> Chunk:
        parts = held.pop(partition)
        weight.pop(partition)
        records = [record for part in parts for record in part.records]
        return Chunk(partition, np.concatenate([part.offsets for part in parts]), records)

    for chunk in chunks:
        if isinstance(chunk, Removed):
            yield chunk
            continue
        p = chunk.partition
        held.setdefault(p, []).append(chunk)
        weight[p] = weight.get(p, 0) + sum(map(len, chunk.records))
        count = sum(len(part.offsets) for part in held[p])
        if count >= records_max or sum(weight.values()) >= bytes_max:
            yield whole(p)
    for p in list(held):
        yield whole(p)


class Log:
    """Reads topics of one cluster. Raises SettingsInvalid where no broker answers."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = require_broker(settings)
        self._groups: dict[str, Consumer] = {}
        self._at: dict[int, int] = {}
        self._reader = Consumer(
            connection(settings)
            | {
                "group.id": "millstream-verify",  # never joined; librdkafka wants one
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": 32_768,
                "queued.min.messages": 50_000,
                "fetch.queue.backoff.ms": 5,
                "fetch.message.max.bytes": 1_048_576,
                "message.max.bytes": RECORD_BYTES_MAX,
                "receive.message.max.bytes": 100_000_000,
                "fetch.wait.max.ms": 10 if settings.embedded else 100,
            }
        )

    def partitions(self, topic: str) -> list[int]:
        """Raises OperatorNeeded where there is no such topic."""
        found = ask("reading metadata", lambda: self._admin.list_topics(timeout=ANSWER_S_MAX))
        metadata = found.topics.get(topic)
        if metadata is None or not metadata.partitions:
            raise OperatorNeeded(
                f"the broker at {self._settings.bootstrap} has no topic {topic}",
                "Run `millstream topics` on the stream first",
            )
        return sorted(metadata.partitions)

    def has_topic(self, topic: str) -> bool:
        found = ask("reading metadata", lambda: self._admin.list_topics(timeout=ANSWER_S_MAX))
        return topic in found.topics

    def compacted(self, topics: Iterable[str]) -> set[str]:
        """Which of these remove records by key. The embedded broker removes none."""
        if self._settings.embedded:
            return set()
        resources = {ConfigResource(ResourceType.TOPIC, topic): topic for topic in topics}
        answers = self._admin.describe_configs(list(resources))
        return {
            resources[resource]
            for resource, future in answers.items()
            if "compact" in _result(future, "reading topic settings")["cleanup.policy"].value
        }

    def ends(self, topic: str, partitions: Iterable[int], patience_s: float) -> dict[int, End]:
        """Where to read to: the high watermarks of now, once no transaction hides records below.

        Waits for open transactions, `patience_s` at most.
        """
        wanted = list(partitions)
        low = self._offsets(topic, wanted, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        high = self._offsets(topic, wanted, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        deadline = time.monotonic() + patience_s
        while True:
            stable = self._offsets(
                topic, wanted, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED
            )
            hidden = any(stable[p] < high[p] for p in wanted)
            if not hidden or time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        return {p: End(low[p], min(high[p], stable[p]), stable[p] < high[p]) for p in wanted}

    def high(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """High watermarks."""
        return self._offsets(
            topic, list(partitions), OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED
        )

    def committed(self, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int | None]:
        """What a group has committed; None where nothing.

        A consumer of its own asks, which never joins: the admin client's call crashes librdkafka
        while a broker is away. read_uncommitted, or it would wait while a transaction is open.
        """
        if group not in self._groups:
            config: dict[str, Any] = {"group.id": group, "isolation.level": "read_uncommitted"}
            self._groups[group] = Consumer(
                connection(self._settings) | config | {"enable.auto.commit": False}
            )
        asked = [TopicPartition(topic, p) for p in partitions]
        found = ask(
            f"reading the offsets of {group}",
            lambda: self._groups[group].committed(asked, timeout=ANSWER_S_MAX),
        )
        for each in found:
            if each.error is not None:
                raise translate(each.error, f"reading the offsets of {group}")
        return {each.partition: each.offset if each.offset >= 0 else None for each in found}

    def read(self, topic: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Chunk | Removed]:
        """Partition -> (first, end): every committed record in it, in order per partition."""
        ends = {p: end for p, (first, end) in spans.items() if first < end}
        if not ends:
            return
        self._at = {p: spans[p][0] for p in ends}
        self._assign(topic, ends)
        heard = time.monotonic()
        try:
            while ends:
                batch = self._reader.consume(BATCH_RECORDS_MAX, WAIT_S)
                if not batch and time.monotonic() - heard > SILENCE_S_MAX:
                    where = ", ".join(f"{topic}-{p}" for p in ends)
                    raise DependencyUnavailable(
                        KAFKA, f"nothing came of {where} in {SILENCE_S_MAX:.0f} s"
                    )
                if batch:
                    heard = time.monotonic()
                yield from self._chunks(topic, batch, ends)
        finally:
            self._reader.unassign()

    def close(self) -> None:
        self._reader.close()
        for consumer in self._groups.values():
            consumer.close()

    def _chunks(
        self, topic: str, batch: list[Message], ends: dict[int, int]
    ) -> Iterator[Chunk | Removed]:
        """Sort a batch by partition; partitions that have come to their end leave `ends`."""
        good = [record for record in batch if record.error() is None]
        numbers = np.fromiter(map(Message.partition, good), np.int32, len(good))
        offsets = np.fromiter(map(Message.offset, good), np.int64, len(good))
        for partition in np.unique(numbers).tolist():
            if partition not in ends:
                continue
            end = ends[partition]
            rows = np.flatnonzero((numbers == partition) & (offsets < end))
            past = offsets[numbers == partition][-1] >= end - 1
            if len(rows):
                whole = len(rows) == len(good)
                records = good if whole else [good[row] for row in rows.tolist()]
                yield Chunk(partition, offsets[rows], records)
                self._at[partition] = int(offsets[rows[-1]]) + 1
            if past:
                self._leave(topic, partition, ends)
        if len(good) == len(batch):
            return
        for record in batch:
            error = record.error()
            if error is not None:
                yield from self._event(topic, record, error, ends)

    def _event(
        self, topic: str, record: Message, error: KafkaError, ends: dict[int, int]
    ) -> Iterator[Removed]:
        """An end of a partition, a lost position, or an error of the client."""
        partition, offset = record.partition(), record.offset()
        if error.code() == KafkaError._PARTITION_EOF:
            if partition in ends and offset is not None and offset >= ends[partition]:
                self._leave(topic, partition, ends)
            return
        if error.code() != KafkaError._AUTO_OFFSET_RESET or partition not in ends:
            if error.code() in {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT}:
                return  # it may come back; silence has its own bound
            raise translate(error, f"reading {topic}")
        assert partition is not None and offset is not None, topic
        low = self._offsets(
            topic, [partition], OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED
        )[partition]
        end = min(low, ends[partition])
        yield Removed(partition, offset, end)
        if end == ends[partition]:
            self._leave(topic, partition, ends)
        else:
            self._at[partition] = end
            self._assign(topic, ends)  # the client has stopped this one, and cannot seek it

    def _assign(self, topic: str, ends: dict[int, int]) -> None:
        assigned = [TopicPartition(topic, p, self._at[p]) for p in ends]
        self._reader.assign(assigned)
        self._reader.resume(assigned)  # librdkafka remembers the pauses of an earlier reading

    def _leave(self, topic: str, partition: int, ends: dict[int, int]) -> None:
        del ends[partition]
        self._reader.pause([TopicPartition(topic, partition)])

    def _offsets(
        self, topic: str, partitions: list[int], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[int, int]:
        asked = {TopicPartition(topic, p): spec for p in partitions}
        futures: Mapping[TopicPartition, Any] = ask(
            f"reading the ends of {topic}",
            lambda: self._admin.list_offsets(
                asked, isolation_level=isolation, request_timeout=ANSWER_S_MAX
            ),
        )
        what = f"reading the ends of {topic}"
        return {tp.partition: int(_result(f, what).offset) for tp, f in futures.items()}


def _result(future: Any, doing: str) -> Any:
    try:
        return future.result(timeout=2 * ANSWER_S_MAX)
    except KafkaException as why:
        raise translate(kafka_error(why), doing) from why


Progress = Callable[[str, int], None]
"""Told what is being read, and how many offsets of it are done since the last call."""
