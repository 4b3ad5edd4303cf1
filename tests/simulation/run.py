"""One seed: draw a world, let faults happen, let it come to rest, audit it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from consumers import loop
from millstream.doubles.log import Transaction
from millstream.settings import KafkaSettings, SinkSettings
from tests.simulation import audit, programs, releases
from tests.simulation.programs import EVENTS, LETTERS, POISON, PREDICTIONS, SCORERS, SINKS, Size
from tests.simulation.world import Actor, Odds, World

CALM_S_MAX = 120.0
"""Virtual seconds without faults; what is not finished by then never will be."""
MONTH_MS = 31 * 86_400_000
CONSUME_RECORDS = 3
"""In place of loop.CONSUME_RECORDS_MAX, so that one gathering takes several consumes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """problems: empty where all is as promised. told: how often each fault happened."""

    seed: int
    problems: list[str]
    told: dict[str, int]
    calls: int
    virtual_s: float


def simulate(seed: int) -> Outcome:
    """Run one seed. The same seed always does the same."""
    with _tuned():
        world = World(seed)
        try:
            return _simulate(world, seed)
        finally:
            world.close()


def _simulate(world: World, seed: int) -> Outcome:
    dice = world.rng
    partitions = dice.randint(1, 3)
    for topic in (EVENTS, PREDICTIONS, LETTERS):
        world.kafka.create_topic(topic, partitions)
    published: audit.Published = {number: {} for number in range(partitions)}
    faults_s = dice.uniform(3, 12)
    has_holes = dice.random() < 0.3
    _publish(world, published, faults_s, has_holes)
    releases.decide(world, partitions, faults_s)
    size = _size(world)
    for slot in range(dice.choice([1, 1, 2, 3])):
        world.spawn(f"scorer-{slot}", programs.scorer(world, size, slot))
    for slot in range(dice.choice([1, 1, 2, 3])):
        world.spawn(f"sink-{slot}", programs.sink(world, size, slot))
    world.twin = lambda actor: _replace(world, size, actor)
    world.odds = _odds(world, has_holes)
    _meddle(world, published, faults_s)
    world.sleep(faults_s)
    world.tell("the faults end")
    world.odds = Odds()
    deadline = world.now + CALM_S_MAX
    while world.now < deadline and world.failure is None:
        if audit.is_finished(world.kafka, world.tables, published):
            break
        world.sleep(0.5)
    world.stop_all()
    deadline = world.now + CALM_S_MAX
    while world.programs() and world.now < deadline and world.failure is None:
        world.sleep(0.5)
    found = audit.problems(world.kafka, world.tables, published)
    found += releases.problems(world, audit.answered(world.kafka, published))
    found += [f"{actor.name} does not leave" for actor in world.programs()]
    if world.failure is not None:
        found.insert(0, f"{type(world.failure).__name__}: {world.failure}")
        logging.getLogger("simulation").debug("the bug:", exc_info=world.failure)
    return Outcome(seed, found, world.told, world.calls, world.now - world.began)


def _size(world: World) -> Size:
    dice = world.rng
    sink = SinkSettings(
        block_rows_max=dice.choice([2, 5, 10]),
        block_age_ms_max=dice.choice([1, 200, 1_000]),
        held_bytes_max=dice.choice([1_024, 256_000_000]),
        attempts_max=dice.choice([4, 100]),
    )
    return Size(
        KafkaSettings(group_protocol=dice.choice(["classic", "consumer"])),
        session_ms=dice.choice([1_000, 3_000]),
        poll_ms_max=dice.choice([4_000, 300_000]),
        transaction_events_max=dice.choice([1, 4, 9]),
        transaction_timeout_ms=dice.choice([3_000, 900_000]),
        sink=sink,
        sink_records_max=dice.choice([4, 12]),
    )


def _odds(world: World, has_holes: bool) -> Odds:
    """Some seeds have one kind of fault, some all, each from seldom to always."""
    dice = world.rng

    def some(most: float) -> float:
        return dice.choice([0.0, 0.2, 1.0]) * most

    return Odds(
        kill=some(0.01),
        freeze=some(0.01),
        stop=some(0.003),
        error=some(0.06),
        swallow=0.0 if has_holes else some(0.05),
        switch=dice.choice([0.02, 0.2, 0.5]),
    )


def _publish(world: World, published: audit.Published, faults_s: float, has_holes: bool) -> None:
    """Events now and later; with holes, some of their transactions are aborted. In some worlds the
    producers' clocks are a month apart."""
    dice = world.rng
    has_wild_clocks = dice.random() < 0.3

    def write(number: int, count: int, aborted: bool) -> None:
        partition = (EVENTS, number)
        transaction = Transaction(world.now) if has_holes else None
        for _ in range(count):
            key = f"k{dice.randint(0, 3)}".encode()
            value = POISON if dice.random() < 0.1 else b"event"
            stamp_ms = int(world.now * 1000) + has_wild_clocks * dice.choice([0, MONTH_MS])
            offset = world.kafka.append(partition, key, value, (), transaction, stamp_ms)
            if not aborted:
                published[number][offset] = (key, value)
        if transaction is not None:
            transaction.outcome = not aborted
            world.kafka.logs[partition].mark(transaction, int(world.now * 1000))

    for _ in range(dice.randint(4, 12)):
        number, count = dice.randrange(len(published)), dice.randint(1, 6)
        aborted = has_holes and dice.random() < 0.3
        at = dice.choice([0.0, dice.uniform(0, faults_s)])
        world.later(at, lambda n=number, c=count, a=aborted: write(n, c, a))  # type: ignore[misc]


def _meddle(world: World, published: audit.Published, faults_s: float) -> None:
    """What operators and brokers do: the sinks' offsets are lost or reset to the end (they only
    show lag), events that everyone has read expire."""
    dice = world.rng
    kafka = world.kafka

    def forget_offsets() -> None:
        offsets = kafka.group(SINKS).offsets
        for partition in list(kafka.logs):
            offsets[partition] = kafka.logs[partition].stable_end

    def expire() -> None:
        for number in published:
            name = (EVENTS, number)
            read = kafka.group(SCORERS).offsets.get(name, 0)
            mark = world.tables.marks("events", EVENTS).get(number, -1)
            start = min(read, mark + 1)
            if kafka.logs[name].start < start:
                kafka.logs[name].expire(start)

    for what, odds in ((forget_offsets, 0.3), (expire, 0.2)):
        if dice.random() < odds:
            world.later(dice.uniform(0, faults_s), what)


def _replace(world: World, size: Size, actor: Actor) -> None:
    program, _, slot = actor.name.rstrip("'").partition("-")
    make = programs.scorer if program == "scorer" else programs.sink
    world.spawn(f"{actor.name}'", make(world, size, int(slot)))


@contextmanager
def _tuned() -> Iterator[None]:
    """Small consumes, and no log but the trace."""
    quiet = not logging.getLogger("simulation").isEnabledFor(logging.DEBUG)
    before = loop.CONSUME_RECORDS_MAX
    loop.CONSUME_RECORDS_MAX = CONSUME_RECORDS
    if quiet:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        loop.CONSUME_RECORDS_MAX = before
        if quiet:
            logging.disable(logging.NOTSET)
