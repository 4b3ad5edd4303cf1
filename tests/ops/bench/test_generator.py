"""What the latency benchmark's generator asks of the broker."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from ops.bench import generator
from ops.kafka.embedded import EmbeddedBroker


def test_records_share_requests(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    """At 10,000/s over four partitions no request is for a record or two: that measured the broker.

    By librdkafka's own count. A generator that falls behind only makes them larger.
    """
    topic = f"t{uuid.uuid4().hex[:8]}"
    embedded.create_topic(topic, 4)
    report = tmp_path / "report"
    job = {
        "bootstrap": embedded.bootstrap,
        "topic": topic,
        "partitions": 4,
        "subject": "b",
        "schema_id": 1,
        "rate": 10_000,
        "seconds": 1.2,
        "report": str(report),
    }
    generator.main(job)
    said = json.loads(report.read_text("utf-8"))
    assert said["sent"] == 12_000
    assert said["records_a_request"] >= 3
