"""A real Kafka's life: started, used, killed, restarted, stopped."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from millstream.errors import MillstreamError, OperatorNeeded
from ops.kafka.broker import RECORD_BYTES_MAX, Broker
from ops.process import free_ports, listening
from tests.ops.test_process import gone

_WAIT_S = 60.0


def create(bootstrap: str, topic: str, partitions: int = 1) -> None:
    """Make a topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(topic, partitions)]).values():
        made.result(_WAIT_S)


def transactional(bootstrap: str, name: str) -> Producer:
    """A producer with its transactions initialised."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": name,
            "message.max.bytes": RECORD_BYTES_MAX,
            "log_level": 0,
        }
    )
    producer.init_transactions(_WAIT_S)
    return producer


def committed(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The values of partition 0 that read_committed shows, up to the end or ``count``."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"reader of {topic}",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        values: list[bytes] = []
        while len(values) < count:
            record = consumer.poll(_WAIT_S)
            if record is None or record.error():
                break
            values.append(record.value() or b"")
        return values
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def own(kafka_jars: Path) -> Iterator[Broker]:
    """A broker that may be killed."""
    with Broker() as broker:
        yield broker


def test_committed_records_survive_a_kill_and_a_restart_on_the_same_address(
    own: Broker, topic_name: str
) -> None:
    """Two records of a committed transaction are there after kill -9, an aborted one is not."""
    create(own.bootstrap, topic_name)
    producer = transactional(own.bootstrap, topic_name)
    producer.begin_transaction()
    producer.produce(topic_name, b"one", partition=0)
    producer.produce(topic_name, b"two", partition=0)
    producer.commit_transaction(_WAIT_S)
    producer.begin_transaction()
    producer.produce(topic_name, b"aborted", partition=0)
    producer.flush(_WAIT_S)
    producer.abort_transaction(_WAIT_S)

    address, pid = own.bootstrap, own.pid
    own.kill()
    assert gone(pid)
    own.restart()
    assert own.bootstrap == address
    assert own.pid != pid

    again = transactional(own.bootstrap, topic_name)
    again.begin_transaction()
    again.produce(topic_name, b"three", partition=0)
    again.commit_transaction(_WAIT_S)
    assert committed(address, topic_name, 4) == [b"one", b"two", b"three"]


def test_restart_of_a_running_broker_keeps_its_records(own: Broker, topic_name: str) -> None:
    """restart() without kill() is an orderly one."""
    create(own.bootstrap, topic_name)
    producer = Producer({"bootstrap.servers": own.bootstrap, "log_level": 0})
    producer.produce(topic_name, b"kept", partition=0)
    assert producer.flush(_WAIT_S) == 0
    own.restart()
    assert committed(own.bootstrap, topic_name, 2) == [b"kept"]


def test_stop_leaves_no_process_no_port_and_no_temporary_folder(kafka_jars: Path) -> None:
    """After the with block nothing of the broker is left; stop() again does no harm."""
    with Broker() as broker:
        pid, data = broker.pid, broker.data
        assert data.exists()
    assert gone(pid)
    assert not listening(broker.port)
    assert not data.exists()
    broker.stop()


def test_a_named_folder_and_its_records_stay_after_stop(
    kafka_jars: Path, tmp_path: Path, topic_name: str
) -> None:
    """A second broker on the folder, on other ports, has the records of the first."""
    (port,) = free_ports(1)
    with Broker(tmp_path, port=port) as first:
        assert first.bootstrap == f"127.0.0.1:{port}"
        create(first.bootstrap, topic_name)
        producer = Producer({"bootstrap.servers": first.bootstrap, "log_level": 0})
        producer.produce(topic_name, b"kept", partition=0)
        assert producer.flush(_WAIT_S) == 0
    with Broker(tmp_path) as second:
        assert committed(second.bootstrap, topic_name, 2) == [b"kept"]
    assert (tmp_path / "server.log").stat().st_size > 0


def test_a_port_that_is_taken_is_refused_by_name(kafka_jars: Path, tmp_path: Path) -> None:
    """An asked port is never exchanged for another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OperatorNeeded, match=f"port {port} is taken"):
            Broker(tmp_path, port=port).start()


def test_a_setting_that_kafka_refuses_is_quoted_and_leaves_no_process(
    kafka_jars: Path, tmp_path: Path
) -> None:
    """The error carries Kafka's own words."""
    broker = Broker(tmp_path, settings={"offsets.topic.num.partitions": "-7"})
    with pytest.raises(MillstreamError, match=r"offsets\.topic\.num\.partitions"):
        broker.start()
    assert not listening(broker.port)


def test_an_unknown_topic_is_not_made(kafka: Broker, topic_name: str) -> None:
    """Topics are created on purpose, as in production."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    admin.list_topics(topic_name, timeout=_WAIT_S)
    assert topic_name not in admin.list_topics(timeout=_WAIT_S).topics


def test_a_record_of_5_mb_passes(kafka: Broker, topic_name: str) -> None:
    """Records that are far too large for a scorer can be published, to be refused by it."""
    create(kafka.bootstrap, topic_name)
    producer = transactional(kafka.bootstrap, topic_name)
    value = b"x" * 5_000_000
    producer.begin_transaction()
    producer.produce(topic_name, value, partition=0)
    producer.commit_transaction(_WAIT_S)
    assert committed(kafka.bootstrap, topic_name, 2) == [value]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_both_consumer_protocols_work(kafka: Broker, topic_name: str, protocol: str) -> None:
    """A group of the classic protocol and one of KIP-848 read a topic."""
    create(kafka.bootstrap, topic_name, 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    producer.produce(topic_name, b"here", partition=1)
    assert producer.flush(_WAIT_S) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": topic_name,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic_name])
    record = consumer.poll(_WAIT_S)
    consumer.close()
    assert record is not None
    assert record.value() == b"here"


def test_a_group_may_have_a_session_of_6_s_under_kip_848(kafka: Broker, topic_name: str) -> None:
    """The broker lets tests of failover lower the group's session timeout."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    entry = ConfigEntry(
        "consumer.session.timeout.ms", "6000", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.GROUP, topic_name, incremental_configs=[entry])
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(_WAIT_S)
