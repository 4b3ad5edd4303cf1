"""kill -9 of the scorer and of the sink, at every numbered step and at random, on a real broker."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry
from consumers.warehouse import Warehouse
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.process import Child
from ops.stack import Parts, Stack
from tests.broker.waiting import wait_for, wait_for_rows
from tests.crash.audit import assert_exactly_once
from tests.streams import applications, framed, make_loans

pytestmark = pytest.mark.crash
SMALL_BATCHES = {
    "MILLSTREAM_SCORER_TRANSACTION_EVENTS_MAX": "500",
    "MILLSTREAM_SINK_BLOCK_ROWS_MAX": "700",
    "MILLSTREAM_SINK_BLOCK_AGE_MS_MAX": "100",
    "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
}


@contextmanager
def running(kafka: Broker, folder: Path, name: str) -> Iterator[tuple[Stack, Warehouse]]:
    """A stack of the loans stream under another name, with small batches and blocks."""
    make_loans(folder / name)
    toml = folder / name / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', f'name = "{name}"'))
    stack = Stack(Stream.load(toml), folder / "run", Parts(kafka=kafka.bootstrap))
    stack.environment |= SMALL_BATCHES
    with stack:
        warehouse = Warehouse.connect(stack.warehouse)
        yield stack, warehouse
        warehouse.close()


def publish(stack: Stack, stream: str, count: int, first: int = 0) -> None:
    """`count` good events, each with a key of its own."""
    topic = f"{stream}.events"
    schema = (stack.stream.path.parent / "event.v1.avsc").read_text()
    schema_id = Registry(stack.registry).register(f"{topic}-value", schema)
    producer = Producer(producer_config(stack.kafka, "test"))
    for row, value in enumerate(framed(applications(count, first=first), schema_id)):
        producer.produce(topic, value, f"k{first + row}".encode())
        if row % 1_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def die_after(stack: Stack, program: str, step: int, folder: Path) -> None:
    """Replace the program by one that kills itself after the step, and wait for its death."""
    running_one = next(p for name, p in stack.programs.items() if name.startswith(program))
    assert running_one.child is not None
    running_one.child.stop()
    command = {"scorer": "score", "sink": "sink"}[program]
    times = 3 if step > 1 or program == "scorer" else 1  # the sink does its step 1 once
    doomed = Child(
        f"doomed {program}",
        [sys.executable, "-m", "millstream", command, str(stack.stream.path)],
        log=folder / f"doomed-{program}.log",
        env=stack.environment | {"MILLSTREAM_CRASH_AFTER": f"{program}:{step}:{times}"},
    )
    running_one.child = doomed
    wait_until_dead(doomed)


def wait_until_dead(child: Child) -> None:
    """Dead by its own hand, within a minute."""
    deadline = time.monotonic() + 60
    while child.alive():
        assert time.monotonic() < deadline, f"it lives on: {child.tail()}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("program", "step"),
    [(program, step) for program in ("scorer", "sink") for step in (1, 2, 3, 4)],
    ids=str,
)
def test_crash_after_step_replays_the_batch_once(
    program: str, step: int, kafka: Broker, tmp_path: Path
) -> None:
    """Killed after step N of its protocol and started again, it leaves no gap and no double."""
    name, events = f"crash_{program}_{step}", 6_000
    with running(kafka, tmp_path, name) as (stack, warehouse):
        publish(stack, name, events // 2)
        doomed = stack.programs["scorer-0" if program == "scorer" else "sink"].child
        assert doomed is not None
        doomed.stop()
        publish(stack, name, events - events // 2, first=events // 2)
        die_after(stack, program, step, tmp_path)
        wait_for_rows(stack, warehouse, {f"{name}.events": events, f"{name}.predictions": events})
        assert_exactly_once(kafka.bootstrap, warehouse, name, events)


def test_random_kills_under_load_lose_and_double_nothing(kafka: Broker, tmp_path: Path) -> None:
    """Scorer and sink are killed again and again while events flow."""
    dice = random.Random(20_240)
    name, parts, part = "random_kills", 12, 2_500
    with running(kafka, tmp_path, name) as (stack, warehouse):
        for index in range(parts):
            publish(stack, name, part, first=index * part)
            stack.kill(dice.choice(["scorer-0", "sink"]))
            wait_for(stack, lambda: all(p.child for p in stack.programs.values()), "a restart")
        total = parts * part
        wait_for_rows(stack, warehouse, {f"{name}.events": total, f"{name}.predictions": total})
        assert_exactly_once(kafka.bootstrap, warehouse, name, total)
