"""Runs the warehouse server: one process, one path, one port."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

import uvicorn
from pydantic import SecretStr

from consumers.listening import QuietServer, address, listen
from millstream.errors import OperatorNeeded
from millstream.hosts import is_loopback
from ops.warehouse.app import make_app
from ops.warehouse.engine import Warehouse

log = logging.getLogger(__name__)

STOP_WAIT_S: Final = 60
"""How long a running INSERT may take to finish once the server is told to stop."""

_URL_BYTES_MAX = 1 << 20  # ClickHouse's http_max_uri_size


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
    listener = listen("the warehouse", host, port)
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
        url = f"{address(host, listener)}/"
        _Server(config, warehouse, url, ready_file).run(sockets=[listener])
    finally:
        listener.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


class _Server(QuietServer):
    """With a ready file at the start; queries that run are ended when it is told to stop."""

    def __init__(
        self, config: uvicorn.Config, warehouse: Warehouse, url: str, ready_file: Path | None
    ) -> None:
        super().__init__(config, self._tell)
        self._warehouse = warehouse
        self._url = url
        self._ready_file = ready_file

    def _tell(self) -> None:
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


def _write_at_once(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(number, "w", encoding="ascii") as file:
        file.write(text + "\n")
    Path(name).replace(path)
