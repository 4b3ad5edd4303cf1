"""One query's rows on their way from the engine to the client, never held in whole.

The engine writes into a named pipe (INTO OUTFILE), in the format and compression asked for, and we
pass on what comes out: any format streams, and a slow client slows the engine, not our memory.

The client gone first: the pipe's name goes before its reading end is closed, so that the engine
either has the pipe open and gets a broken pipe, or finds no pipe and makes a plain file, which is
removed when the query ends; it can never wait for a reader that does not come.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PIPE_BYTES = 1 << 20
"""What fits into the pipe. Linux lets any process have this much without asking."""

HEAD_BYTES = 1 << 20
"""How much is collected before the first byte goes out: an error until then gets its own status."""

_CHUNK_BYTES = 1 << 18


class ClientGone(Exception):
    """The client has closed its connection."""


class Outlet:
    """A named pipe with the engine at one end; made and used in the event loop.

    path: its name, for the engine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        # Opened without blocking: nobody writes yet. Our own writing end keeps the pipe from
        # looking finished until the query is.
        self._reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._writing = os.open(path, os.O_WRONLY)
        fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._reader = asyncio.StreamReader(limit=_CHUNK_BYTES)
        self._transport: asyncio.BaseTransport | None = None

    async def open(self, gone: asyncio.Future[None]) -> None:
        """Begin to read, until `gone` says that the client has closed its connection."""
        self._gone = gone
        file = os.fdopen(self._reading, "rb", buffering=0)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), file
        )

    def query_ended(self) -> None:
        """The engine writes no more: what is in the pipe is the rest."""
        os.close(self._writing)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """No one reads any more; a query that still writes fails."""
        self.path.unlink(missing_ok=True)
        if self._transport is not None:
            self._transport.close()

    async def chunk(self) -> bytes:
        """The next bytes, b"" at the end. Raises ClientGone."""
        read = asyncio.ensure_future(self._reader.read(_CHUNK_BYTES))
        either: set[asyncio.Future[Any]] = {read, self._gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            read.cancel()
            raise ClientGone
        return read.result()

    async def fill(self, head: IO[bytes], size_max: int | None) -> bool:
        """Write up to about `size_max` bytes (None: all) into `head`; say if that was the end.

        Raises ClientGone.
        """
        while size_max is None or head.tell() < size_max:
            data = await self.chunk()
            if not data:
                return True
            head.write(data)
        return False


async def kill_until(done: asyncio.Future[Any], kill: Callable[[], None]) -> None:
    """Call `kill`, in a thread, until the query is over: it may not have begun the first time."""
    while not done.done():
        await asyncio.to_thread(kill)
        await asyncio.wait({done}, timeout=0.5)
