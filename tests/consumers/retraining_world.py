"""A stream whose rule changes, in a real ClickHouse, with what its scorer, sink and join write."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa

from consumers.models.registry import fetch_model, open_registry
from consumers.registry import Registry
from consumers.releases.log import read_timeline
from consumers.releases.releasing import own_reference
from consumers.retrainer import Retrainer
from consumers.retraining.log import Journal
from consumers.retraining.models import Parts
from consumers.retraining.steps import StreamSteps
from consumers.warehouse import Warehouse, migrate
from millstream.contracts import topic_table
from millstream.models.bundle import Bundle
from millstream.models.card import Feature, Window
from millstream.models.package import About, make_bundle
from millstream.models.reference import ModelReference
from millstream.models.session import Session
from millstream.releases.release import Release
from millstream.releases.timeline import Timeline
from millstream.retraining.stages import Attempt, Stage
from millstream.retraining.triggers import Triggers
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.answers import SECOND_US, START_US, Made, label
from tests.consumers.contests import shadow, switch
from tests.consumers.warehouses import stream_in

WARM_UP, CHANGE, EVENTS = 1_000, 2_000, 4_000
QUICK = "parameters = { n_estimators = 10, num_leaves = 7 }\n"
ALONE = f"[retrain]\nshadow = false\n{QUICK}"
"""Decided by held-back labels."""
BESIDE = f"[judge]\nrows_min = 100\nrows_max = 300\n[retrain]\ncanary_labels = 400\n{QUICK}"
"""With a shadow and a canary, which waits for more labels than the judge reads."""
LOOKS_MAX = 60


@dataclass
class Clock:
    """Microseconds since 1970; ten seconds pass with every look at it."""

    now_us: int = START_US
    step_us: int = 10 * SECOND_US

    def __call__(self) -> int:
        self.now_us += self.step_us
        return self.now_us


@dataclass
class Hand:
    """A retrainer that looks when it is told to."""

    retrainer: Retrainer
    journal: Journal
    steps: StreamSteps
    clock: Clock

    @property
    def attempt(self) -> Attempt:
        """The newest."""
        return self.journal.log.attempts[-1]

    def until(self, stage: Stage) -> Attempt:
        """Look until this stage has begun, or the attempt is over."""
        for _ in range(LOOKS_MAX):
            if self.attempt.over is not None or self.attempt.running is stage:
                return self.attempt
            self.retrainer.look()
        raise AssertionError(f"{stage} does not begin: {self.attempt}")

    def look(self, times: int = 3) -> Attempt:
        """So often."""
        for _ in range(times):
            if self.attempt.over is None:
                self.retrainer.look()
        return self.attempt


@dataclass
class World:
    """Events of one number, whose label is yes from 500 on, and behind a change below.

    create: makes the topics. threshold: of the first model. known, answered: events so far.
    """

    folder: Path
    server: WarehouseSettings
    kafka: KafkaSettings
    registry: RegistrySettings
    create: Callable[[Stream], object]
    table: str = ALONE
    threshold: float = 0.5
    name: str = field(default_factory=lambda: f"s{uuid.uuid4().hex[:12]}")
    labelled: int = 0
    answered: int = 0
    release: Release | None = None

    def __post_init__(self) -> None:
        made = stream_in(self.folder, self.name)
        made.path.write_text(made.path.read_text() + self.table)
        self.stream = Stream.load(made.path)
        self.client = Registry(self.registry)
        self.warehouse = Warehouse.connect(self.server)
        self.numbers = np.random.default_rng(3).integers(0, 1_000, EVENTS)
        self.truth = self.numbers >= 500
        self.truth[CHANGE:] = ~self.truth[CHANGE:]
        self._chances: dict[str, Any] = {}
        migrate(self.warehouse, self.stream)
        self.create(self.stream)
        self._bundle()
        own = own_reference(self.stream, open_registry(self.stream))
        assert own is not None
        self.champion = own

    def close(self) -> None:
        """The clients."""
        self.warehouse.close()
        self.client.close()

    def _bundle(self) -> None:
        x = pd.DataFrame({"n": self.numbers[:WARM_UP].astype(float)})
        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)
        model.fit(x, np.where(self.truth[:WARM_UP], "yes", "no"))
        first, last = (
            datetime.fromtimestamp((START_US + n * SECOND_US) / 1e6, UTC) for n in (0, WARM_UP - 1)
        )
        window = Window(start=first, end=last, rows=WARM_UP)
        created = datetime(2024, 1, 1, tzinfo=UTC)
        about = About("m", "1", created, threshold=self.threshold, window=window)
        make_bundle(self.stream.bundle_path, model, [Feature(name="n")], x, about)

    def know(self, count: int, answered: int | None = None) -> None:
        """Events, predictions and labels up to `count` are in ClickHouse, and those without a label
        up to `answered`."""
        self._answer(max(count, answered or 0))
        made = Made(np.where(self.numbers >= 500, 0.9, 0.1), self.truth, [])
        rows = list(range(self.labelled, count))
        label(self.warehouse, self.stream, made, rows, first=self.labelled)
        self.labelled = count

    def _answer(self, count: int) -> None:
        new = np.arange(self.answered, count)
        if not len(new):
            return
        at = pa.array(START_US + new * SECOND_US).cast(pa.timestamp("us", "UTC"))
        private = "at" in self.stream.privacy.private
        events = {"id": [f"E-{n}" for n in new], "n": self.numbers[new], "kafka_time": at}
        self._insert("events", new, events if private else {**events, "at": at})
        release = self.release
        champion = release.champion if release else self.champion
        said = self._said(champion)[new]
        answers = {
            "published_at": at,
            "scored_at": at,
            "model": [champion.name] * len(new),
            "model_version": [champion.version] * len(new),
            "model_digest": [champion.digest] * len(new),
            "score": said,
            "scores": [[1 - p, p] for p in said],
            "label": ["yes" if p >= 0.5 else "no" for p in said],
            "source_topic": [self.stream.topic("events")] * len(new),
            "source_partition": np.zeros(len(new), np.int32),
            "source_offset": new,
            "kafka_time": at,
        }
        self._insert("predictions", new, answers if private else {**answers, "event_time": at})
        others = () if release is None else release.models[1:]
        for other in others:
            first = self.answered
            shadow(self.warehouse, self.stream, self._said(other)[new], other, first=first)
        self.answered = count

    def _insert(self, kind: str, new: Any, columns: dict[str, Any]) -> None:
        place = {
            "kafka_topic": [self.stream.topic(kind)] * len(new),
            "kafka_partition": np.zeros(len(new), np.int32),
            "kafka_offset": new,
        }
        token = f"{kind}{int(new[-1])}"
        self.warehouse.insert(self.stream.name, kind, pa.table({**place, **columns}), token)

    def _said(self, model: ModelReference) -> Any:
        """Its chances of yes for every number."""
        if model.digest not in self._chances:
            folder = fetch_model(self.stream, model, self.folder / "answering")
            session = Session(Bundle.load(folder))
            scored = session.score(pa.record_batch({"n": pa.array(self.numbers, pa.int32())}))
            self._chances[model.digest] = scored.scores[:, 1]
            session.close()
        return self._chances[model.digest]

    def change(self, table: str, what: str) -> None:
        """All its rows, by an UPDATE."""
        self.warehouse.command(
            f"ALTER TABLE {self.stream.name}.{table} UPDATE {what} WHERE 1 "
            "SETTINGS mutations_sync = 1"
        )

    def timeline(self) -> Timeline:
        """What was released."""
        return read_timeline(self.stream, self.kafka, self.client.schema)

    def switched(self, timeline: Timeline | None = None) -> Release | None:
        """The scorer goes over to the newest release at the next event, unless it has. timeline:
        as far as it has read."""
        newest, before = (timeline or self.timeline()).newest, self.release
        if newest is None or (before is not None and newest.number == before.number):
            return None
        switch(
            self.warehouse,
            self.stream,
            newest.number,
            newest.champion,
            challenger=newest.challenger,
            shadows=newest.shadows,
            first=self.answered,
            before=(before.champion if before else self.champion).digest,
        )
        self.release = newest
        return newest

    @contextmanager
    def by_hand(self, clock: Clock | None = None) -> Iterator[Hand]:
        """A retrainer of the stream, in this process."""
        now_us = clock or Clock()
        journal = Journal(self.stream, self.kafka, self.client)
        work = self.folder / "by-hand"
        models = open_registry(self.stream)
        steps = StreamSteps(
            Parts(
                self.stream, self.kafka, self.client, self.warehouse, models, work, journal.log,
                now_us,
            )
        )  # fmt: skip
        try:
            triggers = Triggers(self.stream.retrain)
            retrainer = Retrainer(journal, steps, triggers, now_us, "by hand")
            yield Hand(retrainer, journal, steps, now_us)
        finally:
            steps.close()
            journal.close()


@contextmanager
def worlds(
    folder: Path,
    server: WarehouseSettings,
    broker: EmbeddedBroker,
    registry: EmbeddedRegistry,
) -> Iterator[Callable[..., World]]:
    """Makes worlds of a table and more on the embedded broker, and closes them."""
    kafka = KafkaSettings(bootstrap=broker.bootstrap, embedded=True)

    def create(stream: Stream) -> None:
        for topic in topic_table().values():
            broker.create_topic(topic.name(stream.name), 1)

    with ExitStack() as exits:

        def made(table: str, **more: Any) -> World:
            settings = RegistrySettings(url=registry.url)
            world = World(folder, server, kafka, settings, create, table, **more)
            exits.callback(world.close)
            return world

        yield made
