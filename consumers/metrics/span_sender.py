"""Spans on their way to the collector: a bounded queue and a thread, so that no batch ever waits.

The SDK's own processor says a line for each span that it drops, and takes half a minute to end
while its collector is away; this one says a line when the collector goes and when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

SEND_S: Final = 1.0
"""How long spans wait for company. Too low asks the collector often; too high shows them late."""
SPANS_MAX: Final = 512
"""In one request."""
CLOSE_S: Final = 3.0
"""At the end; what the collector has not taken by then is lost."""

Heard = Callable[[int, int], None]
"""Told how many spans were sent and how many were dropped."""

_log = logging.getLogger(__name__)


class SpanSender(SpanProcessor):
    """queue_max: spans that wait; more are dropped. heard: called by the sender's thread."""

    def __init__(
        self, exporter: SpanExporter, queue_max: int, heard: Heard = lambda sent, dropped: None
    ) -> None:
        self._exporter = exporter
        self._queue: deque[ReadableSpan] = deque()
        self._queue_max = queue_max
        self._heard = heard
        self._lock = threading.Lock()
        self._dropped = 0
        self._is_away = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is sent of a span that has not ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Never waits, never raises."""
        if not span.context or not span.context.trace_flags.sampled:
            return
        with self._lock:
            if len(self._queue) < self._queue_max:
                self._queue.append(span)
            else:
                self._dropped += 1

    def shutdown(self) -> None:
        """Send what waits, CLOSE_S long at most."""
        self._closed.set()
        self._thread.join(CLOSE_S)
        self._exporter.shutdown()  # ends a try that is under way
        self._thread.join(CLOSE_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is promised before the end."""
        return not self._queue

    def _run(self) -> None:
        while not self._closed.wait(SEND_S):
            self._send()
        self._send()

    def _send(self) -> None:
        """Everything that waits; after a request that failed the rest waits on."""
        while self._queue:
            count = min(len(self._queue), SPANS_MAX)
            spans = [self._queue.popleft() for _ in range(count)]
            taken = self._export(spans)
            with self._lock:
                dropped, self._dropped = self._dropped + (0 if taken else count), 0
            self._heard(count if taken else 0, dropped)
            if taken == self._is_away:
                self._is_away = not taken
                if taken:
                    _log.info("the collector takes spans again")
                else:
                    _log.warning("the collector takes no spans; they are dropped until it does")
            if not taken:
                return

    def _export(self, spans: list[ReadableSpan]) -> bool:
        """Whether the collector took them; the thread outlives what an exporter raises."""
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - see the docstring
            _log.debug("these spans cannot be sent", exc_info=True)
            return False
