"""From a program's /metrics to a person: a real Prometheus with our rules, a real Alertmanager."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumers.metrics.server import MetricsServer
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import MetricsSettings
from ops.prometheus.render import prometheus_yaml, rules_yaml
from ops.prometheus.rules import ALERTS
from tests.consumers.receivers import Http, alertmanager, wait_for
from tests.ops.prometheus.promtool import program

LABELS = {"stream": "loans", "program": "sink", "slot": "0"}


@pytest.fixture
def http() -> Iterator[Http]:
    """Who is told."""
    server = Http()
    yield server
    server.close()


@contextmanager
def prometheus(folder: Path, targets: Path, alertmanager_url: str) -> Iterator[None]:
    """A running one that looks every second, with our rules, which need not hold for long."""
    at_once = [replace(alert, hold="0s") for alert in ALERTS]
    (folder / "alerts.yml").write_text(rules_yaml(at_once, every="1s"), "utf-8")
    address = alertmanager_url.removeprefix("http://")
    text = prometheus_yaml(str(targets), "alerts.yml", address, every="1s")
    (folder / "prometheus.yml").write_text(text, "utf-8")
    log = folder / "prometheus.log"
    argv = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "ready to receive web requests" in log.read_text(), "Prometheus")
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.kill()
        process.wait()


def told(http: Http, name: str, status: str) -> list[dict[str, Any]]:
    """The alerts of this name that the webhook was told of with this status."""
    found = [alert for body in http.bodies() for alert in body["alerts"]]
    return [a for a in found if a["labels"]["alertname"] == name and a["status"] == status]


def test_whoever_is_on_call_is_told_of_the_beginning_and_of_the_end(
    http: Http, tmp_path: Path
) -> None:
    """Of a sink that waits for ClickHouse, with what to do; then of one that was killed, which is
    missed because its target is still there."""
    store, targets = Store("sink"), tmp_path / "targets"
    health = Health(lambda: 0.0, 10.0)
    health.up()
    health.assigned()
    server = MetricsServer(store, health, LABELS, MetricsSettings(port=0, targets=str(targets)))
    store.set("millstream_sink_paused", 1.0)
    (target,) = targets.iterdir()
    kept = target.read_text()
    with alertmanager(tmp_path, f"{http.url}/told") as url, prometheus(tmp_path, targets, url):
        (alert,) = wait_for(lambda: told(http, "MillstreamSinkPaused", "firing"), "the alert")[:1]
        assert alert["labels"]["severity"] == "page"
        assert {name: alert["labels"][name] for name in LABELS} == LABELS
        assert alert["labels"]["instance"] == "loans/sink/0"
        assert alert["annotations"]["summary"] == "loans sink 0 waits for ClickHouse to take rows"
        assert alert["annotations"]["runbook"] == "docs/METRICS.md#millstreamsinkpaused"
        store.set("millstream_sink_paused", 0.0)
        wait_for(lambda: told(http, "MillstreamSinkPaused", "resolved"), "its end")
        assert not told(http, "MillstreamDown", "firing")
        server.close()
        target.write_text(kept)  # as a program that is killed leaves it
        (down,) = wait_for(lambda: told(http, "MillstreamDown", "firing"), "the second")[:1]
        assert down["annotations"]["summary"] == "loans/sink/0 does not answer"
