"""The event stream: who is told, and what is asked for whom."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

from consumers.console.hub import Hub
from millstream.errors import DependencyUnavailable

PERIOD_S = 0.01


def _data(frame: str) -> dict[str, Any]:
    event, data = frame.strip().split("\n")
    assert event == "event: pulse"
    found: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return found


async def _until(frames: AsyncIterator[str], wanted: Any) -> dict[str, Any]:
    async for frame in frames:
        found = _data(frame)
        if wanted(found):
            return found
    raise AssertionError("the stream ended")


def test_everybody_hears_what_one_look_found() -> None:
    """Two listeners, one look after the other, not two."""

    async def run() -> None:
        looks = 0

        def look() -> int:
            nonlocal looks
            looks += 1
            return looks

        hub = Hub({"a": look}, PERIOD_S, lambda: 5.0)
        one, other = hub.frames(), hub.frames()
        first = await _until(one, lambda f: f["a"]["data"] is not None)
        second = await _until(other, lambda f: f["a"]["data"] is not None)
        assert second["a"]["data"] - first["a"]["data"] <= 3
        assert first["now"] == 5_000
        hub.close()

    asyncio.run(run())


def test_nothing_is_asked_when_nobody_listens() -> None:
    """The loops end after the last listener has gone, and begin again with the next."""

    async def run() -> None:
        looks = 0

        def look() -> int:
            nonlocal looks
            looks += 1
            return 1

        hub = Hub({"a": look}, PERIOD_S, lambda: 5.0)
        frames = hub.frames()
        await _until(frames, lambda f: f["a"]["data"] == 1)
        await frames.aclose()  # type: ignore[attr-defined]
        while any(s.task is not None and not s.task.done() for s in hub._sources.values()):
            await asyncio.sleep(PERIOD_S)
        seen = looks
        again = hub.frames()
        await _until(again, lambda f: True)
        while looks == seen:
            await anext(again)
        hub.close()

    asyncio.run(run())


def test_a_source_that_hangs_or_fails_takes_no_other_down() -> None:
    """The frame has the one's error and what it said before, the other goes on."""

    async def run() -> None:
        held, turns = threading.Event(), iter([1])

        def fails() -> int:
            for turn in turns:
                return turn
            raise DependencyUnavailable("Kafka", "no broker")

        hub = Hub({"hangs": held.wait, "fails": fails, "works": lambda: 2}, PERIOD_S, lambda: 5.0)
        found = await _until(hub.frames(), lambda f: f["fails"]["error"] is not None)
        assert found["fails"]["data"] == 1
        assert found["fails"]["error"]["problem"] == "no broker"
        assert found["works"] == {"at": 5_000, "data": 2, "error": None}
        assert found["hangs"]["data"] is None
        held.set()
        hub.close()

    asyncio.run(run())


def test_closing_ends_every_stream() -> None:
    """So that the server can stop while browsers look."""

    async def run() -> None:
        hub = Hub({"a": lambda: 1}, PERIOD_S, lambda: 5.0)
        frames = hub.frames()
        await anext(frames)
        hub.close()
        async for _ in frames:
            pass

    asyncio.run(asyncio.wait_for(run(), 20))
