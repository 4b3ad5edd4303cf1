"""The life of a server that tests and the demo start: start, stop, kill, restart."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from millstream.errors import DependencyUnavailable, OperatorNeeded
from ops.process import Child, free_ports, listening

_STARTS_MAX = 3  # another program may take a free port before the server does


class Service(ABC):
    """One server with a folder and ports on 127.0.0.1; a context manager.

    data: its folder, kept at stop(); None makes a temporary one, removed at stop().
    port: its port; 0 finds a free one.
    """

    name: ClassVar[str]  # in errors
    inner_ports: ClassVar[int] = 0  # ports it needs besides the one that clients use

    def __init__(self, data: Path | None, port: int) -> None:
        self._temporary = data is None
        prefix = f"millstream-{self.name.split()[0].lower()}-"
        # absolute, because the server may run in another folder
        self.data = (Path(tempfile.mkdtemp(prefix=prefix)) if data is None else data).absolute()
        self._asked_port = port
        self._port = 0
        self._inner: list[int] = []
        self._child: Child | None = None

    @abstractmethod
    def _launch(self) -> Child:
        """Start the program on the ports chosen and return once it answers."""

    @property
    def port(self) -> int:
        """The clients' port; the same after a restart."""
        assert self._port, f"{self.name} was never started"
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._child is not None, f"{self.name} is not running"
        return self._child.pid

    @property
    def running_pid(self) -> int | None:
        """The process id; None where it was not started, was stopped, or has ended."""
        child = self._child
        return child.pid if child is not None and child.alive() else None

    def start(self) -> Self:
        """Start it and return once it has answered.

        Raises OperatorNeeded (a missing program, the asked port is taken, a folder that it
        refuses) or DependencyUnavailable (it did not come up; quotes the end of its log).
        """
        assert self._child is None, f"{self.name} is running"
        self.data.mkdir(parents=True, exist_ok=True)
        if self._asked_port and listening(self._asked_port):
            raise OperatorNeeded(
                f"port {self._asked_port} is taken, {self.name} cannot use it",
                "Name another port, or 0 for a free one",
            )
        for attempt in range(1, _STARTS_MAX + 1):
            ports = free_ports(1 + self.inner_ports)
            self._port, self._inner = self._asked_port or ports[0], ports[1:]
            try:
                self._child = self._launch()
                break
            except DependencyUnavailable:
                taken = any(listening(port) for port in (self._port, *self._inner))
                if not taken or self._asked_port or attempt == _STARTS_MAX:
                    raise
        return self

    def stop(self) -> None:
        """End it in order (SIGTERM), and remove a temporary folder. Harmless when repeated."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would; the folder stays for restart()."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Start again on the same ports and folder; ends it in order first if it runs."""
        assert self._port, f"{self.name} was never started"
        if self._child is not None:
            self._child.stop()
            self._child = None
        self._child = self._launch()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
