"""The embedded broker, and the limits that its docstring states."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer

from millstream.errors import OperatorNeeded
from ops.kafka.embedded import PARTITIONS_DEFAULT, EmbeddedBroker

_WAIT_S = 30.0


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A running embedded broker."""
    with EmbeddedBroker() as embedded:
        yield embedded


def test_a_record_goes_through_with_its_key_and_headers(broker: EmbeddedBroker) -> None:
    """What a producer publishes, a consumer group reads."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    producer.produce("events", b"value", b"key", headers=[("h", b"1")])
    assert producer.flush(_WAIT_S) == 0
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": "g", "log_level": 0}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.subscribe(["events"])
    record = consumer.poll(_WAIT_S)
    consumer.close()
    assert record is not None
    assert (record.key(), record.value()) == (b"key", b"value")
    assert record.headers() == [("h", b"1")]


def test_partitions_are_four_unless_a_topic_is_created_first(broker: EmbeddedBroker) -> None:
    """create_topic() is the only way to another number."""
    broker.create_topic("made", 6)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    producer.produce("made", b"x", partition=5)
    producer.produce("automatic", b"x")
    assert producer.flush(_WAIT_S) == 0
    topics = producer.list_topics(timeout=_WAIT_S).topics
    partitions = {name: len(topic.partitions) for name, topic in topics.items()}
    assert partitions == {"made": 6, "automatic": PARTITIONS_DEFAULT}


def test_a_topic_cannot_be_created_twice_or_without_partitions(broker: EmbeddedBroker) -> None:
    """The error names the topic."""
    broker.create_topic("made", 1)
    with pytest.raises(OperatorNeeded, match="topic made is on the embedded broker already"):
        broker.create_topic("made", 2)
    with pytest.raises(OperatorNeeded, match="topic none: 0 partitions"):
        broker.create_topic("none", 0)


def test_aborted_records_are_shown_even_to_read_committed(broker: EmbeddedBroker) -> None:
    """The limit that forbids promising exactly once on it."""
    settings = {"bootstrap.servers": broker.bootstrap, "log_level": 0}
    producer = Producer({**settings, "transactional.id": "t"})
    producer.init_transactions(_WAIT_S)
    producer.begin_transaction()
    producer.produce("events", b"aborted")
    producer.flush(_WAIT_S)
    producer.abort_transaction(_WAIT_S)
    consumer = Consumer(
        {
            **settings,
            "group.id": "g",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe(["events"])
    record = consumer.poll(_WAIT_S)
    consumer.close()
    assert record is not None
    assert record.value() == b"aborted"


def test_two_brokers_do_not_share_topics_and_stop_twice_is_harmless() -> None:
    """Each instance is a cluster of its own."""
    with EmbeddedBroker() as one, EmbeddedBroker() as two:
        assert one.bootstrap != two.bootstrap
        one.create_topic("only here", 1)
        producer = Producer({"bootstrap.servers": two.bootstrap, "log_level": 0})
        assert producer.list_topics(timeout=_WAIT_S).topics == {}
    one.stop()
