"""The watch as a program, on the embedded broker."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from consumers.metrics.instruments import Live, installed
from consumers.registry import Registry
from consumers.watch import KEY_FILE, Tally, run_watch
from consumers.watch_publishers import newest_state
from millstream.contracts import topic_table
from millstream.drift.snapshot import load_key, unseal
from millstream.errors import InvariantBroken
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import KafkaSettings, RegistrySettings, WatchSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.watched import publish, shifted
from tests.millstream.drift.watchlogs import PARTITIONS, Logs, make_logs, stream_in

WAIT_S = 60.0


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    """6,000 events whose rule changes at event 2,000."""
    stream = stream_in(tmp_path, "window_s = 0.0\nprofile_events = 400\nwindow_events = 250")
    return shifted(make_logs(stream, 6_000, 2_000, delay=200))


def run_until_read(
    logs: Logs,
    kafka: KafkaSettings,
    registry: RegistrySettings,
) -> Tally:
    """Until everything is behind the state."""
    stop = threading.Event()
    timer = threading.Timer(WAIT_S, stop.set)
    timer.start()
    key = load_key(logs.stream.beside(KEY_FILE))
    settings = WatchSettings(commit_s=0.05)

    def look() -> None:
        while not stop.wait(0.1):
            state = newest_state(kafka, logs.stream.topic("watch_state"))
            offsets = {} if state is None else unseal(key, state, logs.stream.name).offsets
            whole = all(offsets.get(lane) == len(log) for lane, log in logs.lanes.items())
            if whole:
                stop.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        return run_watch(logs.stream, kafka, registry, settings, stop)
    finally:
        stop.set()
        timer.cancel()
        thread.join()


def made(embedded: EmbeddedBroker, stream: Stream) -> KafkaSettings:
    """The broker with the stream's topics."""
    for topic in topic_table().values():
        embedded.create_topic(topic.name(stream.name), PARTITIONS)
    return KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)


def test_it_opens_one_incident_and_goes_on_from_its_state(
    embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry, logs: Logs
) -> None:
    """The second start says nothing again; a state of another key is not taken."""
    kafka = made(embedded, logs.stream)
    registry = RegistrySettings(url=embedded_registry.url)
    publish(logs, kafka, Registry(registry))
    numbers = Store("watch")
    with installed(Live(numbers, Health(lambda: 0.0, 10.0))):
        first = run_until_read(logs, kafka, registry)
    assert first.drift > 0
    assert numbers.value("millstream_watch_records_total") == first.drift
    assert numbers.value("millstream_watch_commits_total") == first.commits > 0
    assert 0 < numbers.value("millstream_watch_alarms_total") <= first.drift
    assert numbers.value("millstream_watch_open_incidents", verdict="concept_change") == 1
    assert [incident.verdict.value for incident in first.open] == ["concept_change"]
    second = run_until_read(logs, kafka, registry)
    assert (second.drift, second.incidents) == (0, 0)
    file = logs.stream.beside(KEY_FILE)
    file.write_text("another key, of thirty-two bytes")
    with pytest.raises(InvariantBroken, match="not what was written with this key"):
        run_watch(logs.stream, kafka, registry, WatchSettings(), threading.Event())
