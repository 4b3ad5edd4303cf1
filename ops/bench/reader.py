"""Reads answers as a downstream system does, read_committed, and notes when each one came.

A program: `python -m ops.bench.reader JOB.json`. It writes two columns of microseconds, scheduled
(the record's key) and arrived, and begins where the topic ends when it starts.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition


def main(job: dict[str, Any]) -> None:
    """job: bootstrap, topic, partitions, expected, seconds_max, ready, found."""
    consumer = Consumer(
        {
            "bootstrap.servers": job["bootstrap"],
            "group.id": "bench-probe",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 100,
        }
    )
    places = []
    for number in range(job["partitions"]):
        _, high = consumer.get_watermark_offsets(TopicPartition(job["topic"], number), timeout=30)
        places.append(TopicPartition(job["topic"], number, high))
    consumer.assign(places)
    consumer.poll(0.5)
    Path(job["ready"]).touch()
    scheduled: list[bytes | None] = []
    counts: list[int] = []
    times: list[int] = []
    deadline = time.monotonic() + job["seconds_max"]
    while len(scheduled) < job["expected"] and time.monotonic() < deadline:
        first = consumer.poll(0.1)
        if first is None:
            continue
        found = [first, *consumer.consume(1_000, 0)]
        now_us = time.time_ns() // 1000
        keys = [record.key() for record in found if record.error() is None]
        scheduled += keys
        counts.append(len(keys))
        times.append(now_us)
    consumer.close()
    sent = np.array([int(key or b"0") for key in scheduled], np.int64)
    arrived = np.repeat(np.array(times, np.int64), np.array(counts, np.int64))
    np.save(job["found"], np.stack([sent, arrived]))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
