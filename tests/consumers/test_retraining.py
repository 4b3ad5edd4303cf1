"""A retraining on real parts: ClickHouse's rows to a release; only nobody scores meanwhile."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import SecretStr

from consumers.model_registry import open_registry
from consumers.registry import Registry
from consumers.releases import read_timeline
from consumers.retraining import run_retrainer
from consumers.warehouse import Warehouse, migrate
from millstream.contracts import topic_table
from millstream.models.bundle import Bundle
from millstream.models.card import Feature, Window
from millstream.models.package import About, make_bundle
from millstream.models.passport import require_passport
from millstream.retraining.stages import Attempt, Outcome, Stage
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.answers import SECOND_US, START_US, Made, label
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve, stream_in

WARM_UP, CHANGE, EVENTS = 1_000, 2_000, 3_200
TABLE = "[retrain]\nshadow = false\nparameters = { n_estimators = 10, num_leaves = 7 }\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    """A server over HTTP, for this file."""
    process, url = serve(tmp_path_factory.mktemp("retraining"))
    yield WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


class World:
    """Events of one number, whose label is yes from 500 on, and behind a change below."""

    def __init__(
        self,
        folder: Path,
        server: WarehouseSettings,
        broker: EmbeddedBroker,
        registry: str,
    ) -> None:
        made = stream_in(folder, f"s{uuid.uuid4().hex[:12]}")
        made.path.write_text(made.path.read_text() + TABLE)
        self.stream = Stream.load(made.path)
        self.kafka = KafkaSettings(bootstrap=broker.bootstrap, embedded=True)
        self.registry = RegistrySettings(url=registry)
        self.server = server
        self.warehouse = Warehouse.connect(server)
        self.numbers = np.random.default_rng(3).integers(0, 1_000, EVENTS)
        self.truth = self.numbers >= 500
        self.truth[CHANGE:] = ~self.truth[CHANGE:]
        self.labelled = 0
        migrate(self.warehouse, self.stream)
        for topic in topic_table().values():
            broker.create_topic(topic.name(self.stream.name), 1)
        self._bundle()

    def _bundle(self) -> None:
        x = pd.DataFrame({"n": self.numbers[:WARM_UP].astype(float)})
        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)
        model.fit(x, np.where(self.truth[:WARM_UP], "yes", "no"))
        first, last = (
            datetime.fromtimestamp((START_US + n * SECOND_US) / 1e6, UTC) for n in (0, WARM_UP - 1)
        )
        window = Window(start=first, end=last, rows=WARM_UP)
        about = About("m", "1", datetime(2024, 1, 1, tzinfo=UTC), window=window)
        make_bundle(self.stream.bundle_path, model, [Feature(name="n")], x, about)

    def know(self, count: int) -> None:
        """Events, predictions and labels up to this one are in ClickHouse."""
        new = np.arange(self.labelled, count)
        at = pa.array(START_US + new * SECOND_US).cast(pa.timestamp("us", "UTC"))
        for kind in ("events", "predictions"):
            columns = {
                "kafka_topic": [self.stream.topic(kind)] * len(new),
                "kafka_partition": np.zeros(len(new), np.int32),
                "kafka_offset": new,
                "kafka_time": at,
                **(
                    {"id": [f"E-{n}" for n in new], "at": at, "n": self.numbers[new]}
                    if kind == "events"
                    else {"event_time": at}
                ),
            }
            self.warehouse.insert(self.stream.name, kind, pa.table(columns), f"{kind}{count}")
        chances = np.where(self.numbers >= 500, 0.9, 0.1)
        rows = new.tolist()
        label(self.warehouse, self.stream, Made(chances, self.truth, []), rows, first=self.labelled)
        self.labelled = count

    def retrain(self, reason: str = "a test") -> Attempt:
        """One, by hand."""
        found = run_retrainer(
            self.stream, self.kafka, self.registry, self.server, threading.Event(), once=reason
        )
        assert found is not None and found.over is not None
        return found


@pytest.fixture
def world(
    tmp_path: Path,
    server: WarehouseSettings,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
) -> Iterator[World]:
    """Its rule changes at CHANGE."""
    made = World(tmp_path, server, embedded, embedded_registry.url)
    yield made
    made.warehouse.close()


def test_nothing_better_keeps_the_champion_and_says_so(world: World) -> None:
    """Then nothing is registered and nothing released."""
    world.know(1_900)
    attempt = world.retrain()
    assert attempt.over is not None
    assert (attempt.over.outcome, attempt.over.stage) == (Outcome.KEPT, Stage.TRAIN)
    assert "no candidate does better" in attempt.over.reason
    assert open_registry(world.stream).versions(world.stream.name) == []
    client = Registry(world.registry)
    assert read_timeline(world.stream, world.kafka, client.schema).releases == ()


def test_a_changed_rule_ends_in_a_release_of_a_model_that_knows_it(world: World) -> None:
    """Fitted behind the change, with a passport and its lineage, the registry's champion; and the
    next retraining compares with it."""
    world.know(CHANGE + 600)
    attempt = world.retrain("the rule has changed")
    assert attempt.over is not None
    assert attempt.over.outcome is Outcome.PROMOTED, attempt.over.reason
    models = open_registry(world.stream)
    champion = models.alias(world.stream.name, "champion")
    assert champion is not None and champion.version == "retrained-1"
    bundle = Bundle.load(models.fetch(champion, world.stream.beside("fetched")))
    require_passport(bundle, "required")
    window = bundle.card.window
    assert window is not None
    assert window.start.timestamp() * 1e6 >= START_US + (CHANGE - 50) * SECOND_US
    client = Registry(world.registry)
    (release,) = read_timeline(world.stream, world.kafka, client.schema).releases
    assert (release.champion.digest, release.reason) == (champion.digest, "the rule has changed")
    world.know(EVENTS)
    again = world.retrain()
    assert again.over is not None
    compared = again.over.facts if again.over.stage is Stage.TRAIN else again.facts(Stage.TRAIN)
    assert (
        compared["decisions"][0]["champion"]["name"] == attempt.facts(Stage.TRAIN)["winner"]["name"]
    )
