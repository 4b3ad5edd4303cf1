"""1 % poison, the fix, the redrive: in the end every event has its prediction, and verify agrees.

REPAIR_EVENTS=1000000 runs it with a million events (a few minutes).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry
from consumers.warehouse import Warehouse
from millstream.models.card import Feature
from millstream.models.package import About, make_bundle
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.stack import Parts, Stack
from tests.broker.waiting import count, wait_for_rows
from tests.streams import FEATURES, START, Loans, applications, framed, make_loans, matrix

EVENTS = int(os.environ.get("REPAIR_EVENTS", "20000"))
PART = 20_000


def poisoned(first: int, rows: int) -> pa.RecordBatch:
    """`rows` applications from L-first on; each hundredth has no number for its salary."""
    batch = applications(rows, seed=first + 1, first=first)
    salary = np.asarray(batch.column("salary")).copy()
    salary[::100] = np.nan
    arrays = [
        pa.array(salary) if name == "salary" else batch.column(name) for name in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def publish(stack: Stack, topic: str) -> None:
    """All events, in parts."""
    schema_id = Registry(stack.registry).register(
        f"{topic}-value", stack.stream.schema_of_event.text
    )
    producer = Producer(producer_config(stack.kafka, "repair"))
    for first in range(0, EVENTS, PART):
        batch = poisoned(first, min(PART, EVENTS - first))
        keys = batch.column("applicant").to_pylist()
        for value, key in zip(framed(batch, schema_id), keys, strict=True):
            while True:
                try:
                    producer.produce(topic, value, key.encode())
                    break
                except BufferError:
                    producer.poll(0.1)
        stack.tend()
    assert producer.flush(60) == 0


def millstream(stack: Stack, *arguments: str) -> dict[str, Any]:
    """A command with --json on the stack's parts; its answer."""
    run = subprocess.run(
        [sys.executable, "-m", "millstream", *arguments, "--json"],
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3_000:] + run.stderr[-3_000:]
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def mend(loans: Loans) -> None:
    """Version 2 of the bundle takes a missing salary."""
    shutil.rmtree(loans.stream.bundle_path)
    features = [Feature(name=n, missing="nan" if n == "salary" else "refuse") for n in FEATURES]
    about = About(name="loans", version="2", created=START)
    sample = matrix(applications(2_000, seed=7))
    make_bundle(loans.stream.bundle_path, loans.model, features, sample, about)


def test_poison_is_repaired_and_every_event_has_its_prediction(
    kafka: Broker, tmp_path: Path
) -> None:
    """99 % scored, the letters are exactly the poison; after fix and redrive verify is clean."""
    loans = make_loans(tmp_path / "repair")
    toml = tmp_path / "repair" / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', 'name = "repair"'))
    path, bad = str(toml), -(-EVENTS // 100)
    with Stack(Stream.load(toml), tmp_path / "run", Parts(kafka=kafka.bootstrap)) as stack:
        warehouse = Warehouse.connect(stack.warehouse)
        publish(stack, "repair.events")
        tables = {"repair.predictions": EVENTS - bad, "repair.dead_letters": bad}
        wait_for_rows(stack, warehouse, tables | {"repair.events": EVENTS})
        assert {name: count(warehouse, name) for name in tables} == tables
        ((poison,),) = warehouse.query(
            "SELECT uniqExact(source_partition, source_offset) FROM repair.dead_letters "
            "WHERE error = 'nan_feature' AND (source_partition, source_offset) IN "
            "(SELECT kafka_partition, kafka_offset FROM repair.events WHERE isNaN(salary))"
        )
        assert poison == bad

        mend(loans)
        scorer = stack.programs["scorer-0"].child
        assert scorer is not None
        scorer.stop()  # `tend` starts it again, with version 2
        wait_for_rows(stack, warehouse, {"repair.dead_letters": bad})
        millstream(stack, "letters", "redrive", path, "--error", "nan_feature")
        wait_for_rows(
            stack, warehouse, {"repair.predictions": EVENTS, "repair.events": EVENTS + bad}
        )
        assert count(warehouse, "repair.dead_letters") == bad
        ((answered,),) = warehouse.query("SELECT uniqExact(event_id) FROM repair.predictions")
        assert answered == EVENTS, "every event has one prediction"
        millstream(stack, "verify", path, "--no-rescore")
