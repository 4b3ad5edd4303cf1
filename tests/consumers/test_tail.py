"""A stream's topics are shown as they grow, with private fields masked and bad records survived."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from consumers.registry import Registry, subject_of
from consumers.tail import MASK, Kind, Seen, follow, reader_of
from millstream.cli.tail import json_line, printable, tail
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract, dead_letter_headers
from millstream.errors import OperatorNeeded
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.streams import LOANS, applications, framed

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
PREDICTION: dict[str, Any] = {
    "event_id": "L-1",
    "key": "A-1",
    "event_time": NOON,
    "published_at": NOON,
    "scored_at": NOON.replace(microsecond=2500),
    "in_budget": True,
    "score": 0.75,
    "scores": [0.25, 0.75],
    "label": "1",
    "confidence": 0.75,
    "model": "loans",
    "model_version": "3",
    "model_digest": "sha256:0",
    "source_topic": "loans.events",
    "source_partition": 0,
    "source_offset": 7,
    "answered_by": "full",
    "event_schema_id": 1,
}
app = typer.Typer()
app.command()(tail)


@pytest.fixture
def registry_client(embedded_registry: EmbeddedRegistry) -> Iterator[Registry]:
    client = Registry(RegistrySettings(url=embedded_registry.url))
    yield client
    client.close()


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """A loans stream with a name of its own, whose applicant and salary are private."""
    text = (LOANS / "stream.toml").read_text("utf-8")
    text = text.replace('"loans"', f'"t{uuid.uuid4().hex[:8]}"', 1)
    text = text.partition("[privacy]")[0] + '\n[privacy]\nprivate = ["applicant", "salary"]\n'
    (tmp_path / "stream.toml").write_text(text)
    (tmp_path / "event.v1.avsc").write_bytes((LOANS / "event.v1.avsc").read_bytes())
    return Stream.load(tmp_path / "stream.toml")


def predictions(schema_id: int, *ids: str) -> list[bytes]:
    text = contract("prediction").text
    rows = [PREDICTION | {"event_id": i} for i in ids]
    batch = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(text))
    return Encoder(text, frame(schema_id)).encode(batch)


def write(bootstrap: str, topic: str, values: Sequence[bytes | None], **options: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value, b"key", partition=0, **options)
    assert producer.flush(30) == 0


def following(bootstrap: str, topic: str, count: int) -> list[Message]:
    """The topic's first `count` records."""
    settings = KafkaSettings(bootstrap=bootstrap, embedded=True)
    found: list[Message] = []
    for records in follow(settings, topic, from_beginning=True):
        found += records
        if len(found) >= count:
            break
    return found


def registered(client: Registry, topic: str, schema: str) -> int:
    return client.register(subject_of(topic), schema)


def test_only_what_comes_later_is_shown(embedded: EmbeddedBroker, topic_name: str) -> None:
    """Without from_beginning the first record shown is the first written after it has begun."""
    write(embedded.bootstrap, topic_name, [b"old"] * 5)
    settings = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    batches = follow(settings, topic_name, from_beginning=False)
    assert next(batches) == ()
    write(embedded.bootstrap, topic_name, [b"new"])
    records = next(records for records in batches if records)
    batches.close()
    assert [record.value() for record in records] == [b"new"]


def test_predictions_are_decoded_and_masked(
    embedded: EmbeddedBroker, registry_client: Registry, stream: Stream
) -> None:
    """A prediction's key is masked where the event's key field is private; the rest is shown."""
    topic = stream.topic("predictions")
    schema_id = registered(registry_client, topic, contract("prediction").text)
    write(embedded.bootstrap, topic, predictions(schema_id, "L-1"))
    reader = reader_of(Kind.PREDICTIONS, stream, registry_client.schema)
    (seen,) = reader.read(following(embedded.bootstrap, topic, 1))
    assert seen.fields == PREDICTION | {"key": MASK}
    assert (seen.partition, seen.offset, seen.undecodable) == (0, 0, None)


def test_private_fields_of_events_are_masked(
    embedded: EmbeddedBroker, registry_client: Registry, stream: Stream
) -> None:
    """Every private field of an event is masked, and no other."""
    topic = stream.topic("events")
    schema_id = registered(registry_client, topic, stream.schema_of_event.text)
    events = applications(20)
    write(embedded.bootstrap, topic, framed(events, schema_id))
    reader = reader_of(Kind.EVENTS, stream, registry_client.schema)
    shown = reader.read(following(embedded.bootstrap, topic, 20))
    masked = {"applicant": MASK, "salary": MASK}
    assert [seen.fields for seen in shown] == [row | masked for row in events.to_pylist()]


def test_undecodable_records_are_shown_as_such(
    embedded: EmbeddedBroker, registry_client: Registry, stream: Stream
) -> None:
    """No value, foreign bytes, an unknown or unfit schema and a cut value cost no neighbour."""
    topic = stream.topic("predictions")
    schema_id = registered(registry_client, topic, contract("prediction").text)
    other = registered(registry_client, topic + "-other", stream.schema_of_event.text)
    good = predictions(schema_id, "first", "last")
    bad = [None, b"foreign", frame(2**31 - 1) + b"x", frame(other) + b"x", good[0][:-3]]
    write(embedded.bootstrap, topic, [good[0], *bad, good[1]])
    reader = reader_of(Kind.PREDICTIONS, stream, registry_client.schema)
    shown = reader.read(following(embedded.bootstrap, topic, 7))
    assert [seen.fields.get("event_id") for seen in shown] == ["first", *[None] * 5, "last"]
    reasons = [seen.undecodable for seen in shown]
    assert reasons[0] is None and reasons[6] is None
    words = ["no value", "zero byte", "not in the registry", "does not fit", ""]
    assert all(word in (why or "-") for word, why in zip(words, reasons[1:6], strict=True))
    assert all(reasons[1:6])


def test_dead_letters_show_headers_only(embedded: EmbeddedBroker, stream: Stream) -> None:
    """A dead letter's headers are its fields; its key and value are nowhere in what is shown."""
    topic = stream.topic("dead_letters")
    names = dead_letter_headers()
    headers = [(names["stage"], b"decode"), (names["reason"], b"it is \xff cut"), ("other", b"o")]
    write(embedded.bootstrap, topic, [b"secret"], headers=headers)

    def none(schema_id: int) -> str:
        raise AssertionError(schema_id)

    (seen,) = reader_of(Kind.DEAD_LETTERS, stream, none).read(
        following(embedded.bootstrap, topic, 1)
    )
    assert seen.fields == dict.fromkeys(names) | {"stage": "decode", "reason": "it is \ufffd cut"}
    assert "secret" not in str(seen)


def test_no_topic(kafka: Broker, topic_name: str) -> None:
    """A topic that is not there is the operator's to make."""
    with pytest.raises(OperatorNeeded, match=f"has no topic {topic_name}"):
        next(follow(KafkaSettings(bootstrap=kafka.bootstrap), topic_name, from_beginning=True))


def test_aborted_records_are_not_shown_and_nothing_is_left_behind(
    kafka: Broker, topic_name: str
) -> None:
    """On a real broker only committed records are shown, and no consumer group comes to be."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic_name, 1, 1)])[topic_name].result(30)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic_name})
    producer.init_transactions(30)
    for value, end in (
        (b"aborted", producer.abort_transaction),
        (b"committed", producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic_name, value)
        producer.flush(30)
        end(30)
    found: list[bytes | None] = []
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    batches = follow(settings, topic_name, from_beginning=True)
    while not found:
        found += [record.value() for record in next(batches)]
    batches.close()
    assert found == [b"committed"]
    groups = admin.list_consumer_groups(request_timeout=30).result().valid
    assert not [group.group_id for group in groups if group.group_id.startswith("millstream-tail")]


@pytest.fixture
def command(
    stream: Stream, embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry
) -> Callable[..., list[str]]:
    def made(*options: str) -> list[str]:
        parts = ["--kafka", embedded.bootstrap, "--registry", embedded_registry.url]
        return [str(stream.path), *parts, "--from-beginning", *options]

    return made


def test_the_command_prints_json_lines(
    command: Callable[..., list[str]],
    stream: Stream,
    embedded: EmbeddedBroker,
    registry_client: Registry,
) -> None:
    """With --json each line is an object with the record's fields and where it came from."""
    topic = stream.topic("predictions")
    schema_id = registered(registry_client, topic, contract("prediction").text)
    write(embedded.bootstrap, topic, [*predictions(schema_id, "a", "b"), b"?", b"?"])
    result = CliRunner().invoke(app, command("--json", "--events", "3"))
    assert result.exit_code == 0, result.output
    first, second, third = [json.loads(line) for line in result.stdout.splitlines()]
    assert (first["event_id"], second["event_id"]) == ("a", "b")
    assert first["scores"] == [0.25, 0.75]
    assert datetime.fromisoformat(first["scored_at"]) == PREDICTION["scored_at"]
    assert (second["kafka_partition"], second["kafka_offset"]) == (0, 1)
    assert "zero byte" in third["undecodable"]


@pytest.mark.parametrize("topic", ["predictions", "events", "dead-letters"])
def test_the_command_prints_lines(
    command: Callable[..., list[str]],
    stream: Stream,
    embedded: EmbeddedBroker,
    registry_client: Registry,
    topic: str,
) -> None:
    """Without --json there is a heading, and a line for each record, good or not."""
    name = stream.topic(Kind(topic).key)
    if topic == "predictions":
        schema_id = registered(registry_client, name, contract("prediction").text)
        values = predictions(schema_id, "L-\x1b[2J1")
        wanted = ["12:00:00.002  L-\ufffd[2J1", "0.75", "2.5", "0:0"]
    elif topic == "events":
        schema_id = registered(registry_client, name, stream.schema_of_event.text)
        values = framed(applications(1), schema_id)
        wanted = ["application_id=L-0 applicant=(private)"]
    else:
        values, wanted = [b"?"], ["-:-"]
    write(embedded.bootstrap, name, [*values, b"?"])
    result = CliRunner().invoke(app, command("--events", "2", "--topic", topic))
    assert result.exit_code == 0, result.output
    heading, line, last = result.stdout.splitlines()
    assert "reason" in heading or "event" in heading
    assert all(text in line for text in wanted)
    assert topic == "dead-letters" or last.startswith("undecodable: partition 0, offset 1: ")


def test_a_reader_that_leaves_ends_it(
    command: Callable[..., list[str]],
    stream: Stream,
    embedded: EmbeddedBroker,
    registry_client: Registry,
) -> None:
    """`| head -1` ends it without a complaint, though more records come."""
    topic = stream.topic("predictions")
    schema_id = registered(registry_client, topic, contract("prediction").text)
    values = predictions(schema_id, *[f"L-{n}" for n in range(100)])
    write(embedded.bootstrap, topic, values)
    script = "import typer; from millstream.cli.tail import tail; typer.run(tail)"
    argv = [sys.executable, "-c", script, *command("--json")]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stderr is not None
        assert json.loads(child.stdout.readline())["event_id"] == "L-0"
        child.stdout.close()
        for _ in range(600):
            if child.poll() is not None:
                break
            write(embedded.bootstrap, topic, values)
        assert child.wait(30) == 0
        assert child.stderr.read() == b""
    finally:
        child.kill()
        child.wait()


def test_json_has_no_number_that_is_none() -> None:
    """NaN, bytes and times become text, so that every JSON reader can read the line."""
    seen = Seen(1, 2, NOON, {"x": float("nan"), "b": b"\x00\xff", "n": [1.5, None, True]})
    assert json.loads(json_line(seen)) == {
        "x": "nan",
        "b": "00ff",
        "n": [1.5, None, True],
        "kafka_partition": 1,
        "kafka_offset": 2,
        "kafka_timestamp": "2024-01-01T12:00:00+00:00",
    }


def test_control_characters_are_not_printed() -> None:
    """A value cannot steer the terminal that it is shown on."""
    assert printable("a\x1b[2Jb\nc\x07é") == "a\ufffd[2Jb\ufffdc\ufffdé"
