"""How a batch becomes durable: whole or not at all, or at least once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import RECORD_BYTES_MAX, TransactionAborted, consumer_config, producer_config
from consumers.loop import ABORTS_MAX
from consumers.publishers import (
    SLOW_COMMIT_S,
    AtLeastOnce,
    ExactlyOnce,
    Letter,
    Output,
    Publisher,
    Route,
    produce,
)
from millstream.errors import ClientLost, DependencyUnavailable, OperatorNeeded
from millstream.settings import KafkaSettings, ScorerSettings
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker

WAIT_S = 30.0
Seen = tuple[Any, Any, Any, Any]
"""Topic, partition, key, value."""


class Place:
    """Topics of one test on one broker, and a member of the scorer's group on the events."""

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        self.settings, self.group = settings, f"{name}-group"
        self.route = Route(
            f"{name}.events", f"{name}.predictions", f"{name}.letters", [("model", b"1")]
        )
        self._consumers: list[Consumer] = []

    def create(self) -> None:
        """The three topics, two partitions each, and two events in each partition."""
        topics = [self.route.events, self.route.predictions, self.route.dead_letters]
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap})
        config = {"max.message.bytes": "1000000"}
        made = admin.create_topics([NewTopic(topic, 2, config=config) for topic in topics])
        for future in made.values():
            future.result(WAIT_S)

    def member(self, name: str = "one", commits_itself: bool = False) -> Consumer:
        """A consumer that has joined the group and owns the events' partitions."""
        member = f"{self.group}-{name}"
        consumer = Consumer(consumer_config(self.settings, self.group, member, commits_itself))
        self._consumers.append(consumer)
        consumer.subscribe([self.route.events])
        deadline = time.monotonic() + WAIT_S
        while len(consumer.assignment()) < 2:
            assert time.monotonic() < deadline, "the group does not form"
            consumer.poll(0.05)
        return consumer

    def committed(self, consumer: Consumer) -> dict[int, int]:
        """Partition of the events -> the group's offset, where it has one."""
        parts = [TopicPartition(self.route.events, p) for p in (0, 1)]
        found = consumer.committed(parts, timeout=WAIT_S)
        return {part.partition: part.offset for part in found if part.offset >= 0}

    def visible(self) -> list[Message]:
        """Everything that read_committed shows of the outputs, up to their ends."""
        topics = [self.route.predictions, self.route.dead_letters]
        parts = [TopicPartition(topic, p, 0) for topic in topics for p in (0, 1)]
        config = consumer_config(self.settings, f"{self.group}-reader", f"{self.group}-reader")
        reader = Consumer(config | {"enable.partition.eof": True})
        self._consumers.append(reader)
        reader.assign(parts)
        found, ends, deadline = [], 0, time.monotonic() + WAIT_S
        while ends < len(parts):
            assert time.monotonic() < deadline, "an open transaction hides the ends"
            message = reader.poll(0.2)
            if message is None:
                continue
            if message.error() is None:
                found.append(message)
            else:
                ends += 1
        return found

    def seen(self) -> list[Seen]:
        """The same without headers, sorted."""
        return _sorted([(m.topic(), m.partition(), m.key(), m.value()) for m in self.visible()])

    def close(self) -> None:
        """Leave every group."""
        for consumer in self._consumers:
            consumer.close()


@pytest.fixture
def real(kafka: Broker, topic_name: str) -> Iterator[Place]:
    """Topics on a real Kafka."""
    place = Place(KafkaSettings(bootstrap=kafka.bootstrap, session_timeout_ms=6_000), topic_name)
    place.create()
    yield place
    place.close()


@pytest.fixture
def mock(topic_name: str) -> Iterator[Place]:
    """Topics on an embedded broker of the test's own."""
    with EmbeddedBroker() as broker:
        place = Place(KafkaSettings(bootstrap=broker.bootstrap, embedded=True), topic_name)
        for topic in (place.route.events, place.route.predictions, place.route.dead_letters):
            broker.create_topic(topic, 2)
        yield place
        place.close()


SETTINGS = ScorerSettings(call_s_max=60.0)


@pytest.fixture
def opened() -> Iterator[Callable[[Publisher], Publisher]]:
    """Opens publishers, and closes them at the end."""
    made: list[Publisher] = []

    def open_it(publisher: Publisher) -> Publisher:
        made.append(publisher)
        publisher.open()
        return publisher

    yield open_it
    for publisher in made:
        publisher.close()


Opened = Callable[[Publisher], Publisher]


def _exactly(place: Place, settings: ScorerSettings = SETTINGS) -> ExactlyOnce:
    return ExactlyOnce(place.settings, settings, place.group, place.route)


def _output(tag: str, offsets: dict[int, int]) -> Output:
    """Two predictions on partition 1, one on 0, and a letter on partition 1."""
    predictions = [f"{tag}{n}".encode() for n in range(3)]
    letter = Letter(1, b"k", b"\xff", [("why", b"bad"), ("why", None)])
    return Output([1, 0, 1], [b"a", None, b"c"], predictions, [letter], offsets)


def _all(place: Place, tag: str) -> list[Seen]:
    """What `_output(tag)` leaves."""
    route = place.route
    return _sorted(
        [
            (route.predictions, 1, b"a", f"{tag}0".encode()),
            (route.predictions, 0, None, f"{tag}1".encode()),
            (route.predictions, 1, b"c", f"{tag}2".encode()),
            (route.dead_letters, 1, b"k", b"\xff"),
        ]
    )


def _sorted(seen: list[Seen]) -> list[Seen]:
    return sorted(seen, key=lambda s: (s[0], s[1], s[2] or b"", s[3] or b""))


def test_a_batch_and_its_offsets_are_committed_together(real: Place, opened: Opened) -> None:
    """Each to its event's partition, with its key and headers; the offsets are the output's."""
    publisher, consumer = opened(_exactly(real)), real.member()
    publisher.publish(_output("a", {0: 5, 1: 7}), consumer)
    assert real.committed(consumer) == {0: 5, 1: 7}
    assert real.seen() == _all(real, "a")
    headers = {m.topic(): m.headers() for m in real.visible()}
    assert headers[real.route.predictions] == [("model", b"1")]
    assert headers[real.route.dead_letters] == [("why", b"bad"), ("why", None)]
    publisher.publish(_output("b", {1: 9}), consumer)
    assert real.committed(consumer) == {0: 5, 1: 9}


@pytest.mark.parametrize("bytes_", [3_000_000, RECORD_BYTES_MAX + 1], ids=["broker", "client"])
def test_a_batch_with_a_record_that_is_not_taken_leaves_nothing(
    real: Place, opened: Opened, bytes_: int
) -> None:
    """Too large for the broker, or for the client already: neither its neighbours nor the offsets
    are committed, and the client still works, at the latest after one more abort."""
    publisher, consumer = opened(_exactly(real)), real.member()
    publisher.publish(_output("a", {0: 5}), consumer)
    large = replace(_output("b", {0: 9}), predictions=[b"b0", os.urandom(bytes_), b"b2"])
    with pytest.raises(TransactionAborted, match=r"[Ll]arge|size"):
        publisher.publish(large, consumer)
    assert real.committed(consumer) == {0: 5}
    try:
        publisher.publish(_output("c", {0: 9}), consumer)
    except TransactionAborted:  # librdkafka skipped sequence numbers, and takes a new epoch
        publisher.publish(_output("c", {0: 9}), consumer)
    assert real.seen() == _sorted(_all(real, "a") + _all(real, "c"))


def test_a_twin_of_the_same_slot_fences_the_older(real: Place, opened: Opened) -> None:
    """The older one's batch is not seen; it must leave, and the newer one works."""
    older, consumer = opened(_exactly(real)), real.member()
    older.publish(_output("a", {0: 5}), consumer)
    newer = opened(_exactly(real))
    with pytest.raises(ClientLost, match="must be started again"):
        older.publish(_output("b", {0: 9}), consumer)
    assert real.committed(consumer) == {0: 5}
    newer.publish(_output("c", {0: 9}), consumer)
    assert real.seen() == _sorted(_all(real, "a") + _all(real, "c"))


def test_another_slot_fences_nobody(real: Place, opened: Opened) -> None:
    """Scorers of one group work side by side."""
    one, consumer = opened(_exactly(real)), real.member()
    two = opened(_exactly(real, ScorerSettings(slot=1)))
    one.publish(_output("a", {0: 5}), consumer)
    two.publish(_output("b", {1: 5}), consumer)
    one.publish(_output("c", {0: 6}), consumer)
    assert real.committed(consumer) == {0: 6, 1: 5}


def test_opening_aborts_what_a_predecessor_left_open(real: Place, opened: Opened) -> None:
    """Readers wait for an open transaction; a restart must not leave them waiting."""
    dead = Producer(
        producer_config(real.settings, "dead") | {"transactional.id": f"{real.group}-0"}
    )
    dead.init_transactions(WAIT_S)
    dead.begin_transaction()
    dead.produce(real.route.predictions, b"never seen", None, 0)
    assert dead.flush(WAIT_S) == 0
    publisher = opened(_exactly(real))
    publisher.publish(_output("a", {0: 5}), real.member())
    assert real.seen() == _all(real, "a")


def test_a_member_that_was_replaced_commits_nothing(real: Place, opened: Opened) -> None:
    """Its partitions may be another's by now: the group's generation is part of the transaction."""
    publisher, replaced = opened(_exactly(real)), real.member()
    publisher.publish(_output("a", {0: 5}), replaced)
    other = real.member()  # the same static member, started again
    with pytest.raises(DependencyUnavailable):
        publisher.publish(_output("b", {0: 9}), replaced)
    assert real.committed(other) == {0: 5}
    assert real.seen() == _all(real, "a")


def test_an_output_topic_that_does_not_exist_is_the_operators(real: Place, opened: Opened) -> None:
    """It is named, nothing is seen, and no offset moves."""
    route = replace(real.route, dead_letters=f"{real.group}.none")
    publisher = opened(ExactlyOnce(real.settings, SETTINGS, real.group, route))
    consumer = real.member()
    with pytest.raises(OperatorNeeded, match=rf"{real.group}\.none"):
        for _ in range(ABORTS_MAX):  # on a busy machine the abort can come before the reason
            with suppress(TransactionAborted):
                publisher.publish(_output("a", {0: 5}), consumer)
    assert real.committed(consumer) == {}
    assert real.visible() == []


class Slow:
    """A clock on which every commit takes longer than it may."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += SLOW_COMMIT_S + 1
        return self.now


def test_after_a_slow_commit_the_producer_is_replaced(
    real: Place, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """A late answer to it could hit the next transaction; the batch itself is committed."""
    made: list[Producer] = []

    def client(config: dict[str, object]) -> Producer:
        made.append(Producer(config))
        return made[-1]

    publisher = opened(
        ExactlyOnce(real.settings, SETTINGS, real.group, real.route, client, clock=Slow())
    )
    consumer = real.member()
    publisher.publish(_output("a", {0: 5}), consumer)
    publisher.publish(_output("b", {0: 6}), consumer)
    assert len(made) == 3
    assert "the producer is replaced" in caplog.text
    assert real.committed(consumer) == {0: 6}


@pytest.mark.parametrize("where", ["real", "mock"])
def test_at_least_once_delivers_then_commits(
    request: pytest.FixtureRequest, where: str, opened: Opened
) -> None:
    """On a real broker and on the embedded one."""
    place: Place = request.getfixturevalue(where)
    publisher = opened(AtLeastOnce(place.settings, SETTINGS, place.group, place.route))
    consumer = place.member()
    publisher.publish(_output("a", {0: 5, 1: 7}), consumer)
    assert place.committed(consumer) == {0: 5, 1: 7}
    assert place.seen() == _all(place, "a")


def test_at_least_once_waits_for_a_commit_now_and_then(mock: Place, opened: Opened) -> None:
    """The first commit is waited for, then one in five seconds; else the client is left to it."""
    waited: list[bool] = []
    times = iter([100.0, 101.0, 104.9, 105.0, 106.0])

    class Committing:
        def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
            waited.append(not asynchronous)

        def store_offsets(self, offsets: list[TopicPartition]) -> None:
            waited.append(False)

    consumer: Any = Committing()
    publisher = opened(
        AtLeastOnce(mock.settings, SETTINGS, mock.group, mock.route, clock=lambda: next(times))
    )
    for number in range(5):
        publisher.publish(_output("a", {0: number + 1}), consumer)
    assert waited == [True, False, False, True, False]


@pytest.mark.parametrize("where", ["real", "mock"])
def test_what_at_least_once_only_stored_is_committed_when_the_consumer_leaves(
    request: pytest.FixtureRequest, where: str, opened: Opened
) -> None:
    """A restart in order repeats nothing."""
    place: Place = request.getfixturevalue(where)
    publisher = opened(
        AtLeastOnce(place.settings, SETTINGS, place.group, place.route, clock=lambda: 1.0)
    )
    consumer = place.member(commits_itself=True)
    publisher.publish(_output("a", {0: 5, 1: 7}), consumer)
    publisher.publish(_output("b", {0: 8}), consumer)
    consumer.close()
    with closing(Consumer(consumer_config(place.settings, place.group, "asks"))) as asks:
        assert place.committed(asks) == {0: 8, 1: 7}


def test_at_least_once_commits_nothing_that_was_not_delivered(real: Place, opened: Opened) -> None:
    """The batch is read again, whole: its good records come twice, none is lost."""
    publisher = opened(AtLeastOnce(real.settings, SETTINGS, real.group, real.route))
    consumer = real.member()
    large = replace(_output("a", {0: 5}), predictions=[b"a0", os.urandom(3_000_000), b"a2"])
    with pytest.raises(DependencyUnavailable):
        publisher.publish(large, consumer)
    assert real.committed(consumer) == {}
    publisher.publish(_output("a", {0: 5}), consumer)
    assert real.committed(consumer) == {0: 5}
    values = [message.value() for message in real.visible()]
    assert sorted(v for v in values if v is not None) == [
        b"a0", b"a0", b"a1", b"a2", b"a2", b"\xff", b"\xff",
    ]  # fmt: skip


def test_a_full_queue_neither_loses_nor_doubles_a_prediction(mock: Place) -> None:
    """The client takes a few records at a time; each goes on to its partition, in order."""
    config = producer_config(mock.settings, "test")
    producer = Producer(config | {"queue.buffering.max.messages": 7, "linger.ms": 0})
    count = 100
    values = [f"v{n:03}".encode() for n in range(count)]
    keys = [None if n % 3 else b"k" for n in range(count)]
    produce(producer, Output([n % 2 for n in range(count)], keys, values, [], {}), mock.route)
    assert producer.flush(WAIT_S) == 0
    seen = [message for message in mock.visible() if message.topic() == mock.route.predictions]
    assert all(message.headers() == [("model", b"1")] for message in seen)
    for partition in (0, 1):
        mine = [(m.key(), m.value()) for m in seen if m.partition() == partition]
        assert mine == list(zip(keys, values, strict=True))[partition::2]
