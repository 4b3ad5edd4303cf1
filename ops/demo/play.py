"""What every story does: start a stack, publish, show what ClickHouse has until it is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from consumers.warehouse import Warehouse
from millstream.errors import SettingsInvalid
from millstream.stream import Stream
from ops.demo.feed import Feed
from ops.stack import Parts, Stack

BUCKET = 1_000
"""Events of one bar of the picture."""
BARS = " ▁▂▃▄▅▆▇█"
FALL_MIN = 0.1
"""Accuracy must have fallen by so much."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When a story is left. stop: Ctrl-C. seconds: without anything new."""

    stop: threading.Event
    seconds: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """What every story sees. accuracy: of each BUCKET events."""

    labelled: int = 0
    accuracy: tuple[float, ...] = ()

    def mean(self, first: int, stop: int | None = None) -> float:
        """Accuracy of these buckets; 0 where there are none."""
        part = self.accuracy[first:stop]
        return sum(part) / len(part) if part else 0.0


Seen = TypeVar("Seen", bound=Labelled)


def begin(kafka: str) -> None:
    """Before anything is made. Raises SettingsInvalid where there is no such Kafka."""
    if kafka not in {"embedded", "real"}:
        raise SettingsInvalid(f"--kafka {kafka} is neither embedded nor real", "Choose one")
    logging.basicConfig(level=logging.ERROR)


@contextmanager
def running(console: Console, stream: Stream, folder: Path, parts: Parts) -> Iterator[Stack]:
    """The stream's stack below `folder`, stopped in order whatever happens."""
    stack = Stack(stream, folder, parts)
    try:
        with console.status("starting") as status:
            stack.start(lambda part: status.update(f"starting {part}"))
        console.print(f"Kafka {stack.kafka.bootstrap}; data and logs: {folder}")
        console.print(f"look at it in the browser: {stack.console_url}", highlight=False)
        yield stack
    finally:
        with console.status("stopping"):
            stack.stop()


def follow(
    console: Console,
    stack: Stack,
    feed: Feed,
    patience: Patience,
    look: Callable[[], Seen],
    picture: Callable[[Seen], RenderableType],
    is_over: Callable[[Seen, Seen], bool],
) -> Seen:
    """Publish and show until it is over, or nothing moves for too long; what was seen last.

    is_over: of the last two looks, the newer one second.
    """
    threads = feed.start(stack, stack.stream)
    seen, moved = look(), time.monotonic()
    try:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while not patience.stop.is_set() and time.monotonic() - moved < patience.seconds:
                stack.tend()
                last, seen = seen, look()
                live.update(picture(seen))
                if seen != last:
                    moved = time.monotonic()
                if feed.errors or is_over(last, seen):
                    break
                time.sleep(0.5)
        return seen
    finally:
        feed.stop.set()
        for thread in threads:
            thread.join()


def labelled(warehouse: Warehouse, name: str) -> tuple[int, tuple[float, ...]]:
    """Labelled events of the database, and the accuracy of each BUCKET of them."""
    rows = warehouse.query(
        f"SELECT intDiv(toUInt32(substring(event_id, 3)), {BUCKET}) AS bucket, "
        f"avg(predicted = label), count() FROM {name}.labelled_now "
        "WHERE status = 'labelled' GROUP BY bucket ORDER BY bucket"
    )
    return sum(int(count) for _, _, count in rows), tuple(float(mean) for _, mean, _ in rows)


def progress(title: str, published: str, feed: Feed, seen: Labelled) -> Table:
    """The table's first rows: what was published, what came of it, how right it was."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("", min_width=40)
    table.add_row("published", published)
    table.add_row("outcomes", f"{feed.outcomes:,}, joined {seen.labelled:,}")
    bars = "".join(BARS[round(share * (len(BARS) - 1))] for share in seen.accuracy)
    now = f"{seen.accuracy[-1]:.1%}" if seen.accuracy else "unknown"
    table.add_row(f"accuracy of {BUCKET:,} each", f"{bars} now {now}")
    return table


def conclude(console: Console, faults: Sequence[str], good: str) -> int:
    """Say what is not as it must be, or `good`; the exit code."""
    for fault in faults:
        console.print(f"not as it must be: {fault}")
    if not faults:
        console.print(good)
    return 1 if faults else 0
