"""A stream with rules on real parts, and the alert program in a thread."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import SecretStr

from consumers.alerts.alert import Alert, read_alarms, run_alert
from consumers.alerts.log import Alarms
from consumers.metrics.instruments import Live, installed
from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse, migrate
from millstream.alerts.alarm import Alarm
from millstream.alerts.wire import Reader, Writer
from millstream.contracts import contract, topic_table
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import (
    AlertsSettings,
    KafkaSettings,
    RegistrySettings,
    WarehouseSettings,
)
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from tests.consumers.receivers import Http, wait_for
from tests.streams import LOANS

RULES = """
[alerts]
group_wait_s = 0
[[alerts.rules]]
kind = "lag"
name = "behind"
severity = "page"
above_records = 10
every_s = 1
for_s = 0
resolve_s = 0
[[alerts.rules]]
kind = "threshold"
name = "many_letters"
sql = "SELECT count() AS value, model FROM {database}.dead_letters GROUP BY model"
above = 2
every_s = 1
for_s = 0
resolve_s = 0
"""
MISSING = """
[[alerts.rules]]
kind = "missing_labels"
name = "no_labels"
after_s = 1
predictions_min = 1
every_s = 1
for_s = 0
[[alerts.rules]]
kind = "burn_rate"
name = "slow"
objective = 0.9
indicator = "latency"
every_s = 1
windows = [{long_s = 3600, short_s = 300, factor = 5, severity = "page"}]
[[alerts.rules]]
kind = "burn_rate"
name = "refused"
objective = 0.9
indicator = "refused"
every_s = 1
windows = [{long_s = 3600, short_s = 300, factor = 6, severity = "page"}]
"""


@dataclass
class World:
    """A stream of its own on shared parts."""

    stream: Stream
    kafka: KafkaSettings
    registry: RegistrySettings
    warehouse: WarehouseSettings
    programs: list[Alert] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    store: Store = field(default_factory=lambda: Store("alerts"))

    @contextmanager
    def running(self, **settings: Any) -> Iterator[None]:
        """The program, in a thread; what it raised is raised here."""
        stop, ready, errors = threading.Event(), threading.Event(), []

        def ready_with(program: Alert) -> None:
            self.programs.append(program)
            ready.set()

        def run() -> None:
            made = AlertsSettings(**settings)
            parts = (self.stream, self.kafka, self.registry, self.warehouse)
            try:
                with installed(Live(self.store, Health(lambda: 0.0, 10.0))):
                    run_alert(*parts, made, stop, ready_with)
            except BaseException as why:  # noqa: BLE001 - raised again in the test's own thread
                errors.append(why)

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        try:
            wait_for(lambda: ready.is_set() or errors, "the program")
            yield
        finally:
            stop.set()
            thread.join()
        if errors:
            raise errors[0]

    def alarms(self) -> list[Alarm]:
        client = Registry(self.registry)
        found = read_alarms(self.kafka, self.stream, Reader(client.schema))
        client.close()
        return found

    def write(self, kind: str, *said: Any) -> None:
        client = Registry(self.registry)
        topic = self.stream.topic(kind + "s")
        schema_id = client.register(subject_of(topic), contract(kind).text)
        client.close()
        Alarms(self.kafka, topic, Writer(kind, schema_id)).write(said)

    def publish(self, count: int) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for number in range(count):
            producer.produce(self.stream.topic("events"), b"x", partition=number % 2)
        assert producer.flush(30) == 0

    def scored(self, offset: int) -> None:
        """The scorer's group has committed so far in each partition."""
        group = f"{self.stream.name}-scorer"
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": group})
        parts = [TopicPartition(self.stream.topic("events"), p, offset) for p in range(2)]
        consumer.commit(offsets=parts, asynchronous=False)
        consumer.close()


def make_world(
    broker: EmbeddedBroker, registry_url: str, clickhouse: WarehouseSettings, folder: Path
) -> World:
    """A stream of a name of its own, with its topics and tables."""
    name = f"a{uuid.uuid4().hex[:8]}"
    text = (LOANS / "stream.toml").read_text("utf-8").replace('"loans"', f'"{name}"', 1)
    text = text.replace("partitions = 4", "partitions = 2")
    (folder / "stream.toml").write_text(text + RULES)
    (folder / "event.v1.avsc").write_bytes((LOANS / "event.v1.avsc").read_bytes())
    stream = Stream.load(folder / "stream.toml")
    for topic in topic_table().values():
        broker.create_topic(topic.name(name), 2)
    warehouse = Warehouse.connect(clickhouse)
    migrate(warehouse, stream)
    warehouse.close()
    # the mock lets a static member in again only after its session
    kafka = KafkaSettings(bootstrap=broker.bootstrap, embedded=True, session_timeout_ms=6_000)
    return World(stream, kafka, RegistrySettings(url=registry_url), clickhouse)


def told(http: Http) -> list[tuple[str, str, int]]:
    """(rule, status, revision) of each alarm that the webhook was told of."""
    return [(a["rule"], a["status"], a["revision"]) for b in http.bodies() for a in b["alarms"]]


def hook(http: Http) -> dict[str, Any]:
    return {"webhook_url": SecretStr(http.url), "attempts_max": 3, "backoff_s_max": 0.1}
