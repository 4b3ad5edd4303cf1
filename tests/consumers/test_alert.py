"""The alert program, end to end: Kafka, ClickHouse and receivers are real."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import SecretStr

from consumers.alert import Alert, Silences, read_alarms, run_alert
from consumers.alert_log import Alarms
from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse, migrate
from millstream.alerts.alarm import Alarm
from millstream.alerts.silence import Matcher, Silence
from millstream.alerts.wire import Reader, Writer
from millstream.contracts import contract, topic_table
from millstream.settings import (
    AlertsSettings,
    KafkaSettings,
    RegistrySettings,
    WarehouseSettings,
)
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.receivers import Http, wait_for
from tests.consumers.warehouses import PASSWORD, serve
from tests.millstream.alerts.alarms import NOON, SECOND, alarm
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


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    process, url = serve(tmp_path_factory.mktemp("clickhouse"))
    yield WarehouseSettings(url=url, password=SecretStr(PASSWORD))
    process.kill()
    process.wait()


@dataclass
class World:
    """A stream of its own on shared parts."""

    stream: Stream
    kafka: KafkaSettings
    registry: RegistrySettings
    warehouse: WarehouseSettings
    programs: list[Alert] = field(default_factory=list)

    @contextmanager
    def running(self, **settings: Any) -> Iterator[None]:
        """The program, in a thread; what it raised is raised here."""
        stop, ready, errors = threading.Event(), threading.Event(), []

        def ready_with(program: Alert) -> None:
            self.programs.append(program)
            ready.set()

        def run() -> None:
            made = AlertsSettings(**settings)
            try:
                run_alert(
                    self.stream, self.kafka, self.registry, self.warehouse, made, stop, ready_with
                )
            except BaseException as why:  # noqa: BLE001 - raised again in the test's own thread
                errors.append(why)

        thread = threading.Thread(target=run)
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


@pytest.fixture
def world(
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
    clickhouse: WarehouseSettings,
    tmp_path: Path,
) -> World:
    name = f"a{uuid.uuid4().hex[:8]}"
    text = (LOANS / "stream.toml").read_text("utf-8").replace('"loans"', f'"{name}"', 1)
    text = text.replace("partitions = 4", "partitions = 2")
    (tmp_path / "stream.toml").write_text(text + RULES)
    (tmp_path / "event.v1.avsc").write_bytes((LOANS / "event.v1.avsc").read_bytes())
    stream = Stream.load(tmp_path / "stream.toml")
    for topic in topic_table().values():
        embedded.create_topic(topic.name(name), 2)
    warehouse = Warehouse.connect(clickhouse)
    migrate(warehouse, stream)
    warehouse.close()
    kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    return World(stream, kafka, RegistrySettings(url=embedded_registry.url), clickhouse)


@pytest.fixture
def http() -> Iterator[Http]:
    server = Http()
    yield server
    server.close()


def told(http: Http) -> list[tuple[str, str, int]]:
    """(rule, status, revision) of each alarm that the webhook was told of."""
    return [(a["rule"], a["status"], a["revision"]) for b in http.bodies() for a in b["alarms"]]


def hook(http: Http) -> dict[str, Any]:
    return {"webhook_url": SecretStr(http.url), "attempts_max": 3, "backoff_s_max": 0.1}


def test_lag_is_told_once_and_its_end_too(world: World, http: Http) -> None:
    """What no group has read counts from the first record; a restart tells nobody again."""
    world.publish(20)
    with world.running(**hook(http)):
        wait_for(lambda: told(http), "the alarm")
        looks = world.programs[0].looks
        wait_for(lambda: world.programs[0].looks >= looks + 4, "further looks")
    assert told(http) == [("behind", "firing", 1)]
    (written,) = world.alarms()
    assert written.evidence["records"] == 20
    assert written.evidence["partitions_never_committed"] == 2
    with world.running(**hook(http)):
        wait_for(lambda: world.programs[1].looks >= 4, "looks after the restart")
        assert told(http) == [("behind", "firing", 1)]
        world.scored(9)
        wait_for(lambda: len(told(http)) > 1, "the end")
    assert told(http) == [("behind", "firing", 1), ("behind", "resolved", 2)]
    assert [(a.id, a.revision) for a in world.alarms()] == [(written.id, 1), (written.id, 2)]


def letters(world: World, model: str, count: int, first: int) -> None:
    """Rows of dead_letters, and as many predictions that were too slow."""
    warehouse = Warehouse.connect(world.warehouse)
    name = world.stream.name
    warehouse.command(
        f"INSERT INTO {name}.dead_letters (model, kafka_time, kafka_block_time, kafka_offset) "
        f"SELECT '{model}', now64(6), now64(6), {first} + number FROM numbers({count})"
    )
    warehouse.command(
        f"INSERT INTO {name}.predictions (in_budget, published_at, kafka_time, kafka_block_time, "
        f"source_offset, kafka_offset) SELECT false, now64(6) - toIntervalSecond(60), now64(6), "
        f"now64(6), {first} + number, {first} + number FROM numbers({count})"
    )
    warehouse.close()


def test_a_threshold_is_looked_up_in_clickhouse(world: World, http: Http) -> None:
    """Each row of its query is a subject: only the one above the bound fires."""
    letters(world, "old", 1, 0)
    letters(world, "new", 5, 10)
    with world.running(**hook(http)):
        wait_for(lambda: told(http), "the alarm")
    assert told(http) == [("many_letters", "firing", 1)]
    assert http.bodies()[0]["alarms"][0]["labels"] == {"model": "new"}
    assert http.bodies()[0]["alarms"][0]["evidence"]["value"] == 5


def test_missing_labels_and_burn_rates_are_looked_up_in_clickhouse(
    world: World, http: Http
) -> None:
    """By queries over predictions, labelled and dead letters. Half of the events are refused: five
    times what the objective allows, where six alarm."""
    path = world.stream.path
    path.write_text(path.read_text().partition("[[alerts.rules]]")[0] + MISSING)
    world.stream = Stream.load(path)
    letters(world, "m", 5, 0)
    with world.running(**hook(http)):
        wait_for(lambda: len(told(http)) >= 2, "two alarms")
        wait_for(lambda: world.programs[0].looks >= 6, "every rule")
    found = {a.rule: a for a in world.alarms()}
    assert set(found) == {"no_labels", "slow"}
    assert found["no_labels"].evidence["missing"] == 5
    assert "burns 10.0 times too fast over 1 h" in found["slow"].summary


def test_damage_that_verify_found_is_told_like_any_alarm(world: World, http: Http) -> None:
    """Whoever wrote it; a receiver that is away is tried again."""
    http.statuses = [503, 503]
    with world.running(**hook(http)):
        world.write("alarm", alarm(1, rule="verify_lost", stream=world.stream.name))
        wait_for(lambda: len(http.got) == 3, "the third try")
    assert {body["id"] for body in http.bodies()} == {http.bodies()[0]["id"]}
    assert told(http)[-1] == ("verify_lost", "firing", 1)


def test_what_no_try_delivers_is_said_and_the_next_is_told(
    world: World, http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays in the topic, and a restart does not send it again."""
    http.statuses = [400]
    name = world.stream.name
    with world.running(**hook(http)):
        world.write("alarm", alarm(1, rule="first", stream=name))
        wait_for(lambda: len(http.got) == 1, "the try")
        world.write("alarm", alarm(2, rule="second", stream=name))
        wait_for(lambda: len(http.got) == 2, "the second")
    assert f"it stays in {name}.alarms, and is not sent again" in caplog.text
    with world.running(**hook(http)):
        world.write("alarm", alarm(3, rule="third", stream=name))
        wait_for(lambda: len(http.got) == 3, "the third")
    assert [rule for rule, _, _ in told(http)] == ["first", "second", "third"]


def test_a_hanging_receiver_holds_up_no_other(world: World, http: Http) -> None:
    """Each channel has its own thread and its own mark."""
    slow = Http()
    slow.drip.set()
    both = hook(http) | {"alertmanager_url": SecretStr(slow.url), "timeout_s": 1.0}
    with world.running(**both):
        world.write("alarm", alarm(1, rule="verify_lost", stream=world.stream.name))
        wait_for(lambda: told(http), "the webhook's notice")
        slow.drip.clear()
        wait_for(lambda: slow.got, "Alertmanager's notice")
    slow.close()
    assert told(http) == [("verify_lost", "firing", 1)]


def test_a_silence_holds_until_it_is_ended(world: World, http: Http) -> None:
    """The alarm is in the topic all the while; at the end people are told of what still fires."""
    rule = (Matcher.parse("rule=verify_lost"),)
    quiet = Silence("s1", rule, 0, 4_102_444_800 * SECOND, "anna", "known")
    world.write("silence", quiet)
    name = world.stream.name
    with world.running(**hook(http)):
        world.write("alarm", alarm(1, rule="verify_lost", stream=name))
        world.write("alarm", alarm(2, rule="other", stream=name))
        wait_for(lambda: told(http), "the other")
    assert [rule for rule, _, _ in told(http)] == ["other"]
    with world.running(**hook(http)):
        world.write("silence", Silence("s1", rule, 0, NOON, "anna", "known"))
        wait_for(lambda: len(told(http)) == 2, "what was silenced")
    assert [rule for rule, _, _ in told(http)] == ["other", "verify_lost"]


def test_a_rule_that_is_gone_is_resolved_at_the_start(world: World, http: Http) -> None:
    """Else it would fire for ever."""
    world.publish(20)
    with world.running(**hook(http)):
        wait_for(lambda: told(http), "the alarm")
    path = world.stream.path
    path.write_text(path.read_text().partition("[alerts]")[0])
    world.stream = Stream.load(path)
    with world.running(**hook(http)):
        wait_for(lambda: len(told(http)) == 2, "the end")
    assert told(http)[-1] == ("behind", "resolved", 2)


def test_a_clickhouse_that_is_away_stops_no_other_rule(world: World, http: Http) -> None:
    """Lag is told as ever; the rule that asks ClickHouse fails by itself."""
    world.warehouse = WarehouseSettings(url="http://127.0.0.1:9", timeout_s=1)
    world.publish(20)
    with world.running(**hook(http)):
        wait_for(lambda: told(http), "the alarm")
        wait_for(lambda: world.programs[0].looks >= 4, "both rules")
    assert [a.rule for a in world.alarms()] == ["behind"]


def test_the_sinks_table_and_the_contract_agree(world: World) -> None:
    """What the program writes can be inserted under the table's column names."""
    made = alarm(1).fields()
    warehouse = Warehouse.connect(world.warehouse)
    columns = {
        row[0]
        for row in warehouse.query(
            "SELECT name FROM system.columns WHERE database = {d:String} AND table = 'alarms'",
            d=world.stream.name,
        )
    }
    warehouse.close()
    assert set(made) <= columns
    assert pa.array([made["labels"]]).type == pa.string()


def silences_of(world: World) -> dict[str, Silence]:
    client = Registry(world.registry)
    found = Silences(world.kafka, world.stream, Reader(client.schema))
    current = {each.id: each for each in found.current}
    found.close()
    client.close()
    return current


def test_the_command_line_silences_and_lists(world: World) -> None:
    """`silence` writes, `list` shows what fires with its silence, and --end ends it."""
    world.write("alarm", alarm(1, rule="verify_lost", stream=world.stream.name))
    environ = {
        "MILLSTREAM_KAFKA_BOOTSTRAP": world.kafka.bootstrap,
        "MILLSTREAM_KAFKA_EMBEDDED": "true",
        "MILLSTREAM_REGISTRY_URL": world.registry.url,
        "PATH": "/usr/bin:/bin",
    }

    def millstream(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        argv = [".venv/bin/millstream", "alerts", command, str(world.stream.path), *options]
        return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)

    made = millstream("silence", "rule=verify_lost", "--for", "2h", "--comment", "known")
    assert made.returncode == 0, made.stderr
    (silence,) = silences_of(world).values()
    assert silence.ends_us - silence.starts_us == 7_200 * SECOND
    listed = [json.loads(line) for line in millstream("list", "--json").stdout.splitlines()]
    assert [(row["kind"], row.get("silenced")) for row in listed] == [
        ("alarm", True),
        ("silence", None),
    ]
    assert millstream("silence", "--end", silence.id).returncode == 0
    assert silences_of(world)[silence.id].ends_us < silence.ends_us
    assert "(silenced)" not in millstream("list").stdout
    wrong = millstream("silence", "rule=x", "--for", "soon")
    assert (wrong.returncode, "--for soon is no length" in wrong.stderr) == (2, True)
