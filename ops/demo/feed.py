"""What a story publishes: loan applications whose rule changes; outcomes some events later."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from consumers.produce import AtRate, EventProducer, publish_events
from consumers.registry import Registry, subject_of
from examples.loans.generate import Change, loans
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.errors import MillstreamError
from millstream.stream import Stream
from ops.demo.loans import STREAM_SEED
from ops.stack import Stack

FUNCTIONS = (0, 3)
LABEL_DELAY_EVENTS = 1_000


@dataclass(slots=True)
class Feed:
    """Two threads: the events, and their outcomes some events later.

    stop: publish nothing more. last: the events end here; their outcomes still come.
    """

    rate: float
    batches: Sequence[tuple[pa.RecordBatch, pa.RecordBatch]]
    stop: threading.Event = field(default_factory=threading.Event)
    last: threading.Event = field(default_factory=threading.Event)
    events: int = 0
    outcomes: int = 0
    is_over: bool = False
    errors: list[MillstreamError] = field(default_factory=list)

    def start(self, stack: Stack, stream: Stream) -> list[threading.Thread]:
        """Begin; the threads, to be joined."""
        runs = (self._run_events, self._run_outcomes)
        threads = [threading.Thread(target=run, args=(stack, stream)) for run in runs]
        for thread in threads:
            thread.start()
        return threads

    @property
    def is_told(self) -> bool:
        """Whether every event was published, and its outcome too."""
        return self.is_over and self.outcomes >= self.events

    @property
    def due(self) -> int:
        """Outcomes that are known by now."""
        return self.events if self.is_over else max(self.events - LABEL_DELAY_EVENTS, 0)

    def _count_event(self, count: int) -> None:
        self.events += count

    def _count_outcome(self, count: int) -> None:
        self.outcomes += count

    def _run_events(self, stack: Stack, stream: Stream) -> None:
        """Publish the events at the rate."""
        events = [events for events, _ in self.batches]
        text, topic = stream.schema_of_event.text, stream.topic("events")
        self._publish(stack, topic, text, events, stream.event.key, AtRate(self.rate))
        self.is_over = True

    def _run_outcomes(self, stack: Stack, stream: Stream) -> None:
        """Publish each outcome LABEL_DELAY_EVENTS behind its event."""
        outcomes = [outcomes for _, outcomes in self.batches]
        text, topic = contract("outcome").text, stream.topic("outcomes")
        self._publish(stack, topic, text, outcomes, "key", _Behind(self))

    def _publish(
        self,
        stack: Stack,
        topic: str,
        text: str,
        batches: Sequence[pa.RecordBatch],
        key: str,
        pace: AtRate | _Behind,
    ) -> None:
        events = isinstance(pace, AtRate)
        try:
            schema_id = Registry(stack.registry).register(subject_of(topic), text)
            publish_events(
                EventProducer(stack.kafka, f"demo-{key}"),
                topic,
                batches,
                Encoder(text, frame(schema_id)),
                key,
                pace,
                self._count_event if events else self._count_outcome,
                stopped=self._is_last if events else self._is_done,
            )
        except MillstreamError as why:
            self.errors.append(why)
            self.stop.set()

    def _is_last(self) -> bool:
        return self.stop.is_set() or self.last.is_set()

    def _is_done(self) -> bool:
        return self.stop.is_set() or self.is_told


class _Behind:
    """So many events behind those that were published; at the end, all of them."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._done = 0

    def begin(self, batch: pa.RecordBatch) -> None:
        pass

    def ready(self, row: int, rows_max: int, elapsed_s: float) -> tuple[int, float]:
        """See consumers.produce.Pace."""
        count = min(max(self._feed.due - self._done, 0), rows_max)
        self._done += count
        return count, 0.05


def story_batches(
    stream: Stream, events: int, change_at: int
) -> list[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Events, and their outcomes in the contract's schema."""
    schema = arrow_schema(contract("outcome").text)
    made = []
    for batch in loans(events, STREAM_SEED, FUNCTIONS, [Change(change_at)]):
        columns = {
            "event_id": batch.events.column(stream.event.id),
            "key": batch.events.column(stream.event.key),
            "label": pa.array(batch.labels).cast(pa.string()),
            "value": pa.nulls(len(batch.labels), pa.float64()),
            "known_at": batch.events.column(stream.event.time),
        }
        arrays = [columns[f.name].cast(f.type) for f in schema]
        made.append((batch.events, pa.RecordBatch.from_arrays(arrays, schema=schema)))
    return made
