"""Small streams made by hand, so that one thing in them can be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka import connection, producer_config
from consumers.registry import Registry
from consumers.topics import create_topics
from consumers.verify.about import Options
from consumers.verify.once import verify
from consumers.warehouse import Warehouse, migrate
from millstream.audit.report import Report
from millstream.columnar import Encoder, arrow_schema, frame, make_decoder
from millstream.contracts import contract, topic_table
from millstream.letters import DeadLetter, to_headers
from millstream.models.bundle import Bundle
from millstream.models.session import Session
from millstream.records import Records
from millstream.scoring import ScoringPlan
from millstream.stream import Stream
from millstream.warehouse.rows import LetterRows, RowMaker, contract_rows, event_rows
from ops.stack import Stack
from tests.streams import applications, framed

EVENTS, LETTER_EVERY = 400, 40
Answer = tuple[int, bytes, bytes, list[Any]]
"""Source offset, key, value, headers."""


@dataclass(slots=True)
class Answers:
    """What a correct scorer would publish for one partition; a test spoils it before it goes out.

    commit: the offset that goes with it.
    """

    predictions: list[Answer] = field(default_factory=list)
    letters: list[Answer] = field(default_factory=list)
    commit: int = EVENTS


class Planted:
    """One stream with one partition: EVENTS events, every LETTER_EVERY-th of them poison."""

    def __init__(self, folder: Path, stack: Stack, name: str) -> None:
        text = (folder / "stream.toml").read_text()
        text = text.replace('name = "loans"', f'name = "{name}"').replace(
            "partitions = 4", "partitions = 1"
        )
        path = folder / f"{name}.toml"
        path.write_text(text)
        self.stream = Stream.load(path)
        self.stack = stack
        self.registry = Registry(stack.registry)
        self.warehouse = Warehouse.connect(stack.warehouse)
        create_topics(self.stream, stack.kafka)
        migrate(self.warehouse, self.stream)
        self.producer = Producer(producer_config(stack.kafka, f"{name}-test"))
        self.scorer = Producer(
            producer_config(stack.kafka, name) | {"transactional.id": f"{name}-test"}
        )
        self.scorer.init_transactions(30)
        self.bundle = Bundle.load(self.stream.bundle_path)
        self.events: list[bytes] = []
        self.published = 0

    def publish(self, count: int = EVENTS) -> Answers:
        """Events, and what is right to say of them."""
        topic = self.stream.topic("events")
        event_id = self.registry.register(f"{topic}-value", self.stream.schema_of_event.text)
        first = len(self.events)
        values = framed(applications(count, first=first), event_id)
        for place in range(0, count, LETTER_EVERY):
            values[place] = values[place][:-3]
        for row, value in enumerate(values):
            self.producer.produce(topic, value, f"k{first + row}".encode(), 0)
        assert self.producer.flush(30) == 0
        self.events += values
        return self._answers(values, first)

    def _answers(self, values: list[bytes], first: int) -> Answers:
        name = f"{self.stream.topic('predictions')}-value"
        schema_id = self.registry.register(name, contract("prediction").text)
        session = Session(self.bundle)
        plan = ScoringPlan(
            self.stream, self.bundle, session, self.registry.schema, schema_id, lambda: 10**15
        )
        count = len(values)
        keys: list[bytes | None] = [f"k{first + row}".encode() for row in range(count)]
        offsets = np.arange(first, first + count, dtype=np.int64)
        times = np.full(count, 10**15)
        partitions = np.zeros(count, np.int32)
        topic = self.stream.topic("events")
        made = plan.run(Records(topic, list(values), keys, partitions, offsets, times, {}))
        session.close()
        answers = Answers(commit=first + count)
        for row, value in zip(made.rows.tolist(), made.predictions, strict=True):
            answers.predictions.append((first + row, keys[row] or b"", value, []))
        for refusal in made.refusals:
            letter = DeadLetter(
                source_topic=topic,
                source_partition=0,
                source_offset=first + refusal.row,
                stage=refusal.stage.value,
                error=refusal.name,
                reason=refusal.reason,
                attempt=1,
                event_schema_id=None,
                model="loans",
                model_version="1",
                refused_at=datetime.now(UTC).isoformat(),
            )
            key, value = keys[refusal.row] or b"", values[refusal.row]
            answers.letters.append((first + refusal.row, key, value, list(to_headers(letter))))
        return answers

    def answer(self, answers: Answers, *, abort: bool = False, leave_open: bool = False) -> None:
        """One transaction with these answers."""
        scorer = self.scorer
        scorer.begin_transaction()
        for _, key, value, headers in answers.predictions:
            scorer.produce(self.stream.topic("predictions"), value, key, 0, headers=headers)
        for _, key, value, headers in answers.letters:
            scorer.produce(self.stream.topic("dead_letters"), value, key, 0, headers=headers)
        scorer.flush(30)
        if leave_open:
            return
        if abort:
            scorer.abort_transaction(30)
            return
        self._send_offset(answers.commit)
        scorer.commit_transaction(30)

    def commit(self, offset: int) -> None:
        """The scorer's group commits, with no answers."""
        self.scorer.begin_transaction()
        self._send_offset(offset)
        self.scorer.commit_transaction(30)

    def sink(self, spoil: Callable[[str, pa.Table], pa.Table] = lambda table, rows: rows) -> None:
        """What a correct sink writes: every committed record, one row each."""
        stream = self.stream
        makers: dict[str, RowMaker] = {
            "events": event_rows(stream, self.registry.schema),
            "predictions": contract_rows(
                stream, topic_table()["predictions"], self.registry.schema
            ),
            "dead_letters": LetterRows(),
        }
        for table, maker in makers.items():
            records = self._records(stream.topic(table))
            if len(records):
                rows = maker.rows(records)
                block = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * rows.num_rows)
                rows = rows.append_column("kafka_block_time", block.cast(pa.timestamp("us", "UTC")))
                self.warehouse.insert(stream.name, table, spoil(table, rows), f"{table}-{id(rows)}")

    def sql(self, statement: str) -> None:
        """A statement on the stream's database, done when this returns."""
        ending = " SETTINGS mutations_sync = 1" if statement.startswith("ALTER") else ""
        self.warehouse.command(statement + ending)

    def expire(self, topic: str, before: int) -> None:
        """Remove the head of a log, as retention would."""
        admin = AdminClient(connection(self.stack.kafka))
        for done in admin.delete_records([TopicPartition(topic, 0, before)]).values():
            done.result(30)

    def audit(self, **options: Any) -> Report:
        """The report; little patience, since nothing here moves."""
        given = Options(wait_s=0.5, bundles=(self.stream.bundle_path,))
        stack = self.stack
        return verify(
            self.stream, stack.kafka, stack.registry, stack.warehouse, replace(given, **options)
        )

    def close(self) -> None:
        self.warehouse.close()
        self.registry.close()

    def _send_offset(self, offset: int) -> None:
        """The group's offset within the transaction that is open."""
        group = Consumer(connection(self.stack.kafka) | {"group.id": f"{self.stream.name}-scorer"})
        where = [TopicPartition(self.stream.topic("events"), 0, offset)]
        self.scorer.send_offsets_to_transaction(where, group.consumer_group_metadata(), 30)
        group.close()

    def _records(self, topic: str) -> Records:
        consumer = Consumer(
            connection(self.stack.kafka)
            | {"group.id": "test", "enable.partition.eof": True, "auto.offset.reset": "earliest"}
        )
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Any] = []
        deadline = time.monotonic() + 60
        while True:
            batch: list[Any] = consumer.consume(1_000, 0.05)
            assert time.monotonic() < deadline, f"{topic} does not end"
            found += [record for record in batch if record.error() is None]
            if any(record.error() is not None for record in batch):
                break
        consumer.close()
        return Records(
            topic,
            [record.value() for record in found],
            [record.key() for record in found],
            np.zeros(len(found), np.int32),
            np.array([record.offset() for record in found], np.int64),
            np.array([record.timestamp()[1] * 1000 for record in found], np.int64),
            {row: record.headers() for row, record in enumerate(found) if record.headers()},
        )


def changed(value: bytes, **fields: Any) -> bytes:
    """A prediction that says something else."""
    text = contract("prediction").text
    row = make_decoder(text).decode([value], skip=5).columns
    arrays = [
        pa.array([fields[f.name]], f.type) if f.name in fields else row.column(f.name)
        for f in arrow_schema(text)
    ]
    schema_id = int.from_bytes(value[1:5], "big")
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(text))
    return Encoder(text, frame(schema_id)).encode(batch)[0]
