"""Sends events at a rate, each at its scheduled time; its Kafka key is that time in microseconds.

A program: `python -m ops.bench.generator JOB.json`. When it falls behind, what is late goes out at
once and keeps its scheduled time, so that no wait is left out of the latencies.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from millstream.columnar import Encoder, frame
from ops.bench.data import SUBJECTS, chunk, event_schema

POOL = 20_000
TICK_S = 0.0005
LINGER_MS = 2
"""With none, what is due every TICK_S is a request for each record or two of a partition: 10,000
events/s were 75 µs of the broker's CPU each, and what was measured was the queue before it."""
IN_FLIGHT = 5
"""Requests that wait in the broker, as with Java's clients: while it is slow, batches grow here."""


class _Traffic:
    """stats_cb: how many records a produce request has carried until now, on average."""

    def __init__(self) -> None:
        self.records_a_request = 0.0

    def __call__(self, text: str) -> None:
        said = json.loads(text)
        requests = sum(broker["req"].get("Produce", 0) for broker in said["brokers"].values())
        if requests:
            self.records_a_request = said["txmsgs"] / requests


def main(job: dict[str, Any]) -> None:
    """job: bootstrap, topic, partitions, subject, schema_id, rate, seconds, report."""
    shape = SUBJECTS[job["subject"]].shape
    pool = Encoder(event_schema(shape), frame(job["schema_id"])).encode(chunk(shape, 0, POOL))
    traffic = _Traffic()
    producer = Producer(
        {
            "bootstrap.servers": job["bootstrap"],
            "linger.ms": LINGER_MS,
            "max.in.flight.requests.per.connection": IN_FLIGHT,
            "queue.buffering.max.messages": 1_000_000,
            "statistics.interval.ms": 500,
            "stats_cb": traffic,
        }
    )
    topic, partitions = job["topic"], job["partitions"]
    producer.list_topics(topic, timeout=30)
    rate, total = job["rate"], int(job["rate"] * job["seconds"])
    begin_us = time.time_ns() // 1000 + 100_000
    sent, late_us = 0, 0
    while sent < total:
        now_us = time.time_ns() // 1000
        due = min(int((now_us - begin_us) * rate / 1_000_000) + 1, total)
        if due <= sent:
            producer.poll(TICK_S)
            continue
        late_us = max(late_us, now_us - begin_us - sent * 1_000_000 // rate)
        for number in range(sent, due):
            key = str(begin_us + number * 1_000_000 // rate).encode()
            producer.produce(topic, pool[number % POOL], key, number % partitions)
        sent = due
    left = producer.flush(30)
    report = {
        "sent": sent - left,
        "begin_us": begin_us,
        "late_us": late_us,
        "records_a_request": traffic.records_a_request,
    }
    Path(job["report"]).write_text(json.dumps(report), "utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
