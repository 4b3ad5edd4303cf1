"""What must hold after any crash: one prediction for each event, one row for each record."""

from __future__ import annotations

import time
from collections import Counter

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from consumers.warehouse import Warehouse

Coordinates = tuple[int, int]
"""(partition, offset)."""


def committed(bootstrap: str, topic: str) -> dict[Coordinates, tuple[bytes | None, bytes | None]]:
    """Every record of a topic under read_committed: its coordinates -> its key and value."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "audit",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    found: dict[Coordinates, tuple[bytes | None, bytes | None]] = {}
    open_ends = set(partitions)
    deadline = time.monotonic() + 30
    while open_ends:
        assert time.monotonic() < deadline, f"{topic}: partitions {open_ends} do not end"
        for record in consumer.consume(1_000, 0.1):
            error = record.error()
            partition, offset = record.partition(), record.offset()
            assert partition is not None and offset is not None
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                open_ends.discard(partition)
                continue
            found[(partition, offset)] = (record.key(), record.value())
    consumer.close()
    return found


def assert_exactly_once(bootstrap: str, warehouse: Warehouse, stream: str, events: int) -> None:
    """Compare the topics with each other and with the tables, record by record."""
    published = committed(bootstrap, f"{stream}.events")
    predictions = committed(bootstrap, f"{stream}.predictions")
    assert len(published) == events
    keys = Counter(key for key, _ in published.values())
    answered = Counter(key for key, _ in predictions.values())
    assert answered == keys, f"missing {keys - answered}, doubled {answered - keys}"
    for table, records in (("events", published), ("predictions", predictions)):
        rows = warehouse.query(
            f"SELECT kafka_partition, kafka_offset, kafka_key FROM {stream}.{table}"
        )
        there = Counter((int(p), int(o)) for p, o, _ in rows)
        assert there == Counter(records.keys()), table
    sources = warehouse.query(f"SELECT source_partition, source_offset FROM {stream}.predictions")
    assert Counter((int(p), int(o)) for p, o in sources) == Counter(published.keys())
