"""The alert program on a real Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.topics import create_topics
from millstream.errors import ClientLost
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.alert_world import RULES, World, hook, told
from tests.consumers.receivers import Http, wait_for
from tests.streams import LOANS


@pytest.fixture
def world(kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path) -> World:
    """A stream of its own with the lag rule alone: no ClickHouse is asked."""
    name = f"a{uuid.uuid4().hex[:8]}"
    text = (LOANS / "stream.toml").read_text("utf-8").replace('"loans"', f'"{name}"', 1)
    text = text.replace("partitions = 4", "partitions = 2")
    lag = "[[alerts.rules]]".join(RULES.split("[[alerts.rules]]")[:2])
    (tmp_path / "stream.toml").write_text(text + lag)
    (tmp_path / "event.v1.avsc").write_bytes((LOANS / "event.v1.avsc").read_bytes())
    stream = Stream.load(tmp_path / "stream.toml")
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    create_topics(stream, settings)
    registry = RegistrySettings(url=embedded_registry.url)
    return World(stream, settings, registry, WarehouseSettings(url="http://127.0.0.1:9"))


@pytest.fixture
def http() -> Iterator[Http]:
    server = Http()
    yield server
    server.close()


def test_a_restart_tells_nobody_again_and_a_second_program_ends_the_first(
    world: World, http: Http
) -> None:
    """The mark in the topic and the topic itself are all that a restart needs; a static member
    that comes twice is fenced, so that two programs never evaluate for long."""
    world.publish(20)
    with world.running(**hook(http)):
        wait_for(lambda: told(http), "the alarm")
    with pytest.raises(ClientLost), world.running(**hook(http)):
        wait_for(lambda: world.programs[-1].looks >= 2, "looks after the restart")
        first = world.programs[-1]
        with world.running(**hook(http)):
            wait_for(lambda: world.programs[-1] is not first, "the second program")
            wait_for(lambda: not world.threads[-2].is_alive(), "the first one's end")
            world.scored(10)
            wait_for(lambda: len(told(http)) > 1, "the end")
    assert told(http) == [("behind", "firing", 1), ("behind", "resolved", 2)]
