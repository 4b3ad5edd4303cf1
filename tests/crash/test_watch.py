"""kill -9 of the watch, at every numbered step and at random, on a real broker."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from consumers.registry import Registry
from consumers.topics import create_topics
from millstream.columnar import FRAME_BYTES
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
SMALL = {"MILLSTREAM_WATCH_COMMIT_S": "0.05", "MILLSTREAM_WATCH_BATCH_RECORDS_MAX": "400"}


def expected(logs: Logs) -> tuple[list[bytes], list[bytes]]:
    """Bodies of drift records and incidents of a run that nothing interrupts."""
    watch = Watch(logs.stream, schema_of, None, PARTITIONS)
    emitter, drift, incidents = Emitter(0, 0), [], []
    for batch, silent in logs.batches(np.random.default_rng(0), {}):
        found = watch.take(batch, silent)
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


def test_kills_leave_what_an_unbroken_run_says(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """Killed after each step of its protocol and at random: every drift record and every revision
    of an incident of the unbroken run is there, once, to the byte."""
    folder = tmp_path / "watched"
    stream_in(folder, 'window_s = 0.0\nprofile_events = 500\n[[watch.detectors]]\ntype = "ADWIN"')
    toml = folder / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', 'name = "watched"'))
    stream = Stream.load(toml)
    logs = shifted(make_logs(stream, 8_000, 2_500, delay=300))
    drift, incidents = expected(logs)
    brokers = KafkaSettings(bootstrap=kafka.bootstrap)
    create_topics(stream, brokers)
    publish(logs, brokers, Registry(RegistrySettings(url=embedded_registry.url)))
    environment = SMALL | {
        "MILLSTREAM_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MILLSTREAM_REGISTRY_URL": embedded_registry.url,
    }
    dice = random.Random(4)

    def start(name: str, **more: str) -> Child:
        argv = [sys.executable, "-m", "millstream", "watch", str(toml)]
        return Child(name, argv, log=tmp_path / f"{name}.log", env=environment | more)

    for step in (1, 2, 3, 4):
        wait_until_dead(start(f"step-{step}", MILLSTREAM_CRASH_AFTER=f"watch:{step}:3"))
    killed_at_random(start("random"), dice)
    last = start("last")
    try:
        deadline = time.monotonic() + WAIT_S
        while len(found(kafka.bootstrap, "watched.drift")) < len(drift):
            assert time.monotonic() < deadline and last.alive(), last.tail(20)
            time.sleep(0.3)
    finally:
        last.stop()
    assert found(kafka.bootstrap, "watched.drift") == drift
    assert found(kafka.bootstrap, "watched.incidents") == incidents
