"""The world of the probations' tests: releases, answers and labels, written by hand."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from consumers.alerts.alert import read_alarms
from consumers.alerts.log import Follower, value_of
from consumers.kafka import producer_config
from consumers.models.registry import open_registry
from consumers.registry import Registry
from consumers.releases import releasing
from consumers.releases.log import ReleaseLog
from consumers.releases.probation import Probations
from consumers.releases.releasing import ROLLED_BACK
from consumers.warehouse import Warehouse, migrate
from millstream.alerts.alarm import Alarm
from millstream.alerts.wire import Reader
from millstream.contracts import contract, topic_table
from millstream.models.reference import ModelReference
from millstream.releases.decide import Wanted
from millstream.releases.release import Release, Switch
from millstream.releases.timeline import Timeline
from millstream.releases.wire import Writer
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from tests.consumers.answers import label, make
from tests.consumers.contests import shadow, switch, unlike
from tests.consumers.warehouses import READY_S_MAX, stream_in

TABLES = (
    '[serving]\npartitions = 1\n[release]\npassport = "none"\n'
    "[judge]\nrows_min = 96\nrows_max = 1000\nprobation_s = 3600\n"
)
ROWS = 600
NOW_US = 1_700_000_000_000_000


class World:
    """A stream whose bundle is m@1; m@2 and m@3 are registered. One partition, a clock by hand."""

    def __init__(
        self,
        folder: Path,
        server: WarehouseSettings,
        broker: EmbeddedBroker,
        registry: str,
        bundles: list[Path],
    ) -> None:
        made = stream_in(folder, f"s{uuid.uuid4().hex[:12]}")
        text = made.path.read_text() + TABLES
        made.path.write_text(text.replace('bundle = "b"', f'bundle = "{bundles[0]}"'))
        self.stream = Stream.load(made.path)
        self.kafka = KafkaSettings(bootstrap=broker.bootstrap, embedded=True)
        self.registry = Registry(RegistrySettings(url=registry))
        self.warehouse = Warehouse.connect(server)
        self.models = open_registry(self.stream)
        self.versions = [self.models.add(bundle, {}) for bundle in bundles]
        self.now_us = NOW_US
        migrate(self.warehouse, self.stream)
        for topic in topic_table().values():
            broker.create_topic(topic.name(self.stream.name), 1)
        subject = f"{self.stream.topic('releases')}-value"
        self._writer = Writer(self.registry.register(subject, contract("release").text))
        self._producer = Producer(producer_config(self.kafka, "test"))
        self._log = ReleaseLog.open(self.stream, self.kafka, self.registry.schema)
        self._known = Timeline()
        self._before = self.versions[0]
        self.probations = self.begin()

    def begin(self) -> Probations:
        """The program, started anew."""
        return Probations(
            self.stream,
            self.kafka,
            self.registry,
            self.warehouse,
            self.models,
            lambda: self.now_us,
        )

    def restart(self) -> None:
        """Killed and started again: nothing is remembered."""
        self.probations.close()
        self.probations = self.begin()

    def release(self, version: int, **more: Any) -> Release:
        """By a person."""
        model, name = self.versions[version - 1], uuid.uuid4().hex[:12]
        wanted = Wanted(name, model, decided_us=self.now_us, **more)
        return releasing.release(self.stream, self.kafka, self.registry, self.models, wanted)

    def timeline(self) -> Timeline:
        """Of the topic."""
        for entry in self._log.catch_up():
            self._known.add(entry)
        return self._known

    def newest(self) -> Release:
        """Of the topic."""
        found = self.timeline().newest
        assert found is not None
        return found

    def switched(self, first: int) -> Release:
        """The scorer goes over to the newest release at this offset."""
        made = self.newest()
        before = self._before
        said = Switch(made, 0, first, before=(before.version, before.digest), at_us=self.now_us)
        topic = self.stream.topic("releases")
        self._producer.produce(topic, self._writer.value(said), said.key.encode(), 0)
        assert self._producer.flush(30) == 0
        switch(
            self.warehouse,
            self.stream,
            made.number,
            made.champion,
            challenger=made.challenger,
            shadows=made.shadows,
            first=first,
            before=before.digest,
            kind=made.kind.value,
        )
        self._before = made.champion
        return made

    def answered(self, errors: dict[int, float], first: int, seed: int = 1) -> None:
        """ROWS events from this offset on, by versions that are so often wrong; and labels."""
        made = make(first + ROWS, seed)
        rows = list(range(first, first + ROWS))
        for version, share in errors.items():
            chances = unlike(made, share, seed + version)[first:]
            model = self.versions[version - 1]
            shadow(self.warehouse, self.stream, chances, model, first=first)
        label(self.warehouse, self.stream, made, rows, first=first)

    def on_probation(self, version: int, first: int) -> Release:
        """Released, switched to, and begun to be compared from this offset on."""
        promotion = self.release(version)
        self.switched(first)
        assert self.look()
        assert self.newest().shadows == (self._former(promotion),)
        self.switched(first)
        return promotion

    def _former(self, promotion: Release) -> ModelReference:
        releases = self.timeline().releases
        earlier = [r.champion for r in releases if r.number < promotion.number]
        return earlier[-1] if earlier else self.versions[0]

    def look(self) -> bool:
        """What the program does when all that was released and switched has come to it."""
        there = self.timeline()
        wanted = (len(there.releases), len(there.switches))
        deadline = time.monotonic() + READY_S_MAX
        while self._heard() != wanted:
            assert time.monotonic() < deadline, (self._heard(), wanted)
        return self.probations.look()

    def _heard(self) -> tuple[int, int]:
        self.probations.hear()
        timeline = self.probations.timeline
        return len(timeline.releases), len(timeline.switches)

    def decisions(self) -> list[dict[str, Any]]:
        """On the topic, in their order."""
        topic = self.stream.topic("decisions")
        follower = Follower(self.kafka, topic, f"{topic}-test")
        records = follower.to_end()
        follower.close()
        reader = Reader(self.registry.schema)
        return [dict(reader.fields(value_of(record))) for record in records]

    def alarms(self) -> list[Alarm]:
        """On the topic."""
        return read_alarms(self.kafka, self.stream, Reader(self.registry.schema))

    def tag(self, version: int) -> str:
        """What the registry says of a roll back."""
        entries = self.models.versions("m")
        return next(
            e.tags.get(ROLLED_BACK, "") for e in entries if e.reference.version == f"{version}"
        )

    def close(self) -> None:
        self.probations.close()
        self._log.close()
        self.warehouse.close()
        self.registry.close()
