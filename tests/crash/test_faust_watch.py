"""The watch as a Faust app, on a real broker: a second worker, a state that was lost.

Kills are in test_watch.py, beside those of `millstream watch`.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from streams.watch import STATE, changelog_of, group_of
from tests.consumers.metrics.test_observed import samples, target
from tests.crash.test_watch import expected, found, more_than, prepared, wait_for_drift
from tests.millstream.drift.watchlogs import Logs

pytestmark = pytest.mark.crash


class Workers:
    """Faust workers of one stream, ended with the test."""

    def __init__(self, logs: Logs, environment: dict[str, str], folder: Path) -> None:
        self.logs, self._folder = logs, folder
        self._environment = environment
        self._children: list[Child] = []

    def start(self, name: str, records: int = 1_000, **more: str) -> Child:
        """Another one, which takes so many records five times a second."""
        argv = [sys.executable, "-m", "streams.watch", str(self.logs.stream.path)]
        most = {"MILLSTREAM_WATCH_BATCH_RECORDS_MAX": str(records)}
        environment = self._environment | most | more
        child = Child(name, argv, log=self._folder / f"{name}.log", env=environment)
        self._children.append(child)
        return child

    def end(self) -> None:
        """None of them lives on."""
        for child in self._children:
            if child.alive():
                child.kill()


@pytest.fixture
def workers(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> Iterator[Workers]:
    """Of a stream that no other test has, with everything published."""
    name = f"f{uuid.uuid4().hex[:8]}"
    logs, environment = prepared(name, kafka, embedded_registry, tmp_path / name)
    made = Workers(logs, environment, tmp_path)
    yield made
    made.end()


def test_a_second_worker_changes_nothing_and_goes_on_where_the_first_was_killed(
    kafka: Broker, workers: Workers, tmp_path: Path
) -> None:
    """While two have a part of the partitions each, both wait and one says so; killed, the first
    leaves its state to the other: all that an unbroken run says is there, and nothing else."""
    stream, folder = workers.logs.stream, str(tmp_path / "targets")
    drift, incidents = expected(workers.logs)
    left = workers.start("left", 300)
    wait_for_drift(kafka, stream.name, left, lambda there: more_than(3, there))
    right = workers.start("right", MILLSTREAM_METRICS_PORT="0", MILLSTREAM_METRICS_TARGETS=folder)
    right.wait_until(lambda: _waits(left) or _waits(right), timeout_s=60)
    left.kill()
    wait_for_drift(kafka, stream.name, right, lambda there: set(there) >= set(drift))
    assert sorted(set(found(kafka.bootstrap, f"{stream.name}.drift"))) == drift
    assert sorted(set(found(kafka.bootstrap, f"{stream.name}.incidents"))) == incidents
    at = f"{target(Path(folder))}/metrics"
    right.wait_until(lambda: _assigned(samples(at)) == 4 * [4], timeout_s=60)
    assert samples(at)["millstream_ready",] == 1


def _assigned(shown: dict[tuple[str, ...], float]) -> list[float]:
    """Partitions of each topic."""
    return [n for key, n in shown.items() if key[0] == "millstream_partitions_assigned"]


def _waits(worker: Child) -> bool:
    return "another worker has" in worker.tail(2_000)


def test_a_changelog_that_is_gone_is_told_and_everything_is_said_again(
    kafka: Broker, workers: Workers
) -> None:
    """An error in the log, and the same drift records and incidents once more, with the ids that
    they had."""
    stream = workers.logs.stream
    drift, incidents = expected(workers.logs)
    first = workers.start("first")
    wait_for_drift(kafka, stream.name, first, lambda there: set(there) >= set(drift))
    first.wait_until(lambda: _acknowledged(kafka, workers), timeout_s=30)
    first.stop()
    before = len(found(kafka.bootstrap, f"{stream.name}.drift"))
    changelog = changelog_of(stream)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([changelog])[changelog].result(30)
    again = workers.start("again")
    wait_for_drift(kafka, stream.name, again, lambda there: len(there) >= before + len(drift))
    assert f"{STATE} lost its state" in again.tail(2_000)
    assert sorted(set(found(kafka.bootstrap, f"{stream.name}.drift"))) == drift
    assert sorted(set(found(kafka.bootstrap, f"{stream.name}.incidents"))) == incidents


def _acknowledged(kafka: Broker, workers: Workers) -> bool:
    """Whether Faust has committed an offset: that is later than the state."""
    stream = workers.logs.stream
    asked = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group_of(stream)})
    lanes = [TopicPartition(*lane) for lane in workers.logs.lanes]
    places = asked.committed(lanes, timeout=10)
    asked.close()
    return any(place.offset > 0 for place in places)
