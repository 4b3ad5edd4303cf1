"""Programs and their lag, on the embedded broker and a real one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from consumers.console.lag import Lag
from consumers.kafka import connection
from consumers.topics import create_topics
from millstream.errors import DependencyUnavailable, OperatorNeeded, SettingsInvalid
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from tests.consumers.warehouses import stream_in


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.broker)])
def settings(request: pytest.FixtureRequest) -> KafkaSettings:
    """Both brokers."""
    broker: EmbeddedBroker | Broker = request.getfixturevalue(request.param)
    return KafkaSettings(bootstrap=broker.bootstrap, embedded=isinstance(broker, EmbeddedBroker))


@pytest.fixture
def stream(tmp_path: Path, settings: KafkaSettings, request: pytest.FixtureRequest) -> Stream:
    """With topics of its own."""
    made = stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}")
    if settings.embedded:
        embedded: EmbeddedBroker = request.getfixturevalue("embedded")
        for kind in ("events", "predictions", "outcomes"):
            embedded.create_topic(made.topic(kind), 2)
    else:
        create_topics(made, settings)
    return made


@pytest.fixture
def lag(stream: Stream, settings: KafkaSettings) -> Iterator[tuple[Lag, list[float]]]:
    """And its clock."""
    now = [100.0]
    made = Lag(stream, settings, lambda: now[0])
    yield made, now
    made.close()


def _publish(settings: KafkaSettings, topic: str, counts: dict[int, int]) -> None:
    producer = Producer(connection(settings))
    for partition, count in counts.items():
        for _ in range(count):
            producer.produce(topic, b"x", partition=partition)
    assert producer.flush(20) == 0


def _commit(settings: KafkaSettings, group: str, topic: str, at: dict[int, int]) -> None:
    consumer = Consumer(connection(settings) | {"group.id": group})
    consumer.commit(
        offsets=[TopicPartition(topic, p, o) for p, o in at.items()], asynchronous=False
    )
    consumer.close()


def _look(looker: Lag) -> dict[str, Any]:
    """As the console does: once more where a topic that was just made has no leader yet."""
    for _ in range(100):
        try:
            return looker.look()
        except DependencyUnavailable:
            time.sleep(0.1)
    return looker.look()


def test_what_waits_is_what_was_not_committed(
    lag: tuple[Lag, list[float]], stream: Stream, settings: KafkaSettings
) -> None:
    """Of the scorer 8 of 20; the join has never begun; events a second are counted."""
    looker, now = lag
    events = stream.topic("events")
    _publish(settings, events, {0: 7, 1: 3})
    _look(looker)
    _publish(settings, events, {0: 5, 1: 5})
    _commit(settings, f"{stream.name}-scorer", events, {0: 10, 1: 2})
    now[0] += 5.0
    said = _look(looker)
    programs = {row["program"]: row for row in said["programs"]}
    assert programs["scorer"]["waiting"] == 8
    assert programs["scorer"]["topics"] == {"events": 8}
    assert programs["scorer"]["state"] == "working"
    assert programs["join"]["state"] == "not started"
    assert said["events_per_s"] == 2.0
    _commit(settings, f"{stream.name}-scorer", events, {0: 12, 1: 8})
    now[0] += 2.0
    programs = {row["program"]: row for row in _look(looker)["programs"]}
    assert programs["scorer"]["state"] == "up to date"


def test_looking_leaves_no_member_in_a_group(
    lag: tuple[Lag, list[float]], stream: Stream, settings: KafkaSettings
) -> None:
    """Else the scorer's partitions would move: a member of its own gets all of them."""
    looker, _ = lag
    _publish(settings, stream.topic("events"), {0: 1})
    _look(looker)
    consumer = Consumer(
        connection(settings)
        | {"group.id": f"{stream.name}-scorer", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([stream.topic("events")])
    record = consumer.poll(20)
    assert record is not None
    assert record.error() is None
    _look(looker)
    parts = len(
        consumer.list_topics(stream.topic("events")).topics[stream.topic("events")].partitions
    )
    assert len(consumer.assignment()) == parts
    consumer.close()


def test_a_look_that_outlasts_the_console_makes_no_client(
    lag: tuple[Lag, list[float]], stream: Stream, settings: KafkaSettings
) -> None:
    """What was closed is asked nothing; to close it again is no fault."""
    looker, _ = lag
    _publish(settings, stream.topic("events"), {0: 1})
    _look(looker)
    looker.close()
    with pytest.raises(DependencyUnavailable, match="let go"):
        looker.look()
    assert not looker._groups
    looker.close()


def test_a_stream_without_topics_is_the_operators(tmp_path: Path, settings: KafkaSettings) -> None:
    """The remedy makes them."""
    looker = Lag(stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}"), settings, lambda: 0.0)
    with pytest.raises(OperatorNeeded, match="millstream topics"):
        looker.look()
    looker.close()


def test_a_broker_that_is_away_is_named(tmp_path: Path) -> None:
    """And asked again at the next look."""
    looker = Lag(stream_in(tmp_path, "away"), KafkaSettings(bootstrap="127.0.0.1:9"), lambda: 0.0)
    with pytest.raises(SettingsInvalid, match=r"127\.0\.0\.1:9"):
        looker.look()
    looker.close()
