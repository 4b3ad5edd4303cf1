"""The table of the Faust join: its topic, its keys, and which of its chunks hold.

A key is PARTITION/EPOCH/SEQUENCE. Each time a worker takes partitions on it begins a new epoch,
and an epoch ends where a later one begins: what a worker writes that was taken for dead, after
another went on from its state, is left out, and deleted.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import kafka_error, require_broker, translate
from millstream.contracts import topic_table
from millstream.errors import InvariantBroken, SettingsInvalid
from millstream.settings import KafkaSettings
from millstream.stream import Stream

TIMEOUT_S = 30.0
StateRecord = tuple[int, bytes, bytes | None]
"""Partition, key, value; a value of None deletes."""

_log = logging.getLogger(__name__)


def group_of(stream: Stream) -> str:
    """The consumer group, which is also the app's id."""
    return f"{stream.name}-join-faust"


def changelog_of(stream: Stream) -> str:
    """The table's topic; never that of `millstream join`."""
    return f"{stream.topic('join_state')}-faust"


class Chunks:
    """Keys of the chunks that hold, and deletions that are due."""

    def __init__(self) -> None:
        self._epoch = 0
        self._keys: dict[tuple[int, int], bytes] = {}
        self._stale: dict[int, list[bytes]] = {}

    def of_table(self, items: Iterable[tuple[bytes, bytes]], now_ms: int) -> dict[int, list[bytes]]:
        """Partition -> values of the chunks that hold; begins a new epoch, of the time now_ms.

        Raises InvariantBroken where a key is not of this table.
        """
        found: dict[int, dict[tuple[int, int], bytes]] = defaultdict(dict)
        for key, value in items:
            partition, epoch, sequence = _parsed(key)
            found[partition][(epoch, sequence)] = value
        self._keys.clear()
        self._stale.clear()
        last = max((epoch for chunks in found.values() for epoch, _ in chunks), default=0)
        self._epoch = max(last + 1, now_ms)
        values: dict[int, list[bytes]] = {}
        for partition, chunks in found.items():
            held = holding(chunks)
            values[partition] = [chunks[place] for place in held]
            for epoch, sequence in held:
                self._keys[(partition, sequence)] = _key(partition, epoch, sequence)
            stale = sorted(chunks.keys() - set(held))
            self._stale[partition] = [_key(partition, *place) for place in stale]
        return values

    def to_table(self, state: list[StateRecord]) -> list[StateRecord]:
        """The matcher's records of its state with the table's keys, and deletions that are due."""
        made: list[StateRecord] = []
        for partition, name, value in state:
            place = (partition, int(name))
            if value is not None:
                self._keys[place] = _key(partition, self._epoch, place[1])
                made.append((partition, self._keys[place], value))
            elif place in self._keys:
                made.append((partition, self._keys.pop(place), None))
        for partition in {partition for partition, _, _ in state}:
            made += [(partition, key, None) for key in self._stale.pop(partition, [])]
        return made


def holding(chunks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which (epoch, sequence) hold: of each epoch those before a later epoch's first."""
    by_epoch: dict[int, list[int]] = defaultdict(list)
    for epoch, sequence in chunks:
        by_epoch[epoch].append(sequence)
    held: list[tuple[int, int]] = []
    end: float = float("inf")
    for epoch in sorted(by_epoch, reverse=True):
        held += [(epoch, sequence) for sequence in by_epoch[epoch] if sequence < end]
        end = min(end, *by_epoch[epoch])
    return sorted(held, key=lambda place: place[1])


def create_changelog(stream: Stream, kafka: KafkaSettings) -> None:
    """The table's topic, compacted and without retention time, where it is not there."""
    admin = require_broker(kafka)
    new = NewTopic(
        changelog_of(stream),
        num_partitions=stream.serving.partitions,
        replication_factor=stream.serving.replication,
        config=topic_table()["join_state"].config,
    )
    try:
        admin.create_topics([new], operation_timeout=TIMEOUT_S)[new.topic].result(TIMEOUT_S)
    except KafkaException as why:
        error = kafka_error(why)
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise translate(error, f"creating topic {new.topic}") from why


def delete_state(stream: Stream, kafka: KafkaSettings) -> None:
    """Delete the table's topic and the group's offsets. Raises SettingsInvalid while a worker
    lives; one that died is waited for."""
    admin = require_broker(kafka)
    group, topic = group_of(stream), changelog_of(stream)
    _delete_group(admin, group)
    try:
        admin.delete_topics([topic], operation_timeout=TIMEOUT_S)[topic].result(TIMEOUT_S)
    except KafkaException as why:
        error = kafka_error(why)
        if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise translate(error, f"deleting topic {topic}") from why
    _await_gone(admin, topic)
    _log.warning("the state was deleted: %s and the offsets of %s", topic, group)


def _delete_group(admin: AdminClient, group: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            admin.delete_consumer_groups([group])[group].result(TIMEOUT_S)
            return
        except KafkaException as why:
            error = kafka_error(why)
            if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            if error.code() != KafkaError.NON_EMPTY_GROUP:
                raise translate(error, f"deleting group {group}") from why
            if time.monotonic() > deadline:
                raise SettingsInvalid(
                    f"group {group} has a worker", "Stop every worker of this join, and try again"
                ) from why
        time.sleep(0.5)


def _await_gone(admin: AdminClient, topic: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while topic in admin.list_topics(timeout=TIMEOUT_S).topics and time.monotonic() < deadline:
        time.sleep(0.1)


def _key(partition: int, epoch: int, sequence: int) -> bytes:
    return b"%d/%d/%d" % (partition, epoch, sequence)


def _parsed(key: bytes) -> tuple[int, int, int]:
    try:
        partition, epoch, sequence = map(int, key.split(b"/"))
    except ValueError:
        raise InvariantBroken(
            "a record of the join's table has a key that the join never writes",
            "See what else writes to its changelog topic",
        ) from None
    return partition, epoch, sequence
