"""Instruments around the loop's programs: they count, and change nothing of what a program does."""

from __future__ import annotations

import doctest
import subprocess
import sys
import threading

import pytest

from consumers.kafka import TransactionAborted
from consumers.loop import Loop
from consumers.metrics import instruments as module
from consumers.metrics.instruments import OFF, Live, current, installed
from consumers.watchdog import Watchdog
from millstream.errors import DependencyUnavailable
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.offsets import Partition
from millstream.settings import KafkaSettings
from ops.kafka.embedded import EmbeddedBroker
from tests.clock import Clock
from tests.consumers.taker import Taken, Taker, once_and_in_order, publish, taker_of

COUNTS = [400, 250, 30]


@pytest.fixture
def live() -> Live:
    """A scorer's."""
    return Live(Store("scorer"), Health(Clock(), 10.0))


@pytest.fixture
def kafka_settings(embedded: EmbeddedBroker) -> KafkaSettings:
    """How to reach it."""
    return KafkaSettings(bootstrap=embedded.bootstrap, embedded=True, session_timeout_ms=6_000)


@pytest.fixture
def published(
    embedded: EmbeddedBroker, kafka_settings: KafkaSettings, topic_name: str
) -> set[Taken]:
    """A topic of three partitions, called as a stream's events are."""
    embedded.create_topic(f"{topic_name}.events", 3)
    return publish(kafka_settings, f"{topic_name}.events", COUNTS)


@pytest.fixture
def taker(kafka_settings: KafkaSettings, topic_name: str, published: set[Taken]) -> Taker:
    """A program that reads it."""
    return taker_of(kafka_settings, f"{topic_name}.events")


def run_seen(taker: Taker, live: Live, published: set[Taken]) -> None:
    """Until everything was taken, under these instruments."""
    stop = threading.Event()
    watch = threading.Timer(60.0, stop.set)
    watch.start()

    def look() -> None:
        if len(set(taker.taken)) >= len(published):
            stop.set()

    taker.after = look
    try:
        Loop(taker.assignment, live.around(taker, taker.assignment), stop).run()
    finally:
        watch.cancel()
    assert len(set(taker.taken)) == len(published)


def test_the_examples_hold() -> None:
    """As the docstrings say them."""
    assert doctest.testmod(module).failed == 0


def test_a_program_under_instruments_takes_the_same(
    taker: Taker, live: Live, published: set[Taken]
) -> None:
    """Each record once and in order; the numbers are those of what it took."""
    run_seen(taker, live, published)
    once_and_in_order(taker.taken, published)
    store, total = live.store, sum(COUNTS)
    assert store.value("millstream_records_consumed_total", topic="events") == total
    assert store.value("millstream_batches_total") == len(taker.batches)
    assert store.value("millstream_batch_records") == len(taker.batches)
    assert store.value("millstream_batch_seconds") == len(taker.batches)
    assert store.value("millstream_rebalances_total", change="assigned") == 3
    lags = [store.value("millstream_lag_records", topic="events", partition=p) for p in "012"]
    assert lags == [0, 0, 0]
    assert store.value("millstream_partitions_assigned", topic="events") == 3
    assert taker.calls == ["place", "drain", "leave"]


def test_what_waits_is_shown_as_lag(taker: Taker, live: Live, published: set[Taken]) -> None:
    """Between what was taken and the end of the log."""
    taker.records_max = 10
    seen: list[float] = []

    def look(store: Store) -> None:
        if taker.taken:
            seen.append(len(published) - len(taker.taken))

    stop = threading.Event()
    metered = live.around(taker, taker.assignment, look)
    taker.after = lambda: stop.set() if len(taker.taken) >= 100 else None
    Loop(taker.assignment, metered, stop).run()
    lags = {r.metric.name: r.values for r in live.store.readings()}["millstream_lag_records"]
    assert seen[-1] > 0
    assert 0 < sum(lags.values()) <= seen[-1]


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (TransactionAborted("Kafka", "so it was"), "TransactionAborted"),
        (DependencyUnavailable("ClickHouse", "it sleeps"), "DependencyUnavailable"),
    ],
)
def test_a_batch_that_fails_is_counted_and_read_again(
    taker: Taker, live: Live, published: set[Taken], fault: Exception, name: str
) -> None:
    """It is not ready until it has read again, and then is."""
    taker.faults = [fault]
    troubles: list[list[str]] = []
    rewind = taker.rewind
    live.health.up()

    def watched() -> None:
        troubles.append(live.health.why_not_ready())
        rewind()

    taker.rewind = watched  # type: ignore[method-assign]
    run_seen(taker, live, published)
    assert live.store.value("millstream_batches_failed_total", error=name) == 1
    assert live.store.value("millstream_batches_total") == len(taker.batches)
    assert troubles == [[f"{fault.args[0].partition(':')[0]} is away"]]
    assert live.health.why_not_ready() == []


def test_a_bug_is_counted_and_passes(taker: Taker, live: Live, published: set[Taken]) -> None:
    """As it was raised."""
    taker.faults = [ZeroDivisionError("ours")]
    with pytest.raises(ZeroDivisionError, match="ours"):
        run_seen(taker, live, published)
    assert live.store.value("millstream_batches_failed_total", error="other") == 1


def test_a_program_that_waits_at_its_assignment_lives(taker: Taker) -> None:
    """The loop asks it for its place again and again; it is not ready, and nobody must end it."""
    clock = Clock()
    live = Live(Store("scorer"), Health(clock, 10.0), clock=clock)

    def away(partitions: list[Partition]) -> dict[Partition, int | None]:
        raise DependencyUnavailable("ClickHouse", "it sleeps")

    taker.place = away  # type: ignore[method-assign]
    program = live.around(taker, taker.assignment)
    for _ in range(3):
        clock.now += 9.0
        with pytest.raises(DependencyUnavailable):
            program.place([("loans.events", 0)])
        assert live.health.why_not_live() == []
    assert "ClickHouse is away" in live.health.why_not_ready()
    taker.assignment.consumer.close()


def test_gauges_are_looked_at_from_time_to_time(taker: Taker, live: Live) -> None:
    """At most once in LOOK_S, however often the loop turns, and at the end."""
    looks: list[float] = []
    clock = Clock()
    live = Live(live.store, live.health, clock=clock)
    program = live.around(taker, taker.assignment, lambda _: looks.append(clock.now))
    for _ in range(10):
        program.idle()
        clock.now += 0.25
    program.drain()
    assert looks == [100.0, 101.0, 102.0, 102.5]
    taker.assignment.consumer.close()


def test_without_instruments_a_program_is_itself(taker: Taker) -> None:
    """Nothing is put around it."""
    assert current() is OFF
    assert current().around(taker, taker.assignment) is taker
    taker.assignment.consumer.close()


def test_instruments_are_of_one_thread(live: Live) -> None:
    """Two programs in a process do not count for each other."""
    seen = []
    with installed(live):
        assert current() is live
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [OFF]
    assert current() is OFF


def test_transaction_calls_are_heard_of(live: Live) -> None:
    """From the watchdog that watches them: how long each took, and how the transaction ended."""
    clock = Clock()
    with installed(live):
        watchdog = Watchdog(60.0, clock, lambda _: None)
    try:
        for call, seconds in (("begin_transaction", 0.5), ("commit_transaction", 2.0)):
            with watchdog.watch(call):
                clock.now += seconds
        with pytest.raises(KeyError), watchdog.watch("commit_transaction"):
            raise KeyError
        with watchdog.watch("abort_transaction"):
            clock.now += 0.25
        with watchdog.watch("commit_transaction"):
            clock.now += 7.0
            watchdog.look()
            assert live.store.value("millstream_watched_call_seconds") == 7.0
        watchdog.look()
    finally:
        watchdog.close()
    store = live.store
    assert store.value("millstream_watched_call_seconds") == 0.0
    assert store.value("millstream_transactions_total", end="committed") == 2
    assert store.value("millstream_transactions_total", end="aborted") == 1
    assert store.value("millstream_transaction_call_seconds", call="commit") == 3
    assert store.value("millstream_transaction_call_seconds", call="begin") == 1
    (reading,) = [
        r for r in store.readings() if r.metric.name == "millstream_transaction_call_seconds"
    ]
    assert reading.buckets[("commit",)].total == pytest.approx(9.0)


def test_an_import_of_instruments_loads_no_model() -> None:
    """The sink and the join have no use for ONNX Runtime's memory."""

    program = "import sys, consumers.metrics.observed; assert 'onnxruntime' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
