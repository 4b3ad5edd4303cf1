"""A stream of its own on the shared broker, with events, letters and a scorer; no ClickHouse."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)

from consumers.letters import Wanted
from consumers.redrive import Account, run_redrive
from consumers.registry import Registry
from consumers.topics import create_topics
from millstream.columnar import FRAME_BYTES, Encoder, frame, make_decoder
from millstream.contracts import contract
from millstream.letters import DeadLetter, Source, from_headers, replay_of, to_headers
from millstream.settings import KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream
from ops.process import Child
from tests.streams import applications

WAIT_S = 60.0
LETTER = DeadLetter(
    source_topic="",
    source_partition=0,
    source_offset=0,
    stage="frame",
    error="unknown_schema_id",
    reason="schema id 7 is not in the registry",
    attempt=1,
    event_schema_id=7,
    model="loans",
    model_version="1",
    refused_at="2024-01-01T00:00:00.000+00:00",
)


@dataclass(slots=True)
class Rig:
    """The stream and what it runs on. published: events so far, so that each has its own id."""

    stream: Stream
    kafka: KafkaSettings
    registry: RegistrySettings
    folder: Path
    published: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, loans: Path, bootstrap: str, registry_url: str, folder: Path) -> Rig:
        """loans: where `make_loans` was; the folder's name becomes the stream's."""
        shutil.copytree(loans, folder)
        name, toml = folder.name, folder / "stream.toml"
        toml.write_text(toml.read_text().replace('name = "loans"', f'name = "{name}"'))
        kafka = KafkaSettings(bootstrap=bootstrap)
        rig = cls(Stream.load(toml), kafka, RegistrySettings(url=registry_url), folder)
        create_topics(rig.stream, kafka)
        rig.environment = {
            "MILLSTREAM_KAFKA_BOOTSTRAP": bootstrap,
            "MILLSTREAM_REGISTRY_URL": registry_url,
            "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
        }
        return rig

    def schema_id(self) -> int:
        """The event schema's, registered if it is not."""
        client = Registry(self.registry)
        try:
            return client.register(
                f"{self.stream.topic('events')}-value", self.stream.schema_of_event.text
            )
        finally:
            client.close()

    def values(self, count: int, **changed: Any) -> list[bytes]:
        """`count` framed events, with some fields the same in all of them."""
        batch = applications(count, seed=self.published + 1, first=self.published)
        self.published += count
        for name, value in changed.items():
            place = batch.schema.get_field_index(name)
            column = pa.array([value] * count, batch.schema.field(name).type)
            batch = batch.set_column(place, name, column)
        return Encoder(self.stream.schema_of_event.text, frame(self.schema_id())).encode(batch)

    def publish(self, values: Sequence[bytes | None], keys: int = 7) -> list[Source]:
        """Event i with key i modulo `keys`, to a partition that follows from its key."""
        topic, partitions = self.stream.topic("events"), self.stream.serving.partitions
        placed: dict[int, Source] = {}

        def done(row: int) -> Callable[[KafkaError | None, Message], None]:
            def note(error: KafkaError | None, record: Message) -> None:
                assert error is None, error
                placed[row] = Source(topic, record.partition() or 0, record.offset() or 0)

            return note

        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "linger.ms": 5})
        for row, value in enumerate(values):
            key = f"k{row % keys}".encode()
            partition = (row % keys) % partitions
            producer.produce(topic, value, key, partition, on_delivery=done(row))
            producer.poll(0)
        assert producer.flush(30) == 0
        return [placed[row] for row in range(len(values))]

    def refuse(self, values: Sequence[bytes], sources: Sequence[Source], keys: int = 7) -> None:
        """Letters of these events, as an earlier scorer would have written them; in no order."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "linger.ms": 5})
        rows = list(range(len(values)))
        for row in rows[::2] + rows[1::2]:
            source = sources[row]
            letter = replace(
                LETTER,
                source_topic=source.topic,
                source_partition=source.partition,
                source_offset=source.offset,
            )
            headers: list[Any] = to_headers(letter, [("trace", str(row).encode())])
            key = f"k{row % keys}".encode()
            topic = self.stream.topic("dead_letters")
            producer.produce(topic, values[row], key, source.partition, headers=headers)
        assert producer.flush(30) == 0

    def redrive(self, wanted: Wanted | None = None, *, dry_run: bool = False) -> Account:
        """In this process."""
        return run_redrive(
            self.stream,
            self.kafka,
            self.registry,
            ScorerSettings(),
            wanted or Wanted(),
            dry_run=dry_run,
        )

    def start(self, name: str, command: Sequence[str], **environ: str) -> Child:
        """A program of the command line."""
        return Child(
            name,
            [sys.executable, "-m", "millstream", *command],
            log=self.folder / f"{name}.log",
            env=self.environment | environ,
        )

    @contextmanager
    def scorer(self, **environ: str) -> Iterator[Child]:
        child = self.start("scorer", ["score", str(self.stream.path)], **environ)
        try:
            yield child
        finally:
            child.stop()

    def records(self, kind: str) -> list[Message]:
        """Every committed record of one of its topics."""
        return committed_records(self.kafka.bootstrap, self.stream.topic(kind))

    def wait_until_answered(self, scorer: Child, events: int) -> None:
        """Until so many events have a prediction or a letter."""
        deadline = time.monotonic() + WAIT_S
        while True:
            answers = len(self.records("predictions")) + len(self.records("dead_letters"))
            if answers >= events:
                return
            assert scorer.alive(), scorer.tail()
            assert time.monotonic() < deadline, f"{answers} of {events}: {scorer.tail()}"
            time.sleep(0.2)

    def replays(self) -> dict[Source, list[Message]]:
        """The events that replay another, by what they replay."""
        found: dict[Source, list[Message]] = {}
        for record in self.records("events"):
            source = replay_of(record.headers() or [])
            if source is not None:
                found.setdefault(source, []).append(record)
        return found

    def assert_each_redriven_once(self, sources: Sequence[Source]) -> None:
        """These events have one replay and one mark each, and no other has any."""
        replays = self.replays()
        assert set(replays) == set(sources)
        assert all(len(records) == 1 for records in replays.values())
        marks = Counter(bytes(record.key() or b"") for record in self.records("redrives"))
        assert marks == Counter(str(source).encode() for source in sources)

    def assert_each_answered_once(self) -> dict[Source, str]:
        """Every event, replays among them, has one prediction or one letter; which it has."""
        events = self.stream.topic("events")
        decoder = make_decoder(contract("prediction").text)
        values = [record.value() or b"" for record in self.records("predictions")]
        rows = decoder.decode(values, FRAME_BYTES).columns.to_pylist()
        predicted = [Source(events, r["source_partition"], r["source_offset"]) for r in rows]
        letters = [from_headers(r.headers() or []).source for r in self.records("dead_letters")]
        there = Counter(place(record) for record in self.records("events"))
        assert Counter(predicted) + Counter(letters) == there
        return dict.fromkeys(predicted, "prediction") | dict.fromkeys(letters, "letter")


def place(record: Message) -> Source:
    """Where a record stands."""
    partition, offset = record.partition(), record.offset()
    assert partition is not None and offset is not None
    return Source(record.topic() or "", partition, offset)


def committed_records(bootstrap: str, topic: str) -> list[Message]:
    """Every record of a topic under read_committed, each partition's in order."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "look", "enable.partition.eof": True}
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    found, open_ends = [], set(partitions)
    while open_ends:
        first = consumer.poll(10)
        assert first is not None, f"{topic}: partitions {open_ends} do not end"
        for record in [first, *consumer.consume(1_000, 0)]:
            error = record.error()
            if error is None:
                found.append(record)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                open_ends.discard(record.partition() or 0)
    consumer.close()
    return found


def ends(bootstrap: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """The end of every partition, transaction markers and aborted records included."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "look", "isolation.level": "read_uncommitted"}
    )
    found = {}
    for topic in topics:
        for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            partition = TopicPartition(topic, number)
            found[(topic, number)] = consumer.get_watermark_offsets(partition, timeout=10)[1]
    consumer.close()
    return found
