"""Puts a program's instruments in place: numbers and health behind HTTP, spans to a collector."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from consumers.metrics.instruments import Live, installed
from consumers.metrics.server import MetricsServer
from consumers.metrics.traces import NO_TRACES, Exported
from millstream.errors import SettingsInvalid
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.metrics.vocabulary import GROUPS
from millstream.settings import MetricsSettings, TracesSettings, from_environment
from millstream.stream import Stream

_log = logging.getLogger(__name__)


@contextmanager
def observed(
    program: str,
    stream: Stream,
    environ: Mapping[str, str],
    slot: int = 0,
    *,
    is_errand: bool = False,
) -> Iterator[None]:
    """Inside, what this thread runs is seen, as far as the settings ask for it.

    is_errand: it is a person's command, which may have a running program's settings: where that one
    has the port, the work is done unseen. Else raises SettingsInvalid where they cannot be met.
    """
    metrics = from_environment(MetricsSettings, environ)
    spans = from_environment(TracesSettings, environ)
    if metrics.port is None and spans.url is None:
        yield
        return
    store = Store(program)
    health = Health(time.monotonic, metrics.live_s_max, needs_partitions=program in GROUPS)
    with ExitStack() as exits:
        traces = NO_TRACES
        if spans.url is not None:
            traces = Exported(spans, program, stream.name, slot, partial(_heard, store))
            exits.callback(traces.close)
        if metrics.port is not None:
            labels = {"stream": stream.name, "program": program, "slot": str(slot)}
            try:
                exits.callback(MetricsServer(store, health, labels, metrics).close)
            except SettingsInvalid as why:
                if not is_errand:
                    raise
                _log.warning("%s; %s goes on unseen", why.problem, program)
        budget_us = stream.serving.latency_budget_ms * 1_000
        with installed(Live(store, health, budget_us, traces)):
            yield


def _heard(store: Store, sent: int, dropped: int) -> None:
    store.add("millstream_spans_total", sent, result="sent")
    store.add("millstream_spans_total", dropped, result="dropped")
