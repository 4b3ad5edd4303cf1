"""Releases under load on a real broker, while scorers are killed and partitions move: for each
partition the predictions below a switch are of the old version, from it on of the new one."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.letters import TopicReader
from consumers.registry import Registry
from consumers.releases.log import read_timeline
from consumers.releases.releasing import await_release, release, roll_back
from consumers.verify.answers import Predictions
from consumers.warehouse import Warehouse
from millstream.models.registry import FolderRegistry
from millstream.releases.decide import Wanted
from millstream.releases.release import Kind, Release
from millstream.releases.routing import route
from millstream.releases.timeline import Timeline
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.process import Child
from ops.stack import Parts, Stack
from tests.broker.waiting import wait_for_rows
from tests.crash.audit import assert_exactly_once
from tests.streams import applications, framed, make_loans

pytestmark = pytest.mark.crash
STREAM = "swaps"
SETTINGS = {
    "MILLSTREAM_SCORER_TRANSACTION_EVENTS_MAX": "300",
    "MILLSTREAM_SINK_BLOCK_AGE_MS_MAX": "100",
    "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
}
SWITCH_S_MAX = 90.0


class Swaps:
    """A stack of two scorers, versions 1 to 3 in its registry, and events that never end."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.stream = stack.stream
        self.client = Registry(stack.registry)
        self.models = FolderRegistry(self.stream.beside("models"))
        self.published = 0
        subject = f"{STREAM}.events-value"
        self._schema_id = self.client.register(subject, self.stream.schema_of_event.text)
        self._producer = Producer(producer_config(stack.kafka, "test"))

    def publish(self, count: int) -> None:
        """Good events with a key each."""
        values = framed(applications(count, first=self.published), self._schema_id)
        for value in values:
            self._producer.produce(f"{STREAM}.events", value, f"k{self.published}".encode())
            self.published += 1
        self._producer.poll(0)

    def release(self, version: str, **more: Any) -> Release:
        """Decide it."""
        model = self.models.find("loans", version)
        wanted = Wanted(f"{version}-{self.published}", model, **more)
        return release(self.stream, self.stack.kafka, self.client, self.models, wanted)

    def until_switched(self, made: Release) -> None:
        """Publish until every partition has it; what has died is started again meanwhile."""
        deadline = time.monotonic() + SWITCH_S_MAX
        while True:
            self.publish(200)
            self.stack.tend()
            progress = await_release(self.stream, self.stack.kafka, self.client, made, 0.0)
            if not progress.waiting:
                return
            assert time.monotonic() < deadline, progress
            time.sleep(0.1)

    def settle(self) -> None:
        """Every event has its row."""
        assert self._producer.flush(60) == 0
        warehouse = Warehouse.connect(self.stack.warehouse)
        try:
            wait_for_rows(self.stack, warehouse, {f"{STREAM}.predictions": self.published})
            assert_exactly_once(self.stack.kafka.bootstrap, warehouse, STREAM, self.published)
        finally:
            warehouse.close()

    def timeline(self) -> Timeline:
        """What the topic says."""
        return read_timeline(self.stream, self.stack.kafka, self.client.schema)

    def predictions(self) -> Iterator[tuple[int, int, str, bytes]]:
        """Partition, offset, version and key of every prediction."""
        fields = {"source_partition", "source_offset", "model_version"}
        reader = Predictions(self.client.schema, fields)
        with closing(TopicReader(self.stack.kafka, f"{STREAM}.predictions")) as topic:
            for records in topic.to_end():
                if not records:
                    continue
                _, columns, _ = reader.read(records)
                lists = (columns[name].to_pylist() for name in sorted(fields))
                keys = [record.key() for record in records]
                for version, offset, partition, key in zip(*lists, keys, strict=True):
                    assert isinstance(key, bytes)
                    yield partition, offset, version, key

    def assert_no_wrong_side(self) -> None:
        """Each prediction is of the version that the timeline says."""
        timeline = self.timeline()
        wrong = []
        for partition, offset, version, key in self.predictions():
            at = timeline.at(partition, offset)
            wanted = "1" if at is None else at.champion.version
            if at is not None and at.challenger is not None:
                inside = route([key], at.canary_share, at.challenger.digest)[0]
                wanted = at.challenger.version if inside else wanted
            if version != wanted:
                wrong.append((partition, offset, version, wanted))
        assert wrong == []


@pytest.fixture(scope="module")
def swaps(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swaps]:
    """The loans stream on the session's broker."""
    folder = tmp_path_factory.mktemp("swaps")
    registry = FolderRegistry(folder / STREAM / "models")
    make_loans(folder / STREAM)
    for version, trees in (("2", 5), ("3", 9)):
        made = make_loans(folder / f"v{version}", trees, version)
        registry.add(made.stream.bundle_path, {})
    toml = folder / STREAM / "stream.toml"
    text = toml.read_text().replace('name = "loans"', f'name = "{STREAM}"')
    toml.write_text(text + '\n[release]\npassport = "none"\n')
    parts = Parts(kafka=kafka.bootstrap, scorers=2)
    stack = Stack(Stream.load(toml), folder / "run", parts)
    stack.environment |= SETTINGS
    with stack:
        yield Swaps(stack)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_crash_after_step_of_a_switch_leaves_no_wrong_side(
    swaps: Swaps, step: int, tmp_path: Path
) -> None:
    """The scorer that writes the switches dies after this step of that very transaction; the other
    one takes its partitions over, or it starts again."""
    stack = swaps.stack
    for name in ("scorer-0", "scorer-1"):
        running = stack.programs[name].child
        assert running is not None
        running.stop()
    made = swaps.release("2" if step % 2 else "3")
    swaps.publish(1_000)
    doomed = Child(
        "doomed scorer",
        [sys.executable, "-m", "millstream", "score", str(swaps.stream.path)],
        log=tmp_path / "doomed.log",
        env=stack.environment | {"MILLSTREAM_CRASH_AFTER": f"scorer:{step}:1"},
    )
    stack.programs["scorer-0"].child = doomed
    swaps.until_switched(made)
    swaps.settle()
    swaps.assert_no_wrong_side()


def test_swaps_under_load_with_kills_and_rebalances(swaps: Swaps) -> None:
    """Releases, a canary, a promotion and a rollback, while a scorer is killed at each, and the
    second one leaves and comes back."""
    dice = random.Random(11)
    kinds = []
    for turn in range(6):
        if turn == 2:
            swaps.stack.scale(1)
        if turn == 4:
            swaps.stack.scale(2)
        swaps.publish(1_500)
        made = _next(swaps, turn)
        kinds.append(made.kind)
        swaps.stack.kill(dice.choice([n for n in swaps.stack.programs if n.startswith("scorer")]))
        swaps.until_switched(made)
    swaps.settle()
    swaps.assert_no_wrong_side()
    assert {Kind.RELEASE, Kind.CANARY, Kind.PROMOTE, Kind.ROLLBACK} == set(kinds)
    switches = swaps.timeline().switches
    assert len({switch.key for switch in switches}) == len(switches)


def _next(swaps: Swaps, turn: int) -> Release:
    if turn in (1, 3):
        champion = swaps.timeline().newest
        assert champion is not None
        other = "3" if champion.champion.version == "2" else "2"
        return swaps.release(other, canary_share=0.3)
    if turn == 2:
        newest = swaps.timeline().newest
        assert newest is not None and newest.challenger is not None
        return swaps.release(newest.challenger.version)
    if turn == 4:
        wanted = Wanted(f"back-{swaps.published}")
        return roll_back(swaps.stream, swaps.stack.kafka, swaps.client, swaps.models, wanted)
    return swaps.release("2" if turn == 0 else "3")
