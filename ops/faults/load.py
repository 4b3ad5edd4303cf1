"""Loan applications without end, at a steady rate, from a thread; some of them unreadable."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa

from consumers.produce import AtRate, EventProducer, FlatOut, publish_events
from consumers.registry import Registry, subject_of
from examples.loans.generate import loans
from millstream.columnar import Encoder, frame
from millstream.errors import MillstreamError
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream

POOL_ROWS, BATCH_ROWS = 10_000, 1_000
UNREADABLE = b"\x00\x00"
DELIVERY_MS_MAX = 300_000
"""Above the longest fault; an event that is not delivered ends the load with an error."""


class Load:
    """Publishes until stopped: id and Kafka key of event n are L-n, each once.

    first: n of the first event. poison_every: every so many events one is unreadable; 0: none.
    published, poisoned: counts so far; whole once `stop` has returned.
    """

    def __init__(
        self,
        stream: Stream,
        bootstrap: str,
        registry_url: str,
        rate: float | None = None,
        first: int = 0,
        poison_every: int = 0,
    ) -> None:
        self.first = self._next = first
        self.poisoned = 0
        self._poison_every = poison_every
        self._stop = threading.Event()
        self._error: MillstreamError | None = None
        topic = stream.topic("events")
        text = stream.schema_of_event.text
        registry = Registry(RegistrySettings(url=registry_url))
        try:
            schema_id = registry.register(subject_of(topic), text)
        finally:
            registry.close()
        self._encoder = Encoder(text, frame(schema_id))
        self._topic = topic
        self._id = stream.event.id
        self._pace = FlatOut() if rate is None else AtRate(rate)
        self._producer = EventProducer(
            KafkaSettings(bootstrap=bootstrap), "load", delivery_ms_max=DELIVERY_MS_MAX
        )
        self._thread: threading.Thread | None = None

    @property
    def published(self) -> int:
        """Events that went out so far."""
        return self._next - self.first

    def start(self) -> None:
        """Begin to publish."""
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End, and wait until every event is acknowledged or given up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> int:
        """As `end`; how many events there were. Raises what publishing raised."""
        self.end()
        if self._error is not None:
            raise self._error
        return self.published

    def publish(self, count: int) -> int:
        """`count` events at once, without the thread; n of the next one.

        Raises DependencyUnavailable where one was not delivered.
        """
        self._publish(self._batches(self._next + count))
        return self._next

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """The batch's Kafka values, some of them spoilt."""
        values = self._encoder.encode(batch)
        if self._poison_every:
            start = self._next - len(values)
            for row in range(-start % self._poison_every, len(values), self._poison_every):
                values[row] = UNREADABLE
                self.poisoned += 1
        return values

    def _run(self) -> None:
        try:
            self._publish(self._batches(None))
        except MillstreamError as why:
            self._error = why

    def _publish(self, batches: Iterator[pa.RecordBatch]) -> None:
        publish_events(
            self._producer, self._topic, batches, self, self._id, self._pace,
            stopped=lambda: False,  # a batch goes out whole; `_batches` ends between two
        )  # fmt: skip

    def _batches(self, end: int | None) -> Iterator[pa.RecordBatch]:
        """The pool again and again, each event with an id of its own."""
        (pool,) = loans(POOL_ROWS, seed=9)
        place = pool.events.schema.get_field_index(self._id)
        field = pool.events.schema.field(place)
        while not self._stop.is_set() and (end is None or self._next < end):
            rows = BATCH_ROWS if end is None else min(BATCH_ROWS, end - self._next)
            batch = pool.events.slice(self._next % (POOL_ROWS - BATCH_ROWS), rows)
            ids = pa.array([f"L-{self._next + row}" for row in range(rows)])
            self._next += rows
            yield batch.set_column(place, field, ids)
