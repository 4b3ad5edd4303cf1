"""The producer examples in three languages: a real broker and registry, and a real scorer."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse
from millstream.contract.checker import Checker, own_schema
from millstream.contract.partition import partition_of
from millstream.contract.reading import read_given
from millstream.stream import Stream
from ops.kafka.apicurio import Apicurio
from ops.kafka.broker import Broker
from ops.stack import Parts, Stack
from tests.broker.foreign import STARTS
from tests.broker.waiting import count, wait_for_rows
from tests.streams import Loans, applications, make_loans, matrix

EVENTS = 1_200
FIRST = {"python": 0, "java": 10_000, "javascript": 20_000}
RUN_S_MAX = 150


@dataclass(frozen=True, slots=True)
class Place:
    """A whole Millstream on a real broker and registry."""

    loans: Loans
    stack: Stack
    warehouse: Warehouse
    registry: str


@pytest.fixture(scope="module")
def place(
    kafka: Broker, apicurio: Apicurio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """For all languages: each publishes events of its own."""
    folder = tmp_path_factory.mktemp("producers")
    loans = make_loans(folder)
    toml = folder / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', 'name = "producers"'))
    loans = Loans(Stream.load(toml), loans.model)
    parts = Parts(kafka=kafka.bootstrap, registry=apicurio.url)
    with Stack(loans.stream, folder / "run", parts) as stack:
        warehouse = Warehouse.connect(stack.warehouse)
        yield Place(loans, stack, warehouse, apicurio.url)
        warehouse.close()


def event_file(folder: Path, first: int) -> tuple[Path, pa.RecordBatch]:
    """EVENTS applications as JSON lines, times in microseconds."""
    batch = applications(EVENTS, seed=first + 1, first=first)
    at = batch.schema.get_field_index("applied_at")
    micros = batch.set_column(at, "applied_at", batch.column(at).cast(pa.int64()))
    file = folder / "events.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in micros.to_pylist()))
    return file, batch


def publish(place: Place, language: str, file: Path, topic: str | None = None) -> tuple[int, str]:
    """Exit code and output of the example."""
    stream = place.loans.stream
    ran = subprocess.run(
        [
            *STARTS[language](), "--bootstrap", place.stack.kafka.bootstrap,
            "--registry", place.registry, "--topic", topic or stream.topic("events"),
            "--schema", str(stream.schema_of_event.path), "--key", stream.event.key, str(file),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize("language", list(STARTS))
def test_every_event_has_one_prediction(place: Place, language: str, tmp_path: Path) -> None:
    """The model's own score, on the partition that the contract says for its key; no dead letter,
    one schema for all languages."""
    file, batch = event_file(tmp_path, FIRST[language])
    stream = place.loans.stream
    code, said = publish(place, language, file)
    assert (code, f"published {EVENTS} events" in said) == (0, True), said
    ids = batch.column("application_id").to_pylist()
    mine = "toInt64OrZero(substring(event_id, 3))"
    first = FIRST[language]
    table = f"producers.predictions WHERE {mine} BETWEEN {first} AND {first + EVENTS - 1}"
    wait_for_rows(place.stack, place.warehouse, {table: EVENTS})
    asked = f"SELECT event_id, score, key, source_partition FROM {table}"
    rows = place.warehouse.query(asked)
    scores = {row[0]: row[1] for row in rows}
    assert len(rows) == len(scores) == EVENTS
    expected = place.loans.model.predict_proba(matrix(batch))[:, 1]
    assert np.abs(np.array([scores[one] for one in ids]) - expected).max() <= 1e-6
    assert {row[3] for row in rows} == {0, 1, 2, 3}
    assert all(row[3] == partition_of(row[2].encode(), 4) for row in rows)
    assert count(place.warehouse, "producers.dead_letters") == 0

    checker = Checker(stream, own_schema(stream))
    verdicts = checker.check([each.value for each in read_given(stream, str(file), 1)])
    assert [verdict.event_id for verdict in verdicts] == ids
    registry = Registry(place.stack.registry)
    found = registry.latest(subject_of(stream.topic("events")))
    registry.close()
    assert found is not None
    assert found.version == 1


@pytest.mark.parametrize("language", list(STARTS))
def test_what_is_not_delivered_is_no_success(place: Place, language: str, tmp_path: Path) -> None:
    """An event that is above the topic's size: exit code 1, and a reason."""
    file, _ = event_file(tmp_path, 50_000)
    event = json.loads(file.read_text().splitlines()[0])
    endless = base64.b64encode(np.random.default_rng(1).bytes(12_000_000)).decode()
    file.write_text(json.dumps(event | {"application_id": endless}) + "\n")
    code, said = publish(place, language, file)
    assert code == 1, said[-500:]
    assert "published 0 events" in said
    assert any(word in said.lower() for word in ("too large", "larger than", "size"))
