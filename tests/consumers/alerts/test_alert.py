"""The alert program, end to end: Kafka, ClickHouse and receivers are real."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from consumers.alerts.alert import Silences
from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse
from millstream.alerts.silence import Matcher, Silence
from millstream.alerts.wire import Reader
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import SCHEMAS, contract
from millstream.settings import (
    WarehouseSettings,
)
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.alert_world import MISSING, World, hook, make_world, told
from tests.consumers.receivers import Http, wait_for
from tests.consumers.warehouses import PASSWORD, serve
from tests.millstream.alerts.alarms import SECOND, alarm

QUICK = "[alerts]\ngroup_wait_s = 0\n"


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    process, url = serve(tmp_path_factory.mktemp("clickhouse"))
    yield WarehouseSettings(url=url, password=SecretStr(PASSWORD))
    process.kill()
    process.wait()


@pytest.fixture
def world(
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
    clickhouse: WarehouseSettings,
    tmp_path: Path,
) -> World:
    return make_world(embedded, embedded_registry.url, clickhouse, tmp_path)


@pytest.fixture
def http() -> Iterator[Http]:
    server = Http()
    yield server
    server.close()


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
    notices = "millstream_alerts_notices_total"
    assert world.store.value(notices, channel="webhook", result="told") == 1
    assert world.store.value("millstream_alerts_firing", severity="page") == 1
    assert world.store.value("millstream_alerts_looks_total") >= 4
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
        world.write(
            "alarm", alarm(1, rule="verify_lost", stream=world.stream.name, source="verify")
        )
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
        world.write("alarm", alarm(1, rule="first", stream=name, source="verify"))
        wait_for(lambda: len(http.got) == 1, "the try")
        world.write("alarm", alarm(2, rule="second", stream=name, source="verify"))
        wait_for(lambda: len(http.got) == 2, "the second")
    assert f"it stays in {name}.alarms, and is not sent again" in caplog.text
    with world.running(**hook(http)):
        world.write("alarm", alarm(3, rule="third", stream=name, source="verify"))
        wait_for(lambda: len(http.got) == 3, "the third")
    assert [rule for rule, _, _ in told(http)] == ["first", "second", "third"]


def test_a_hanging_receiver_holds_up_no_other(world: World, http: Http) -> None:
    """Each channel has its own thread and its own mark."""
    slow = Http()
    slow.drip.set()
    both = hook(http) | {"alertmanager_url": SecretStr(slow.url), "timeout_s": 1.0}
    with world.running(**both):
        world.write(
            "alarm", alarm(1, rule="verify_lost", stream=world.stream.name, source="verify")
        )
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
        world.write("alarm", alarm(1, rule="verify_lost", stream=name, source="verify"))
        world.write("alarm", alarm(2, rule="other", stream=name, source="verify"))
        wait_for(lambda: told(http), "the other")
    assert [rule for rule, _, _ in told(http)] == ["other"]
    with world.running(**hook(http)):
        ended = time.time_ns() // 1_000  # now, as `alerts silence --end` does
        world.write("silence", Silence("s1", rule, 0, ended, "anna", "known"))
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


def incident_value(world: World, **changes: Any) -> bytes:
    """A golden incident of this stream, with these changes."""
    text = contract("incident").text
    golden = json.loads((SCHEMAS / "golden" / "incident.v1.json").read_text("utf-8"))[0]
    row = golden | {"stream": world.stream.name} | changes
    client = Registry(world.registry)
    schema_id = client.register(subject_of(world.stream.topic("incidents")), text)
    client.close()
    schema = arrow_schema(text)
    stored = [pa.int64() if pa.types.is_timestamp(f.type) else f.type for f in schema]
    arrays = [
        pa.array([row[f.name]], kind).cast(f.type) for f, kind in zip(schema, stored, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return Encoder(text, frame(schema_id)).encode(batch)[0]


def test_an_incident_is_told_once_from_its_opening_to_its_end(world: World, http: Http) -> None:
    """Read twice it is told once; a restart between opening and end changes nothing; what is no
    incident is said and passed over."""
    path = world.stream.path
    rule = '[[alerts.rules]]\nkind = "detector"\nname = "drift"\nseverity = "page"\n'
    path.write_text(path.read_text().partition("[alerts]")[0] + QUICK + rule)
    world.stream = Stream.load(path)
    topic = world.stream.topic("incidents")
    producer = Producer({"bootstrap.servers": world.kafka.bootstrap})

    def publish(*values: bytes) -> None:
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(30) == 0

    opened = incident_value(world, id="i-1", verdict="concept_change", status="opened")
    publish(b"junk", opened, opened)
    with world.running(**hook(http)):
        wait_for(lambda: told(http), "the opening")
    assert told(http) == [("drift", "firing", 1)]
    over = incident_value(world, id="i-1", verdict="concept_change", status="resolved")
    harmless = incident_value(world, id="i-2", verdict="harmless_shift", status="opened")
    publish(opened, harmless, over)
    with world.running(**hook(http)):
        wait_for(lambda: len(told(http)) == 2, "the end")
    assert told(http) == [("drift", "firing", 1), ("drift", "resolved", 2)]
    first, last = world.alarms()
    assert (first.id, first.source, first.cause) == (last.id, "incident/i-1", "concept_change")


def silences_of(world: World) -> dict[str, Silence]:
    client = Registry(world.registry)
    found = Silences(world.kafka, world.stream, Reader(client.schema))
    current = {each.id: each for each in found.current}
    found.close()
    client.close()
    return current


def test_the_command_line_silences_and_lists(world: World) -> None:
    """`silence` writes, `list` shows what fires with its silence, and --end ends it."""
    world.write("alarm", alarm(1, rule="verify_lost", stream=world.stream.name, source="verify"))
    environ = {
        "MILLSTREAM_KAFKA_BOOTSTRAP": world.kafka.bootstrap,
        "MILLSTREAM_KAFKA_EMBEDDED": "true",
        "MILLSTREAM_REGISTRY_URL": world.registry.url,
        "PATH": "/usr/bin:/bin",
    }

    def millstream(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "millstream", "alerts"]
        argv = [*program, command, str(world.stream.path), *options]
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
