"""One stream of server-sent events for every browser that looks; nothing is asked for nobody.

A source is looked at by a loop of its own, so that one that hangs holds up no other; the loops run
while someone listens. Every frame has what is known of all sources: a browser that missed frames
has missed nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.console.reach import Trouble, trouble_of
from millstream.console.plain import plain
from millstream.errors import MillstreamError

SILENCE_S_MAX: Final = 15.0
"""A comment is sent after so long without a frame, so that a dead connection is noticed."""
LISTENERS_MAX: Final = 200


@dataclass(slots=True)
class _Source:
    """look: blocks; runs in a thread."""

    what: str
    look: Callable[[], Any]
    data: Any = None
    at_s: float | None = None
    trouble: Trouble | None = None
    task: asyncio.Task[None] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "at": None if self.at_s is None else round(self.at_s * 1_000),
            "data": self.data,
            "error": None if self.trouble is None else self.trouble.as_json(),
        }


class Hub:
    """sources: name -> look. period_s: between looks. clock: seconds since 1970.

    Belongs to one event loop.
    """

    def __init__(
        self,
        sources: Mapping[str, Callable[[], Any]],
        period_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._sources = {name: _Source(name, look) for name, look in sources.items()}
        self._period_s = period_s
        self._clock = clock
        self._listeners: set[asyncio.Event] = set()
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether nobody more may listen."""
        return len(self._listeners) >= LISTENERS_MAX

    async def frames(self) -> AsyncIterator[str]:
        """Frames of the event stream, until the hub is closed or the listener goes."""
        news = asyncio.Event()
        self._listeners.add(news)
        try:
            self._wake()
            news.set()
            while not self._closed:
                try:
                    await asyncio.wait_for(news.wait(), SILENCE_S_MAX)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                news.clear()
                if not self._closed:
                    yield f"event: pulse\ndata: {self._frame()}\n\n"
        finally:
            self._listeners.discard(news)

    def close(self) -> None:
        """End every listener's stream."""
        self._closed = True
        self._tell()

    def _frame(self) -> str:
        said = {name: source.as_json() for name, source in self._sources.items()}
        return json.dumps({"now": round(self._clock() * 1_000), **plain(said)}, allow_nan=False)

    def _tell(self) -> None:
        for news in self._listeners:
            news.set()

    def _wake(self) -> None:
        for source in self._sources.values():
            if source.task is None or source.task.done():
                source.task = asyncio.ensure_future(self._watch(source))

    async def _watch(self, source: _Source) -> None:
        while self._listeners and not self._closed:
            try:
                source.data = await asyncio.to_thread(source.look)
                source.at_s, source.trouble = self._clock(), None
            except MillstreamError as why:
                source.trouble = trouble_of(why, source.what)
            except Exception as why:  # noqa: BLE001 - shown, and logged with its trace
                source.trouble = trouble_of(why, "console")
            self._tell()
            await asyncio.sleep(self._period_s)
