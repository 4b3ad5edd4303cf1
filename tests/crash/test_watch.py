"""kill -9 of the watch, at every numbered step and at random, on a real broker."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry
from consumers.topics import create_topics
from millstream.columnar import FRAME_BYTES, frame
from millstream.contracts import contract
from millstream.drift.emitted import Emitter
from millstream.drift.watch import Watch
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from tests.consumers.watched import publish, shifted
from tests.crash.audit import committed
from tests.millstream.drift.watchlogs import PARTITIONS, Logs, make_logs, schema_of, stream_in

pytestmark = pytest.mark.crash
WAIT_S = 90
SMALL = {"MILLSTREAM_WATCH_COMMIT_S": "0", "MILLSTREAM_WATCH_BATCH_RECORDS_MAX": "400"}


def expected(logs: Logs) -> tuple[list[bytes], list[bytes]]:
    """Bodies of drift records and incidents of a run that nothing interrupts."""
    watch = Watch(logs.stream, schema_of, None, PARTITIONS)
    emitter, drift, incidents = Emitter(0, 0), [], []
    last: Any = ([], logs.lanes)
    for batch, silent in [*logs.batches(np.random.default_rng(0), {}), last]:
        found = watch.take(batch, silent, settled=not batch)
        drift += [each.value[FRAME_BYTES:] for each in emitter.drift(found.drift)]
        incidents += [each.value[FRAME_BYTES:] for each in emitter.incidents(found.incidents)]
    assert incidents
    return sorted(drift), sorted(incidents)


def found(bootstrap: str, topic: str) -> list[bytes]:
    """Bodies of what is committed."""
    return sorted((value or b"")[FRAME_BYTES:] for _, value in committed(bootstrap, topic).values())


def killed_at_random(child: Child, dice: random.Random) -> None:
    """It runs for a while, and is killed."""
    time.sleep(dice.uniform(1.0, 4.0))
    child.kill()


def wait_until_dead(child: Child) -> None:
    """Dead by its own hand."""
    deadline = time.monotonic() + WAIT_S
    while child.alive():
        assert time.monotonic() < deadline, f"it lives on: {child.tail()}"
        time.sleep(0.05)


def prepared(
    name: str, kafka: Broker, registry: EmbeddedRegistry, folder: Path
) -> tuple[Logs, dict[str, str]]:
    """A stream of this name with its topics full, and the environment for its programs."""
    stream_in(folder, 'window_s = 0.0\nprofile_events = 500\n[[watch.detectors]]\ntype = "ADWIN"')
    toml = folder / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', f'name = "{name}"'))
    stream = Stream.load(toml)
    logs = shifted(make_logs(stream, 8_000, 2_500, delay=300))
    brokers = KafkaSettings(bootstrap=kafka.bootstrap)
    create_topics(stream, brokers)
    publish(logs, brokers, Registry(RegistrySettings(url=registry.url)))
    return logs, SMALL | {
        "MILLSTREAM_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MILLSTREAM_REGISTRY_URL": registry.url,
    }


def test_kills_leave_what_an_unbroken_run_says(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """Killed after each step of its protocol and at random: every drift record and every revision
    of an incident of the unbroken run is there, once, to the byte."""
    logs, environment = prepared("watched", kafka, embedded_registry, tmp_path / "watched")
    drift, incidents = expected(logs)
    argv = [sys.executable, "-m", "millstream", "watch", str(logs.stream.path)]

    def start(name: str, **more: str) -> Child:
        return Child(name, argv, log=tmp_path / f"{name}.log", env=environment | more)

    for step in (1, 2, 3, 4):
        wait_until_dead(start(f"step-{step}", MILLSTREAM_CRASH_AFTER=f"watch:{step}:2"))
    killed_at_random(start("random"), random.Random(4))
    last = start("last")
    try:
        wait_for_drift(kafka, "watched", last, lambda there: len(there) >= len(drift))
    finally:
        last.stop()
    assert found(kafka.bootstrap, "watched.drift") == drift
    assert found(kafka.bootstrap, "watched.incidents") == incidents


def test_faust_says_the_same_and_may_repeat_it(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """The same watch as a Faust app, killed twice at random: without its repeats, which are equal
    to the byte, it is the unbroken run. Labels of an aborted transaction are not counted."""
    logs, environment = prepared("fausted", kafka, embedded_registry, tmp_path / "fausted")
    drift, incidents = expected(logs)
    abort_labels(logs, kafka, embedded_registry)
    argv = [sys.executable, "-m", "streams.watch", str(logs.stream.path)]
    environment |= {"MILLSTREAM_WATCH_BATCH_RECORDS_MAX": "1000"}  # a fifth of a second each

    def start(name: str) -> Child:
        return Child(name, argv, log=tmp_path / f"{name}.log", env=environment)

    dice = random.Random(5)
    for name in ("first", "second"):
        child = start(name)
        before = min(len(set(found(kafka.bootstrap, "fausted.drift"))), len(drift) - 1)
        wait_for_drift(kafka, "fausted", child, partial(more_than, before))
        time.sleep(dice.uniform(0.0, 0.5))
        child.kill()
    last = start("last")
    try:
        wait_for_drift(kafka, "fausted", last, lambda there: set(there) >= set(drift))
    finally:
        last.kill()
    assert sorted(set(found(kafka.bootstrap, "fausted.drift"))) == drift
    assert sorted(set(found(kafka.bootstrap, "fausted.incidents"))) == incidents


def more_than(count: int, there: list[bytes]) -> bool:
    """Whether there are more."""
    return len(set(there)) > count


def abort_labels(logs: Logs, kafka: Broker, registry: EmbeddedRegistry) -> None:
    """A join's transaction that was aborted: wrong answers of events that have no other label."""
    longer = make_logs(logs.stream, 10_000, 0, rates=(1.0, 1.0))
    topic = logs.stream.topic("labelled")
    client = Registry(RegistrySettings(url=registry.url))
    head = frame(client.register(f"{topic}-value", contract("labelled").text))
    config = producer_config(KafkaSettings(bootstrap=kafka.bootstrap), "aborted")
    producer = Producer(config | {"transactional.id": f"{logs.stream.name}-aborted"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(PARTITIONS):
        at = int(logs.lanes[topic, number].timestamps_us[-1]) // 1_000
        for value in longer.lanes[topic, number].values[2_000:]:
            producer.produce(topic, head + (value or b"")[FRAME_BYTES:], b"k", number, timestamp=at)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)


def wait_for_drift(
    kafka: Broker, name: str, child: Child, done: Callable[[list[bytes]], bool]
) -> None:
    """Until the drift topic is so."""
    deadline = time.monotonic() + WAIT_S
    while not done(found(kafka.bootstrap, f"{name}.drift")):
        assert time.monotonic() < deadline and child.alive(), child.tail(30)
        time.sleep(0.3)
