"""The logs of the watch's tests, on a broker."""

from __future__ import annotations

import time
from dataclasses import replace

from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry
from millstream.columnar import FRAME_BYTES, frame
from millstream.contracts import contract
from millstream.settings import KafkaSettings
from tests.millstream.drift.watchlogs import Logs


def shifted(logs: Logs) -> Logs:
    """With Kafka timestamps of now, in whole milliseconds, as a broker keeps them."""
    start = min(int(lane.timestamps_us[0]) for lane in logs.lanes.values())
    now_ms = int(time.time() * 1_000) - 20_000_000
    lanes = {
        name: replace(lane, timestamps_us=((lane.timestamps_us - start) // 1_000 + now_ms) * 1_000)
        for name, lane in logs.lanes.items()
    }
    return Logs(logs.stream, lanes)


def publish(logs: Logs, kafka: KafkaSettings, registry: Registry) -> None:
    """Every lane as it is, framed with this registry's ids."""
    stream = logs.stream
    texts = {
        stream.topic("events"): stream.schema_of_event.text,
        stream.topic("predictions"): contract("prediction").text,
        stream.topic("labelled"): contract("labelled").text,
    }
    ids = {topic: registry.register(f"{topic}-value", text) for topic, text in texts.items()}
    producer = Producer(producer_config(kafka, "test"))
    for (topic, number), lane in logs.lanes.items():
        for value, at in zip(lane.values, lane.timestamps_us.tolist(), strict=True):
            framed = frame(ids[topic]) + (value or b"")[FRAME_BYTES:]
            producer.produce(topic, framed, b"k", number, timestamp=at // 1_000)
        producer.poll(0)
    assert producer.flush(60) == 0
