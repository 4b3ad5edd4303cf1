"""A worse model is promoted by hand, and is taken back without one: through real Kafka, a scorer, a
join, a sink and the retrainer's process, which is killed between its decision and its release."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry, subject_of
from consumers.releases.log import read_timeline
from consumers.releases.releasing import ROLLED_BACK, release
from consumers.warehouse import Warehouse
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.crash import VARIABLE
from millstream.models.card import Feature
from millstream.models.package import About, make_bundle
from millstream.models.registry import FolderRegistry
from millstream.releases.decide import Wanted
from millstream.releases.release import Kind, Release
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.process import Child
from ops.stack import Parts, Stack
from tests.broker.waiting import wait_for
from tests.streams import FEATURES, START, applications, framed, make_loans, matrix

STREAM = "probation"
TABLES = (
    '\n[release]\npassport = "none"\n[judge]\nrows_min = 96\n'
    "[retrain]\nincident = false\nschedule_labels = 0\n"
)
BATCH = 50
DOWN_S_MAX = 90.0


def approved(batch: pa.RecordBatch) -> Any:
    """bool [n]: the rule that the bundle of make_loans has learnt."""
    x = matrix(batch)
    return (x[:, 0] + x[:, 1] > 90_000) ^ (x[:, 2] > 60)


class World:
    """A stack with a retrainer that has nothing to retrain; its bundle, version 1, is good."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.stream = stack, stack.stream
        self.client = Registry(stack.registry)
        self.warehouse = Warehouse.connect(stack.warehouse)
        self.models = FolderRegistry(self.stream.beside("models"))
        self.published = self.worse = 0
        self._producer = Producer(producer_config(stack.kafka, "test"))
        text = contract("outcome").text
        topics = self.stream.topic("events"), self.stream.topic("outcomes")
        self._schema_id = self.client.register(
            subject_of(topics[0]), self.stream.schema_of_event.text
        )
        outcome_id = self.client.register(subject_of(topics[1]), text)
        self._encoder, self._schema = Encoder(text, frame(outcome_id)), arrow_schema(text)

    def publish(self) -> None:
        """Some events, each with what turned out to be true of it."""
        batch = applications(BATCH, seed=self.published, first=self.published)
        columns = {
            "event_id": batch.column("application_id"),
            "key": batch.column("applicant"),
            "label": pa.array(np.where(approved(batch), "1", "0")),
            "value": pa.nulls(BATCH, pa.float64()),
            "known_at": batch.column("applied_at"),
        }
        arrays = [columns[field.name].cast(field.type) for field in self._schema]
        outcomes = self._encoder.encode(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        keys = [key.encode() for key in columns["key"].to_pylist()]
        values = framed(batch, self._schema_id)
        for kind, found in (("events", values), ("outcomes", outcomes)):
            for key, value in zip(keys, found, strict=True):
                self._producer.produce(self.stream.topic(kind), value, key)
        assert self._producer.flush(30) == 0
        self.published += BATCH

    def promote_worse(self, version: int) -> Release:
        """A person releases a model that has learnt the rule the wrong way round."""
        sample = applications(2_000, seed=7)
        model = lightgbm.LGBMClassifier(n_estimators=version, num_leaves=15, verbose=-1)
        model.fit(matrix(sample), (~approved(sample)).astype(int))
        folder = self.stream.beside(f"worse-{version}")
        about = About(name="loans", version=f"{version}", created=START)
        make_bundle(folder, model, [Feature(name=n) for n in FEATURES], matrix(sample), about)
        self.worse += 1
        model_there = self.models.add(folder, {})
        wanted = Wanted(f"worse-{version}", model_there, decided_us=time.time_ns() // 1_000)
        return release(self.stream, self.stack.kafka, self.client, self.models, wanted)

    def until_back(self, promotion: Release) -> Release:
        """Publish until every partition has gone back; the release that did it."""

        def is_back() -> bool:
            self.publish()
            timeline = read_timeline(self.stream, self.stack.kafka, self.client.schema)
            last = [timeline.last(p) for p in range(self.stream.serving.partitions)]
            return all(one and one.release.id == f"{promotion.id}-back" for one in last)

        wait_for(self.stack, is_back, "the roll back")
        timeline = read_timeline(self.stream, self.stack.kafka, self.client.schema)
        (back,) = [one for one in timeline.releases if one.id == f"{promotion.id}-back"]
        return back

    def settle(self, back: Release) -> None:
        """Everything that was published is labelled in ClickHouse, which knows the roll back too;
        and as many alarms are over as there were."""
        name = self.stream.name
        wanted = [(self.published, self.worse, self.worse, self.stream.serving.partitions)]
        wait_for(
            self.stack,
            lambda: (
                self.warehouse.query(
                    f"SELECT (SELECT count() FROM {name}.labelled_now WHERE status = 'labelled'), "
                    "(SELECT uniqExactIf(id, status = 'resolved') "
                    f"FROM {name}.alarms WHERE rule = 'champion_rolled_back'), "
                    f"(SELECT uniqExact(champion_version) FROM {name}.decisions_once), "
                    "(SELECT uniqExact(source_partition) "
                    f"FROM {name}.model_timeline WHERE number = {back.number})"
                )
                == wanted
            ),
            f"labels, alarms that are over, decisions, switches: {wanted}",
        )

    def decisions(self, version: int) -> list[tuple[Any, ...]]:
        """Of this champion: id, verdict, predecessor, rows, difference, Markdown."""
        return self.warehouse.query(
            "SELECT id, verdict, challenger_version, rows, difference, markdown "
            f"FROM {self.stream.name}.decisions_once WHERE champion_version = '{version}'"
        )

    def astray(self) -> int:
        """Predictions by another model than the timeline has for their offset."""
        name = self.stream.name
        ((count,),) = self.warehouse.query(
            f"SELECT count() FROM {name}.predictions AS p INNER JOIN {name}.model_timeline AS t "
            "USING (source_partition) WHERE p.source_offset >= t.first_offset "
            "AND (t.next_offset IS NULL OR p.source_offset < t.next_offset) "
            "AND p.model_version != t.champion_version"
        )
        return int(count)

    def tag(self, version: int) -> str:
        """What the registry says of a roll back."""
        entries = {entry.reference.version: entry for entry in self.models.versions("loans")}
        return entries[f"{version}"].tags.get(ROLLED_BACK, "")


@pytest.fixture(scope="module")
def world(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Up, and a few events answered by the good model."""
    folder = tmp_path_factory.mktemp("probation")
    loans = make_loans(folder / STREAM)
    text = loans.stream.path.read_text().replace('name = "loans"', f'name = "{STREAM}"')
    loans.stream.path.write_text(text.replace("partitions = 4", "partitions = 2") + TABLES)
    parts = Parts(kafka=kafka.bootstrap, watch=True, retrain=True)
    with Stack(Stream.load(loans.stream.path), folder / "run", parts) as stack:
        made = World(stack)
        made.publish()
        yield made
        made.warehouse.close()
        made.client.close()


def _assert_taken_back(world: World, version: int, back: Release) -> None:
    assert (back.kind, back.champion.version, back.shadows) == (Kind.ROLLBACK, "1", ())
    world.settle(back)
    assert world.astray() == 0
    decisions = world.decisions(version)
    assert {(verdict, before) for _, verdict, before, *_ in decisions} == {("roll_back", "1")}
    (found,) = [one for one in decisions if one[0] == back.evidence["decision"]]
    assert found[3] >= 96
    assert found[4] > 0.5
    assert found[5].startswith(f"# {STREAM}: roll back: its predecessor does better")
    assert found[0] in world.tag(version)


def test_a_worse_champion_is_taken_back_without_a_hand(world: World) -> None:
    """At one offset of each partition, by a decision that is in the table with its evidence; an
    alarm fires and is resolved; and every prediction is by the model that the timeline names."""
    promotion = world.promote_worse(2)
    back = world.until_back(promotion)
    _assert_taken_back(world, 2, back)
    timeline = world.warehouse.query(
        f"SELECT source_partition, groupArray(champion_version) FROM (SELECT * FROM {STREAM}."
        "model_timeline ORDER BY number) GROUP BY source_partition ORDER BY source_partition"
    )
    assert [(partition, versions[0], versions[-1]) for partition, versions in timeline] == [
        (0, "2", "1"),
        (1, "2", "1"),
    ]
    alarms = world.warehouse.query(
        f"SELECT status, severity, JSONExtractString(labels, 'model') FROM {STREAM}.alarms "
        "WHERE rule = 'champion_rolled_back' ORDER BY revision"
    )
    assert alarms == [("firing", "ticket", "loans@2"), ("resolved", "ticket", "loans@2")]


@pytest.mark.crash
@pytest.mark.parametrize("step", [1, 3, 4])
def test_killed_after_step_of_a_roll_back_the_end_is_the_same(
    world: World, step: int, tmp_path: Path
) -> None:
    """Decided and not told, marked and not released, released and not resolved: whoever is started
    next ends it, with one release."""
    running = world.stack.programs["retrain"]
    assert running.child is not None
    running.child.stop()
    doomed = Child(
        "doomed retrainer",
        [sys.executable, "-m", "millstream", "retrain", str(world.stream.path)],
        log=tmp_path / "doomed.log",
        env=world.stack.environment | {VARIABLE: f"judge:{step}:1"},
    )
    running.child = doomed
    version = step + 10
    promotion = world.promote_worse(version)
    back = world.until_back(promotion)
    deadline = time.monotonic() + DOWN_S_MAX
    while doomed.alive():
        assert time.monotonic() < deadline, doomed.tail()
        time.sleep(0.1)
    assert doomed.exit_code == -9, doomed.tail()
    _assert_taken_back(world, version, back)
