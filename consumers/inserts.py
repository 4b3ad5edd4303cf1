"""Where the sink's inserts run: beside the loop, or within it.

An insert mostly waits for ClickHouse; meanwhile the loop reads and decodes the next block. What an
insert came to is looked at by the loop alone, in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from millstream.metrics.store import Store
from millstream.warehouse.blocks import Block, Finding

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 10.0

INSERTS_MAX = 2
"""Inserts under way at once. ClickHouse reads the rows of one while it writes the part of another;
more only wait for each other."""
T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What a sink has finished since it started: rows by table, blocks, repeated inserts.

    held_bytes: Kafka values whose rows wait now. is_paused: whether nothing is read meanwhile.
    """

    rows: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    repeats: int = 0
    held_bytes: int = 0
    is_paused: bool = False

    def show(self, store: Store) -> None:
        """As numbers."""
        for table, count in self.rows.items():
            store.total("millstream_sink_rows_total", count, table=table)
        store.total("millstream_sink_blocks_total", self.blocks)
        store.total("millstream_sink_repeats_total", self.repeats)
        store.set("millstream_sink_held_bytes", self.held_bytes)
        store.set("millstream_sink_paused", self.is_paused)


@dataclass(slots=True)
class Try:
    """A block that ClickHouse has not taken yet.

    attempt: in its token. due: the sink's clock when it may be tried again.
    """

    block: Block
    attempt: int = 0
    tries: int = 0
    backoff_s: float = 0.0
    due: float = 0.0

    def count(self, now: float) -> None:
        """One more try came to nothing."""
        self.tries += 1
        self.backoff_s = min(max(2 * self.backoff_s, BACKOFF_S_MIN), BACKOFF_S_MAX)
        self.due = now + self.backoff_s


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A block that is being inserted and counted back. ended: whether it was acknowledged, and the
    finding, None where ClickHouse did not answer."""

    trying: Try
    ended: Future[tuple[bool, Finding | None]]


def beside_the_loop() -> Executor:
    """Threads of their own; whoever asks for them shuts them down."""
    return ThreadPoolExecutor(INSERTS_MAX, "insert")


class WithinTheLoop(Executor):
    """Each call runs at once, in the caller's thread: nothing is ever under way."""

    def submit(self, call: Callable[..., T], /, *args: Any, **given: Any) -> Future[T]:
        """The call's result or exception, as a future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(call(*args, **given))
        except BaseException as why:  # noqa: BLE001 - whoever asks for the result has it raised
            future.set_exception(why)
        return future
