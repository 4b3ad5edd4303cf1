"""Serving the embedded registry."""

from __future__ import annotations

from pathlib import Path

import uvicorn

from consumers.listening import QuietServer, address, listen
from millstream.errors import OperatorNeeded
from millstream.hosts import is_loopback
from ops.process import write_ready_file
from ops.registry.app import Api, LoopbackOnly
from ops.registry.store import Store


def serve(
    path: Path, host: str = "127.0.0.1", port: int = 8081, ready_file: Path | None = None
) -> None:
    """Serve the registry in folder ``path`` until SIGINT or SIGTERM.

    host: who may reach it. There is no password: name an address other than loopback only in a
        network where everybody may register schemas. On loopback a Host header that names another
        machine is refused.
    port: 0 finds a free one.
    ready_file: written once it answers, with its URL and a newline, whole or not at all.
    Raises OperatorNeeded: the folder is in use or damaged, the host or port cannot be used.
    """
    if not 0 <= port < 2**16:
        raise OperatorNeeded(f"{port} is not a port", "Name one up to 65535, or 0 for a free one")
    store = Store(path)
    try:
        with listen("the registry", host, port) as listener:
            url = address(host, listener)
            app = Api(store).app()
            config = uvicorn.Config(
                LoopbackOnly(app) if is_loopback(host) else app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
            )

            def ready() -> None:
                if ready_file is not None:
                    write_ready_file(ready_file, url)

            QuietServer(config, ready).run(sockets=[listener])
    finally:
        store.close()
