"""A plain confluent-kafka loop: one event at a time, or `consume(1000)` and a batch.

As confluent-kafka-python's own examples do it: a synchronous commit, or a transaction with
`send_offsets_to_transaction`, every so often.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from confluent_kafka import Consumer, Producer

from ops.bench.job import Job
from ops.bench.peers.model import Model

BATCH = 1_000


def main(job: Job) -> None:
    """Run until killed."""
    model = Model(job)
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,  # the default, 1 s, stalls a fast consumer
        }
    )
    producer = _producer(job)
    consumer.subscribe([job.events])
    if job.exactly_once:
        producer.init_transactions()
        producer.begin_transaction()
    due = time.monotonic() + job.commit_ms / 1000
    fresh = 0
    while True:
        records = consumer.consume(BATCH, 0.05) if job.batch else _one(consumer)
        good = [record for record in records if record.error() is None]
        if good:
            for record, answer in zip(
                good, model.answers([r.value() or b"" for r in good]), strict=True
            ):
                _send(producer, job.output, answer, record.key())
            fresh += len(good)
            producer.poll(0)
        if fresh and time.monotonic() >= due:
            _commit(job, consumer, producer)
            fresh = 0
            due = time.monotonic() + job.commit_ms / 1000


def _producer(job: Job) -> Producer:
    config: dict[str, Any] = {
        "bootstrap.servers": job.bootstrap,
        "linger.ms": 5,
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 100,
        "compression.type": "lz4",
        "enable.idempotence": True,
        "queue.buffering.max.messages": 200_000,
    }
    if job.exactly_once:
        config["transactional.id"] = job.group
    return Producer(config)


def _one(consumer: Consumer) -> list[Any]:
    record = consumer.poll(0.05)
    return [] if record is None else [record]


def _send(producer: Producer, topic: str, value: bytes, key: bytes | None) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            producer.poll(0.05)


def _commit(job: Job, consumer: Consumer, producer: Producer) -> None:
    if not job.exactly_once:
        producer.flush()
        consumer.commit(asynchronous=False)
        return
    positions = consumer.position(consumer.assignment())
    offsets = [position for position in positions if position.offset >= 0]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
    producer.commit_transaction()
    producer.begin_transaction()


if __name__ == "__main__":
    main(Job.read(sys.argv[1]))
