"""`millstream judge` as typed, on a real ClickHouse, with the embedded broker and registry."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from consumers.alerts.log import Follower, value_of
from consumers.registry import Registry
from consumers.warehouse import Warehouse, migrate
from millstream.alerts.wire import Reader
from millstream.cli.judge import judge
from millstream.errors import OperatorNeeded
from millstream.models.bundle import Bundle
from millstream.records import Records
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.rows import row_makers
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.answers import label, make, store
from tests.consumers.contests import OTHER, OWN, shadow, switch, unlike
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve, stream_in
from tests.streams import make_loans

ROWS = 1_200
REGION = {"name": "region", "type": "string"}
app = typer.Typer()
app.command()(judge)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of this file's own."""
    process, found = serve(tmp_path_factory.mktemp("clickhouse"))
    yield found
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose labels are 0 and 1."""
    folder = tmp_path_factory.mktemp("loans")
    make_loans(folder, trees=2)
    return folder / "bundle"


@pytest.fixture
def stream(tmp_path: Path, bundle: Path) -> Stream:
    """A stream with slices, whose database and topics no other test has."""
    shutil.copytree(bundle, tmp_path / "b")
    made = stream_in(tmp_path, f"j{uuid.uuid4().hex[:8]}", REGION)
    made.path.write_text(made.path.read_text() + '[watch]\nslices = ["region"]\n')
    return Stream.load(made.path)


def _fill(url: str, stream: Stream) -> Warehouse:
    """A challenger of 10 % errors beside a champion of 25 %."""
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    warehouse = Warehouse.connect(settings)
    labels = Bundle.load(stream.bundle_path).card.labels
    made = make(ROWS, seed=3)
    store(warehouse, stream, made, labels=labels)
    shadow(warehouse, stream, unlike(made, 0.1), labels=labels)
    label(warehouse, stream, made, list(range(ROWS)), labels=labels)
    return warehouse


def _run(monkeypatch: pytest.MonkeyPatch, url: str, stream: Stream, *options: str) -> Result:
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_USERNAME", "default")
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_PASSWORD", PASSWORD)
    return CliRunner().invoke(app, [str(stream.path), "--warehouse", url, *options])


def test_it_decides_and_writes_the_evidence_to_its_topic(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    stream: Stream,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
) -> None:
    """What is printed is what the record says, and the sink makes a row of it; judged again on the
    same rows, the id is the same."""
    warehouse = _fill(url, stream)
    switch(warehouse, stream, 1, OWN, challenger=OTHER)
    topic = stream.topic("decisions")
    embedded.create_topic(topic, 1)
    kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    monkeypatch.setenv("MILLSTREAM_KAFKA_EMBEDDED", "true")
    options = ("--kafka", embedded.bootstrap, "--registry", embedded_registry.url)
    ran = _run(monkeypatch, url, stream, *options)
    assert ran.exit_code == 0, ran.output
    assert f"{stream.name}: promote: the challenger is better" in ran.stdout
    again = _run(monkeypatch, url, stream, "--json", *options)
    told = json.loads(again.stdout)
    assert (told["verdict"], told["finding"]["rows"]) == ("promote", ROWS)
    follower = Follower(kafka, topic, f"{topic}-test")
    records = follower.to_end()
    follower.close()
    client = Registry(RegistrySettings(url=embedded_registry.url))
    first, second = (Reader(client.schema).fields(value_of(record)) for record in records)
    assert first["id"] == second["id"]
    assert json.loads(first["evidence"]) == told
    assert first["markdown"].startswith(f"# {stream.name}: promote")
    values = [value_of(record) for record in records]
    numbers = np.arange(2)
    made = row_makers(stream, client.schema, ["decisions"])[topic].rows(
        Records(topic, values, [b"k"] * 2, np.zeros(2, np.int32), numbers, numbers, {})
    )
    warehouse.insert(stream.name, "decisions", made, "d")
    found = warehouse.query(f"SELECT verdict, rows, failed_gates FROM {stream.name}.decisions_once")
    assert found == [("promote", ROWS, [])]
    warehouse.close()


def test_a_worse_champion_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, url: str, stream: Stream
) -> None:
    """Its predecessor does better; Markdown is printed where it is asked for, nothing is written
    with --no-record."""
    warehouse = _fill(url, stream)
    switch(warehouse, stream, 1, OWN, shadows=[OTHER], before=OTHER.digest)
    warehouse.close()
    ran = _run(monkeypatch, url, stream, "--no-record", "--markdown", "--model", "m@2")
    assert ran.exit_code == 1, ran.output
    assert ran.stdout.startswith(f"# {stream.name}: roll back: its predecessor does better")


def test_without_a_challenger_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, url: str, stream: Stream
) -> None:
    """Release one."""
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    warehouse = Warehouse.connect(settings)
    migrate(warehouse, stream)
    warehouse.close()
    ran = _run(monkeypatch, url, stream, "--no-record")
    assert isinstance(ran.exception, OperatorNeeded)
    assert "no challenger" in ran.exception.problem
