"""The join under the consumers' loop, on a real broker: kills, two workers, lost state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from tests.crash.joins import WAIT_S, JoinBed

pytestmark = pytest.mark.crash


@pytest.fixture
def bed(kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path) -> Iterator[JoinBed]:
    """A stream that no other test has."""
    made = JoinBed(tmp_path, f"j{uuid.uuid4().hex[:8]}", kafka.bootstrap, embedded_registry.url)
    yield made
    made.stop()


def wait_until_dead(child: Child) -> int:
    """Its exit code, within the time."""
    deadline = time.monotonic() + WAIT_S
    while child.alive():
        assert time.monotonic() < deadline, f"it lives on: {child.tail()}"
        time.sleep(0.05)
    return child.exit_code or 0


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_crash_after_step_joins_the_batch_once(bed: JoinBed, step: int) -> None:
    """Killed after step N of its protocol, then started again: nothing lacks, nothing is doubled,
    and what was aborted is not joined."""
    bed.publish(1_200)
    wait_until_dead(bed.join(MILLSTREAM_CRASH_AFTER=f"join:{step}:3"))
    bed.join()
    bed.wait_for_all()
    bed.end()
    bed.wait_for_all()
    bed.assert_exact()


def test_two_workers_that_are_killed_in_turn_double_nothing(bed: JoinBed) -> None:
    """Partitions and their state move from one to the other, and back."""
    joins = {slot: bed.join(slot) for slot in (0, 1)}
    for turn in range(3):
        bed.publish(600)
        time.sleep(1.5)
        joins[turn % 2].kill()
        joins[turn % 2] = bed.join(turn % 2)
    bed.wait_for_all()
    joins[1].stop()
    bed.end()
    bed.wait_for_all()
    bed.assert_exact()


def test_state_that_was_deleted_is_told_and_made_anew_when_asked(bed: JoinBed) -> None:
    """It stops with exit code 4; --rebuild repeats what was said, with the ids that it had."""
    bed.publish(600)
    first = bed.join()
    bed.wait_for_all()
    first.stop()
    producer = Producer({"bootstrap.servers": bed.kafka.bootstrap})
    for number in range(2):
        producer.produce(bed.stream.topic("join_state"), None, b"0", partition=number)
    assert producer.flush(30) == 0
    told = bed.join()
    assert wait_until_dead(told) == 4
    assert "lacks chunk 0" in told.tail()
    bed.join(0, "--rebuild")
    bed.end()
    bed.wait_for_all()
    bed.assert_by_id()
