"""The server of a program's metrics: what Prometheus, a probe and a curious person get."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumers.metrics.server import REQUESTS_MAX, MetricsServer
from millstream.errors import SettingsInvalid
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.metrics.vocabulary import CONSTANT, VOCABULARY, of_program
from millstream.settings import MetricsSettings
from tests.clock import Clock
from tests.consumers.receivers import wait_for

LABELS = {"stream": "loans", "program": "scorer", "slot": "0"}


@pytest.fixture
def clock() -> Clock:
    """At 100 s."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """Of a program that is up."""
    made = Health(clock, 10.0)
    made.up()
    made.assigned()
    return made


@pytest.fixture
def store() -> Store:
    """A scorer's."""
    return Store("scorer")


@pytest.fixture
def server(store: Store, health: Health) -> Iterator[MetricsServer]:
    """On a free port."""
    made = MetricsServer(store, health, LABELS, MetricsSettings(port=0))
    yield made
    made.close()


def get(url: str, accept: str = "") -> tuple[int, str, str]:
    """Status, content type, body."""
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as why:
        return why.code, why.headers["Content-Type"], why.read().decode()


def test_every_metric_of_the_program_is_shown_as_declared(
    server: MetricsServer, store: Store
) -> None:
    """Read by prometheus_client's own parser: names, kinds, labels, values."""
    store.add("millstream_events_refused_total", 3, stage="decode", error='odd"\\\n')
    store.observe("millstream_batch_seconds", 0.02)
    store.set("millstream_lag_records", 7, topic="events", partition="2")
    families = {
        family.name: family
        for family in text_string_to_metric_families(get(server.url + "/metrics")[2])
    }
    for metric in of_program("scorer"):
        family = families.pop(metric.name.removesuffix("_total"), None)
        if family is None:  # a label's values are not known before the first
            assert metric.labels
            assert not metric.known()
            continue
        assert family.type == metric.kind.value
        assert metric.text in family.documentation
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {*CONSTANT, *metric.labels}
            assert {name: sample.labels[name] for name in CONSTANT} == LABELS
        if metric.name == "millstream_events_refused_total":
            (sample,) = family.samples
            assert (sample.labels["error"], sample.value) == ('odd"\\\n', 3.0)
        if metric.name == "millstream_batch_seconds":
            buckets = {s.labels["le"]: s.value for s in family.samples if "le" in s.labels}
            assert buckets["0.01"] == 0
            assert buckets["0.025"] == buckets["+Inf"] == 1
    assert {name.partition("_")[0] for name in families} <= {"process"}


def test_openmetrics_is_given_to_who_asks_for_it(server: MetricsServer) -> None:
    """As Prometheus does; else its older text."""
    _, kind, text = get(server.url + "/metrics", "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    _, kind, text = get(server.url + "/metrics")
    assert kind.startswith("text/plain")
    assert not text.endswith("# EOF\n")


def test_live_says_why_it_is_not(server: MetricsServer, clock: Clock) -> None:
    """503 for the probe, the reason for people."""
    assert get(server.url + "/live") == (200, "application/json", '{"live": true, "why": []}\n')
    clock.now += 11.0
    status, _, body = get(server.url + "/live")
    assert status == 503
    assert json.loads(body) == {"live": False, "why": ["the loop has not turned for 11 s"]}


def test_ready_and_its_metric_say_the_same(server: MetricsServer, health: Health) -> None:
    """At every reading, whether the loop turns or not."""
    assert get(server.url + "/ready")[0] == 200
    assert "\nmillstream_ready{" in get(server.url + "/metrics")[2]
    health.trouble("Kafka is away")
    status, _, body = get(server.url + "/ready")
    assert (status, json.loads(body)["why"]) == (503, ["Kafka is away"])
    line = next(
        t for t in get(server.url + "/metrics")[2].splitlines() if t.startswith("millstream_ready{")
    )
    assert line.endswith(" 0.0")


def test_other_paths_name_those_there_are(server: MetricsServer) -> None:
    """404; a query is no other path."""
    assert get(server.url + "/")[0] == 404
    assert "/metrics /live /ready" in get(server.url + "/metric")[2]
    assert get(server.url + "/ready?verbose=1")[0] == 200


def test_a_head_has_no_body(server: MetricsServer) -> None:
    """As HTTP has it."""
    request = urllib.request.Request(server.url + "/metrics", method="HEAD")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert int(answer.headers["Content-Length"]) > 1_000
        assert answer.read() == b""


def test_readers_that_send_nothing_hold_nobody_up_for_long(server: MetricsServer) -> None:
    """As many as may ask at once say nothing; they are shown out, and others are answered."""
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(REQUESTS_MAX)]
    try:
        assert get(server.url + "/live")[0] == 200
    finally:
        for each in silent:
            each.close()


def test_who_finds_no_room_is_shown_out(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers without an end keep the server neither from the next one nor from its own end."""
    monkeypatch.setattr("consumers.metrics.server.ROOM_S_MAX", 0.05)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(REQUESTS_MAX)]
    try:
        with pytest.raises(OSError, match=r"closed|reset"):
            get(server.url + "/live")
    finally:
        for each in silent:
            each.close()
    assert wait_for(lambda: _status(server) == 200, "the room that they had")


def _status(server: MetricsServer) -> int:
    """0 where it is shown out."""
    try:
        return get(server.url + "/live")[0]
    except OSError:
        return 0


def test_a_thread_that_cannot_start_leaves_its_room(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often: the process has no threads left, and then has."""

    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(ThreadingMixIn, "process_request", full)
        for _ in range(REQUESTS_MAX + 1):
            with pytest.raises(OSError, match=r"closed|reset"):
                get(server.url + "/live")
    assert get(server.url + "/live")[0] == 200


def test_a_port_that_is_taken_is_said_with_the_remedy(
    server: MetricsServer, store: Store, health: Health
) -> None:
    """Before the program does anything."""
    with pytest.raises(SettingsInvalid, match="METRICS_PORT of its own") as caught:
        MetricsServer(store, health, LABELS, MetricsSettings(port=server.port))
    assert f"127.0.0.1:{server.port}" in caught.value.problem


def test_a_program_says_where_it_is_and_takes_it_back(
    store: Store, health: Health, tmp_path: Path
) -> None:
    """As Prometheus's file_sd_configs reads it; its instance is the same after a restart."""
    settings = MetricsSettings(port=0, targets=str(tmp_path / "new" / "folder"))
    made = MetricsServer(store, health, LABELS, settings)
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert path.name == "loans-scorer-0.json"
    assert json.loads(path.read_text()) == [
        {"targets": [f"127.0.0.1:{made.port}"], "labels": {"instance": "loans/scorer/0"}}
    ]
    made.close()
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_said(
    store: Store, health: Health, tmp_path: Path
) -> None:
    """It is a file, for instance."""
    (tmp_path / "file").write_text("")
    settings = MetricsSettings(port=0, targets=str(tmp_path / "file"))
    before = threading.active_count()
    with pytest.raises(SettingsInvalid, match="METRICS_TARGETS"):
        MetricsServer(store, health, LABELS, settings)
    assert threading.active_count() == before, "the server went on"


def test_a_closed_server_has_no_thread_and_no_port(store: Store, health: Health) -> None:
    """What comes then is refused."""
    before = threading.active_count()
    made = MetricsServer(store, health, LABELS, MetricsSettings(port=0))
    made.close()
    assert threading.active_count() == before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(made.url + "/live", timeout=5)


def test_what_is_shown_is_in_the_vocabulary(server: MetricsServer) -> None:
    """Nothing else under our prefix."""
    names = {
        line.split()[2]
        for line in get(server.url + "/metrics")[2].splitlines()
        if line.startswith("# TYPE millstream_")
    }
    assert names <= set(VOCABULARY)
