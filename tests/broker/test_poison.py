"""10,000 good records with 100 bad ones of ten kinds among them: nothing is lost, nobody harmed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, Producer

from consumers.kafka import producer_config
from consumers.registry import Registry
from consumers.scorer import MODEL_HEADER
from consumers.warehouse import Warehouse
from millstream.columnar import Encoder, frame
from millstream.letters import from_headers
from millstream.models.bundle import Bundle
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.stack import Parts, Stack
from tests.broker.waiting import wait_for_rows
from tests.streams import applications, make_loans

GOOD, EACH = 10_000, 10


@dataclass(frozen=True, slots=True)
class Poison:
    """One kind of bad record: its bytes, and the letter it must become."""

    kind: str
    value: bytes | None
    stage: str
    error: str


def poison(stream: Stream, schema_id: int, other_id: int) -> list[Poison]:
    """The ten kinds. other_id: a registered schema that the event's cannot read."""
    text = stream.schema_of_event.text
    good = applications(1, seed=99, first=1_000_000)

    def event(**changed: Any) -> bytes:
        arrays = [
            pa.array([changed[name]], good.schema.field(name).type)
            if name in changed
            else good.column(name)
            for name in good.schema.names
        ]
        batch = pa.RecordBatch.from_arrays(arrays, names=good.schema.names)
        return Encoder(text, frame(schema_id)).encode(batch)[0]

    whole = event()
    return [
        Poison("unknown schema id", frame(999_999) + whole[5:], "frame", "unknown_schema_id"),
        Poison("truncated", whole[:-3], "decode", "truncated"),
        Poison("foreign bytes", b'{"not": "avro"}', "frame", "not_framed"),
        Poison("null", event(loan=None), "validate", "null_feature"),
        Poison("wrong type", frame(other_id) + b"\x08text", "frame", "incompatible_schema"),
        Poison("nan", event(salary=float("nan")), "validate", "nan_feature"),
        Poison("empty value", b"", "frame", "empty_value"),
        Poison("5 MB", frame(schema_id) + bytes(5_000_000), "frame", "too_large"),
        Poison("infinite", event(hvalue=float("inf")), "validate", "infinite_feature"),
        Poison("trailing bytes", whole + b"\x00", "decode", "trailing_bytes"),
    ]


def nullable_loan(folder: Path) -> None:
    """The example's schema with a field that may be null, where the model has no null."""
    file = folder / "event.v1.avsc"
    schema = json.loads(file.read_text())
    next(f for f in schema["fields"] if f["name"] == "loan")["type"] = ["null", "double"]
    file.write_text(json.dumps(schema))
    toml = folder / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', 'name = "poison"'))


def read_committed(bootstrap: str, topic: str, count: int) -> list[Any]:
    """`count` records of a topic, and that there are no more, under read_committed."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[Any] = []
    while len(found) < count:
        batch = consumer.consume(count, 20)
        assert batch, f"{topic} ends after {len(found)} of {count} records"
        found += batch
    assert not consumer.consume(1, 2), f"{topic} has more than {count} records"
    consumer.close()
    return found


def publish(producer: Producer, topic: str, value: bytes | None, key: str, partition: int) -> None:
    """Produce, waiting while the queue is full."""
    while True:
        try:
            producer.produce(topic, value, key.encode(), partition)
            return
        except BufferError:
            producer.poll(0.1)


def test_bad_records_become_letters_with_their_reasons_and_neighbours_are_scored(
    kafka: Broker, tmp_path: Path
) -> None:
    """10,000 predictions and 100 dead letters, on Kafka and in ClickHouse."""
    make_loans(tmp_path / "poison")
    nullable_loan(tmp_path / "poison")
    stream = Stream.load(tmp_path / "poison" / "stream.toml")
    with Stack(stream, tmp_path / "run", Parts(kafka=kafka.bootstrap)) as stack:
        registry = Registry(stack.registry)
        schema_id = registry.register("poison.events-value", stream.schema_of_event.text)
        other = '{"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}'
        kinds = poison(stream, schema_id, registry.register("other-value", other))
        bad = [kinds[i % len(kinds)] for i in range(EACH * len(kinds))]
        good = Encoder(stream.schema_of_event.text, frame(schema_id)).encode(applications(GOOD))
        values: list[tuple[bytes | None, Poison | None]] = [(v, None) for v in good]
        spread = np.random.default_rng(5).permutation(GOOD + len(bad))[: len(bad)]
        for place, each in zip(sorted(spread), bad, strict=True):
            values.insert(place, (each.value, each))
        producer = Producer(producer_config(stack.kafka, "poison"))
        for row, (value, _) in enumerate(values):
            publish(producer, "poison.events", value, f"k{row}", row % 4)
        assert producer.flush(60) == 0

        predictions = read_committed(kafka.bootstrap, "poison.predictions", GOOD)
        letters = read_committed(kafka.bootstrap, "poison.dead-letters", len(bad))
        assert len({(p.partition(), p.key()) for p in predictions}) == GOOD
        model = Bundle.load(stream.bundle_path)
        routed = [(MODEL_HEADER, f"{model.version} {model.digest}".encode())]
        assert all(p.headers() == routed for p in predictions)
        wanted = {f"k{row}": (row, each) for row, (_, each) in enumerate(values) if each}
        for record in letters:
            row, each = wanted.pop(record.key().decode())
            letter = from_headers(record.headers())
            assert (letter.stage, letter.error) == (each.stage, each.error), each.kind
            assert record.value() == each.value, f"{each.kind}: the bytes are kept"
            assert record.partition() == letter.source_partition == row % 4
        assert not wanted

        warehouse = Warehouse.connect(stack.warehouse)
        rows = {"events": GOOD + len(bad), "predictions": GOOD, "dead_letters": len(bad)}
        wait_for_rows(stack, warehouse, {f"poison.{table}": n for table, n in rows.items()})
        found = warehouse.query(
            "SELECT stage, error, count() FROM poison.dead_letters GROUP BY 1, 2"
        )
        assert Counter({(s, e): n for s, e, n in found}) == Counter(
            {(each.stage, each.error): EACH for each in kinds}
        )
        assert no_event_without_its_one_answer(warehouse, "poison")


def no_event_without_its_one_answer(warehouse: Warehouse, stream: str) -> bool:
    """Every row of events has one row in predictions or dead_letters; none has two."""
    source = "source_topic, source_partition, source_offset"
    answers = (
        f"SELECT {source}, count() AS n FROM (SELECT {source} FROM {stream}.predictions UNION ALL "
        f"SELECT {source} FROM {stream}.dead_letters) GROUP BY {source}"
    )
    ((wrong,),) = warehouse.query(
        f"SELECT countIf(n != 1) FROM {stream}.events LEFT JOIN ({answers}) AS given ON "
        "kafka_topic = source_topic AND kafka_partition = source_partition "
        "AND kafka_offset = source_offset"
    )
    return not wrong
