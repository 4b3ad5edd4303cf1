"""Which letters a redrive takes, in which order, and what it publishes of them."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

import consumers.redrive
from consumers.letters import Filed, Marks, Wanted, read_letters, read_marks
from consumers.metrics.instruments import Live, installed
from consumers.redrive import Account, Queue, run_redrive
from consumers.registry import Registry
from millstream.columnar import Encoder, frame, make_decoder
from millstream.contracts import contract, topic_table
from millstream.letters import (
    REPLAY_OF,
    REPLAY_ORIGIN,
    DeadLetter,
    Source,
    attempt_of,
    fitted,
    from_headers,
    origin_of,
    replay_headers,
    replay_of,
    to_headers,
)
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.broker.letters import committed_records
from tests.streams import applications, make_loans

LETTER = DeadLetter(
    source_topic="loans.events",
    source_partition=0,
    source_offset=0,
    stage="validate",
    error="nan_feature",
    reason="salary is NaN",
    attempt=1,
    event_schema_id=1,
    model="loans",
    model_version="1",
    refused_at="2024-01-01T00:00:00.000+00:00",
)


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loans")
    make_loans(folder)
    return folder


@pytest.fixture
def stream(loans: Path, embedded: EmbeddedBroker) -> Stream:
    """A loans stream of this test's own, with its topics."""
    text = (loans / "stream.toml").read_text("utf-8")
    name = f"t{uuid.uuid4().hex[:8]}"
    path = loans / f"{name}.toml"
    path.write_text(text.replace('"loans"', f'"{name}"', 1))
    for topic in topic_table().values():
        embedded.create_topic(topic.name(name), 2)
    return Stream.load(path)


class _Record:
    """As much of a Kafka message as the queue reads."""

    def __init__(self, headers: list[tuple[str, bytes | None]], value: bytes) -> None:
        self._headers, self._value = headers, value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return self._headers

    def value(self) -> bytes:
        return self._value

    def key(self) -> None:
        return None


def filed(
    offset: int, source: int, origin: int | None = None, partition: int = 0, size: int = 10
) -> Filed:
    """A letter at `offset` of the event at `source`, which `origin` was first."""
    said = replace(LETTER, source_partition=partition, source_offset=source)
    headers = to_headers(said)
    if origin is not None:
        headers.append((REPLAY_ORIGIN, f"loans.events/{partition}/{origin}".encode()))
    record: Any = _Record(headers, bytes(size))
    return Filed(partition, offset, Any, said, record)  # type: ignore[arg-type]


def chunks(letters: list[Filed], marks: Marks | None = None) -> list[tuple[int, list[int]]]:
    queue = Queue()
    for letter in letters:
        queue.add(letter)
    return list(queue.chunks(marks or Marks("loans.events"), Account()))


def test_letters_are_taken_in_the_order_of_their_events() -> None:
    """However they were filed; an event that was refused again keeps its first place."""
    order = list(range(50))
    random.Random(3).shuffle(order)
    letters = [filed(place, 100 + source) for place, source in enumerate(order)]
    letters.append(filed(50, 900, origin=110))
    ((_, taken),) = chunks(letters)
    sources = [910 if place == 50 else 100 + order[place] for place in taken]
    assert sources == [*range(100, 111), 910, *range(111, 150)]


def test_partitions_are_taken_one_after_the_other() -> None:
    """Each in its own order."""
    letters = [filed(place, 9 - place, partition=place % 2) for place in range(10)]
    assert chunks(letters) == [(0, [8, 6, 4, 2, 0]), (1, [9, 7, 5, 3, 1])]


def test_an_event_with_two_letters_is_taken_once() -> None:
    """As an at-least-once scorer leaves them after a crash."""
    assert chunks([filed(0, 5), filed(1, 5), filed(2, 4)]) == [(0, [2, 0])]


def test_marked_letters_are_passed_over_and_counted() -> None:
    """By the event's place, not by the letter's."""
    marks, account, queue = Marks("loans.events"), Account(), Queue()
    marks.add(Source("loans.events", 0, 5))
    for place, source in enumerate((5, 6, 0)):
        queue.add(filed(place, source))
    assert list(queue.chunks(marks, account)) == [(0, [2, 1])]
    assert account.already == 1


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([1] * 10, [4, 4, 2]),
        ([60, 60, 60], [1, 1, 1]),
        ([500], [1]),
        ([10, 500, 10, 10], [1, 1, 2]),
        ([50, 50, 1], [2, 1]),
    ],
)
def test_a_chunk_is_bounded_by_letters_and_bytes(
    sizes: list[int], lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter above the bound goes alone."""
    monkeypatch.setattr(consumers.redrive, "CHUNK_LETTERS_MAX", 4)
    monkeypatch.setattr(consumers.redrive, "CHUNK_BYTES_MAX", 100)
    made = chunks([filed(place, place, size=size) for place, size in enumerate(sizes)])
    assert [len(offsets) for _, offsets in made] == lengths
    assert [place for _, offsets in made for place in offsets] == list(range(len(sizes)))


def test_a_replay_says_what_it_replays_and_where_it_began() -> None:
    """Over any number of attempts; its own headers stay, and the letter's go."""
    own = [("trace", b"\xff"), ("trace", None)]
    said = replace(LETTER, source_offset=5)
    first = replay_headers(said, to_headers(said, own))
    assert first[:2] == own
    assert replay_of(first) == Source("loans.events", 0, 5)
    assert attempt_of(first) == 2
    assert len(first) == 5
    refused_again = replace(LETTER, source_offset=70, attempt=attempt_of(first))
    second = replay_headers(refused_again, to_headers(refused_again, first))
    assert second[:2] == own
    assert replay_of(second) == Source("loans.events", 0, 70)
    assert dict(second)[REPLAY_ORIGIN] == b"loans.events/0/5"
    assert attempt_of(second) == 3
    assert len(second) == 5


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"a/b/c", b"t/1", b"t/-1/0", b"t/1/-2", b"/1/2", b"t/1/2/3", b"\xff/1/2"]
)
def test_a_header_that_is_no_place_says_nothing(raw: bytes) -> None:
    """Producers can write any header: the event is none that replays, and begins where it is."""
    assert replay_of([(REPLAY_OF, raw)]) is None
    assert origin_of(LETTER, [(REPLAY_ORIGIN, raw)]) == LETTER.source
    assert replay_of([(REPLAY_OF, None)]) is None


def test_an_origin_in_another_partition_is_not_believed() -> None:
    """Replays stay in their partition: it was written by a producer."""
    for other in (b"loans.events/1/5", b"other.events/0/5"):
        assert origin_of(LETTER, [(REPLAY_ORIGIN, other)]) == LETTER.source


def publish_letters(stream: Stream, kafka: KafkaSettings, values: list[bytes]) -> None:
    """Letters of events 0.. of partition 0, and one whose event was left out as too large."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    topic = stream.topic("dead_letters")
    for offset, value in enumerate(values):
        said = replace(LETTER, source_topic=stream.topic("events"), source_offset=offset)
        headers: Any = to_headers(said)
        producer.produce(topic, value, f"k{offset}".encode(), 0, headers=headers)
    large = replace(LETTER, source_topic=stream.topic("events"), source_offset=len(values))
    said, key, value_left, headers = fitted(large, b"k", bytes(12_000_000), ())
    assert value_left is None and not said.is_whole
    producer.produce(topic, None, key, 0, headers=headers)
    stranger: Any = to_headers(replace(LETTER, source_topic="other.events"))
    producer.produce(topic, b"v", b"k", 0, headers=stranger)
    assert producer.flush(30) == 0


def test_only_letters_that_would_succeed_are_published(
    stream: Stream, embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry
) -> None:
    """With a mark each; others stay letters, and what cannot be redriven is told apart."""
    kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    registry = RegistrySettings(url=embedded_registry.url)
    text = stream.schema_of_event.text
    schema_id = Registry(registry).register(f"{stream.topic('events')}-value", text)
    values = Encoder(text, frame(schema_id)).encode(applications(6))
    values[2] = values[2][:-3]
    values[4] = b"junk"
    publish_letters(stream, kafka, values)

    def run(wanted: Wanted, *, dry_run: bool = False) -> Account:
        return run_redrive(stream, kafka, registry, ScorerSettings(), wanted, dry_run=dry_run)

    dry = run(Wanted(), dry_run=True)
    assert (dry.redriven, dry.refused, dry.incomplete, dry.already) == (4, 2, 1, 0)
    assert committed_records(kafka.bootstrap, stream.topic("events")) == []
    assert committed_records(kafka.bootstrap, stream.topic("redrives")) == []
    assert run(Wanted(limit=1)).redriven == 1
    live = Live(Store("redrive"), Health(lambda: 0.0, 60.0, needs_partitions=False))
    with installed(live):
        account = run(Wanted())
    assert live.health.why_not_ready() == []
    (reading,) = [r for r in live.store.readings() if "redrive_letters" in r.metric.name]
    told = {"redriven": 3.0, "refused": 2.0, "already": 1.0, "incomplete": 1.0, "gone": 0.0}
    assert {result: count for (result,), count in reading.values.items()} == told
    assert (account.redriven, account.refused, account.already) == (3, 2, 1)
    assert {cause: again.count for cause, again in account.again.items()} == {
        ("decode", "truncated"): 1,
        ("frame", "not_framed"): 1,
    }
    replays = committed_records(kafka.bootstrap, stream.topic("events"))
    assert [record.value() for record in replays] == [values[n] for n in (0, 1, 3, 5)]
    assert [record.key() for record in replays] == [b"k0", b"k1", b"k3", b"k5"]
    marks = committed_records(kafka.bootstrap, stream.topic("redrives"))
    decoded = make_decoder(contract("redrive").text).decode(
        [record.value() or b"" for record in marks], 5
    )
    rows = decoded.columns.to_pylist()
    assert [row["source_offset"] for row in rows] == [0, 1, 3, 5]
    assert [(row["letter_offset"], row["attempt"]) for row in rows] == [
        (n, 2) for n in (0, 1, 3, 5)
    ]
    known = read_marks(kafka, stream.topic("redrives"), stream.topic("events"))
    assert known.have(0, np.arange(6)).tolist() == [True, True, False, True, False, True]
    letters = list(read_letters(kafka, stream.topic("dead_letters")))
    assert len(letters) == 8, "letters stay where they are"
    assert from_headers(letters[0].record.headers() or []).source.offset == 0
