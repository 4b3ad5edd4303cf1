"""Runs the console: one process, one stream, one port."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Generator
from typing import Final

import uvicorn

from consumers.console.app import Console, Given
from millstream.console.sessions import Password, is_loopback, require_login
from millstream.errors import SettingsInvalid

STOP_WAIT_S: Final = 5
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


def run_console(given: Given, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    port: 0 takes a free one. ready: told the address once it answers.
    Raises SettingsInvalid: others could reach it without a login, or it cannot listen there.
    """
    require_login(host, Password.of(given.settings))
    listener = _listen(host, port)
    try:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        if not is_loopback(host) and not given.settings.https:
            _log.warning(
                "%s: passwords travel readable; put a proxy with https before it, and set "
                "MILLSTREAM_CONSOLE_HTTPS=true",
                url,
            )
        console = Console(given)
        config = uvicorn.Config(
            console.app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_WAIT_S,
        )
        _Server(config, console, url, ready).run(sockets=[listener])
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
    except (OSError, OverflowError) as why:
        listener.close()
        raise SettingsInvalid(
            f"the console cannot listen on {host} port {port}: {why}",
            "Choose another port, or 0 for a free one",
        ) from why
    return listener


class _Server(uvicorn.Server):
    """uvicorn that tells its address, ends event streams when it stops, and exits with 0 then."""

    def __init__(
        self, config: uvicorn.Config, console: Console, url: str, ready: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._console = console
        self._url = url
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._console.hub.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's own, but the signal is not raised again: being told to stop is no error."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
