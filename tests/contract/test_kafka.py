"""What the protocol takes for granted of Kafka, asked of the double and of the real one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from tests.contract.clusters import Cluster, Memory, Reader, Real


@pytest.fixture(
    params=["memory", pytest.param("real", marks=pytest.mark.broker)],
)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each candidate in turn."""
    return (
        Memory() if request.param == "memory" else Real(request.getfixturevalue("kafka").bootstrap)
    )


@pytest.fixture
def topic(cluster: Cluster, topic_name: str) -> str:
    """A new topic of two partitions."""
    cluster.create_topic(topic_name, 2)
    return topic_name


@pytest.fixture
def join(cluster: Cluster, topic: str) -> Iterator[Callable[..., Reader]]:
    """Makes readers of the topic, all of one group, and closes them."""
    group, made = f"group-{uuid.uuid4().hex[:8]}", []

    def begin(instance: str | None = None) -> Reader:
        reader = Reader(cluster.consumer(group, instance), topic)
        made.append(reader)
        return reader

    yield begin
    for reader in made:
        reader.consumer.close()


@pytest.fixture
def producer(cluster: Cluster, topic: str) -> Producer:
    """A producer with its transactions initialised."""
    made = cluster.producer(f"id of {topic}")
    made.init_transactions(30)
    return made


def write(producer: Producer, topic: str, *values: bytes, partition: int = 0) -> None:
    """Into the open transaction, and to the broker."""
    for value in values:
        producer.produce(topic, value, b"key", partition)
    producer.flush(30)


def commit(producer: Producer, topic: str, *values: bytes, partition: int = 0) -> None:
    """One transaction of these values."""
    producer.begin_transaction()
    write(producer, topic, *values, partition=partition)
    producer.commit_transaction(30)


def error_of(call: Callable[[], object]) -> KafkaError:
    """The error with which a call fails."""
    with pytest.raises(KafkaException) as caught:
        call()
    error = caught.value.args[0]
    assert isinstance(error, KafkaError)
    return error


def committed(consumer: Consumer, topic: str) -> int:
    """The group's offset of partition 0."""
    return consumer.committed([TopicPartition(topic, 0)], timeout=15)[0].offset


def test_an_open_transaction_is_not_read(
    topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """Its records come, in order, when it has been committed."""
    reader = join()
    producer.begin_transaction()
    write(producer, topic, b"a", b"b")
    reader.until(lambda: len(reader.owned) == 2)
    for _ in range(10):
        reader.step()
    assert reader.read == []
    producer.commit_transaction(30)
    reader.until(lambda: len(reader.read) == 2)
    assert reader.read == [(0, 0, b"a"), (0, 1, b"b")]


def test_an_aborted_transaction_leaves_a_hole(
    topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """Two records and a marker take three offsets that nobody reads."""
    producer.begin_transaction()
    write(producer, topic, b"a", b"b")
    producer.abort_transaction(30)
    commit(producer, topic, b"c")
    commit(producer, topic, b"d")
    reader = join()
    reader.until(lambda: len(reader.read) == 2)
    assert reader.read == [(0, 3, b"c"), (0, 5, b"d")]


def test_the_end_that_is_told_is_the_end_that_may_be_read(
    topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """get_watermark_offsets under read_committed stops before an open transaction, and goes on once
    the broker has written its marker: a commit returns before that."""
    commit(producer, topic, b"a")
    reader = join()
    place = TopicPartition(topic, 0)
    reader.until(lambda: reader.consumer.get_watermark_offsets(place, timeout=15) == (0, 2))
    producer.begin_transaction()
    write(producer, topic, b"b")
    assert reader.consumer.get_watermark_offsets(place, timeout=15) == (0, 2)
    producer.commit_transaction(30)
    reader.until(lambda: reader.consumer.get_watermark_offsets(place, timeout=15) == (0, 4))


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_offsets_are_part_of_the_transaction(
    ending: str, topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """They are the group's after a commit, and never were after an abort."""
    reader = join()
    reader.until(lambda: len(reader.owned) == 2)
    consumer = reader.consumer
    producer.begin_transaction()
    write(producer, topic, b"a")
    producer.send_offsets_to_transaction(
        [TopicPartition(topic, 0, 7)], consumer.consumer_group_metadata(), 30
    )
    error = error_of(lambda: consumer.committed([TopicPartition(topic, 0)], timeout=1))
    assert error.code() == KafkaError._TIMED_OUT
    if ending == "commit":
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)
    assert committed(consumer, topic) == (7 if ending == "commit" else OFFSET_INVALID)


def test_a_partition_whose_offset_is_unsettled_is_not_read(
    cluster: Cluster, topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """Who takes it over waits for its predecessor's transaction, and begins where that ended."""
    commit(cluster_producer(cluster, topic), topic, b"a", b"b")
    first = join()
    first.until(lambda: len(first.read) == 2)
    producer.begin_transaction()
    producer.send_offsets_to_transaction(
        [TopicPartition(topic, 0, 1)], first.consumer.consumer_group_metadata(), 30
    )
    first.consumer.close()
    second = join()
    second.until(lambda: len(second.owned) == 2)
    for _ in range(10):
        second.step()
    assert second.read == []
    producer.commit_transaction(30)
    second.until(lambda: second.read != [])
    assert second.read == [(0, 1, b"b")]


def cluster_producer(cluster: Cluster, topic: str) -> Producer:
    """Another producer with its transactions initialised."""
    made = cluster.producer(f"other of {topic}")
    made.init_transactions(30)
    return made


def test_a_newer_producer_of_the_id_fences_the_older(
    cluster: Cluster, topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """What the older left open is aborted at once, and its commit is a fatal error."""
    producer.begin_transaction()
    write(producer, topic, b"old")
    newer = cluster.producer(f"id of {topic}")
    newer.init_transactions(30)
    commit(newer, topic, b"new")
    reader = join()
    reader.until(lambda: reader.read != [])
    assert reader.read == [(0, 2, b"new")]
    error = error_of(lambda: producer.commit_transaction(30))
    assert error.code() == KafkaError._FENCED and error.fatal()
    error = error_of(lambda: producer.abort_transaction(5))
    assert error.code() in (KafkaError._CONFLICT, KafkaError._FENCED)


def test_calls_out_of_order_are_refused(topic: str, producer: Producer) -> None:
    """begin twice, or produce and commit outside of a transaction: _STATE, and all goes on."""
    assert error_of(lambda: producer.produce(topic, b"a")).code() == KafkaError._STATE
    assert error_of(lambda: producer.commit_transaction(30)).code() == KafkaError._STATE
    producer.begin_transaction()
    assert error_of(producer.begin_transaction).code() == KafkaError._STATE
    producer.commit_transaction(30)  # an empty one
    commit(producer, topic, b"a")


def test_a_member_that_left_cannot_commit(
    topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """Its transaction must be aborted; the next one with a living member goes through."""
    reader, other = join(), join()
    reader.until(lambda: len(reader.owned) == 1 == len(other.owned), other)
    stale = other.consumer.consumer_group_metadata()
    other.consumer.close()
    producer.begin_transaction()
    write(producer, topic, b"a")
    offsets = [TopicPartition(topic, 0, 1)]
    error = error_of(lambda: producer.send_offsets_to_transaction(offsets, stale, 30))
    assert error.txn_requires_abort() and not error.fatal()
    producer.abort_transaction(30)
    reader.until(lambda: len(reader.owned) == 2)
    producer.begin_transaction()
    fresh = reader.consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction(offsets, fresh, 30)
    producer.commit_transaction(30)
    assert committed(reader.consumer, topic) == 1


def test_a_rebalance_moves_only_what_it_must(join: Callable[..., Reader]) -> None:
    """The one who was alone gives up one partition of two, and is told of that one only."""
    reader = join()
    reader.until(lambda: len(reader.owned) == 2)
    other = join()
    reader.until(lambda: len(other.owned) == 1, other)
    assert reader.owned | other.owned == {0, 1}
    moved = sorted(other.owned)
    assert [told for told in reader.told if told[1]] == [("assign", [0, 1]), ("revoke", moved)]
    assert [told for told in other.told if told[1]] == [("assign", moved)]
    other.consumer.close()
    reader.until(lambda: len(reader.owned) == 2)
    assert [told for told in other.told if told[1]][-1] == ("revoke", moved)


def test_a_static_member_has_its_place_back(
    topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """Its successor of the same instance id owns the partitions; the older one gets a fatal
    error as a record, and cannot commit."""
    older = join("slot-0")
    older.until(lambda: len(older.owned) == 2)
    stale = older.consumer.consumer_group_metadata()
    newer = join("slot-0")
    newer.until(lambda: len(newer.owned) == 2)
    producer.begin_transaction()
    error = error_of(
        lambda: producer.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], stale, 30)
    )
    assert error.txn_requires_abort()
    producer.abort_transaction(30)
    older.until(lambda: older.errors != [])
    assert older.errors[0] in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL)


def test_seek_reads_again(topic: str, producer: Producer, join: Callable[..., Reader]) -> None:
    """From the offset that was named, or from the beginning; elsewhere than here it is refused."""
    commit(producer, topic, b"a", b"b", b"c")
    reader = join()
    reader.until(lambda: len(reader.read) == 3)
    reader.consumer.seek(TopicPartition(topic, 0, 1))
    reader.until(lambda: len(reader.read) == 5)
    reader.consumer.seek(TopicPartition(topic, 0, OFFSET_BEGINNING))
    reader.until(lambda: len(reader.read) == 8)
    assert reader.offsets() == [0, 1, 2, 1, 2, 0, 1, 2]
    (there,) = reader.consumer.position([TopicPartition(topic, 0)])
    assert there.offset == 3
    error = error_of(lambda: reader.consumer.seek(TopicPartition("elsewhere", 0, 1)))
    assert error.code() in (KafkaError._STATE, KafkaError._UNKNOWN_PARTITION)


def test_what_is_paused_is_not_read(
    topic: str, producer: Producer, join: Callable[..., Reader]
) -> None:
    """Until it is resumed; then nothing is missing."""
    reader = join()
    reader.until(lambda: len(reader.owned) == 2)
    reader.consumer.pause([TopicPartition(topic, 0)])
    commit(producer, topic, b"a", b"b")
    commit(producer, topic, b"c", partition=1)
    reader.until(lambda: reader.offsets(1) == [0])
    for _ in range(5):
        reader.step()
    assert reader.offsets(0) == []
    reader.consumer.resume([TopicPartition(topic, 0)])
    reader.until(lambda: reader.offsets(0) == [0, 1])


def test_an_assignment_may_name_its_offsets(
    cluster: Cluster, topic: str, producer: Producer
) -> None:
    """A callback that assigns says where to begin, whatever the group committed."""
    commit(producer, topic, b"a", b"b", b"c")
    consumer = cluster.consumer(f"group of {topic}")

    def assign(_: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign([TopicPartition(topic, p.partition, 2) for p in partitions])

    reader = Reader(consumer, topic)
    consumer.subscribe([topic], on_assign=assign)
    reader.until(lambda: reader.offsets(0) != [])
    assert reader.offsets(0) == [2]
    consumer.close()


def test_a_reader_without_a_group_is_told_of_ends(
    cluster: Cluster, topic: str, producer: Producer
) -> None:
    """Where a partition was read to its end, an error says so; its offset is behind the marker of
    the last transaction, and stops before an open one, whose end the watermark of read_uncommitted
    already tells."""
    commit(producer, topic, b"a")
    producer.begin_transaction()
    write(producer, topic, b"b")
    reader, watcher = cluster.alone("read_committed"), cluster.alone("read_uncommitted")
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert watcher.get_watermark_offsets(TopicPartition(topic, 0), timeout=15) == (0, 3)
    assert _ends(reader, 2) == (b"a", 2)
    producer.commit_transaction(30)
    assert _ends(reader, 4) == (b"b", 4)
    reader.close()
    watcher.close()


def _ends(consumer: Consumer, at: int) -> tuple[bytes | None, int]:
    """The last value before the end is told at this offset, or behind it."""
    value = None
    for _ in range(200):
        record = consumer.poll(0.1)
        if record is None:
            continue
        error = record.error()
        if error is None:
            value = record.value()
        elif error.code() == KafkaError._PARTITION_EOF and (record.offset() or 0) >= at:
            assert value is None or isinstance(value, bytes)
            return value, record.offset() or 0
    raise AssertionError("no end was told")
