"""Traces: one span a batch, its steps below it, and each event's own trace continued.

OpenTelemetry, exported by OTLP over HTTP; the libraries are the extra `traces`. An event whose
Kafka header `traceparent` (W3C Trace Context) says that it is sampled gets a span of its own in its
producer's trace, linked with the batch's, and its prediction carries that span on. An event whose
trace is not sampled, or is one too many, carries its header on as it was.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from millstream.errors import SettingsInvalid
from millstream.records import Headers, Records
from millstream.settings import TracesSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TRACEPARENT: Final = "traceparent"
_PATTERN: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED: Final = 1

WORK: Final = {"scorer": "score", "join": "match"}
"""What a batch's time up to its transaction is spent on."""

Rows = npt.NDArray[np.int64]
Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Traces:
    """Those that record nothing."""

    @contextmanager
    def batch(self, batch: list[Records]) -> Iterator[None]:
        """The time in which a batch is in hand."""
        yield

    def call(self, name: str, seconds: float, failed: bool) -> None:
        """A transaction's call came back."""

    def block(self, table: str, rows: int, seconds: float, landed: bool) -> None:
        """An insert is over; called by any thread."""

    def continued(
        self, headers: Sequence[Headers] | None, own: Headers, records: Records, rows: Rows
    ) -> Sequence[Headers] | None:
        """See instruments.Instruments."""
        return headers

    def close(self) -> None:
        """Send what is left, a few seconds long at most."""


NO_TRACES: Final = Traces()


@dataclass(slots=True)
class _Batch:
    """The one in hand. parents: events with a header -> what their predictions carry on.

    marked_ns: up to where its steps have spans.
    """

    span: Span
    events: list[Span] = field(default_factory=list)
    parents: dict[Place, bytes] = field(default_factory=dict)
    marked_ns: int = 0


class Exported(Traces):
    """program, stream, slot: whose. heard: told how many spans were sent, how many dropped.

    now_ns: nanoseconds since 1970.

    Raises SettingsInvalid where the libraries are not installed.
    """

    def __init__(
        self,
        settings: TracesSettings,
        program: str,
        stream: str,
        slot: int,
        heard: Callable[[int, int], None] = lambda sent, dropped: None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        assert settings.url is not None, "no address"
        self._links_max = settings.events_max
        self._now_ns = now_ns
        self._name = f"{program} batch"
        self._program = program
        self._work = WORK.get(program, "work")
        self._batch: _Batch | None = None
        try:
            self._provider = _provider(settings, program, stream, slot, heard)
        except ImportError:
            raise SettingsInvalid(
                "MILLSTREAM_TRACES_URL is set, and OpenTelemetry is not installed",
                "Install the extra `traces`, or unset it",
            ) from None
        self._tracer: Any = self._provider.get_tracer("millstream")

    @contextmanager
    def batch(self, batch: list[Records]) -> Iterator[None]:
        made = self._begin(batch)
        self._batch = made
        try:
            yield
        except BaseException as why:
            self._end(made, why)
            raise
        else:
            self._end(made, None)
        finally:
            self._batch = None

    def call(self, name: str, seconds: float, failed: bool) -> None:
        batch = self._batch
        if batch is None or not batch.span.is_recording():
            return
        ended = self._now_ns()
        began = ended - round(seconds * 1e9)
        before = {"begin": self._work, "send_offsets": "produce"}.get(name)
        if before is not None:
            self._child(batch, before, batch.marked_ns, began)
        self._child(batch, name, began, ended, failed)
        batch.marked_ns = ended

    def block(self, table: str, rows: int, seconds: float, landed: bool) -> None:
        ended = self._now_ns()
        span = self._tracer.start_span(
            f"{self._program} insert",
            attributes={
                "db.system": "clickhouse", "db.collection.name": table, "millstream.rows": rows,
            },
            start_time=ended - round(seconds * 1e9),
        )  # fmt: skip
        if not landed:
            _fail(span, "the rows are not there: the insert is repeated")
        span.end(ended)

    def continued(
        self, headers: Sequence[Headers] | None, own: Headers, records: Records, rows: Rows
    ) -> Sequence[Headers] | None:
        batch = self._batch
        if batch is None or not batch.parents:
            return headers
        made: list[Headers] = list(headers) if headers is not None else [own] * len(rows)
        for place, row in enumerate(rows.tolist()):
            if row in records.headers:
                value = batch.parents.get(_place(records, row))
                if value is not None:
                    made[place] = [*made[place], (TRACEPARENT, value)]
        return made

    def close(self) -> None:
        self._provider.shutdown()

    def _begin(self, batch: list[Records]) -> _Batch:
        from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415

        began = self._now_ns()
        found = list(_traced(batch))
        sampled = [each for each in found if each[2] & _SAMPLED][: self._links_max]
        contexts = [_context(raw) for _, raw, _ in sampled]
        span = self._tracer.start_span(
            self._name,
            kind=SpanKind.CONSUMER,
            links=[Link(context) for context in contexts],
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.batch.message_count": sum(len(records) for records in batch),
                "messaging.destination.name": ", ".join(records.topic for records in batch),
            },
            start_time=began,
        )
        made = _Batch(span, marked_ns=began)
        made.parents = {place: raw for place, raw, _ in found}
        for (place, _, _), context in zip(sampled, contexts, strict=True):
            event = self._event(place, context, span, began)
            made.events.append(event)
            made.parents[place] = _header(event)
        return made

    def _event(self, place: Place, context: Any, batch: Span, began: int) -> Span:
        from opentelemetry.trace import (  # noqa: PLC0415
            Link,
            NonRecordingSpan,
            SpanKind,
            set_span_in_context,
        )

        topic, partition, offset = place
        made: Span = self._tracer.start_span(
            f"{self._program} {topic}",
            context=set_span_in_context(NonRecordingSpan(context)),
            kind=SpanKind.CONSUMER,
            links=[Link(batch.get_span_context())],
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
            },
            start_time=began,
        )
        return made

    def _child(
        self, batch: _Batch, name: str, began: int, ended: int, failed: bool = False
    ) -> None:
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

        parent = set_span_in_context(batch.span)
        span = self._tracer.start_span(f"{self._program} {name}", context=parent, start_time=began)
        if failed:
            _fail(span, f"{name} failed")
        span.end(ended)

    def _end(self, batch: _Batch, why: BaseException | None) -> None:
        ended = self._now_ns()
        for span in (*batch.events, batch.span):
            if why is not None:
                _fail(span, f"{type(why).__name__}: what is not finished is read again")
            span.end(ended)


def _provider(
    settings: TracesSettings,
    program: str,
    stream: str,
    slot: int,
    heard: Callable[[int, int], None],
) -> Any:
    """One of our own: nothing global is touched but the exporter's log, a line for each try."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    from consumers.metrics.span_sender import SpanSender  # noqa: PLC0415

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    resource = Resource.create(
        {
            "service.name": f"millstream-{program}",
            "service.namespace": stream,
            "service.instance.id": f"{stream}/{program}/{slot}",
        }
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
        resource=resource,
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=settings.url, timeout=settings.timeout_s)
    provider.add_span_processor(SpanSender(exporter, settings.queue_max, heard))
    return provider


def _traced(batch: list[Records]) -> Iterator[tuple[Place, bytes, int]]:
    """Place, header and flags of every record that says of which trace it is."""
    for records in batch:
        for row, headers in records.headers.items():
            for name, value in headers:
                if name == TRACEPARENT and value is not None:
                    found = _PATTERN.fullmatch(value)
                    if found and found[1].strip(b"0") and found[2].strip(b"0"):
                        yield _place(records, row), value, int(found[3], 16)
                    break


def _place(records: Records, row: int) -> Place:
    return records.topic, int(records.partitions[row]), int(records.offsets[row])


def _context(raw: bytes) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415

    found = _PATTERN.fullmatch(raw)
    assert found is not None, raw
    flags = TraceFlags(int(found[3], 16) & _SAMPLED)
    return SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)


def _header(span: Span) -> bytes:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()


def _fail(span: Span, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    span.set_status(Status(StatusCode.ERROR, why))
