"""A whole scorer under its instruments, on the embedded broker: what /metrics and a collector say
is what was published."""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from consumers.kafka import producer_config
from consumers.metrics.instruments import OFF, Live, current
from consumers.metrics.observed import observed
from consumers.registry import Registry, subject_of
from consumers.scorer import run_scorer
from consumers.topics import create_topics
from millstream.contracts import topic_table
from millstream.errors import SettingsInvalid
from millstream.settings import KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.otlp import PATH, spans
from tests.consumers.receivers import Http, wait_for
from tests.crash.audit import committed
from tests.streams import LOANS, applications, framed, make_loans

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EVENTS, BAD = 200, 3


@pytest.fixture
def http() -> Iterator[Http]:
    """The collector."""
    server = Http()
    yield server
    server.close()


def publish(stream: Stream, kafka: KafkaSettings, registry: RegistrySettings) -> None:
    """Good events, one of them of a trace, and bad ones."""
    client = Registry(registry)
    topic = stream.topic("events")
    schema_id = client.register(subject_of(topic), stream.schema_of_event.text)
    client.close()
    producer = Producer(producer_config(kafka, "test"))
    for number, value in enumerate(framed(applications(EVENTS), schema_id)):
        traced: Any = [("traceparent", f"00-{TRACE}-{PARENT}-01".encode())] if not number else []
        producer.produce(topic, value, b"k", number % 4, headers=traced)
    for number in range(BAD):
        producer.produce(topic, b"not framed", b"k", number % 4)
    assert producer.flush(30) == 0


def scored(
    stream: Stream,
    kafka: KafkaSettings,
    registry: RegistrySettings,
    environ: dict[str, str],
    look: Callable[[Live], None],
) -> None:
    """A scorer until all is answered; then `look`, while it still runs."""
    stop, errors = threading.Event(), []
    lives: list[Live] = []

    def run() -> None:
        try:
            with observed("scorer", stream, environ):
                live = current()
                assert isinstance(live, Live)
                lives.append(live)
                run_scorer(
                    stream, kafka, registry, ScorerSettings(), stop, lambda _: current().up()
                )
        except BaseException as why:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(why)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        name = "millstream_records_consumed_total"
        wait_for(
            lambda: (
                errors or (lives and lives[0].store.value(name, topic="events") == EVENTS + BAD)
            ),
            "the last answer",
        )
        if not errors:
            turn = "millstream_loop_turn_timestamp_seconds"
            seen = lives[0].store.value(turn)
            wait_for(lambda: errors or lives[0].store.value(turn) > seen, "another look")
            look(lives[0])
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def samples(url: str) -> dict[tuple[str, ...], float]:
    """(name, label values but those of every sample) -> value."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    constant = {"stream", "program", "slot"}
    return {
        (
            sample.name,
            *(v for k, v in sorted(sample.labels.items()) if k not in constant),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def target(folder: Path) -> str:
    """Where the one program says it is."""
    (path,) = folder.glob("*.json")
    return f"http://{json.loads(path.read_text())[0]['targets'][0]}"


def test_a_scorer_says_what_it_did(
    embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry, http: Http, tmp_path: Path
) -> None:
    """Every event is counted as what it became, the scorer is ready, its traces arrive, and when it
    has left nobody listens."""
    stream = make_loans(tmp_path / "loans", trees=5).stream
    for topic in topic_table().values():
        embedded.create_topic(topic.name(stream.name), stream.serving.partitions)
    kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True, session_timeout_ms=6_000)
    registry = RegistrySettings(url=embedded_registry.url)
    publish(stream, kafka, registry)
    folder = tmp_path / "targets"
    environ = {
        "MILLSTREAM_METRICS_PORT": "0",
        "MILLSTREAM_METRICS_TARGETS": str(folder),
        "MILLSTREAM_TRACES_URL": http.url + PATH,
    }
    found: dict[tuple[str, ...], float] = {}

    def look(_: Live) -> None:
        found.update(samples(target(folder) + "/metrics"))

    scored(stream, kafka, registry, environ, look)
    assert found["millstream_events_scored_total", "full"] == EVENTS
    refused = {k: v for k, v in found.items() if k[0] == "millstream_events_refused_total"}
    assert sum(refused.values()) == BAD
    assert found["millstream_event_latency_seconds_count",] == EVENTS + BAD
    assert found["millstream_model_answers_total", "loans", "1"] == EVENTS
    assert found["millstream_ready",] == 1
    assert found["millstream_partitions_assigned", "events"] == 4
    lags = {k: v for k, v in found.items() if k[0] == "millstream_lag_records"}
    assert len(lags) == 4
    assert sum(lags.values()) == 0
    assert list(folder.iterdir()) == []
    told = spans(http)
    batches = [span for span in told if span.name == "scorer batch"]
    assert sum(span.attributes["messaging.batch.message_count"] for span in batches) == EVENTS + BAD
    (event,) = [span for span in told if span.trace == TRACE]
    assert event.parent == PARENT
    predictions = committed(embedded.bootstrap, stream.topic("predictions"))
    assert len(predictions) == EVENTS


def test_a_scorer_tells_of_its_transactions(
    kafka: Broker, embedded_registry: EmbeddedRegistry, http: Http, tmp_path: Path
) -> None:
    """Each call of each, and where a batch's time went; the prediction goes on with its event's
    trace."""
    stream = _renamed(make_loans(tmp_path / "loans", trees=5).stream)
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    registry = RegistrySettings(url=embedded_registry.url)
    create_topics(stream, settings)
    publish(stream, settings, registry)
    environ = {
        "MILLSTREAM_METRICS_PORT": "0",
        "MILLSTREAM_METRICS_TARGETS": str(tmp_path / "targets"),
        "MILLSTREAM_TRACES_URL": http.url + PATH,
    }
    found: dict[tuple[str, ...], float] = {}
    scored(
        stream,
        settings,
        registry,
        environ,
        lambda _: found.update(samples(target(tmp_path / "targets") + "/metrics")),
    )
    batches = found["millstream_batches_total",]
    assert found["millstream_transactions_total", "committed"] == batches > 0
    assert found["millstream_transactions_total", "aborted"] == 0
    for call in ("begin", "send_offsets", "commit"):
        assert found["millstream_transaction_call_seconds_count", call] == batches
    told = spans(http)
    names = [span.name for span in told if span.name.startswith("scorer ")]
    for step in ("score", "begin", "produce", "send_offsets", "commit"):
        assert names.count(f"scorer {step}") == batches
    (event,) = [span for span in told if span.trace == TRACE]
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(stream.topic("predictions"), 0, 0)])
    carried = [
        dict(record.headers() or [])["traceparent"]
        for record in consumer.consume(EVENTS // 4, 10.0)
        if "traceparent" in dict(record.headers() or [])
    ]
    consumer.close()
    assert carried == [f"00-{TRACE}-{event.id}-01".encode()]


def _renamed(stream: Stream) -> Stream:
    """With topics that no other test has."""
    path = stream.path
    name = f"o{uuid.uuid4().hex[:8]}"
    path.write_text(path.read_text("utf-8").replace('name = "loans"', f'name = "{name}"', 1))
    return Stream.load(path)


def test_without_settings_nobody_listens(tmp_path: Path) -> None:
    """And nothing is counted."""
    stream = _stream(tmp_path)
    before = threading.active_count()
    with observed("sink", stream, {}):
        assert current() is OFF
        assert threading.active_count() == before


def test_settings_that_cannot_be_met_stop_the_start(tmp_path: Path) -> None:
    """Before anything is read; what was opened is closed again."""
    stream = _stream(tmp_path)
    before = threading.active_count()
    (tmp_path / "file").write_text("")
    environ = {
        "MILLSTREAM_METRICS_PORT": "0",
        "MILLSTREAM_METRICS_TARGETS": str(tmp_path / "file"),
        "MILLSTREAM_TRACES_URL": "http://127.0.0.1:9/v1/traces",
    }
    with pytest.raises(SettingsInvalid), observed("sink", stream, environ):
        pass
    environ = {"MILLSTREAM_TRACES_URL": "collector:4318"}
    with pytest.raises(SettingsInvalid, match="is not http"), observed("sink", stream, environ):
        pass
    assert threading.active_count() == before


def _stream(folder: Path) -> Stream:
    for name in ("stream.toml", "event.v1.avsc"):
        (folder / name).write_bytes((LOANS / name).read_bytes())
    return Stream.load(folder / "stream.toml")
