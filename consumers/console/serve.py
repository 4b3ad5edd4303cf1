"""Runs the console: one process, one stream, one port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import uvicorn

from consumers.console.app import Console, Given
from consumers.listening import QuietServer, address, listen
from millstream.console.sessions import Password, require_login
from millstream.hosts import is_loopback

STOP_WAIT_S: Final = 5

_log = logging.getLogger(__name__)


def run_console(given: Given, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    port: 0 takes a free one. ready: told the address once it answers.
    Raises SettingsInvalid: others could reach it without a login, or it cannot listen there.
    """
    require_login(host, Password.of(given.settings))
    listener = listen("the console", host, port)
    try:
        url = address(host, listener)
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
        QuietServer(config, lambda: ready(url), console.hub.close).run(sockets=[listener])
    finally:
        listener.close()
