"""kill -9 of `millstream retrain` at every stage, on a real broker; two of them at once.

The test plays scorer, sink and join: it goes over to each new release at the next event, and what
they would write lies in ClickHouse.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.alerts.log import Follower, value_of
from consumers.models.registry import open_registry
from consumers.registry import Registry
from consumers.releases.log import ReleaseLog
from consumers.retrainer import asked_for
from consumers.retraining.log import Journal, ask_for, read_log
from consumers.topics import create_topics
from millstream.alerts.wire import Reader
from millstream.crash import VARIABLE
from millstream.errors import ClientLost
from millstream.releases.timeline import Timeline
from millstream.retraining.stages import ORDER, Attempt, Outcome, Stage, Status, Step, Trigger
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from tests.consumers.retraining_world import BESIDE, CHANGE, World
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve, stream_in

pytestmark = pytest.mark.crash
LIFE_S_MAX = 120.0
NOTHING_ASKS = "incident = false\nschedule_labels = 0\n"
LABELS_MORE = {"shadow": 350, "canary": 400}
"""Labelled events behind each switch: enough for the judge, then for the canary."""


@dataclass
class Bed:
    """A world and the lives of its retrainer."""

    world: World
    timeline: Timeline = field(default_factory=Timeline)
    lives: int = 0

    def run(self, crash: str = "", *options: str) -> int:
        """One life of the program, until it ends or kills itself; how it ended."""
        world, self.lives = self.world, self.lives + 1
        argv = [
            sys.executable, "-m", "millstream", "retrain", str(world.stream.path),
            "--kafka", world.kafka.bootstrap, "--registry", world.registry.url,
            "--warehouse", world.server.url, *options,
        ]  # fmt: skip
        env = {
            "MILLSTREAM_WAREHOUSE_USERNAME": "default",
            "MILLSTREAM_WAREHOUSE_PASSWORD": PASSWORD,
            "OMP_NUM_THREADS": "1",
            VARIABLE: crash,
        }
        log = world.folder / f"life-{self.lives}.log"
        child = Child(f"retrainer, life {self.lives} ({crash})", argv, log=log, env=env)
        deadline = time.monotonic() + LIFE_S_MAX
        with closing(ReleaseLog.open(world.stream, world.kafka, world.client.schema)) as releases:
            while child.alive():
                if time.monotonic() > deadline:
                    os.kill(child.pid, signal.SIGKILL)
                    raise AssertionError(f"it lives on: {child.tail()}")
                for entry in releases.news():
                    self.timeline.add(entry)
                self.play()
                time.sleep(0.05)
        assert child.exit_code is not None
        return child.exit_code

    def play(self) -> None:
        """As scorer, sink and join."""
        made = self.world.switched(self.timeline)
        if made is not None:
            more = LABELS_MORE.get(made.id.rpartition("-")[2], 0)
            self.world.know(self.world.labelled + more)

    def attempt(self) -> Attempt:
        """The only one."""
        world = self.world
        (found,) = read_log(world.stream, world.kafka, world.client).attempts
        return found

    def digest(self) -> str:
        """Of the version that the registry calls the champion."""
        champion = open_registry(self.world.stream).alias(self.world.stream.name, "champion")
        assert champion is not None
        return champion.digest

    def decisions(self) -> set[str]:
        """Ids of what was decided."""
        world = self.world
        reader = Reader(world.client.schema)
        with closing(Follower(world.kafka, world.stream.topic("decisions"), "test")) as topic:
            return {reader.fields(value_of(each))["id"] for each in topic.to_end()}


@pytest.fixture
def make(
    tmp_path: Path, kafka: Broker, embedded_registry: EmbeddedRegistry
) -> Iterator[Callable[[str], Bed]]:
    """Beds by name, in which the rule has changed and nobody has answered it yet."""
    process, url = serve(tmp_path)
    server = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    worlds = []

    def made(name: str) -> Bed:
        (tmp_path / name).mkdir()
        settings = KafkaSettings(bootstrap=kafka.bootstrap)
        registry = RegistrySettings(url=embedded_registry.url)
        world = World(
            tmp_path / name,
            server,
            settings,
            registry,
            lambda stream: create_topics(stream, settings),
            BESIDE + NOTHING_ASKS,
            name=name,
        )
        worlds.append(world)
        world.know(CHANGE + 600)
        return Bed(world)

    yield made
    for world in worlds:
        world.close()
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


def test_killed_at_each_stage_the_loop_ends_the_same(make: Callable[[str], Bed]) -> None:
    """Behind each stage's work, and behind its end: each is done once, each release is there once,
    and the champion is the model that a run without a kill promotes."""
    bed = make("killed")
    world = bed.world
    ask_for(
        world.stream,
        world.kafka,
        world.client,
        lambda log: asked_for("killed", log.number, "a new product", 5, "me"),
    )
    assert bed.run("retrainer:4:1") == -signal.SIGKILL  # the first stage is started, no more
    for stage in ORDER:
        assert bed.run("retrainer:2:2") == -signal.SIGKILL, stage  # its work is done
        assert list(bed.attempt().done) == list(ORDER[: ORDER.index(stage)])
        assert bed.run("retrainer:4:2") == -signal.SIGKILL, stage  # its end is durable
    attempt = bed.attempt()
    assert attempt.over is not None
    assert attempt.over.outcome is Outcome.PROMOTED, attempt.over.reason
    assert [one.id for one in world.timeline().releases] == [
        f"{attempt.id}-{what}" for what in ("shadow", "canary", "promote")
    ]
    whole = make("whole")
    assert whole.run("", "--once", "--reason", "a new product") == 0
    unbroken = whole.attempt()
    assert bed.digest() == whole.digest() == world.timeline().releases[-1].champion.digest
    trained, straight = (one.facts(Stage.TRAIN) for one in (attempt, unbroken))
    assert (trained["winner"], trained["policy"]) == (straight["winner"], straight["policy"])
    versions = open_registry(world.stream).versions("killed")
    assert [each.reference.version for each in versions] == ["retrained-1"]
    assert len(bed.decisions()) == len(whole.decisions()) == 1


def test_the_later_of_two_retrainers_ends_the_earlier(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """It goes on with what the earlier had begun; the earlier cannot write another word. A person
    can ask beside it, and is heard."""
    stream, settings = stream_in(tmp_path, "twins"), KafkaSettings(bootstrap=kafka.bootstrap)
    create_topics(stream, settings)
    client = Registry(RegistrySettings(url=embedded_registry.url))

    def step(stage: Stage, status: Status) -> Step:
        return Step("a", 1, "twins", stage, status, Trigger.MANUAL, "", 1)

    earlier = Journal(stream, settings, client)
    earlier.write(step(Stage.COLLECT, Status.STARTED))
    later = Journal(stream, settings, client)
    try:
        with pytest.raises(ClientLost):
            earlier.write(step(Stage.COLLECT, Status.DONE))
        assert later.log.open is not None and later.log.open.running is Stage.COLLECT
        ask_for(
            stream,
            settings,
            client,
            lambda log: asked_for("twins", log.number, "a new product", 5, "me"),
        )
        deadline = time.monotonic() + LIFE_S_MAX
        while not later.log.asked:
            assert time.monotonic() < deadline, "nobody hears it"
            later.hear()
            time.sleep(0.05)
        assert [one.reason for one in later.log.asked] == ["a new product"]
        later.write(step(Stage.COLLECT, Status.DONE))
    finally:
        later.close()
        earlier.close()
        client.close()
