"""Kafka's own console consumer, read without loss."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Producer

from millstream.errors import OperatorNeeded
from ops.kafka.broker import Broker
from ops.kafka.console import console_consume
from tests.ops.kafka.test_broker import create, transactional

EVERY_BYTE = bytes(range(256))


def test_every_byte_and_every_null_comes_back_and_aborted_records_do_not(
    kafka: Broker, topic_name: str
) -> None:
    """Keys, values and header values are lossless; read_committed is the default."""
    create(kafka.bootstrap, topic_name, 2)
    producer = transactional(kafka.bootstrap, topic_name)
    headers: Any = [
        ("bytes", EVERY_BYTE),
        ("null", None),
        ("colons", b"a:b,c"),
    ]
    producer.begin_transaction()
    producer.produce(topic_name, EVERY_BYTE, EVERY_BYTE, partition=0, headers=headers)
    producer.produce(topic_name, None, None, partition=1, timestamp=1_700_000_000_123)
    producer.produce(topic_name, b"null", b"", partition=1)
    producer.produce(topic_name, b"\\x41\\N", partition=1)
    producer.commit_transaction(60)
    producer.begin_transaction()
    producer.produce(topic_name, b"aborted", partition=0)
    producer.flush(60)
    producer.abort_transaction(60)

    seen = console_consume(kafka.bootstrap, topic_name)

    found = {(each.partition, each.offset): (each.key, each.value) for each in seen}
    assert len(seen) == len(found)
    assert found == {
        (0, 0): (EVERY_BYTE, EVERY_BYTE),
        (1, 0): (None, None),
        (1, 1): (b"", b"null"),
        (1, 2): (None, b"\\x41\\N"),
    }
    by_place = {(each.partition, each.offset): each for each in seen}
    assert list(by_place[0, 0].headers) == headers
    assert by_place[1, 0].headers == ()
    assert by_place[1, 0].timestamp_ms == 1_700_000_000_123


def test_records_max_ends_it_early_and_uncommitted_shows_what_was_aborted(
    kafka: Broker, topic_name: str
) -> None:
    """Two of three records are read; read_uncommitted includes the aborted one."""
    create(kafka.bootstrap, topic_name)
    producer = transactional(kafka.bootstrap, topic_name)
    producer.begin_transaction()
    producer.produce(topic_name, b"aborted")
    producer.flush(60)
    producer.abort_transaction(60)
    plain = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    plain.produce(topic_name, b"plain")
    plain.produce(topic_name, b"more")
    assert plain.flush(60) == 0
    seen = console_consume(kafka.bootstrap, topic_name, records_max=2, isolation="read_uncommitted")
    assert [each.value for each in seen] == [b"aborted", b"plain"]


def test_a_topic_that_is_not_there_is_an_error(kafka: Broker, topic_name: str) -> None:
    """A misspelt topic does not look like an empty one."""
    with pytest.raises(OperatorNeeded, match=f"topic {topic_name} is not on"):
        console_consume(kafka.bootstrap, topic_name)
