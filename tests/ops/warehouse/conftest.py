"""One real warehouse server, in a process of its own, for the tests of a file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

READY_S_MAX = 60.0


@dataclass
class Served:
    """A running server: where it answers, and how to end it."""

    path: Path
    ready_file: Path
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> Served:
        """Start it and wait for its ready file."""
        command = [sys.executable, "-m", "ops.warehouse", "--path", str(self.path), "--port", "0"]
        command += ["--ready-file", str(self.ready_file), *self.arguments]
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(command, env=self.environment)
        deadline = time.monotonic() + READY_S_MAX
        while not self.ready_file.exists():
            assert self.process.poll() is None, f"the server left with {self.process.returncode}"
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.01)
        self.url = self.ready_file.read_text().strip()
        return self

    @property
    def port(self) -> int:
        """The port of the URL."""
        port = httpx.URL(self.url).port
        assert port is not None
        return port

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def ask(self, statement: str | bytes, **parameters: str) -> httpx.Response:
        """POST a statement, whatever its status."""
        return httpx.post(self.url, content=statement, params=parameters, timeout=60)

    def read(self, statement: str, **parameters: str) -> str:
        """The answer's text, without its last line feed; the status must be 200."""
        answer = self.ask(statement, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.text.removesuffix("\n")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server shared by the tests of one file; each test makes tables of its own."""
    folder = tmp_path_factory.mktemp("warehouse")
    server = Served(folder / "db", folder / "ready").start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server of the test's own, not started yet."""
    server = Served(tmp_path / "db", tmp_path / "ready")
    yield server
    if server.process is not None:
        server.stop()
