"""kill -9 of the scorer and of the sink, at every numbered step and at random, on a real broker."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
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
from tests.crash.audit import assert_exactly_once, committed
from tests.streams import applications, framed, make_loans

pytestmark = pytest.mark.crash
STREAM = "kills"
SMALL_BATCHES = {
    "MILLSTREAM_SCORER_TRANSACTION_EVENTS_MAX": "500",
    "MILLSTREAM_SINK_BLOCK_ROWS_MAX": "700",
    "MILLSTREAM_SINK_BLOCK_AGE_MS_MAX": "100",
    "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
}


@pytest.fixture(scope="module")
def stack(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The loans stream on the session's broker, with small batches and blocks; all tests add to
    it, and each audits everything that was ever published."""
    folder = tmp_path_factory.mktemp("kills")
    make_loans(folder / STREAM)
    toml = folder / STREAM / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', f'name = "{STREAM}"'))
    made = Stack(Stream.load(toml), folder / "run", Parts(kafka=kafka.bootstrap))
    made.environment |= SMALL_BATCHES
    with made:
        yield made


@pytest.fixture(scope="module")
def warehouse(stack: Stack) -> Iterator[Warehouse]:
    """The stack's ClickHouse."""
    connected = Warehouse.connect(stack.warehouse)
    yield connected
    connected.close()


def publish(stack: Stack, count: int) -> int:
    """`count` good events, each with a key of its own; how many there are now in all."""
    topic = f"{STREAM}.events"
    schema_id = Registry(stack.registry).register(
        f"{topic}-value", stack.stream.schema_of_event.text
    )
    producer = Producer(producer_config(stack.kafka, "test"))
    first = len(committed(stack.kafka.bootstrap, topic))
    for row, value in enumerate(framed(applications(count, first=first), schema_id)):
        producer.produce(topic, value, f"k{first + row}".encode())
        if row % 1_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    return first + count


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
    program: str, step: int, stack: Stack, warehouse: Warehouse, tmp_path: Path
) -> None:
    """Killed after step N of its protocol and started again, it leaves no gap and no double."""
    doomed = stack.programs["scorer-0" if program == "scorer" else "sink"].child
    assert doomed is not None
    doomed.stop()
    events = publish(stack, 3_000)
    die_after(stack, program, step, tmp_path)
    wait_for_answers(stack, warehouse, events)
    assert_exactly_once(stack.kafka.bootstrap, warehouse, STREAM, events)


def test_random_kills_under_load_lose_and_double_nothing(
    stack: Stack, warehouse: Warehouse
) -> None:
    """Scorer and sink are killed again and again while events flow."""
    dice = random.Random(20_240)
    events = 0
    for _ in range(12):
        events = publish(stack, 2_000)
        stack.kill(dice.choice(["scorer-0", "sink"]))
        wait_for(stack, lambda: all(p.child for p in stack.programs.values()), "a restart")
    wait_for_answers(stack, warehouse, events)
    assert_exactly_once(stack.kafka.bootstrap, warehouse, STREAM, events)


def wait_for_answers(stack: Stack, warehouse: Warehouse, events: int) -> None:
    """Until both tables hold a row for each event."""
    wait_for_rows(stack, warehouse, {f"{STREAM}.events": events, f"{STREAM}.predictions": events})
