"""Publishing a file's events to a stream's events topic.

A record counts as published only when the broker has acknowledged it. The producer reports
failures alone (`delivery.report.only.error`): a callback per record would cost as much as the
produce call, and none at all would let a record vanish unseen. What is produced is either
acknowledged, reported as failed, or still in the local queue when publishing gives up.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumers.kafka import KAFKA, kafka_error, producer_config
from millstream.errors import (
    ContractMismatch,
    DependencyUnavailable,
    MillstreamError,
    OperatorNeeded,
)
from millstream.settings import KafkaSettings

DELIVERY_MS_MAX: Final = 60_000
"""Too low gives up events that a restarting broker would have taken; too high reports a dead broker
late."""
CATCH_UP_S: Final = 1.0
"""After a stall a rate is caught up for this long at most."""
WAIT_S_MAX: Final = 0.1  # the longest sleep, so that an interrupt is seen
TICK_S: Final = 0.002  # the shortest, so that a high rate goes out in small groups
GROUP_ROWS: Final = 2_000  # produced between two looks at the queue and the interrupt
_OF_THE_RECORD: Final = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD}


class BatchEncoder(Protocol):
    """Columns to Kafka values, such as millstream.columnar's Encoder."""

    def encode(self, columns: Any) -> list[bytes]: ...


class Pace(Protocol):
    """When events may go out. `begin` is told each batch, then `ready` is asked until it is out."""

    def begin(self, batch: Any) -> None: ...

    def ready(self, row: int, rows_max: int, elapsed_s: float) -> tuple[int, float]:
        """How many rows from `row` on may go now, and after how many seconds to ask again.

        elapsed_s: from the start to now. The rows are taken to have gone.
        """
        ...


class FlatOut:
    """As fast as the broker takes them."""

    def begin(self, batch: Any) -> None:
        pass

    def ready(self, row: int, rows_max: int, elapsed_s: float) -> tuple[int, float]:
        return rows_max, 0.0


class AtRate:
    """At most `events_per_s`, evenly spaced; time lost in a stall is caught up for 1 s at most."""

    def __init__(self, events_per_s: float) -> None:
        assert events_per_s > 0, events_per_s
        self._rate = events_per_s
        self._next_s = 0.0

    def begin(self, batch: Any) -> None:
        pass

    def ready(self, row: int, rows_max: int, elapsed_s: float) -> tuple[int, float]:
        self._next_s = max(self._next_s, elapsed_s - CATCH_UP_S)
        if elapsed_s < self._next_s:
            return 0, self._next_s - elapsed_s
        count = min(rows_max, int((elapsed_s - self._next_s) * self._rate) + 1)
        self._next_s += count / self._rate
        return count, self._next_s - elapsed_s


class ByEventTime:
    """Spaced as the events' own times are, `speedup` times faster; late ones go at once."""

    def __init__(self, time_column: str, speedup: float = 1.0) -> None:
        assert speedup > 0, speedup
        self._column = time_column
        self._speedup = speedup
        self._first_us: int | None = None
        self._due_s: npt.NDArray[np.float64] = np.zeros(0)

    def begin(self, batch: Any) -> None:
        micros = _micros(batch.column(self._column))
        if self._first_us is None:
            self._first_us = int(micros[0])
        after = (micros - self._first_us) / 1e6 / self._speedup
        latest = self._due_s[-1] if len(self._due_s) else 0.0
        self._due_s = np.maximum.accumulate(np.maximum(after, latest))

    def ready(self, row: int, rows_max: int, elapsed_s: float) -> tuple[int, float]:
        stop = int(np.searchsorted(self._due_s, elapsed_s, side="right"))
        count = min(max(0, stop - row), rows_max)
        following = row + count
        wait = self._due_s[following] - elapsed_s if following < len(self._due_s) else 0.0
        return count, float(max(0.0, wait))


@dataclass(frozen=True, slots=True)
class Published:
    """What the broker acknowledged.

    bytes: of values and keys. seconds: from the first event to the last acknowledgement.
    interrupted: whether it stopped before the events were used up.
    """

    count: int
    bytes: int
    seconds: float
    interrupted: bool = False


class Failures:
    """on_delivery: counts what was not delivered, by reason; never raises."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.hopeless = False
        """Whether a failure was not the record's own, so that the next ones would fail too."""

    def __call__(self, error: KafkaError | None, record: Message) -> None:
        if error is not None:
            self.add(error)

    def add(self, error: KafkaError) -> None:
        self.count += 1
        self.reasons[f"{error.str()} ({error.name()})"] += 1
        self.hopeless |= error.code() not in _OF_THE_RECORD


class EventProducer:
    """An idempotent producer that knows what it failed to deliver."""

    def __init__(
        self,
        settings: KafkaSettings,
        client: str = "millstream-produce",
        delivery_ms_max: int = DELIVERY_MS_MAX,
    ) -> None:
        self.failures = Failures()
        config = producer_config(settings, client) | {
            "on_delivery": self.failures,
            "delivery.report.only.error": True,
            "message.timeout.ms": delivery_ms_max,
        }
        self.client = Producer(config)

    def queue(
        self, topic: str, values: Sequence[bytes], keys: Sequence[bytes], times_ms: Iterable[int]
    ) -> None:
        """Queue records, waiting while the local queue is full. A time of 0 is now."""
        produce = self.client.produce
        for value, key, time_ms in zip(values, keys, times_ms, strict=False):
            try:  # keywords would cost a third of the call
                produce(topic, value, key, -1, None, None, time_ms)
            except (BufferError, KafkaException) as why:
                self._once_more(why, topic, value, key, time_ms)

    def _once_more(
        self, why: Exception, topic: str, value: bytes, key: bytes, time_ms: int
    ) -> None:
        while isinstance(why, BufferError):
            self.client.poll(WAIT_S_MAX)
            try:
                self.client.produce(topic, value, key, timestamp=time_ms)
                return
            except (BufferError, KafkaException) as again:
                why = again
        assert isinstance(why, KafkaException), why
        self.failures.add(kafka_error(why))

    def flush(self) -> None:
        """Wait until every record is acknowledged or failed; delivery_ms_max bounds it."""
        while self.client.flush(WAIT_S_MAX):
            pass


def publish_events(  # noqa: PLR0913 - one call says all there is to say
    producer: EventProducer,
    topic: str,
    batches: Iterable[Any],
    encoder: BatchEncoder,
    key_column: str,
    pace: Pace,
    progress: Callable[[int], None] = lambda count: None,
    *,
    time_column: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Published:
    """Publish every row of the batches, and wait for the broker's word on each.

    batches: pyarrow.RecordBatch in the encoder's schema.
    progress: told how many more events were queued.
    time_column: take the Kafka timestamp from it, in place of now.
    stopped: asked at least every 0.1 s; when true, what is queued is still delivered.

    Raises DependencyUnavailable, with counts and reasons, where any event was not delivered; it
    stops early where the reason is not the event's own size. What the batches raise as
    OperatorNeeded (a bad row) is raised after what was queued is out, and says how much that is.
    """
    started = clock()
    queued = size = 0
    failures = producer.failures
    failed_before = failures.count
    try:
        for batch in batches:
            pace.begin(batch)
            values = encoder.encode(batch)
            keys = key_bytes(batch.column(key_column))
            times = _kafka_times(batch, time_column)
            for part in _groups(len(values), pace, lambda: clock() - started, sleep, stopped):
                producer.queue(topic, values[part], keys[part], times[part] if times else repeat(0))
                producer.client.poll(0)
                size += sum(map(len, values[part])) + sum(map(len, keys[part]))
                queued += part.stop - part.start
                progress(part.stop - part.start)
                if failures.hopeless:
                    break
            if failures.hopeless or stopped():
                break
    except MillstreamError as why:
        producer.flush()
        if not isinstance(why, OperatorNeeded):
            raise
        out = queued - failures.count + failed_before
        raise type(why)(f"{why.problem} ({out:,} events before it are out)", why.remedy) from why
    interrupted = stopped()
    producer.flush()
    failed = failures.count - failed_before
    if failed:
        raise _not_delivered(topic, queued, failed, failures)
    return Published(queued, size, clock() - started, interrupted=interrupted)


def _groups(
    rows: int,
    pace: Pace,
    elapsed: Callable[[], float],
    sleep: Callable[[float], None],
    stopped: Callable[[], bool],
) -> Iterator[slice]:
    """Rows that may go out now, waiting between them; ends early when stopped."""
    start = 0
    while start < rows and not stopped():
        count, wait_s = pace.ready(start, min(GROUP_ROWS, rows - start), elapsed())
        if count:
            yield slice(start, start + count)
            start += count
        else:
            sleep(min(max(wait_s, TICK_S), WAIT_S_MAX))


def key_bytes(column: Any) -> list[bytes]:
    """The Kafka keys of a batch: the UTF-8 text of the key field."""
    keys: list[bytes] = pc.cast(pc.cast(column, pa.string()), pa.binary()).to_pylist()
    return keys


def _kafka_times(batch: Any, time_column: str | None) -> list[int]:
    """Milliseconds of each row's time; empty where the time of publishing is wanted."""
    if time_column is None:
        return []
    millis = _micros(batch.column(time_column)) // 1000
    if (millis <= 0).any():
        raise ContractMismatch(
            f"field {time_column} has a time before 1970, which no Kafka timestamp can be",
            "Publish with --timestamps now",
        )
    times: list[int] = millis.tolist()
    return times


def _micros(column: Any) -> npt.NDArray[np.int64]:
    zone = column.type.tz
    made: npt.NDArray[np.int64] = (
        pc.cast(pc.cast(column, pa.timestamp("us", zone), safe=False), pa.int64())
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
    )
    return made


def _not_delivered(
    topic: str, queued: int, failed: int, failures: Failures
) -> DependencyUnavailable:
    reasons = "; ".join(f"{count:,} x {why}" for why, count in failures.reasons.most_common(3))
    early = ", and publishing stopped there" if failures.hopeless else ""
    return DependencyUnavailable(
        KAFKA,
        f"{failed:,} of {queued:,} events were not delivered to {topic}{early}: {reasons}",
    )


@contextmanager
def interrupt_noticed() -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C only makes the yielded call true; a second one interrupts.

    Main thread only: elsewhere Python refuses to set a signal's answer.
    """
    seen = False

    def notice(number: int, frame: object) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, before)
