"""The embedded registry as a process of its own, which programs and tests share by its URL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from ops.kafka.service import Service
from ops.process import Child

START_TIMEOUT_S = 60.0


class EmbeddedRegistry(Service):
    """``python -m ops.registry`` with the life cycle of Service; schemas survive kill()."""

    name: ClassVar[str] = "schema registry"

    def __init__(self, data: Path | None = None, *, port: int = 0) -> None:
        super().__init__(data, port)

    @property
    def url(self) -> str:
        """What clients take: ``http://127.0.0.1:PORT``; the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    def _launch(self) -> Child:
        ready = self.data / "ready"
        ready.unlink(missing_ok=True)
        argv = [
            sys.executable, "-m", "ops.registry", "--path", str(self.data),
            "--port", str(self._port), "--ready-file", str(ready),
        ]  # fmt: skip
        child = Child(self.name, argv, log=self.data / "console.log")
        child.wait_until(ready.exists, timeout_s=START_TIMEOUT_S)
        return child
