"""A whole Millstream of which every connection passes a proxy.

with Bed(stream, folder) as bed:
    bed.kafka.reset()                  # the programs' connections to the broker
    bed.broker.kill(); bed.broker.restart()
    with frozen(bed.child("scorer-0").pid): ...
    bed.stack.tend()                   # starts again what ended
The broker's own traffic (transaction markers) does not pass: only clients are cut off.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Self

from millstream.stream import Stream
from ops.faults.load import Load
from ops.faults.proxy import Proxy
from ops.kafka.broker import Broker
from ops.kafka.service import Service
from ops.process import Child, free_ports
from ops.registry.process import EmbeddedRegistry
from ops.stack import Parts, Stack

START_S_MAX = 90.0


class EmbeddedWarehouse(Service):
    """``millstream warehouse`` with the life cycle of Service; rows survive kill()."""

    name: ClassVar[str] = "ClickHouse"

    def _launch(self) -> Child:
        ready = self.data / "ready"
        ready.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "millstream", "warehouse", str(self.data / "data")]
        argv += ["--port", str(self._port), "--ready-file", str(ready)]
        child = Child(self.name, argv, log=self.data / "console.log")
        child.wait_until(ready.exists, timeout_s=START_S_MAX)
        return child


class Bed:
    """Broker, registry and ClickHouse behind `kafka`, `registry` and `warehouse`; the programs of
    `stream` in `stack`.

    scorers: how many. environment: more variables for the programs. broker: more lines of
    server.properties.
    """

    def __init__(
        self,
        stream: Stream,
        folder: Path,
        scorers: int = 1,
        environment: Mapping[str, str] | None = None,
        broker: Mapping[str, str] | None = None,
        heap_mb: int = 256,
    ) -> None:
        self.stream = stream
        self.folder = folder.absolute()
        self.kafka, self.registry, self.warehouse = Proxy(), Proxy(), Proxy()
        self._exits = ExitStack()
        self._broker_settings = dict(broker or {})
        self._heap_mb = heap_mb
        self._scorers = scorers
        self._environment = dict(environment or {})

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._start(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.mend()
        self._exits.close()

    def mend(self) -> None:
        """No proxy fails any more."""
        for proxy in (self.kafka, self.registry, self.warehouse):
            proxy.mend()

    def child(self, program: str) -> Child:
        """The running program of this name. AssertionError where it is not running."""
        child = self.stack.programs[program].child
        assert child is not None, program
        return child

    @property
    def programs_ever(self) -> list[str]:
        """Names of the programs that have a log, running or not."""
        logs = (self.folder / "run" / "logs").glob("*.log")
        return sorted(path.stem for path in logs)

    @property
    def bootstrap(self) -> str:
        """The broker without the proxy: for those who are not to be disturbed."""
        return f"127.0.0.1:{self._inner_port}"

    @property
    def warehouse_url(self) -> str:
        """ClickHouse without the proxy."""
        return f"http://127.0.0.1:{self.clickhouse.port}"

    def load(self, rate: float | None = None, first: int = 0, poison_every: int = 0) -> Load:
        """Events for the stream, published past the proxies."""
        url = self.registry_server.url
        return Load(self.stream, self.bootstrap, url, rate, first, poison_every)

    def log(self, program: str) -> str:
        """All that the program has logged, over all its lives."""
        path = self.folder / "run" / "logs" / f"{program}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _start(self, exits: ExitStack) -> None:
        for proxy in (self.kafka, self.registry, self.warehouse):
            exits.enter_context(proxy)
        self.broker = exits.enter_context(self._make_broker())
        self.kafka.target = self.broker.port
        self.registry_server = exits.enter_context(EmbeddedRegistry(self.folder / "registry"))
        self.registry.target = self.registry_server.port
        self.clickhouse = exits.enter_context(EmbeddedWarehouse(self.folder / "clickhouse", 0))
        self.warehouse.target = self.clickhouse.port
        parts = Parts(
            kafka=f"127.0.0.1:{self.kafka.port}",
            registry=f"http://127.0.0.1:{self.registry.port}",
            warehouse=f"http://127.0.0.1:{self.warehouse.port}",
            scorers=self._scorers,
        )
        self.stack = Stack(self.stream, self.folder / "run", parts)
        self.stack.environment |= self._environment
        exits.enter_context(self.stack)

    def _make_broker(self) -> Broker:
        """Clients are told the proxy's address; the broker reaches itself by another listener."""
        clients, inner, controller = free_ports(3)
        self._inner_port = inner
        settings = {
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{clients},INNER://127.0.0.1:{inner},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.kafka.port},"
            f"INNER://127.0.0.1:{inner}",
            "inter.broker.listener.name": "INNER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,INNER:PLAINTEXT,"
            "PLAINTEXT:PLAINTEXT",
            # a transaction that is overdue is aborted at once, not at the next of 10 s
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
            "group.consumer.session.timeout.ms": "20000",
            "group.consumer.heartbeat.interval.ms": "1000",
        }
        return Broker(
            self.folder / "kafka",
            port=clients,
            heap_mb=self._heap_mb,
            settings=settings | self._broker_settings,
        )


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP the process; SIGCONT at the end, whatever happens."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
