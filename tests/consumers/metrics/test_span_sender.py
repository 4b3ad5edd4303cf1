"""Spans on their way: nobody waits for the collector, and what it does not take is counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from consumers.metrics.span_sender import CLOSE_S, SPANS_MAX, SpanSender
from consumers.metrics.traces import Exported
from millstream.settings import TracesSettings
from tests.consumers.otlp import PATH, spans
from tests.consumers.receivers import Http, wait_for


@pytest.fixture
def http() -> Iterator[Http]:
    """The collector."""
    server = Http()
    yield server
    server.close()


class Heard:
    """How many were sent and dropped."""

    def __init__(self) -> None:
        self.sent = self.dropped = 0

    def __call__(self, sent: int, dropped: int) -> None:
        self.sent += sent
        self.dropped += dropped


def exported(url: str, heard: Heard, queue_max: int = 10_000) -> Exported:
    """To the collector of this address."""
    settings = TracesSettings(url=url + PATH, queue_max=queue_max, timeout_s=0.5)
    return Exported(settings, "sink", "loans", 0, heard)


def test_spans_arrive_by_themselves(http: Http) -> None:
    """Without an end, in requests of SPANS_MAX at most, each once and in order."""
    heard = Heard()
    traces = exported(http.url, heard)
    for number in range(2 * SPANS_MAX + 10):
        traces.block("events", number, 0.0, landed=True)
    wait_for(lambda: heard.sent == 2 * SPANS_MAX + 10, "the last span")
    assert len(http.got) >= 3
    rows = [span.attributes["millstream.rows"] for span in spans(http)]
    assert sorted(rows) == list(range(2 * SPANS_MAX + 10))
    assert heard.dropped == 0
    traces.close()


def test_what_waits_is_sent_at_the_end(http: Http) -> None:
    """At once."""
    heard = Heard()
    traces = exported(http.url, heard)
    traces.block("events", 7, 0.0, landed=True)
    traces.close()
    assert [span.attributes["millstream.rows"] for span in spans(http)] == [7]
    assert (heard.sent, heard.dropped) == (1, 0)


def test_a_collector_that_is_away_holds_nobody_up(
    http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans are dropped and counted, the log has one line of it, and the end comes soon."""
    http.statuses = [400] * 10_000
    heard = Heard()
    with caplog.at_level(logging.INFO):
        traces = exported(http.url, heard)
        for _ in range(3):
            traces.block("events", 1, 0.0, landed=True)
            dropped = heard.dropped
            wait_for(lambda: heard.dropped > dropped, "the next that is dropped")  # noqa: B023
        http.statuses = []
        traces.block("events", 2, 0.0, landed=True)
        wait_for(lambda: heard.sent, "the first that is taken")
        traces.close()
    said = [r.getMessage() for r in caplog.records if r.name == "consumers.metrics.span_sender"]
    assert said == [
        "the collector takes no spans; they are dropped until it does",
        "the collector takes spans again",
    ]
    assert (heard.sent, heard.dropped) == (1, 3)


class Stumbling(SpanExporter):
    """Raises at its first request, and takes what comes then."""

    def __init__(self) -> None:
        self.calls = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("no span of mine")
        return SpanExportResult.SUCCESS


def test_an_exporter_that_raises_loses_its_spans_and_no_more() -> None:
    """They are counted as dropped; the thread lives, and sends the next."""
    heard, exporter = Heard(), Stumbling()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SpanSender(exporter, 10, heard))
    tracer = provider.get_tracer("test")
    tracer.start_span("one").end()
    wait_for(lambda: heard.dropped, "the span that was lost")
    tracer.start_span("two").end()
    wait_for(lambda: heard.sent, "the next")
    provider.shutdown()
    assert (heard.sent, heard.dropped, exporter.calls) == (1, 1, 2)


def test_a_collector_that_is_gone_ends_the_end(http: Http) -> None:
    """Within two times CLOSE_S, whatever waits; nothing listens at its address."""
    closed = Http()
    closed.close()
    traces = exported(closed.url, Heard())
    for _ in range(5 * SPANS_MAX):
        traces.block("events", 1, 0.0, landed=True)
    ender = threading.Thread(target=traces.close)
    ender.start()
    ender.join(4 * CLOSE_S)
    assert not ender.is_alive()


def test_too_many_that_wait_are_dropped(http: Http) -> None:
    """The newest: a queue has its bound."""
    heard = Heard()
    traces = exported(http.url, heard, queue_max=512)
    for number in range(20_000):
        traces.block("events", number, 0.0, landed=True)
    traces.close()
    assert heard.dropped > 0
    assert heard.sent + heard.dropped == 20_000
    assert len(spans(http)) == heard.sent
