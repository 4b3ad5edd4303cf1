"""One stream on a bed of faults; every test adds events, and audits all that there ever were."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.warehouse import Warehouse
from millstream.settings import KafkaSettings, WarehouseSettings
from ops.faults.bed import Bed
from ops.faults.load import Load
from ops.process import Child
from tests.broker.waiting import count
from tests.crash.audit import assert_exactly_once

WAIT_S = 120.0
TICK_S = 0.1


class Trial:
    """bed: everything runs. events: published so far."""

    def __init__(self, bed: Bed, warehouse: Warehouse) -> None:
        self.bed = bed
        self.events = 0
        self.warehouse = warehouse
        self._marks: dict[str, int] = {}

    @classmethod
    @contextmanager
    def on(cls, bed: Bed) -> Iterator[Trial]:
        """A trial with its own connection to ClickHouse, past the proxy."""
        warehouse = Warehouse.connect(WarehouseSettings(url=bed.warehouse_url))
        try:
            yield cls(bed, warehouse)
        finally:
            warehouse.close()

    def publish(self, events: int) -> None:
        """So many more, at once."""
        self.events = self.bed.load(first=self.events).publish(events)

    def publish_values(self, values: list[bytes]) -> None:
        """Kafka values of good events, each with a key of its own."""
        producer = Producer(producer_config(KafkaSettings(bootstrap=self.bed.bootstrap), "test"))
        for row, value in enumerate(values):
            producer.produce(self.bed.stream.topic("events"), value, f"V-{self.events + row}")
        assert producer.flush(60) == 0
        self.events += len(values)

    @contextmanager
    def under_load(self, rate: float = 800) -> Iterator[Load]:
        """Events flow until the end of the block."""
        load = self.bed.load(rate, first=self.events)
        load.start()
        try:
            yield load
        finally:
            self.events += load.stop()

    def tend(self, until: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
        """Start again what ends, until it is so; AssertionError with the logs where it is not."""
        deadline = time.monotonic() + within_s
        while not until():
            self.bed.stack.tend()
            if time.monotonic() > deadline:
                logs = [self.since(name)[-2_000:] for name in self.bed.stack.programs]
                raise AssertionError("\n".join([f"not in {within_s:.0f} s: {what}", *logs]))
            time.sleep(TICK_S)

    def tend_for(self, seconds: float) -> None:
        """Start again what ends, for the length of a fault."""
        end = time.monotonic() + seconds
        self.tend(lambda: time.monotonic() >= end, "the end of the fault", seconds + WAIT_S)

    def wait_for(self, text: str, program: str, within_s: float = WAIT_S) -> None:
        """Until the program has logged this, since `begin`."""
        self.tend(lambda: text in self.since(program), f"{program} says {text!r}", within_s)

    def begin(self) -> None:
        """From here on logs are new. Every program runs, and what was published is answered."""
        self.bed.mend()
        self.settle()
        self._marks = {program: len(self.bed.log(program)) for program in self.bed.programs_ever}

    @property
    def logged(self) -> list[str]:
        """The programs that ever had a log."""
        return self.bed.programs_ever

    def since(self, program: str) -> str:
        """What the program has logged since `begin`."""
        return self.bed.log(program)[self._marks.get(program, 0) :]

    def rows(self, table: str) -> int:
        """Rows of one of the stream's tables."""
        return count(self.warehouse, f"{self.bed.stream.name}.{table}")

    def settle(self) -> None:
        """Until every program runs and both tables hold a row for each event."""
        programs = self.bed.stack.programs
        self.tend(lambda: all(p.child for p in programs.values()), "every program runs")
        self.tend(
            lambda: self.rows("predictions") >= self.events <= self.rows("events"),
            f"{self.events} events and their predictions in ClickHouse",
        )

    def audit(self) -> None:
        """No gap and no double, in the topics and in the tables."""
        self.settle()
        bed = self.bed
        assert_exactly_once(bed.bootstrap, self.warehouse, bed.stream.name, self.events)

    def doomed_scorer(self, crash_after: str, folder: Path) -> Child:
        """In the place of scorer-0, one that stops or kills itself after a numbered step."""
        running = self.bed.stack.programs["scorer-0"]
        assert running.child is not None
        running.child.stop()
        path = str(self.bed.stream.path)
        running.child = Child(
            "scorer-0",
            [sys.executable, "-m", "millstream", "score", path, "--slot", "0"],
            log=folder / "doomed.log",
            env=self.bed.stack.environment | {"MILLSTREAM_CRASH_AFTER": crash_after},
        )
        return running.child


def wait_until_stopped(child: Child) -> None:
    """Until the process has stopped itself."""
    deadline = time.monotonic() + WAIT_S
    while state(child.pid) != "T":
        assert child.alive(), child.tail()
        assert time.monotonic() < deadline, f"it does not stop: {child.tail()}"
        time.sleep(TICK_S)


def state(pid: int) -> str:
    """The kernel's letter for what the process does; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]


def wait_for_exit(child: Child, within_s: float = WAIT_S) -> int:
    """The exit code."""
    deadline = time.monotonic() + within_s
    while child.exit_code is None:
        assert time.monotonic() < deadline, f"it lives on: {child.tail()}"
        time.sleep(TICK_S)
    return child.exit_code
