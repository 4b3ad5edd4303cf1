"""How our HTTP servers listen, and how they end: the console, the embedded warehouse and registry.

All are uvicorn with one socket of ours, so that port 0 works and a port that is taken is told as an
operator's error before anything else is opened.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from typing import Final

import uvicorn

from millstream.errors import SettingsInvalid

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def listen(what: str, host: str, port: int) -> socket.socket:
    """A socket bound there; port 0: a free one. what: who listens, in the error.

    Raises SettingsInvalid where that cannot be.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named (socket.create_server() names none) so that asyncio recognises TCP and
    # switches Nagle's algorithm off: an answer goes out as head and body, and the second would
    # wait 40 ms for the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen()  # of two that bound one port, the second is told here
    except (OSError, OverflowError) as why:
        listener.close()
        raise SettingsInvalid(
            f"{what} cannot listen on {host} port {port}: {why}",
            "Choose another port, or 0 for a free one",
        ) from why
    return listener


def address(host: str, listener: socket.socket) -> str:
    """http://HOST:PORT of a socket that `listen` made."""
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{shown}:{listener.getsockname()[1]}"


class QuietServer(uvicorn.Server):
    """uvicorn that tells when it answers, and ends with exit code 0 when it is told to stop.

    ready: called once it answers. ending: called when it was told to stop, before it waits for the
    requests that run.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        self._ending()
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
