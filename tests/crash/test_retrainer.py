"""kill -9 of the retrainer at every stage, on a real broker; two of them at once."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from consumers.registry import Registry
from consumers.releases import read_timeline
from consumers.retrainer import asked_for
from consumers.retraining_log import Journal, ask_for, read_log
from consumers.topics import create_topics
from millstream.crash import VARIABLE
from millstream.errors import ClientLost
from millstream.retraining.stages import ORDER, Outcome, Stage, Status, Step, Trigger
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry

pytestmark = pytest.mark.crash
WAIT_S = 90
TOML = (
    '[event]\nschema = "e.avsc"\nkey = "id"\nid = "id"\ntime = "at"\n[features]\norder = ["n"]\n'
    '[label]\nkind = "binary"\n[model]\nbundle = "b"\n[serving]\npartitions = 1\n'
)
AVSC = (
    '{"type":"record","name":"E","fields":[{"name":"id","type":"string"},{"name":"n","type":'
    '"int"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}'
)


class Bed:
    """A stream on the shared broker."""

    def __init__(self, name: str, kafka: Broker, registry: EmbeddedRegistry, folder: Path) -> None:
        (folder / "e.avsc").write_text(AVSC)
        (folder / "stream.toml").write_text(f'name = "{name}"\n{TOML}')
        self.stream = Stream.load(folder / "stream.toml")
        self.kafka = KafkaSettings(bootstrap=kafka.bootstrap)
        self.registry = Registry(RegistrySettings(url=registry.url))
        self.folder = folder
        self._argv = [
            sys.executable, "-m", "tests.crash.toy_retrainer", str(folder / "stream.toml"),
            kafka.bootstrap, registry.url, str(folder),
        ]  # fmt: skip
        create_topics(self.stream, self.kafka)

    def run(self, name: str, crash: str = "") -> None:
        """One life of the toy retrainer, until it ends or kills itself."""
        env = {VARIABLE: crash} if crash else {}
        child = Child(name, self._argv, log=self.folder / f"{name}.log", env=env)
        deadline = time.monotonic() + WAIT_S
        while child.alive():
            assert time.monotonic() < deadline, f"it lives on: {child.tail()}"
            time.sleep(0.02)
        assert (self.folder / "up").exists(), child.tail()


def test_killed_at_each_stage_the_loop_ends_the_same(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """Killed behind its start, behind its work and behind its end: each stage is done once, with
    the facts of an unbroken run, and there is one release."""
    bed = Bed("toys", kafka, embedded_registry, tmp_path)
    bed.run("first", "retrainer:4:1")  # the first stage is started, no more
    for stage in ORDER:
        bed.run(f"{stage}-worked", "retrainer:2:2")
        bed.run(f"{stage}-told", "retrainer:4:2")
    (attempt,) = read_log(bed.stream, bed.kafka, bed.registry).attempts
    assert attempt.over is not None
    assert (attempt.over.outcome, attempt.over.facts["number"]) == (Outcome.PROMOTED, 1)
    assert [facts["before"] for facts in attempt.done.values()] == list(range(7))
    ran = Counter((tmp_path / "ran").read_text().split())
    assert ran == dict.fromkeys((stage.value for stage in ORDER), 2)
    releases = read_timeline(bed.stream, bed.kafka, bed.registry.schema).releases
    assert [release.id for release in releases] == [f"{attempt.id}-promote"]


def test_the_later_of_two_retrainers_ends_the_earlier(
    kafka: Broker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """It goes on with what the earlier had begun; the earlier cannot write another word. A person
    can ask beside it, and is heard."""
    bed = Bed("twins", kafka, embedded_registry, tmp_path)

    def step(stage: Stage, status: Status) -> Step:
        return Step("a", 1, "twins", stage, status, Trigger.MANUAL, "", 1)

    earlier = Journal(bed.stream, bed.kafka, bed.registry)
    earlier.write(step(Stage.COLLECT, Status.STARTED))
    later = Journal(bed.stream, bed.kafka, bed.registry)
    try:
        with pytest.raises(ClientLost):
            earlier.write(step(Stage.COLLECT, Status.DONE))
        assert later.log.open is not None and later.log.open.running is Stage.COLLECT
        ask_for(
            bed.stream,
            bed.kafka,
            bed.registry,
            lambda log: asked_for("twins", log.number, "a new product", 5, "me"),
        )
        deadline = time.monotonic() + WAIT_S
        while not later.log.asked:
            assert time.monotonic() < deadline, "nobody hears it"
            later.hear()
            time.sleep(0.05)
        assert [one.reason for one in later.log.asked] == ["a new product"]
        later.write(step(Stage.COLLECT, Status.DONE))
    finally:
        later.close()
        earlier.close()
