"""Releases in the simulated world: decided by the seed, loaded in virtual time, read for real."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.releases.lineups import Problem
from consumers.releases.log import Clerk, ReleaseLog
from consumers.releases.rota import Rota
from millstream.contracts import contract
from millstream.doubles.consumer import MemoryConsumer
from millstream.errors import DependencyUnavailable
from millstream.lineup import Lineup
from millstream.models.reference import ModelReference
from millstream.releases.release import Effective, Kind, Release, Switch
from millstream.releases.timeline import Timeline
from millstream.releases.wire import Reader, Writer
from millstream.stream import Stream
from tests.simulation.world import Process, World

TOPIC = "s.releases"
LOAD_S_MAX = 3.0
_STREAM = cast(Stream, SimpleNamespace(topic=lambda kind: TOPIC))


class Quiet(MemoryConsumer):
    """Looks between batches at no cost; where it waits, anything can happen."""

    def __init__(self, world: World, name: str, isolation: str) -> None:
        config = {"group.id": f"{name}-releases", "isolation.level": isolation}
        super().__init__(world.kafka, config | {"enable.partition.eof": True})
        self._world = world

    def poll(self, timeout: float = -1) -> Message | None:
        self._world.step("poll releases")
        return super().poll(timeout)

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 5, cached: bool = False
    ) -> tuple[int, int]:
        self._world.step("watermarks of releases")
        if self._world.errs(0.3):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))
        return super().get_watermark_offsets(partition, timeout, cached)


class VirtualLoader:
    """Takes virtual time; some models never load in this life."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due: dict[int, tuple[Release, float]] = {}
        self._loaded: dict[int, Lineup] = {}
        self._failed: set[int] = set()

    def want(self, releases: Iterable[Release]) -> None:
        dice = self._world.rng
        wanted = {each.number: each for each in releases}
        for number in [n for n in self._due if n not in wanted]:
            del self._due[number]
        for number, release in wanted.items():
            if number not in self._loaded and number not in self._failed:
                due = self._world.now + dice.choice([0.0, dice.uniform(0, LOAD_S_MAX)])
                self._due.setdefault(number, (release, due))

    def collect(self) -> list[Problem]:
        problems: list[Problem] = []
        for number, (release, due) in list(self._due.items()):
            if due > self._world.now:
                continue
            del self._due[number]
            if self._world.errs():
                self._world.count("release fails")
                self._failed.add(number)
                problems.append((release, "it does not load"))
            else:
                self._loaded[number] = self._lineup(number)
        return problems

    def ready(self) -> Collection[int]:
        return self._loaded.keys()

    def failed(self) -> Collection[int]:
        return self._failed

    def need(self, release: Release | None) -> Lineup:
        number = release.number if release else 0
        if number not in self._loaded:
            self._world.step(f"load release {number}")
            if self._world.errs():
                raise DependencyUnavailable("models", "they do not come")
            self._loaded[number] = self._lineup(number)
        return self._loaded[number]

    def keep(self, numbers: Collection[int]) -> None:
        for number in [n for n in self._loaded if n not in numbers]:
            del self._loaded[number]

    def base(self) -> tuple[str, str]:
        return "0", ""

    def _lineup(self, number: int) -> Lineup:
        return Lineup(cast(Any, SimpleNamespace(bundle=None)), number=number)


def rota(world: World, process: Process, name: str) -> Rota | None:
    """The production class on the world's Kafka; None in a world without releases."""
    partitions = [number for _, number in world.kafka.partitions(TOPIC)]
    if not partitions:
        return None
    reads, marks = Quiet(world, name, "read_committed"), Quiet(world, name, "read_uncommitted")
    reader = Reader(lambda _: contract("release").text)
    clients = cast(Consumer, reads), cast(Consumer, marks)
    log = ReleaseLog(TOPIC, partitions, reader, *clients, lambda: world.now)
    clerk = Clerk(_STREAM, name, Writer(1), len(partitions), None, lambda: int(world.now * 1e6))
    made = Rota(log, VirtualLoader(world), clerk, lambda records: records.timestamps_us)
    made.begin(len(partitions))
    return made


def decide(world: World, partitions: int, faults_s: float) -> None:
    """Some worlds have releases, each for a while; some begin at an offset or a time."""
    dice = world.rng
    if dice.random() < 0.4:
        return
    world.kafka.create_topic(TOPIC, partitions)
    writer = Writer(1)
    times = sorted(dice.choice([0.0, dice.uniform(0, faults_s)]) for _ in range(dice.randint(1, 4)))
    for number, at in enumerate(times, 1):
        effective = dice.choice(
            [
                Effective(),
                Effective(),
                Effective(offsets=tuple(dice.randint(0, 12) for _ in range(partitions))),
                Effective(time_us=int((world.now + dice.uniform(0, faults_s)) * 1e6)),
            ]
        )
        model = ModelReference("m", str(number), f"sha256:{number:064x}")
        made = Release(f"r{number}", number, "s", Kind.RELEASE, model, effective=effective)
        key, value = made.key.encode(), writer.value(made)
        world.later(at, partial(_write, world, key, value))


def _write(world: World, key: bytes, value: bytes) -> None:
    world.kafka.append((TOPIC, 0), key, value)


def problems(world: World, answered: dict[int, list[tuple[int, int]]]) -> list[str]:
    """Predictions of the wrong release. answered: partition -> (offset, number) of each."""
    timeline, reader = Timeline(), Reader(lambda _: contract("release").text)
    seen: dict[str, Switch] = {}
    found: list[str] = []
    for name in world.kafka.partitions(TOPIC):
        for _, record in world.kafka.logs[name].visible():
            entry = reader.entry(record.value)
            timeline.add(entry)
            if isinstance(entry, Switch):
                world.count("switch")
                other = seen.setdefault(entry.key, entry)
                if other.first_offset != entry.first_offset:
                    offsets = f"{other.first_offset} and {entry.first_offset}"
                    found.append(f"release {entry.key} switched at {offsets}")
    for partition, places in answered.items():
        for offset, number in places:
            release = timeline.at(partition, offset)
            wanted = release.number if release else 0
            if number != wanted:
                found.append(f"{partition}-{offset} is answered by {number}, {wanted} is right")
    return found
