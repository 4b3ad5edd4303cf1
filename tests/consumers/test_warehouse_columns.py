"""The columns of `events` follow its schema: the same tests over HTTP and in the process (chDB)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.warehouse import Warehouse, migrate, require_tables
from millstream.errors import OperatorNeeded
from millstream.stream import Stream
from tests.consumers.warehouses import avro, insert, stream_in


def test_a_promoted_field_widens_its_column(
    warehouse: Warehouse, stream: Stream, tmp_path: Path
) -> None:
    """The old rows stay, the new ones fit; until then the sink does not start."""
    old = stream_in(tmp_path, stream.name, {"name": "m", "type": "int"})
    migrate(warehouse, old)
    schema = old.schema_of_event.text
    insert(warehouse, old, [avro(schema, {"id": "1", "at": 0, "n": 1, "m": -7})], 0)
    new = stream_in(tmp_path, stream.name, {"name": "m", "type": "long"})
    with pytest.raises(OperatorNeeded, match="millstream migrate"):
        require_tables(warehouse, new)
    migrate(warehouse, new)
    require_tables(warehouse, new)
    schema = new.schema_of_event.text
    insert(warehouse, new, [avro(schema, {"id": "2", "at": 0, "n": 1, "m": 2**40})], 1)
    rows = warehouse.query(f"SELECT m FROM {stream.name}.events ORDER BY kafka_offset")
    assert rows == [(-7,), (2**40,)]


def test_rows_older_than_a_field_read_as_their_events_do(
    warehouse: Warehouse, stream: Stream, tmp_path: Path
) -> None:
    """The value under the field's former name, else its default; an unreadable event has neither.
    A row that says null keeps it."""
    migrate(warehouse, stream)
    values: list[bytes | None] = [
        avro(stream.schema_of_event.text, {"id": "1", "at": 0, "n": 5}),
        b"unreadable",
    ]
    insert(warehouse, stream, values)
    more: list[dict[str, Any]] = [
        {"name": "s", "type": ["string", "null"], "default": "it's"},
        {"name": "number", "type": ["null", "long"], "default": None, "aliases": ["n"]},
        {"name": "e", "type": {"type": "enum", "name": "Kind", "symbols": ["A"]}, "default": "A"},
        {"name": "x", "type": "double", "default": 1.5},
        {"name": "b", "type": "boolean", "default": True},
        {
            "name": "t",
            "type": {"type": "long", "logicalType": "timestamp-micros"},
            "default": 1_000_000,
        },
    ]
    new = stream_in(tmp_path, stream.name, *more)
    migrate(warehouse, new)
    require_tables(warehouse, new)
    record = {"id": "2", "at": 0, "n": 6, "s": None, "number": None, "e": "A", "x": 2.0, "b": False}
    insert(warehouse, new, [avro(new.schema_of_event.text, record | {"t": 7})], 2)
    rows = warehouse.query(
        "SELECT s, number, e, x, b, toUnixTimestamp64Micro(t) "
        f"FROM {stream.name}.events ORDER BY kafka_offset"
    )
    assert rows == [
        ("it's", 5, "A", 1.5, True, 1_000_000),
        (None,) * 6,
        (None, None, "A", 2.0, False, 7),
    ]
