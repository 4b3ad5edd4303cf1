"""Serving the embedded registry."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import uvicorn

from millstream.errors import OperatorNeeded
from ops.process import write_ready_file
from ops.registry.app import Api, LoopbackOnly
from ops.registry.store import Store


class _Announcing(uvicorn.Server):
    """A server that writes its URL down once it answers."""

    def __init__(self, config: uvicorn.Config, url: str, ready_file: Path | None) -> None:
        super().__init__(config)
        self._url = url
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready_file is not None:
            write_ready_file(self._ready_file, self._url)


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
        with _listener(host, port) as listener:
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{listener.getsockname()[1]}"
            app = Api(store).app()
            config = uvicorn.Config(
                LoopbackOnly(app) if _is_loopback(host) else app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
            )
            _Announcing(config, url, ready_file).run(sockets=[listener])
    finally:
        store.close()


def _listener(host: str, port: int) -> socket.socket:
    # Not socket.create_server(): its sockets name no protocol, asyncio then leaves Nagle's
    # algorithm on, and every second answer takes 43 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise OperatorNeeded(
            f"the registry cannot listen on {host} port {port}: {error.strerror}",
            "Name another port, or 0 for a free one",
        ) from error
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
