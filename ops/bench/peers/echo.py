"""The limit of a Python process on librdkafka: every value is written back, nothing is decoded.

It reads, produces and commits as Millstream's loop does: one poll that may wait, what is there up
to 20,000 records, one transaction (or flush and commit) a batch, the event's own partition.
"""

from __future__ import annotations

import sys
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from ops.bench.job import Job

RECORDS_MAX, CONSUME_MAX = 20_000, 1_000


def main(job: Job) -> None:
    """Run until killed."""
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 16_384,
            "fetch.wait.max.ms": 100,
        }
    )
    config: dict[str, Any] = {
        "bootstrap.servers": job.bootstrap,
        "linger.ms": 5 if job.exactly_once else 2,
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 100,
        "batch.num.messages": 10_000,
        "batch.size": 1_000_000,
        "compression.type": "lz4",
        "enable.idempotence": True,
        "queue.buffering.max.messages": 200_000,
    }
    if job.exactly_once:
        config["transactional.id"] = job.group
    producer = Producer(config)
    consumer.subscribe([job.events])
    if job.exactly_once:
        producer.init_transactions()
    while True:
        batch = _gather(consumer)
        if not batch:
            continue
        if job.exactly_once:
            producer.begin_transaction()
        offsets: dict[int, int] = {}
        for record in batch:
            partition = record.partition()
            _send(producer, job.output, record, partition)
            offsets[partition] = record.offset() + 1
        _commit(job, consumer, producer, offsets)


def _gather(consumer: Consumer) -> list[Any]:
    first = consumer.poll(0.2)
    if first is None:
        return []
    found: list[Any] = [first]
    while len(found) < RECORDS_MAX:
        more = consumer.consume(CONSUME_MAX, 0)
        found += more
        if len(more) < CONSUME_MAX:
            break
    return [record for record in found if record.error() is None]


def _send(producer: Producer, topic: str, record: Any, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, record.value(), record.key(), partition)
            return
        except BufferError:
            producer.poll(0.05)


def _commit(job: Job, consumer: Consumer, producer: Producer, offsets: dict[int, int]) -> None:
    wanted = [TopicPartition(job.events, number, offset) for number, offset in offsets.items()]
    if job.exactly_once:
        producer.send_offsets_to_transaction(wanted, consumer.consumer_group_metadata())
        producer.commit_transaction()
    else:
        producer.flush()
        consumer.commit(offsets=wanted, asynchronous=False)


if __name__ == "__main__":
    main(Job.read(sys.argv[1]))
