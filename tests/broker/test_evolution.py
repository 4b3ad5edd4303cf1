"""A new version of the event schema goes live while events of the old ones flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry
from consumers.warehouse import Warehouse
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.errors import ContractMismatch
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.stack import Parts, Stack
from tests.broker.waiting import count, wait_for_rows
from tests.streams import LOANS, applications, make_loans, matrix

EVENTS = 300
Schema = dict[str, Any]

V1: Schema = json.loads((LOANS / "event.v1.avsc").read_text("utf-8"))
CHANNEL = {"name": "channel", "type": "string", "default": "branch"}
CAMPAIGN = {"name": "campaign", "type": ["null", "string"], "default": None}
SOURCE = {"name": "source", "type": "string", "default": "branch", "aliases": ["channel"]}


def changed(schema: Schema, types: dict[str, str], *more: Schema) -> Schema:
    """The schema backwards, with some fields of another type and some more of them."""
    fields = [field | {"type": types.get(field["name"], field["type"])} for field in V1["fields"]]
    return schema | {"fields": [*more, *reversed(fields)]}


V2 = changed(V1, {}, CHANNEL, CAMPAIGN)
"""Reordered, and two fields with defaults: programs that still read version 1 can read it."""
V3 = changed(V1, {"age": "double", "zipcode": "long"}, SOURCE)
"""One of the new fields has another name, the other is gone, two are promoted: the programs must
know it before the first producer does."""
INCOMPATIBLE = changed(V1, {}, {"name": "branch", "type": "string"})
"""A new field without a default: older events could not be read."""


class Bench:
    """The stack with its producers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.published = 0
        self._registry = Registry(stack.registry)
        self._subject = f"{stack.stream.topic('events')}-value"
        self._producer = Producer(producer_config(stack.kafka, "evolution"))

    def register(self, schema: Schema) -> int:
        """Raises ContractMismatch where it is incompatible."""
        return self._registry.register(self._subject, json.dumps(schema))

    def publish(self, schema: Schema) -> None:
        """EVENTS applications, written with this schema."""
        batch = applications(EVENTS, seed=1, first=self.published)
        self.published += EVENTS
        text = json.dumps(schema)
        more = {
            "channel": ["app"] * EVENTS,
            "source": ["app"] * EVENTS,
            "campaign": [None] * EVENTS,
        }
        wanted = arrow_schema(text)
        columns = [
            pa.array(more[f.name], f.type) if f.name in more else batch.column(f.name).cast(f.type)
            for f in wanted
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=wanted)
        values = Encoder(text, frame(self.register(schema))).encode(rows)
        keys = batch.column("applicant").to_pylist()
        for value, key in zip(values, keys, strict=True):
            self._producer.produce(self.stack.stream.topic("events"), value, key.encode())
        assert self._producer.flush(60) == 0

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`millstream ARGUMENTS stream.toml`, as an operator runs it."""
        return subprocess.run(
            [sys.executable, "-m", "millstream", *arguments, str(self.stack.stream.path)],
            env={**os.environ, **self.stack.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def go_live(self, file: Path, schema: Schema) -> None:
        """The new schema's way: checked, its columns made, then each program started again, while
        producers still write with older ones."""
        file.write_text(json.dumps(schema))
        assert self.command("check").returncode == 2, "columns are missing"
        assert (ran := self.command("migrate")).returncode == 0, ran.stderr
        assert (ran := self.command("check")).returncode == 0, ran.stdout
        self.publish(V1)
        for running in self.stack.programs.values():
            starts = running.starts
            assert running.child is not None
            running.child.stop()
            while running.starts == starts:
                self.stack.tend()


def test_a_compatible_schema_goes_live_while_events_flow(kafka: Broker, tmp_path: Path) -> None:
    """Producers change before and after the programs do; every event is scored, none by another's
    values, and the new fields become columns. An incompatible schema is refused by all."""
    loans = make_loans(tmp_path / "evolution")
    toml = tmp_path / "evolution" / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', 'name = "evolution"'))
    file = tmp_path / "evolution" / "event.v1.avsc"
    with Stack(Stream.load(toml), tmp_path / "run", Parts(kafka=kafka.bootstrap)) as stack:
        bench, warehouse = Bench(stack), Warehouse.connect(stack.warehouse)
        bench.publish(V1)
        wait_for_rows(stack, warehouse, {"evolution.predictions": EVENTS})
        with pytest.raises(ContractMismatch, match="branch"):
            bench.register(INCOMPATIBLE)
        file.write_text(json.dumps(INCOMPATIBLE))
        refused = bench.command("check")
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "branch" in refused.stdout, refused.stdout + refused.stderr

        bench.go_live(file, V2)
        for schema in (V1, V2):
            bench.publish(schema)
        wait_for_rows(stack, warehouse, {"evolution.events": bench.published})
        bench.go_live(file, V3)
        for schema in (V1, V2, V3):
            bench.publish(schema)
        wait_for_rows(
            stack,
            warehouse,
            {"evolution.predictions": bench.published, "evolution.events": bench.published},
        )

        assert count(warehouse, "evolution.dead_letters") == 0
        rows = warehouse.query("SELECT event_id, score FROM evolution.predictions")
        scores = dict(rows)
        assert len(rows) == len(scores) == bench.published
        expected = loans.model.predict_proba(matrix(applications(EVENTS, seed=1)))[:, 1]
        for first in range(0, bench.published, EVENTS):
            found = [scores[f"L-{first + row}"] for row in range(EVENTS)]
            assert np.abs(np.asarray(found) - expected).max() <= 1e-6
        sources = warehouse.query(
            "SELECT source, count() FROM evolution.events GROUP BY source ORDER BY source"
        )
        assert [tuple(row) for row in sources] == [("app", 3 * EVENTS), ("branch", 5 * EVENTS)]
        assert (verified := bench.command("verify")).returncode == 0, verified.stdout
