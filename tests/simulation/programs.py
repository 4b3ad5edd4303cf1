"""The production classes as programs of the world: Loop, Scorer, ExactlyOnce and Sink as they are.

Only what the protocol does not depend on is replaced: the model (a prediction names its event), the
Avro rows, and the watchdog's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, Producer

from consumers.kafka import consumer_config
from consumers.loop import Assignment, Loop
from consumers.publishers import ExactlyOnce, Route
from consumers.scorer import Scorer
from consumers.sink import Sink
from consumers.warehouse import Tables
from consumers.watchdog import Watchdog
from millstream.errors import DependencyUnavailable, Refusal, Stage
from millstream.lineup import Lineup
from millstream.models.bundle import Bundle
from millstream.records import Records
from millstream.scoring import Answers, ScoringPlan
from millstream.settings import KafkaSettings, ScorerSettings, SinkSettings
from tests.simulation import releases
from tests.simulation.clients import FaultyConsumer, FaultyProducer, FaultyTables
from tests.simulation.world import Actor, Killed, Process, World

EVENTS, PREDICTIONS, LETTERS = "s.events", "s.predictions", "s.dead-letters"
RELEASES = "s.releases"
TABLES = {EVENTS: "events", PREDICTIONS: "predictions", LETTERS: "dead_letters"}
ROUTE = Route(EVENTS, PREDICTIONS, LETTERS)
SCORERS, SINKS = "s-scorer", "s-sink"
POISON = b"poison"
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Size:
    """The bounds of one seed's programs, small so that a few events make many batches."""

    kafka: KafkaSettings
    session_ms: int
    poll_ms_max: int
    transaction_events_max: int
    transaction_timeout_ms: int
    sink: SinkSettings
    sink_records_max: int


class NoWatchdog(Watchdog):
    """Without a thread: a call that never returns shows as a world that comes to no end."""

    def __init__(self) -> None:
        pass

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass


class NamingPlan(ScoringPlan):
    """A prediction names its event and the release that answered; poison is refused."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, records: Records, lineup: Lineup | None = None) -> Answers:
        self._world.step("score")
        if self._world.errs(0.3):
            raise DependencyUnavailable("registry", "it does not answer")
        bad = [row for row, value in enumerate(records.values) if value == POISON]
        good = np.setdiff1d(np.arange(len(records)), bad)
        number = lineup.number if lineup else 0
        places = zip(records.partitions[good], records.offsets[good], strict=True)
        names = [f"{partition}/{offset}/{number}".encode() for partition, offset in places]
        refusals = tuple(Refusal(row, Stage.DECODE, "poison", "it is poison") for row in bad)
        return Answers(good, names, refusals, np.full(len(records), 1), {})


class PlainRows:
    """Coordinates, key and value of every record."""

    def __init__(self, table: str) -> None:
        self.table = table

    def rows(self, records: Records) -> pa.Table:
        arrays = [
            pa.array(records.offsets),
            pa.array(records.timestamps_us).cast(_TIME),
            pa.array(records.keys, pa.binary()),
            pa.array(records.values, pa.binary()),
        ]
        names = ["kafka_offset", "kafka_time", "kafka_key", "kafka_value"]
        return pa.Table.from_arrays(arrays, names=names)


def scorer(world: World, size: Size, slot: int) -> Callable[[Actor], None]:
    """consumers.scorer.run_scorer without its model, again after every death."""

    def live(process: Process) -> None:
        settings = ScorerSettings(
            slot=slot,
            transaction_events_max=size.transaction_events_max,
            transaction_timeout_ms=size.transaction_timeout_ms,
            breaker_ratio_max=1,
            breaker_run_max=0,
        )

        def client(config: dict[str, Any]) -> Producer:
            return cast(Producer, FaultyProducer(world, config))

        publisher = ExactlyOnce(
            size.kafka, settings, SCORERS, ROUTE, client, NoWatchdog(), lambda: world.now
        )
        publisher.open()
        assignment = Assignment(_consumer(world, process, size, SCORERS, slot))
        bundle = cast(Bundle, SimpleNamespace(name="model", version="1", digest="sha256:0"))
        rota = releases.rota(world, process, f"{SCORERS}-{slot}")
        parts = (NamingPlan(world), publisher, assignment, ROUTE, bundle, settings)
        program = Scorer(*parts, rota)
        try:
            Loop(assignment, program, process.stop).run()
        finally:
            publisher.close()

    return _again_and_again(world, live, f"scorer-{slot}")


def sink(world: World, size: Size, slot: int) -> Callable[[Actor], None]:
    """consumers.sink.run_sink without Avro, again after every death."""

    def live(process: Process) -> None:
        assignment = Assignment(_consumer(world, process, size, SINKS, slot))
        program = Sink(
            {topic: PlainRows(table) for topic, table in TABLES.items()},
            cast(Tables, FaultyTables(world)),
            assignment,
            size.sink,
            lambda: world.now,
        )
        program.records_max = size.sink_records_max
        Loop(assignment, program, process.stop).run()

    return _again_and_again(world, live, f"sink-{slot}")


def _consumer(world: World, process: Process, size: Size, group: str, slot: int) -> Consumer:
    config = consumer_config(size.kafka, group, f"{group}-{slot}") | {
        "session.timeout.ms": size.session_ms,
        "max.poll.interval.ms": size.poll_ms_max,
    }
    return cast(Consumer, FaultyConsumer(world, process, config, guarded=group == SCORERS))


def _again_and_again(
    world: World, live: Callable[[Process], None], name: str
) -> Callable[[Actor], None]:
    """What `ops` does for programs: start again what has died or left. OperatorNeeded or a bug ends
    the world: no fault of a dependency may need an operator."""

    def main(actor: Actor) -> None:
        lives = 0
        while True:
            lives += 1
            process = actor.process = Process(world, f"{actor.name}.{lives}")
            try:
                live(process)
                world.tell("has left")
            except Killed:
                if world.over:
                    return
            except DependencyUnavailable as why:
                world.tell("exits: %s", why)
                world.count("exit")
            process.dead = True
            process.freeze()
            if actor.replaced or world.ending:
                return
            world.sleep(world.rng.uniform(0.05, 1.0))
            if world.ending:
                return

    main.__name__ = name
    return main
