"""The poll loop: every record is taken once and in order, whatever the group and Kafka do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import TransactionAborted, producer_config
from consumers.loop import Loop
from millstream.errors import ClientLost, DependencyUnavailable, InvariantBroken, OperatorNeeded
from millstream.records import TIME_US_MAX, Records
from millstream.settings import KafkaSettings
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from tests.consumers.taker import WAIT_S, Taken, Taker, once_and_in_order, publish, run, taker_of


@pytest.fixture
def kafka_settings(embedded: EmbeddedBroker) -> KafkaSettings:
    """How to reach it."""
    return KafkaSettings(bootstrap=embedded.bootstrap, embedded=True, session_timeout_ms=6_000)


@pytest.fixture
def published(
    embedded: EmbeddedBroker, kafka_settings: KafkaSettings, topic_name: str
) -> set[Taken]:
    """A topic of three partitions with records in each."""
    embedded.create_topic(topic_name, 3)
    return publish(kafka_settings, topic_name, [400, 250, 30])


@pytest.fixture
def taker(kafka_settings: KafkaSettings, topic_name: str, published: set[Taken]) -> Taker:
    """A program that reads it."""
    return taker_of(kafka_settings, topic_name)


def test_every_record_is_takenonce_and_in_order(taker: Taker, published: set[Taken]) -> None:
    """And finished: the committed offsets are the ends."""
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)
    assert taker.calls == ["place", "drain", "leave"]


def test_a_batch_is_as_it_was_published(
    embedded: EmbeddedBroker, kafka_settings: KafkaSettings, topic_name: str
) -> None:
    """Values, keys, headers by row, and the producer's timestamp in microseconds."""
    embedded.create_topic(topic_name, 1)
    producer = Producer(producer_config(kafka_settings, "test"))
    producer.produce(topic_name, None, None, 0, timestamp=1_700_000_000_123)
    producer.produce(topic_name, b"\x00", b"k", 0, timestamp=7, headers=[("h", b"1"), ("n", b"")])
    assert producer.flush(WAIT_S) == 0
    taker = taker_of(kafka_settings, topic_name)
    run(taker, lambda: len(taker.taken) >= 2)
    values = [v for b in taker.batches for v in b.values]
    keys = [k for b in taker.batches for k in b.keys]
    times = [t for b in taker.batches for t in b.timestamps_us.tolist()]
    headers = [h for b in taker.batches for h in b.headers.values()]
    assert (values, keys) == ([None, b"\x00"], [None, b"k"])
    assert times == [1_700_000_000_123_000, 7_000]
    assert headers == [[("h", b"1"), ("n", b"")]]


def test_a_timestamp_that_is_none_stops_nothing(
    embedded: EmbeddedBroker, kafka_settings: KafkaSettings, topic_name: str
) -> None:
    """A producer may write any 64 bits there."""
    embedded.create_topic(topic_name, 1)
    producer = Producer(producer_config(kafka_settings, "test"))
    for milliseconds in (2**62, 2**63 - 1, 5):
        producer.produce(topic_name, b"v", None, 0, timestamp=milliseconds)
    assert producer.flush(WAIT_S) == 0
    taker = taker_of(kafka_settings, topic_name)
    run(taker, lambda: len(taker.taken) >= 3)
    times = [t for b in taker.batches for t in b.timestamps_us.tolist()]
    assert times == [TIME_US_MAX // 1000 * 1000] * 2 + [5_000]


def test_a_batch_is_never_larger_than_asked(taker: Taker, published: set[Taken]) -> None:
    """The program's bound holds, whatever waits."""
    taker.records_max = 64
    run(taker, lambda: len(taker.taken) >= len(published))
    assert max(len(batch) for batch in taker.batches) <= 64
    once_and_in_order(taker.taken, published)


@pytest.mark.parametrize("start", [OFFSET_BEGINNING, 10])
def test_a_partition_begins_where_the_program_says(
    taker: Taker, published: set[Taken], start: int
) -> None:
    """Not at the group's offset."""
    taker.start = start
    wanted = {where for where in published if where[2] >= max(start, 0)}
    run(taker, lambda: len(taker.taken) >= len(wanted))
    once_and_in_order(taker.taken, wanted)


def _seeking_once(taker: Taker, offset: int) -> None:
    """Behind the loop's back, move partition 0 at the fourth batch with records of it."""
    batches: list[bool] = []

    def move(batch: list[Records]) -> None:
        batches.append(any(0 in records.partitions for records in batch))
        if batches[-1] and sum(batches) == 4:
            part = TopicPartition(taker.topics[0], 0, offset)
            taker.assignment.consumer.seek(part)

    taker.before = move


def test_a_hole_is_read_again(taker: Taker, published: set[Taken]) -> None:
    """Records that got lost inside of the client are not lost to a guarded topic."""
    taker.guarded, taker.records_max = frozenset(taker.topics), 50
    _seeking_once(taker, 300)
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)


def test_a_hole_of_a_topic_that_is_not_guarded_is_believed(
    taker: Taker, published: set[Taken]
) -> None:
    """Its program looks after holes by itself."""
    taker.records_max = 50
    _seeking_once(taker, 300)
    topic = taker.topics[0]
    run(taker, lambda: (topic, 0, 399) in taker.taken)
    assert (topic, 0, 299) not in taker.taken
    assert len(set(taker.taken)) == len(taker.taken)


@pytest.mark.parametrize("behind", [0, 2])
def test_repeated_records_are_dropped(
    taker: Taker, published: set[Taken], behind: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that were admitted before; a line says where reading goes on, and what was in hand can
    still be finished."""
    taker.records_max, taker.behind = 50, behind
    _seeking_once(taker, 3)
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)
    assert "repeats offset 3; reading from" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [DependencyUnavailable("ClickHouse", "later"), TransactionAborted("Kafka", "aborted")],
    ids=["unavailable", "aborted"],
)
def test_what_could_not_be_finished_is_read_again(
    taker: Taker, published: set[Taken], fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """From the committed offsets, after a wait; the line says so."""
    taker.records_max = 100
    taker.faults = [None, fault, None, fault, fault]
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)
    assert taker.calls.count("rewind") == 3
    assert "reading again in 0.1 s what is not finished" in caplog.text


def test_aborts_without_end_end_the_process(
    taker: Taker, published: set[Taken], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named number in a row, and the last one's reason; a batch that was taken starts anew."""
    monkeypatch.setattr("consumers.loop.ABORTS_MAX", 3)
    aborted = TransactionAborted("Kafka", "no such topic")
    taker.records_max = 100
    taker.faults = [aborted, aborted, None, aborted, aborted, aborted]
    with pytest.raises(ClientLost, match=r"3 transactions in a row were aborted.*no such topic"):
        run(taker, lambda: False)
    assert len(taker.batches) == 1


def test_waiting_for_a_dependency_has_no_end(taker: Taker, published: set[Taken]) -> None:
    """Aborts are counted only in a row: between them it was something else that failed."""
    later = DependencyUnavailable("Schema registry", "later")
    taker.faults = [later] * 5
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)


def test_partitions_that_come_and_go_are_said(
    taker: Taker, published: set[Taken], topic_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each time: the moves of a partition can be counted from the logs."""
    caplog.set_level("INFO", "consumers.loop")
    run(taker, lambda: len(taker.taken) >= len(published))
    names = " ".join(f"{topic_name}-{number}" for number in range(3))
    assert [m for m in caplog.messages if names in m] == [f"assigned {names}", f"revoked {names}"]


def test_a_rewind_is_tried_until_it_works(taker: Taker, published: set[Taken]) -> None:
    """A dependency that is still away is waited for."""
    later = DependencyUnavailable("ClickHouse", "later")
    taker.faults, taker.rewind_faults = [later], [later, later]
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)
    assert taker.calls.count("rewind") == 3


@pytest.mark.parametrize(
    "fault",
    [
        ClientLost("Kafka", "fenced"),
        OperatorNeeded("p", "r"),
        InvariantBroken("p", "r"),
        ValueError("a bug"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_anything_else_ends_the_loop(taker: Taker, fault: Exception) -> None:
    """Without draining: what is in hand may be what is wrong. The group is left."""
    taker.faults = [fault]
    with pytest.raises(type(fault)) as caught:
        run(taker, lambda: False)
    assert caught.value is fault
    assert "drain" not in taker.calls
    assert taker.calls[-1] == "leave"


@pytest.mark.parametrize("start", [None, OFFSET_BEGINNING], ids=["committed", "beginning"])
def test_partitions_that_could_not_be_placed_are_placed_later(
    taker: Taker, published: set[Taken], start: int | None
) -> None:
    """ClickHouse sleeps while the group hands out partitions: none of their records is lost, and
    they are not left unread for ever."""
    taker.start = start
    taker.place_faults = [DependencyUnavailable("ClickHouse", "asleep")] * 3
    run(taker, lambda: len(taker.taken) >= len(published))
    once_and_in_order(taker.taken, published)


def test_a_place_that_an_operator_must_mend_ends_the_loop(taker: Taker) -> None:
    """It is raised by the loop, not inside of the callback, where librdkafka would lose it."""
    fault = InvariantBroken("the topic was made anew", "r")
    taker.place_faults = [fault]
    with pytest.raises(InvariantBroken) as caught:
        run(taker, lambda: False)
    assert caught.value is fault
    assert taker.taken == []


def test_a_bug_in_a_place_ends_the_process(taker: Taker) -> None:
    """As a client in an unknown state."""
    taker.place_faults = [ValueError("a bug")]
    with pytest.raises(ClientLost, match="assigning partitions failed: ValueError"):
        run(taker, lambda: False)


class Rebalancing(Consumer):
    """A consumer whose group takes a partition away, and gives it back, in the midst of consume():
    between the poll that had one of its records and the records that follow."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.script: list[tuple[str, int]] = []
        self._callbacks: dict[str, Callable[[Consumer, list[TopicPartition]], None]] = {}
        self._topic = ""

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:  # type: ignore[override]
        """As it was, remembering the callbacks."""
        self._callbacks, self._topic = callbacks, topics[0]
        super().subscribe(topics, **callbacks)

    def consume(self, *arguments: Any) -> Any:
        """As it was, after the next rebalance of the script."""
        if self.script:
            name, partition = self.script.pop(0)
            self._callbacks[name](self, [TopicPartition(self._topic, partition)])
        return super().consume(*arguments)


def test_records_of_a_partition_that_left_meanwhile_are_dropped(
    kafka_settings: KafkaSettings, topic_name: str, published: set[Taken]
) -> None:
    """What was polled before the group took it away is not ours; when it comes back, it begins at
    its committed offset and every record is taken once."""
    taker = taker_of(kafka_settings, topic_name, Rebalancing)
    consumer = taker.assignment.consumer
    assert isinstance(consumer, Rebalancing)
    taker.guarded, taker.records_max = frozenset(taker.topics), 20

    def owned_only(batch: list[Records]) -> None:
        for records in batch:
            numbers = {(records.topic, p) for p in records.partitions.tolist()}
            assert numbers <= taker.assignment.positions.owned
        if len(taker.taken) > 60 and not consumer.script and len(consumer_scripts) > 0:
            consumer.script = consumer_scripts.pop()

    consumer_scripts = [
        [("on_revoke", 1), ("on_assign", 1)],
        [("on_revoke", 0), ("on_assign", 0)],
        [("on_lost", 0), ("on_assign", 0), ("on_revoke", 0), ("on_assign", 0)],
    ]
    taker.before = owned_only
    run(taker, lambda: len(taker.taken) >= len(published))
    assert consumer_scripts == []
    assert taker.calls.count("leave") >= 4
    once_and_in_order(taker.taken, published)


def _make_topic(kafka: Broker, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(WAIT_S)


def test_markers_of_transactions_are_believed_after_a_second_look(
    kafka: Broker, topic_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They leave holes in a guarded topic that stay: nothing is missed, doubled or waited for."""
    caplog.set_level("INFO")
    _make_topic(kafka, topic_name, 1)
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    producer = Producer(producer_config(settings, "test") | {"transactional.id": topic_name})
    producer.init_transactions(WAIT_S)
    for number in range(12):
        producer.begin_transaction()
        for _ in range(5):
            producer.produce(topic_name, b"v")
        assert producer.flush(WAIT_S) == 0  # else an abort takes them back before they are sent
        (producer.abort_transaction if number % 4 == 3 else producer.commit_transaction)(WAIT_S)
    taker = taker_of(settings, topic_name)
    taker.guarded = frozenset(taker.topics)
    run(taker, lambda: len(taker.taken) >= 45)
    wanted = {(topic_name, 0, 6 * n + k) for n in range(12) if n % 4 != 3 for k in range(5)}
    once_and_in_order(taker.taken, wanted)
    assert "has a hole before offset 6; reading it again" in caplog.text


def test_two_members_share_a_topic_without_loss_or_repeat(kafka: Broker, topic_name: str) -> None:
    """One joins while the other reads: each record is taken by one of them."""
    _make_topic(kafka, topic_name, 4)
    settings = KafkaSettings(bootstrap=kafka.bootstrap, session_timeout_ms=6_000)
    publish(settings, topic_name, [500] * 4)
    wanted = {(topic_name, partition, o) for partition in range(4) for o in range(1_000)}
    first = taker_of(settings, topic_name)
    second = taker_of(settings, topic_name, member="two")
    for member in (first, second):
        member.guarded, member.records_max = frozenset(member.topics), 100
    stop = threading.Event()
    thread = threading.Thread(target=Loop(second.assignment, second, stop).run)
    script: list[tuple[Callable[[], bool], Callable[[], object]]] = [
        (lambda: len(first.taken) > 600, thread.start),
        (lambda: "place" in second.calls, lambda: publish(settings, topic_name, [500] * 4)),
    ]

    def everything() -> bool:
        if script and script[0][0]():
            script.pop(0)[1]()
        return not script and len(first.taken) + len(second.taken) >= len(wanted)

    try:
        run(first, everything)
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join(WAIT_S)
    assert first.taken
    assert second.taken
    assert sorted(first.taken + second.taken) == sorted(wanted)


def test_a_topic_that_does_not_exist_is_named(kafka: Broker, topic_name: str) -> None:
    """The operator's turn: it is not waited for in silence."""
    taker = taker_of(KafkaSettings(bootstrap=kafka.bootstrap), topic_name)
    with pytest.raises(OperatorNeeded, match="consuming"):
        run(taker, lambda: False)
