"""A whole Millstream on this machine: broker, registry, ClickHouse, scorer, sink.

stack = Stack(stream, folder, Parts())
with stack:                      # everything answers
    while ...: stack.tend()      # start again what ended
                                 # stopped in order, whatever happened
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from consumers.alerts.channels import channels
from consumers.topics import create_topics
from consumers.warehouse import Warehouse, migrate
from millstream.contracts import topic_table
from millstream.errors import DependencyUnavailable, OperatorNeeded, TooManyRefusals
from millstream.functions.config import Pool, write_functions
from millstream.settings import (
    AlertsSettings,
    KafkaSettings,
    RegistrySettings,
    WarehouseSettings,
    from_environment,
)
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from ops.process import Child, free_ports

READY_S_MAX = 90.0
STAY_DOWN = TooManyRefusals.exit_code
STOP_S_MAX = 60.0
RESTART_S_MIN, RESTART_S_MAX = 0.5, 15.0
STEADY_S = 5.0
"""A program that ran so long is not failing at its start: it is started again soon."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """Which part each dependency is.

    kafka: embedded, real (started here), or host:port of one that runs already.
    registry, warehouse: embedded, or the URL of one that runs already.
    scorers: how many, each with a slot of its own. watch: whether outcomes are joined and the
    stream is watched for drift. retrain: whether models are retrained. console: whether there is
    one, on a free port of this machine.
    """

    kafka: Literal["embedded", "real"] | str = "embedded"
    registry: Literal["embedded"] | str = "embedded"
    warehouse: Literal["embedded"] | str = "embedded"
    scorers: int = 1
    watch: bool = False
    retrain: bool = False
    console: bool = False


@dataclass(slots=True)
class Running:
    """One program of the stack: how to start it, and what it is at now."""

    name: str
    start: Callable[[], Child]
    child: Child | None = None
    starts: int = 0
    launched: float = 0.0
    backoff_s: float = RESTART_S_MIN
    due: float = 0.0
    ready: Path = field(default_factory=Path)


class Stack:
    """Starts in order, restarts what ends, stops in reverse order.

    stream: whose programs run. folder: data, logs and ready files. clock: seconds, for restarts.
    """

    def __init__(
        self,
        stream: Stream,
        folder: Path,
        parts: Parts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self._folder = folder.absolute()
        self._parts = parts
        self._clock = clock
        self._exits = ExitStack()
        self.programs: dict[str, Running] = {}
        self.environment: dict[str, str] = {}
        self.console_url: str | None = None
        self.targets = self._folder / "metrics"
        """A file for each program that runs: at which port its metrics are."""
        self.kafka = KafkaSettings()
        self.registry = RegistrySettings()
        self.warehouse = WarehouseSettings()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, said: Callable[[str], None] = lambda text: None) -> None:
        """Everything up and answering. Raises OperatorNeeded or DependencyUnavailable."""
        for name in ("logs", "ready"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for old in self.targets.glob("*.json"):  # of programs that were killed
            old.unlink()
        said("Kafka")
        self._start_kafka()
        said("schema registry")
        self._start_registry()
        said("ClickHouse")
        self._start_warehouse()
        said("topics and tables")
        self._prepare()
        said("the programs")
        for slot in range(self._parts.scorers):
            self._add_scorer(slot)
        names = ["sink", "join", "watch"] if self._parts.watch else ["sink"]
        for name in names:
            self._add_program(name, [name, str(self.stream.path)])
        if self._parts.retrain:
            self._add_program("retrain", ["retrain", str(self.stream.path)])
        if self.is_telling:
            self._add_program("alerts", ["alerts", "run", str(self.stream.path)])
        if self._parts.console:
            (port,) = free_ports(1)  # named, so that it is the same after a restart
            self.console_url = f"http://127.0.0.1:{port}"
            self._add_program("console", ["console", str(self.stream.path), "--port", str(port)])
        for running in self.programs.values():
            self._await_ready(running)

    @property
    def is_telling(self) -> bool:
        """Whether alarms have rules, or people to go to: addresses are in the environment."""
        settings = from_environment(AlertsSettings, os.environ)
        return bool(self.stream.alerts.rules or channels(settings))

    def stop(self) -> None:
        """Programs first, so that what they have in hand still finds its dependencies."""
        for running in reversed(self.programs.values()):
            if running.child is not None:
                running.child.stop(timeout_s=STOP_S_MAX)
                running.child = None
        self._exits.close()

    def tend(self) -> None:
        """Start again what has ended, later each time. Call it every second or so.

        A program that says that starting it again would do harm (exit code 4) stays down.
        """
        for running in self.programs.values():
            child = running.child
            if child is not None and not child.alive():
                running.child = None
                if child.exit_code == STAY_DOWN:
                    running.due = math.inf
                    _log.error(
                        "%s stopped itself and is not started again\n%s",
                        running.name,
                        child.tail(5),
                    )
                    continue
                running.due = self._clock() + running.backoff_s
                _log.warning(
                    "%s ended; it is started again in %.1f s\n%s",
                    running.name,
                    running.backoff_s,
                    child.tail(5),
                )
                if self._clock() - running.launched > STEADY_S:
                    running.backoff_s = RESTART_S_MIN
                running.backoff_s = min(2 * running.backoff_s, RESTART_S_MAX)
            elif child is None and self._clock() >= running.due:
                self._launch(running)

    def scale(self, scorers: int) -> None:
        """So many scorers from here on: the last ones leave in order, new ones get the next slots.

        Raises OperatorNeeded where a new one does not start.
        """
        slots = sum(name.startswith("scorer-") for name in self.programs)
        for slot in reversed(range(scorers, slots)):
            child = self.programs.pop(f"scorer-{slot}").child
            if child is not None:
                child.stop(timeout_s=STOP_S_MAX)
        for slot in range(slots, scorers):
            self._add_scorer(slot)
        for slot in range(slots, scorers):
            self._await_ready(self.programs[f"scorer-{slot}"])

    def kill(self, name: str) -> None:
        """SIGKILL one program, as a crash would; `tend` starts it again."""
        child = self.programs[name].child
        if child is not None:
            child.kill()

    def _start_kafka(self) -> None:
        chosen = self._parts.kafka
        if chosen == "embedded":
            embedded = self._exits.enter_context(EmbeddedBroker())
            for topic in topic_table().values():
                name = topic.name(self.stream.name)
                embedded.create_topic(name, self.stream.serving.partitions)
            self.kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
            self.environment["MILLSTREAM_KAFKA_EMBEDDED"] = "true"
        elif chosen == "real":
            broker = self._exits.enter_context(Broker(self._folder / "kafka"))
            self.kafka = KafkaSettings(bootstrap=broker.bootstrap)
        else:
            self.kafka = KafkaSettings(bootstrap=chosen)
        self.environment["MILLSTREAM_KAFKA_BOOTSTRAP"] = self.kafka.bootstrap

    def _start_registry(self) -> None:
        url = self._parts.registry
        if url == "embedded":
            url = self._serve("registry", ["registry", str(self._folder / "registry")])
        self.registry = RegistrySettings(url=url)
        self.environment["MILLSTREAM_REGISTRY_URL"] = url

    def _start_warehouse(self) -> None:
        url = self._parts.warehouse
        if url == "embedded":
            functions = self._folder / "functions"
            write_functions(functions, [self.stream.path.absolute()], Pool(Path(sys.executable)))
            command = ["warehouse", str(self._folder / "clickhouse")]
            url = self._serve("warehouse", [*command, "--functions", str(functions)])
        self.warehouse = WarehouseSettings(url=url)
        self.environment["MILLSTREAM_WAREHOUSE_URL"] = url

    def _prepare(self) -> None:
        if not self.kafka.embedded:
            create_topics(self.stream, self.kafka)
        warehouse = Warehouse.connect(self.warehouse)
        try:
            migrate(warehouse, self.stream)
        finally:
            warehouse.close()

    def _serve(self, name: str, command: list[str]) -> str:
        """Start an embedded server on a free port; its URL."""
        ready = self._folder / "ready" / name
        ready.unlink(missing_ok=True)
        child = self._child(name, [*command, "--port", "0", "--ready-file", str(ready)])
        self._exits.callback(child.stop)
        child.wait_until(ready.exists, timeout_s=READY_S_MAX)
        return ready.read_text("utf-8").strip().rstrip("/")

    def _add_scorer(self, slot: int) -> None:
        command = ["score", str(self.stream.path), "--slot", str(slot)]
        self._add_program(f"scorer-{slot}", command)

    def _add_program(self, name: str, command: list[str]) -> None:
        ready = self._folder / "ready" / name
        argv = [*command, "--ready-file", str(ready)]
        running = Running(name, lambda: self._child(name, argv), ready=ready)
        self.programs[name] = running
        self._launch(running)

    def _launch(self, running: Running) -> None:
        running.ready.unlink(missing_ok=True)
        running.starts += 1
        running.launched = self._clock()
        running.child = running.start()

    def _await_ready(self, running: Running) -> None:
        child = running.child
        assert child is not None, running.name
        try:
            child.wait_until(running.ready.exists, timeout_s=READY_S_MAX)
        except DependencyUnavailable as why:
            raise OperatorNeeded(
                f"{running.name} does not start: {why.reason}", "Mend what its log names"
            ) from None

    def _child(self, name: str, command: list[str]) -> Child:
        return Child(
            name,
            [sys.executable, "-m", "millstream", *command],
            log=self._folder / "logs" / f"{name}.log",
            env=self.environment
            | {"MILLSTREAM_METRICS_PORT": "0", "MILLSTREAM_METRICS_TARGETS": str(self.targets)},
        )
