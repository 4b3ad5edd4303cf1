"""Runs the warehouse server: one process, one path, one port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import uvicorn
from pydantic import SecretStr

from millstream.errors import OperatorNeeded
from ops.warehouse.app import make_app
from ops.warehouse.engine import Warehouse
from ops.warehouse.protocol import is_loopback

log = logging.getLogger(__name__)

STOP_WAIT_S: Final = 60
"""How long a running INSERT may take to finish once the server is told to stop."""

_URL_BYTES_MAX = 1 << 20  # ClickHouse's http_max_uri_size
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    path: Path,
    host: str = "127.0.0.1",
    port: int = 8123,
    password: SecretStr | None = None,
    ready_file: Path | None = None,
    functions: Path | None = None,
) -> None:
    """Serve the embedded ClickHouse at `path` until SIGTERM or SIGINT; call it in the main thread.

    path: the database's folder, made if missing. host: where to listen; anywhere but loopback needs
    a password. port: 0 takes a free one. ready_file: gets the server's URL when it answers, in one
    step, and is removed at the end. functions: see Warehouse.

    Raises OperatorNeeded: no password though others can reach the server, the port is taken, the
    folder cannot be used, or another process has it open.
    """
    if password is not None and not password.get_secret_value():
        raise OperatorNeeded(
            "The warehouse's password is empty", "Give a password, or leave it out"
        )
    if password is None and not is_loopback(host):
        problem = f"The warehouse would listen on {host} without a password"
        raise OperatorNeeded(problem, "Set a password, or listen on 127.0.0.1")
    listener = _listen(host, port)
    try:
        warehouse = Warehouse(path, functions)
        config = uvicorn.Config(
            make_app(warehouse, password),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=STOP_WAIT_S,
            h11_max_incomplete_event_size=_URL_BYTES_MAX,
        )
        # An answer broken off on purpose is an error to uvicorn; bugs are logged by app.py.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/"
        _Server(config, warehouse, url, ready_file).run(sockets=[listener])
    finally:
        listener.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio recognises TCP and switches Nagle's algorithm off: an
    # answer goes out as head and body, and the second would wait 40 ms for the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.set_inheritable(True)
    except (OSError, OverflowError) as error:
        listener.close()
        problem = f"The warehouse cannot listen on {host} port {port}: {error}"
        raise OperatorNeeded(problem, "Choose another port, or 0 for a free one") from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn, with a ready file at the start and an exit code of 0 after a signal."""

    def __init__(
        self, config: uvicorn.Config, warehouse: Warehouse, url: str, ready_file: Path | None
    ) -> None:
        super().__init__(config)
        self._warehouse = warehouse
        self._url = url
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            if self._ready_file is not None:
                _write_at_once(self._ready_file, self._url)
            log.info(
                "The warehouse %s (ClickHouse %s, embedded) answers at %s",
                self._warehouse.path,
                self._warehouse.version,
                self._url,
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.ensure_future(self._end_queries())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_queries(self) -> None:
        # Again and again: a query that is only about to begin cannot be ended yet.
        while True:
            await asyncio.to_thread(self._warehouse.stop_reading)
            await asyncio.sleep(0.2)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's own, but the signal is not raised again: being told to stop is no error."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _write_at_once(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(number, "w", encoding="ascii") as file:
        file.write(text + "\n")
    Path(name).replace(path)
