"""The audit's reading of Kafka: ends, open transactions, aborted records, removed heads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import connection, producer_config
from consumers.verify.log import Chunk, Log, Removed, gathered
from millstream.errors import OperatorNeeded
from millstream.settings import KafkaSettings
from ops.kafka.broker import Broker


@pytest.fixture
def settings(kafka: Broker) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka.bootstrap)


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[Log]:
    reader = Log(settings)
    yield reader
    reader.close()


@pytest.fixture
def topic(settings: KafkaSettings, topic_name: str) -> str:
    """A topic with one partition."""
    admin = AdminClient(connection(settings))
    admin.create_topics([NewTopic(topic_name, 1)])[topic_name].result(30)
    return topic_name


def transaction(settings: KafkaSettings, topic: str, count: int) -> Producer:
    """A transaction with `count` records on the broker, still open."""
    producer = Producer(producer_config(settings, topic) | {"transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(count):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(30) == 0
    return producer


def offsets(chunks: list[Chunk | Removed]) -> list[int]:
    return [int(o) for chunk in chunks if isinstance(chunk, Chunk) for o in chunk.offsets]


def test_an_open_transaction_hides_what_follows_until_it_ends(
    log: Log, settings: KafkaSettings, topic: str
) -> None:
    """While it is open the end lies before it; committed, behind its records."""
    producer = transaction(settings, topic, 3)
    (hidden,) = log.ends(topic, [0], 0.2).values()
    assert (hidden.low, hidden.end, hidden.hidden) == (0, 0, True)
    producer.commit_transaction(30)
    (whole,) = log.ends(topic, [0], 10).values()
    assert not whole.hidden
    assert whole.end in {3, 4}, "the marker is written soon after the commit has returned"


def test_reading_ends_at_the_end_and_skips_what_was_aborted(
    log: Log, settings: KafkaSettings, topic: str
) -> None:
    """Aborted records and markers are no records; the same partition can be read again, in part."""
    producer = transaction(settings, topic, 3)
    producer.abort_transaction(30)
    producer.begin_transaction()
    for _ in range(2):
        producer.produce(topic, b"x", partition=0)
    producer.commit_transaction(30)
    end = log.ends(topic, [0], 10)[0].end
    assert end in {6, 7}, "with or without the last marker"
    assert offsets(list(log.read(topic, {0: (0, end)}))) == [4, 5]
    assert offsets(list(log.read(topic, {0: (0, 5)}))) == [4]
    assert offsets(list(log.read(topic, {0: (3, 3)}))) == []


def test_a_removed_head_is_told_and_the_rest_is_read(
    log: Log, settings: KafkaSettings, topic: str
) -> None:
    """Retention was faster than the audit: which offsets are gone, then the records behind."""
    producer = Producer(producer_config(settings, topic))
    for _ in range(9):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(30) == 0
    admin = AdminClient(connection(settings))
    admin.delete_records([TopicPartition(topic, 0, 4)])[TopicPartition(topic, 0)].result(30)
    chunks = list(log.read(topic, {0: (1, 9)}))
    assert chunks[0] == Removed(0, 1, 4)
    assert offsets(chunks) == [4, 5, 6, 7, 8]


def test_a_group_without_offsets_has_none(log: Log, topic: str) -> None:
    """None, not 0: a scorer that starts there begins at the log's head."""
    assert log.committed(f"{topic}-group", topic, [0]) == {0: None}


def test_a_topic_that_is_not_there_needs_the_operator(log: Log) -> None:
    """One line and what to run."""
    with pytest.raises(OperatorNeeded, match="has no topic nowhere"):
        log.partitions("nowhere")


def test_gathering_keeps_every_record_in_the_order_of_its_partition() -> None:
    """Chunks are joined up to a bound, by partition; what was removed passes through."""

    def chunk(partition: int, first: int) -> Chunk:
        return Chunk(partition, np.arange(first, first + 2), [])

    given: list[Chunk | Removed] = [
        *(chunk(0, 0), chunk(1, 5), Removed(1, 7, 9), chunk(0, 2), chunk(0, 4), chunk(1, 9)),
    ]
    joined = list(gathered(iter(given), 4, 1_000))
    assert [type(each) for each in joined] == [Removed, Chunk, Chunk, Chunk]
    by_partition: dict[int, list[int]] = {}
    for each in joined:
        if isinstance(each, Chunk):
            by_partition.setdefault(each.partition, []).extend(each.offsets.tolist())
    assert by_partition == {0: [0, 1, 2, 3, 4, 5], 1: [5, 6, 9, 10]}
