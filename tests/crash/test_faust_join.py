"""The join as a Faust app, on a real broker: kills, lost state, two workers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from streams.changelog import changelog_of, group_of
from tests.consumers.metrics.test_observed import samples, target
from tests.crash.audit import committed
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


def acknowledged(bed: JoinBed) -> int:
    """Of how many partitions of both topics Faust has committed offsets."""
    asked = Consumer({"bootstrap.servers": bed.kafka.bootstrap, "group.id": group_of(bed.stream)})
    topics = (bed.stream.topic("predictions"), bed.stream.topic("outcomes"))
    places = asked.committed([TopicPartition(t, n) for t in topics for n in range(2)], timeout=10)
    asked.close()
    return sum(place.offset > 0 for place in places)


def test_killed_between_any_two_steps_nothing_lacks_and_only_ids_repeat(bed: JoinBed) -> None:
    """Killed with labelled records out and their state not, and with both out and nothing
    acknowledged; every record is to the byte what `millstream join` writes, and what was aborted is
    not joined. The last worker says so to whoever asks for its numbers."""
    bed.publish(1_200)
    wait_until_dead(faust_join(bed, "first", MILLSTREAM_CRASH_AFTER="join-faust:2:3"))
    wait_until_dead(faust_join(bed, "second", MILLSTREAM_CRASH_AFTER="join-faust:3:2"))
    targets = bed.folder / "targets"
    seen = {"MILLSTREAM_METRICS_PORT": "0", "MILLSTREAM_METRICS_TARGETS": str(targets)}
    third = faust_join(bed, "third", **seen)
    bed.wait_for_all()
    bed.end()
    bed.wait_for_all()
    bed.assert_by_id()
    bed.wait_for(lambda: _has_read_all(_shown(targets)), "a look behind the end")
    shown = _shown(targets)
    assert shown["millstream_ready",] == 1
    assert shown["millstream_partitions_assigned", "predictions"] == 2
    assert shown["millstream_partitions_assigned", "outcomes"] == 2
    assert shown["millstream_join_records_total", "labelled"] > 0
    assert shown["millstream_records_consumed_total", "predictions"] > 0
    assert shown["millstream_batches_total",] == shown["millstream_batch_seconds_count",] > 0
    third.stop()
    assert list(targets.iterdir()) == [], "it left, and says yet where it was"


def _has_read_all(shown: dict[tuple[str, ...], float]) -> bool:
    lags = [n for key, n in shown.items() if key[0] == "millstream_lag_records"]
    return len(lags) == 4 and not any(lags)


def _shown(targets: Path) -> dict[tuple[str, ...], float]:
    return samples(f"{target(targets)}/metrics")


def test_a_changelog_that_lost_records_is_told_and_made_anew_when_asked(bed: JoinBed) -> None:
    """A chunk that lacks, and a changelog that is gone: each ends the worker with exit code 4;
    --rebuild repeats what was said, with the ids that it had."""
    bed.publish(600)
    faust_join(bed, "first")
    bed.wait_for_all()
    bed.wait_for(lambda: acknowledged(bed) == 4, "acknowledged offsets")
    bed.children["first"].stop()
    changelog = changelog_of(bed.stream)
    producer = Producer({"bootstrap.servers": bed.kafka.bootstrap})
    for (partition, _), (key, _) in committed(bed.kafka.bootstrap, changelog).items():
        assert key is not None and int(key.split(b"/")[0]) == partition
        if key.endswith(b"/0"):
            producer.produce(changelog, None, key, partition=partition)
    assert producer.flush(30) == 0
    told = faust_join(bed, "lacks")
    assert wait_until_dead(told) == 4
    assert "lacks chunk 0" in told.tail() and "--rebuild" in told.tail()
    admin = AdminClient({"bootstrap.servers": bed.kafka.bootstrap})
    admin.delete_topics([changelog])[changelog].result(30)
    there = admin.list_topics
    bed.wait_for(lambda: changelog not in there(timeout=10).topics, "a deleted changelog")
    told = faust_join(bed, "empty")
    assert wait_until_dead(told) == 4
    assert "ends before the offsets" in told.tail()
    faust_join(bed, "rebuilt", "--rebuild")
    bed.end()
    bed.wait_for_all()
    bed.assert_by_id()


def test_two_workers_of_which_one_is_killed_miss_nothing(bed: JoinBed) -> None:
    """Partitions and their state move to the other."""
    faust_join(bed, "left")
    faust_join(bed, "right")
    bed.publish(800)
    bed.wait_for_all()
    bed.children["left"].kill()
    bed.publish(800)
    bed.end()
    bed.wait_for_all()
    bed.assert_by_id()
