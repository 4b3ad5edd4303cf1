"""What a program tells of itself while it runs, and the program as its loop then sees it.

Instruments are found as loggers are: whoever is made in a program's thread asks `current()`. What
it gives listens to nothing, unless the command line, or a test, has put others there with
`installed` (observed.py). So the hot path pays for numbers only where somebody looks at them, and
then a handful of additions a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaException, TopicPartition

from consumers.kafka import TransactionAborted
from consumers.loop import Assignment, Program
from consumers.metrics.traces import NO_TRACES, Traces
from millstream.contracts import topic_table
from millstream.errors import DependencyUnavailable
from millstream.metrics.answers import count_answers
from millstream.metrics.health import Health
from millstream.metrics.store import Key, Store
from millstream.offsets import Partition
from millstream.records import Headers, Records

if TYPE_CHECKING:
    from millstream.scoring import Answers

LOOK_S: Final = 1.0
"""How often gauges are read, at most. Too low costs the loop time; too high shows old numbers."""

Rows = npt.NDArray[np.int64]
Look = Callable[[Store], None]
"""Reads a program's tally and gauges into the store."""

_COUNTED: Final = (TransactionAborted, DependencyUnavailable)
"""Errors after which the same process reads again."""
_CALLS: Final = {
    "init_transactions": "init",
    "begin_transaction": "begin",
    "send_offsets_to_transaction": "send_offsets",
    "commit_transaction": "commit",
    "abort_transaction": "abort",
}


class Instruments:
    """Those that listen to nothing."""

    def around(
        self, program: Program, assignment: Assignment, look: Look = lambda _: None
    ) -> Program:
        """The program as the loop is to see it."""
        return program

    def up(self) -> None:
        """Everything is loaded and has answered."""

    def trouble(self, why: str) -> None:
        """What is needed is away; "": it is back."""

    def turned(self) -> None:
        """A program without the shared loop goes round."""

    def assigned(self) -> None:
        """The group of a program without the shared loop has answered."""

    def looked(self, look: Look) -> None:
        """A program without the shared loop goes round, and has numbers to show."""

    def took(self, batch: Sequence[Records], seconds: float) -> None:
        """A batch is finished: one Records for each topic that had any."""

    def called(self, call: str, seconds: float, failed: bool) -> None:
        """A transaction call came back, with an exception where it failed."""

    def lasting(self, seconds: float) -> None:
        """So long the call has lasted that is under the watchdog; 0 where there is none."""

    def answered(self, records: Records, made: Sequence[Answers]) -> None:
        """A batch is durable. made: its parts."""

    def switched(self, partitions: int) -> None:
        """So many partitions went over to another release."""

    def continued(
        self, headers: Sequence[Headers] | None, own: Headers, records: Records, rows: Rows
    ) -> Sequence[Headers] | None:
        """The headers of predictions with their events' traces; None where all have `own`.

        headers: of the predictions to these rows of the records, None where all have `own`.
        """
        return headers

    def inserted(self, table: str, rows: int, seconds: float, landed: bool) -> None:
        """An insert and its look are over; called by any thread."""

    def running(self, stage: str) -> None:
        """A stage that may take long has begun."""

    def ran(self, stage: str, seconds: float, result: str) -> None:
        """It is over: done, waits, error, or how the whole attempt ended."""


OFF: Final = Instruments()
_current: ContextVar[Instruments] = ContextVar("instruments", default=OFF)


def current() -> Instruments:
    """Those of the program whose thread this is."""
    return _current.get()


@contextmanager
def installed(instruments: Instruments) -> Iterator[None]:
    """Inside, whatever is made in this thread has them."""
    token = _current.set(instruments)
    try:
        yield
    finally:
        _current.reset(token)


class Live(Instruments):
    """Numbers into a store, steps into traces, signs of life into `health`.

    budget_us: a scorer's latency budget. clock: seconds. now_us: microseconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        health: Health,
        budget_us: int = 0,
        traces: Traces = NO_TRACES,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self.store = store
        self.health = health
        self.traces = traces
        self._budget_us = budget_us
        self._clock = clock
        self._now_us = now_us
        self.turned()  # else a start would pass for a loop that never turned

    def around(
        self, program: Program, assignment: Assignment, look: Look = lambda _: None
    ) -> Program:
        return Metered(program, assignment, self, look, self._clock)

    def up(self) -> None:
        self.health.up()
        self.turned()

    def trouble(self, why: str) -> None:
        self.health.trouble(why)

    def turned(self) -> None:
        self.health.turned()
        self.store.set("millstream_loop_turn_timestamp_seconds", self._now_us() / 1e6)

    def assigned(self) -> None:
        self.health.assigned()

    def looked(self, look: Look) -> None:
        self.turned()
        look(self.store)

    def took(self, batch: Sequence[Records], seconds: float) -> None:
        self.store.observe("millstream_batch_seconds", seconds)
        self.store.observe("millstream_batch_records", sum(len(records) for records in batch))
        self.store.add("millstream_batches_total")
        for records in batch:
            kind = kind_of(records.topic)
            self.store.add("millstream_records_consumed_total", len(records), topic=kind)

    def called(self, call: str, seconds: float, failed: bool) -> None:
        name = _CALLS.get(call)
        if name is None:
            return
        self.store.observe("millstream_transaction_call_seconds", seconds, call=name)
        if not failed and name in {"commit", "abort"}:
            end = "committed" if name == "commit" else "aborted"
            self.store.add("millstream_transactions_total", end=end)
        self.traces.call(name, seconds, failed)

    def lasting(self, seconds: float) -> None:
        self.store.set("millstream_watched_call_seconds", seconds)

    def answered(self, records: Records, made: Sequence[Answers]) -> None:
        count_answers(self.store, records, made, self._now_us(), self._budget_us)

    def switched(self, partitions: int) -> None:
        if partitions:
            self.store.add("millstream_release_switches_total", partitions)

    def continued(
        self, headers: Sequence[Headers] | None, own: Headers, records: Records, rows: Rows
    ) -> Sequence[Headers] | None:
        return self.traces.continued(headers, own, records, rows)

    def inserted(self, table: str, rows: int, seconds: float, landed: bool) -> None:
        self.store.observe("millstream_sink_insert_seconds", seconds)
        self.traces.block(table, rows, seconds, landed)

    def running(self, stage: str) -> None:
        self.health.stage(stage)
        self.store.set("millstream_retraining_stage_began_timestamp_seconds", self._now_us() / 1e6)

    def ran(self, stage: str, seconds: float, result: str) -> None:
        self.health.stage("")
        self.health.trouble("what the stage needs is away" if result == "error" else "")
        self.store.set("millstream_retraining_stage_began_timestamp_seconds", 0.0)
        if result == "error":
            self.store.add("millstream_retraining_errors_total", stage=stage)
        elif result != "waits":
            self.store.observe("millstream_retraining_stage_seconds", seconds, stage=stage)
            if result == "done":
                self.store.add("millstream_retraining_stages_total", stage=stage)
            else:
                self.store.add("millstream_retraining_attempts_total", outcome=result)
        self.turned()


class Metered:
    """A program, counted from outside: it does what the program does, and raises what it raises."""

    def __init__(
        self,
        program: Program,
        assignment: Assignment,
        live: Live,
        look: Look,
        clock: Callable[[], float],
    ) -> None:
        self.topics = program.topics
        self.guarded = program.guarded
        self.records_max = program.records_max
        self._program = program
        self._assignment = assignment
        self._live = live
        self._look = look
        self._clock = clock
        self._looked = -LOOK_S
        self._kinds = {topic: kind_of(topic) for topic in program.topics}

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """As the program; then the group has answered."""
        self._live.turned()  # the loop asks again and again while what it needs is away
        with self._told():
            places = self._program.place(partitions)
        self._live.assigned()
        self._live.store.add("millstream_rebalances_total", len(partitions), change="assigned")
        return places

    def leave(self, partitions: list[Partition]) -> None:
        """As the program."""
        self._live.store.add("millstream_rebalances_total", len(partitions), change="revoked")
        self._program.leave(partitions)

    def take(self, batch: list[Records]) -> None:
        """As the program, with its time and size."""
        began = self._clock()
        with self._told(), self._live.traces.batch(batch):
            self._program.take(batch)
        self._live.took(batch, self._clock() - began)

    def rewind(self) -> None:
        """As the program; then what was away is back."""
        self._live.turned()
        self._program.rewind()
        self._live.health.trouble("")

    def drain(self) -> None:
        """As the program, then the last look."""
        self._program.drain()
        self._look_now()

    def idle(self) -> None:
        """As the program; from time to time a look at its gauges."""
        with self._told():
            self._program.idle()
        now = self._clock()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look_now()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Count what is raised, and pass it on."""
        try:
            yield
        except Exception as why:
            if isinstance(why, DependencyUnavailable):
                self._live.health.trouble(f"{why.dependency} is away")
            name = type(why).__name__ if type(why) in _COUNTED else "other"
            self._live.store.add("millstream_batches_failed_total", error=name)
            raise

    def _look_now(self) -> None:
        self._live.turned()
        self._look(self._live.store)
        owned = sorted(self._assignment.positions.owned)
        assigned: dict[Key, float] = {(kind,): 0.0 for kind in self._kinds.values()}
        lags: dict[Key, float] = {}
        for partition in owned:
            kind = self._kinds.get(partition[0], "other")
            assigned[(kind,)] = assigned.get((kind,), 0.0) + 1
            lag = self._lag(partition)
            if lag is not None:
                lags[kind, str(partition[1])] = lag
        self._live.store.only("millstream_partitions_assigned", assigned)
        self._live.store.only("millstream_lag_records", lags)

    def _lag(self, partition: Partition) -> float | None:
        """By what librdkafka last fetched, without asking; None where it knows nothing yet."""
        expected = self._assignment.positions.expected(partition)
        if expected is None:
            return None
        try:
            found = self._assignment.consumer.get_watermark_offsets(
                TopicPartition(*partition), cached=True
            )
        except KafkaException:
            return None
        return None if found is None or found[1] < 0 else float(max(found[1] - expected, 0))


@cache
def kind_of(topic: str) -> str:
    """What schemas/topics.toml calls it; `other` where it is none of a stream's.

    >>> [kind_of(topic) for topic in ("loans.dead-letters", "elsewhere")]
    ['dead_letters', 'other']
    """
    ends = {named.name("").removeprefix("."): kind for kind, named in topic_table().items()}
    return ends.get(topic.rpartition(".")[2], "other")
