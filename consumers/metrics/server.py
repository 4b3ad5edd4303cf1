"""GET /metrics, /live and /ready of one program, from a thread of its own.

/metrics is Prometheus's text or OpenMetrics, as the client asks. /live and /ready answer 200 or
503 with JSON that says why. prometheus_client writes the text, from a registry of our own: nothing
that a library counts by itself is shown but the process's memory, CPU and files.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from millstream.errors import SettingsInvalid
from millstream.metrics.health import Health
from millstream.metrics.store import Buckets, Reading, Store
from millstream.metrics.vocabulary import Kind
from millstream.models.durable import write_whole
from millstream.settings import MetricsSettings

REQUESTS_MAX: Final = 8
"""At once. Too low makes probes wait for slow readers; too high lets them take memory."""
REQUEST_S_MAX: Final = 5.0
"""For each read of a request's line and headers, and for each write of the answer."""
ROOM_S_MAX: Final = 2 * REQUEST_S_MAX
"""How long the next one waits for room. Below REQUEST_S_MAX readers that say nothing would have it
shown out; too high keeps the program from its end."""
PATHS: Final = ("/metrics", "/live", "/ready")

_log = logging.getLogger(__name__)


class Exposed(Collector):
    """A store as prometheus_client's families. constant: labels of every sample."""

    def __init__(self, store: Store, constant: Mapping[str, str]) -> None:
        self._store = store
        self._names = tuple(constant)
        self._values = tuple(constant.values())

    def collect(self) -> Iterable[Metric]:
        """Those that have any sample."""
        for reading in self._store.readings():
            if reading.values or reading.buckets:
                yield self._family(reading)

    def _family(self, reading: Reading) -> Metric:
        metric = reading.metric
        text, labels = f"{metric.text}. A rise: {metric.rise}", (*self._names, *metric.labels)
        if metric.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, text, labels=labels)
            for key, buckets in reading.buckets.items():
                histogram.add_metric((*self._values, *key), _cumulated(buckets), buckets.total)
            return histogram
        made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family: CounterMetricFamily | GaugeMetricFamily = made(metric.name, text, labels=labels)
        for key, value in reading.values.items():
            family.add_metric((*self._values, *key), value)
        return family


def _cumulated(buckets: Buckets) -> list[tuple[str, float]]:
    names = [*(f"{bound:g}" for bound in buckets.bounds), "+Inf"]
    return [(name, float(count)) for name, count in zip(names, buckets.cumulated(), strict=True)]


class MetricsServer:
    """store, health: what is shown. labels: stream, program and slot.

    Raises SettingsInvalid where the address cannot be had.
    """

    def __init__(
        self, store: Store, health: Health, labels: Mapping[str, str], settings: MetricsSettings
    ) -> None:
        registry = CollectorRegistry()
        registry.register(Exposed(store, labels))
        ProcessCollector(registry=registry)
        self._labels = dict(labels)
        self._answers = Answers(registry, store, health)
        try:
            self._server = _Server((settings.host, settings.port or 0), self._answers)
        except (OSError, OverflowError) as why:
            raise SettingsInvalid(
                f"metrics cannot listen on {settings.host}:{settings.port}: {why}",
                "Give each program of a machine a MILLSTREAM_METRICS_PORT of its own, or 0 and "
                "MILLSTREAM_METRICS_TARGETS",
            ) from why
        self.port = int(self._server.server_address[1])
        self.url = f"http://{settings.host}:{self.port}"
        self._target: Path | None = None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True
        )
        self._thread.start()
        try:
            if settings.targets is not None:
                self._target = self._write_target(Path(settings.targets), settings.host)
        except SettingsInvalid:
            self.close()
            raise
        _log.info("metrics at %s/metrics", self.url)

    @property
    def instance(self) -> str:
        """The same after a restart, whatever its port."""
        return "/".join(self._labels.values())

    def close(self) -> None:
        """Listen no longer. A program that is killed leaves its target, and is missed."""
        if self._target is not None:
            self._target.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _write_target(self, folder: Path, host: str) -> Path:
        """As Prometheus's file_sd_configs reads it."""
        here = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
        entry = {"targets": [f"{here}:{self.port}"], "labels": {"instance": self.instance}}
        path = folder / f"{self.instance.replace('/', '-')}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps([entry]).encode())
        except OSError as why:
            raise SettingsInvalid(
                f"MILLSTREAM_METRICS_TARGETS: {path} cannot be written: {why.strerror}",
                "Name a folder that the program may write to",
            ) from why
        return path


class Answers:
    """What each path says."""

    def __init__(self, registry: CollectorRegistry, store: Store, health: Health) -> None:
        self._registry = registry
        self._store = store
        self._health = health

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/metrics":
            self._store.set("millstream_ready", not self._health.why_not_ready())
            encode, kind = choose_encoder(accept)
            return 200, kind, encode(self._registry)
        if path == "/live":
            return self._told("live", self._health.why_not_live())
        if path == "/ready":
            return self._told("ready", self._health.why_not_ready())
        return 404, "text/plain; charset=utf-8", f"{' '.join(PATHS)}\n".encode()

    @staticmethod
    def _told(name: str, why: list[str]) -> tuple[int, str, bytes]:
        body = json.dumps({name: not why, "why": why}) + "\n"
        return 503 if why else 200, "application/json", body.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        self.answers = answers
        self._room = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        if not self._room.acquire(timeout=ROOM_S_MAX):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()  # no thread was started that would
            raise

    def process_request_thread(
        self, request: socket | tuple[bytes, socket], client_address: Any
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a reader of metrics left early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S_MAX
    server_version = "millstream"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        assert isinstance(self.server, _Server)
        path = self.path.partition("?")[0]
        status, kind, body = self.server.answers.answer(path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            with suppress(ConnectionError):
                self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody is told of each reader."""
