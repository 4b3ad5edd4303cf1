"""A program that cannot outlive us: Kafka's broker, Apicurio, the embedded registry.

On Linux the kernel kills the child when its starter ends (``PR_SET_PDEATHSIG``), however it ends;
elsewhere only an ordinary exit does.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from millstream.errors import DependencyUnavailable

_PR_SET_PDEATHSIG = 1
_PORTS = range(15_000, 32_000)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_living: weakref.WeakSet[Child] = weakref.WeakSet()


class Child:
    """One running program, its standard output and standard error in a file.

    name: the dependency's name in errors.
    argv: the program and its arguments.
    log: the file that stdout and stderr are appended to.
    logs: further files whose ends an error quotes.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        logs: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._logs = (log, *logs)
        self._argv = list(argv)
        self._env = {**os.environ, **(env or {})}
        self._ended = threading.Event()
        self._spawned = threading.Event()
        self._failure: OSError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel's parent-death signal follows the thread that forked, not the process: a
        # child of a test's worker thread would die with that thread. So each child gets a
        # thread that forks it, waits for it, and lasts as long as either of us.
        threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True).start()
        self._spawned.wait()
        if self._failure is not None:
            raise DependencyUnavailable(name, f"cannot be started: {self._failure}")
        _living.add(self)

    def _keep(self) -> None:
        parent = os.getpid()

        def die_with_parent() -> None:
            if _libc is not None:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:  # it died between the fork and the line above
                    os._exit(1)

        try:
            with self._logs[0].open("ab") as log:
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    start_new_session=True,  # Ctrl-C is for us; we stop it in order
                    preexec_fn=die_with_parent,  # noqa: PLW1509
                )
        except OSError as error:
            self._failure = error
            self._spawned.set()
            return
        self._spawned.set()
        self._process.wait()
        self._ended.set()

    @property
    def pid(self) -> int:
        """The process id, of a child that may have ended."""
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Whether it is still running."""
        return not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative by a signal; None while it runs."""
        assert self._process is not None
        return self._process.returncode if self._ended.is_set() else None

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Ask ``ready`` until it says yes.

        Raises DependencyUnavailable, with the end of the log, when the child ends first or the
        time is up. Whatever is raised, the child is gone then.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while not ready():
                if not self.alive():
                    raise DependencyUnavailable(self.name, f"ended at its start\n{self.tail()}")
                if time.monotonic() > deadline:
                    reason = f"not ready after {timeout_s:g} s\n{self.tail()}"
                    raise DependencyUnavailable(self.name, reason)
                self._ended.wait(0.05)
        except BaseException:
            self.kill()
            raise

    def tail(self, lines: int = 15) -> str:
        """The last lines of each log."""
        ends = []
        for path in self._logs:
            with contextlib.suppress(OSError):
                text = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
                ends.append("\n".join([f"{path}:", *text]))
        return "\n".join(ends)

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """SIGTERM, then SIGKILL when it has not ended in time; returns when it is gone."""
        if self.alive():
            self._signal(signal.SIGTERM)
            if not self._ended.wait(timeout_s):
                self._signal(signal.SIGKILL)
        self._ended.wait()
        _living.discard(self)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self.alive():
            self._signal(signal.SIGKILL)
        self._ended.wait()
        _living.discard(self)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens on.

    They lie below the range that the system takes outgoing connections from (32,768 up), so that
    a restart finds them free again; another program may still be faster, so be ready to retry.
    """
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", random.choice(_PORTS)))  # noqa: S311
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def listening(port: int) -> bool:
    """Whether 127.0.0.1:port takes connections."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop_requests() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set, which from here on do not end the process themselves.

    Call it in the main thread before anything is started that must be stopped.
    """
    asked = threading.Event()

    def ask(_number: int, _frame: Any) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return asked


def write_ready_file(path: Path, text: str) -> None:
    """Write the file whole or not at all, so that a reader who sees it can use it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def _kill_the_living() -> None:
    for child in list(_living):
        child.kill()


atexit.register(_kill_the_living)
