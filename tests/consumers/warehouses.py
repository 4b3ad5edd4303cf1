"""Warehouses for tests: a server in a process of its own, streams with any fields, their events."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import numpy as np

from consumers.warehouse import Tables, Warehouse
from millstream.columnar import frame
from millstream.records import Records
from millstream.stream import Stream
from millstream.warehouse.blocks import Block, Pending, Source
from millstream.warehouse.rows import event_rows

READY_S_MAX = 60.0
PASSWORD = "correct horse"


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """`python -m ops.warehouse` with a password, in a process of its own; and its URL."""
    ready = folder / "ready"
    command = [sys.executable, "-m", "ops.warehouse", "--path", str(folder / "db"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--ready-file", str(ready)], env={"MILLSTREAM_WAREHOUSE_PASSWORD": PASSWORD}
    )
    deadline = time.monotonic() + READY_S_MAX
    while not ready.exists():
        assert process.poll() is None, "the server left"
        assert time.monotonic() < deadline, "the server is not ready"
        time.sleep(0.01)
    return process, ready.read_text().strip()


_FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "It's the id"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "n", "type": "int"},
]


def stream_in(folder: Path, name: str, *fields: dict[str, Any]) -> Stream:
    """A stream whose events have an id, a time, a number n and these fields."""
    schema = {"type": "record", "name": "E", "fields": [*_FIELDS, *fields]}
    (folder / "e.avsc").write_text(json.dumps(schema))
    (folder / "stream.toml").write_text(
        f'name = "{name}"\n[event]\nschema = "e.avsc"\nkey = "id"\nid = "id"\ntime = "at"\n'
        '[features]\norder = ["n"]\n[label]\nkind = "binary"\n[model]\nbundle = "b"\n'
    )
    return Stream.load(folder / "stream.toml")


def block_of(stream: Stream, first: int, count: int, partition: int = 0) -> Block:
    """Events of the offsets from `first` on, published a second after the other."""
    topic = stream.topic("events")
    pending = Pending(Source("events", topic, partition), first - 1)
    schema = stream.schema_of_event.text
    offsets = range(first, first + count)
    values: list[bytes | None] = [avro(schema, {"id": f"E-{o}", "at": o, "n": o}) for o in offsets]
    records = records_of(topic, values, first, partition)
    pending.add(event_rows(stream, lambda _: schema).rows(records), 0.0)
    return pending.cut(count)


def records_of(
    topic: str, values: list[bytes | None], first: int = 0, partition: int = 0
) -> Records:
    """As if consumed; the first was published a minute before February."""
    count = len(values)
    start = int(datetime(2024, 1, 31, 23, 59, 0, tzinfo=UTC).timestamp() * 1e6)
    offsets = np.arange(first, first + count, dtype=np.int64)
    numbers = np.full(count, partition, np.int32)
    return Records(topic, values, [b"k"] * count, numbers, offsets, start + offsets * 1_000_000, {})


def avro(schema: str, values: dict[str, Any]) -> bytes:
    """Framed Avro; times and decimals as the numbers and bytes that Avro has."""
    plain = json.loads(schema.replace('"logicalType"', '"doc"'))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(plain), values)
    return frame(1) + body.getvalue()


def insert(
    warehouse: Warehouse, stream: Stream, values: list[bytes | None], first: int = 0
) -> None:
    """These events' rows, as the sink inserts them."""
    topic = stream.topic("events")
    rows = event_rows(stream, lambda _: stream.schema_of_event.text)
    pending = Pending(Source("events", topic, 0), first - 1)
    pending.add(rows.rows(records_of(topic, values, first)), 0.0)
    Tables(warehouse, stream.name).insert(pending.cut(len(values)), 0)
