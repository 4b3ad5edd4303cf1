"""Publish the events of a JSON-lines file to a stream: confluent-kafka.

python publish.py --bootstrap HOST:PORT --registry URL --topic loans.events \
    --schema event.v1.avsc --key applicant events.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


class Delivery:
    """What became of the events, told by the producer's callback."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failures: Counter[str] = Counter()

    def __call__(self, error: KafkaError | None, record: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.failures[error.str()] += 1


def plain(value: dict[str, Any], context: SerializationContext) -> dict[str, Any]:
    """The event as the serialiser takes it: our JSON has the types of the schema already."""
    return value


def publish(given: argparse.Namespace) -> Delivery:
    """Every event of the file."""
    registry = SchemaRegistryClient({"url": given.registry})
    schema = Path(given.schema).read_text("utf-8")
    to_avro = AvroSerializer(registry, schema, plain, {"normalize.schemas": True})
    context = SerializationContext(given.topic, MessageField.VALUE)
    producer = Producer(
        {
            "bootstrap.servers": given.bootstrap,
            "enable.idempotence": True,  # acks=all, and a retry doubles nothing
            "partitioner": "murmur2_random",  # as Java's clients: one key, one partition
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )
    delivery = Delivery()
    with Path(given.events).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
                value = to_avro(event, context)
                key = str(event[given.key]).encode()
            except Exception as why:  # noqa: BLE001 - no event, no registry: the rest is waited for
                delivery.failures[f"line {number}: {why}"] += 1
                break
            while True:
                try:
                    producer.produce(given.topic, value, key, on_delivery=delivery)
                    break
                except BufferError:  # the local queue is full: let some go out
                    producer.poll(0.1)
                except KafkaException as why:  # such as an event that is too large
                    delivery.failures[why.args[0].str()] += 1
                    break
            producer.poll(0)
    producer.flush()
    return delivery


def main() -> int:
    """0 if the broker has every event."""
    options = argparse.ArgumentParser(description="Publish a file's events.")
    for name in ("bootstrap", "registry", "topic", "schema", "key"):
        options.add_argument(f"--{name}", required=True)
    options.add_argument("events")
    given = options.parse_args()
    fields = json.loads(Path(given.schema).read_text("utf-8"))["fields"]
    if given.key not in {field["name"] for field in fields}:
        options.error(f"the schema has no field {given.key} for the key")
    delivery = publish(given)
    sys.stdout.write(f"published {delivery.delivered} events\n")
    for reason, count in delivery.failures.items():
        sys.stderr.write(f"{count} events were not delivered: {reason}\n")
    return 1 if delivery.failures else 0


if __name__ == "__main__":
    sys.exit(main())
