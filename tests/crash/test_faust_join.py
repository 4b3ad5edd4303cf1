"""The join as a Faust app, on a real broker: kills, lost state, two workers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from tests.crash.joins import JoinBed
from tests.crash.test_join import wait_until_dead

pytestmark = pytest.mark.crash


@pytest.fixture
def bed(kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path) -> Iterator[JoinBed]:
    """A stream that no other test has."""
    made = JoinBed(tmp_path, f"f{uuid.uuid4().hex[:8]}", kafka.bootstrap, embedded_registry.url)
    yield made
    made.stop()


def faust_join(bed: JoinBed, name: str, *options: str, **environment: str) -> Child:
    """A Faust worker of this stream."""
    return bed.start(name, "streams.join", str(bed.stream.path), *options, **environment)


def test_killed_between_any_two_steps_nothing_lacks_and_only_ids_repeat(bed: JoinBed) -> None:
    """Killed with labelled records out and their state not, and with both out and nothing
    acknowledged; every record is to the byte what `millstream join` writes, and what was aborted is
    not joined."""
    bed.publish(1_200)
    wait_until_dead(faust_join(bed, "first", MILLSTREAM_CRASH_AFTER="join-faust:2:3"))
    wait_until_dead(faust_join(bed, "second", MILLSTREAM_CRASH_AFTER="join-faust:3:2"))
    faust_join(bed, "third")
    bed.wait_for_all()
    bed.end()
    bed.wait_for_all()
    bed.assert_by_id()
