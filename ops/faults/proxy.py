"""A TCP server that passes bytes on to another, and fails as told.

Toxiproxy does this too, and needs Go and a download at every fresh machine; these lines need
nothing, and know the one fault that Kafka's clients must survive and Toxiproxy mends silently: an
answer that was sent and never arrived (`swallow`).

A stream of which bytes were lost cannot go on, so `mend` resets the connections that lost some.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Self

CHUNK_BYTES = 262_144
CHUNKS_MAX = 64
"""In flight in one direction of one connection; beyond that the sender is not read."""


@dataclass(slots=True, eq=False)
class _Link:
    """One client's connection and ours to the target."""

    client: asyncio.StreamWriter
    target: asyncio.StreamWriter
    holed: bool = False

    def reset(self) -> None:
        """RST in both directions: what is under way is lost, and both ends see an error."""
        for writer in (self.client, self.target):
            with contextlib.suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            writer.transport.abort()


class Proxy:
    """Listens on `port` of 127.0.0.1 from start to stop, in a thread of its own.

    target: the port on 127.0.0.1 that is passed to; may be set later. seed: of the jitter.
    """

    def __init__(self, target: int = 0, seed: int = 1) -> None:
        self.target = target
        self.port = 0
        self.passed_bytes = 0
        self.connections = 0  # taken so far
        self._random = random.Random(seed)  # noqa: S311
        self._delay_s = 0.0
        self._jitter_s = 0.0
        self._bytes_per_s: float | None = None
        self._swallowing = self._cut = False
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> int:
        """Reset every connection now; how many there were."""
        return int(self._do(self._reset(holed_only=False)))

    def cut(self) -> None:
        """Reset every connection and every new one: the program behind is gone."""
        self._cut = True
        self.reset()

    def part(self) -> None:
        """Pass nothing, in either direction; what is sent meanwhile arrives after `mend`."""
        self._do(self._set_flow(False))

    def swallow(self) -> None:
        """Pass requests and lose the answers."""
        self._swallowing = True

    def slow(self, delay_s: float = 0.0, jitter_s: float = 0.0, rate: float | None = None) -> None:
        """Delay each direction by delay_s +- jitter_s, and pass at most `rate` bytes a second."""
        self._delay_s, self._jitter_s, self._bytes_per_s = delay_s, jitter_s, rate

    def mend(self) -> None:
        """No fault any more."""
        self._cut = self._swallowing = False
        self.slow()
        self._do(self._reset(holed_only=True))
        self._do(self._set_flow(True))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=2 * CHUNK_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._reset(holed_only=False)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reset(self, holed_only: bool) -> int:
        found = [link for link in self._links if link.holed or not holed_only]
        for link in found:
            link.reset()
        return len(found)

    async def _set_flow(self, flows: bool) -> None:
        if flows:
            self._flows.set()
        else:
            self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = _Link(writer, writer)
        if self._cut:
            link.reset()
            return
        try:
            back, link.target = await asyncio.open_connection(
                "127.0.0.1", self.target, limit=2 * CHUNK_BYTES
            )
        except OSError:
            link.reset()
            return
        self._links.add(link)
        ways = [
            asyncio.ensure_future(way)
            for way in (self._pass(reader, link, False), self._pass(back, link, True))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._links.discard(link)
            for each in (link.client, link.target):
                each.close()

    async def _pass(self, reader: asyncio.StreamReader, link: _Link, answers: bool) -> None:
        """One direction; ends when either end has."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        sending = asyncio.ensure_future(self._send(queue, link, answers))
        try:
            while not sending.done():
                chunk = await reader.read(CHUNK_BYTES)
                jitter = self._random.uniform(-self._jitter_s, self._jitter_s)
                await queue.put((self._loop.time() + max(0.0, self._delay_s + jitter), chunk))
                if not chunk:
                    await sending
        except OSError:
            return
        finally:
            sending.cancel()

    async def _send(
        self, queue: asyncio.Queue[tuple[float, bytes]], link: _Link, answers: bool
    ) -> None:
        writer = link.client if answers else link.target
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._flows.wait()
            if not chunk:
                return
            if answers and self._swallowing:
                link.holed = True
                continue
            if self._bytes_per_s is not None:
                await asyncio.sleep(len(chunk) / self._bytes_per_s)
            try:
                writer.write(chunk)
                await writer.drain()
            except OSError:
                return
            self.passed_bytes += len(chunk)
