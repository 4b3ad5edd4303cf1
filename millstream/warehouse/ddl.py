"""The migrations: numbered files, then the columns that follow from the stream's event schema."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from millstream.contracts import SCHEMAS
from millstream.errors import ContractMismatch
from millstream.stream import Stream

_PLAIN = {
    "string": "String",
    "bytes": "String",
    "fixed": "String",
    "int": "Int32",
    "long": "Int64",
    "float": "Float32",
    "double": "Float64",
    "boolean": "Bool",
}
_LOGICAL = {
    "timestamp-millis": "DateTime64(3, 'UTC')",
    "timestamp-micros": "DateTime64(6, 'UTC')",
    "date": "Date32",
    "uuid": "String",
}


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its name is recorded with the digest of its text when it was applied."""

    name: str
    statements: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]


def bookkeeping(database: str) -> tuple[str, ...]:
    """What must exist before the first migration."""
    return (
        f"CREATE DATABASE IF NOT EXISTS {database}",
        f"CREATE TABLE IF NOT EXISTS {database}.migrations (name String, digest String, "
        "applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY name "
        "COMMENT 'Which migrations were applied'",
    )


def migrations(stream: Stream) -> list[Migration]:
    """Every migration of the stream, in order; `{database}` is the stream's name."""
    found = []
    for path in sorted((SCHEMAS / "clickhouse").glob("[0-9][0-9][0-9]_*.sql")):
        text = path.read_text("utf-8").replace("{database}", stream.name)
        statements = tuple(part.strip() for part in re.split(r";\s*\n", text) if part.strip())
        found.append(Migration(path.stem, statements))
    return [*found, _event_columns(stream)]


def pending(applied: dict[str, str], wanted: list[Migration]) -> list[Migration]:
    """Those not yet applied. Raises ContractMismatch where an applied one was changed since."""
    for step in wanted:
        if applied.get(step.name, step.digest) != step.digest:
            raise ContractMismatch(
                f"migration {step.name} was applied with another text",
                "Migrations only go forward: restore its file and write the change as a new one",
            )
    return [step for step in wanted if step.name not in applied]


def event_columns(stream: Stream) -> dict[str, str]:
    """ClickHouse column of `events` -> its type, for every event field that is kept.

    Private fields, and nested ones (arrays, maps, records, unions of several), are not kept.
    """
    kept = {}
    for field in json.loads(stream.schema_of_event.text)["fields"]:
        kind = clickhouse_type(field["type"])
        if kind is not None and field["name"] not in stream.privacy.private:
            kept[field["name"]] = kind
    return kept


def clickhouse_type(avro_type: Any) -> str | None:
    """The column type of an Avro type, Nullable since an unreadable event has no fields.

    None for a type that has no column.
    """
    if isinstance(avro_type, list):
        plain = [branch for branch in avro_type if branch != "null"]
        return clickhouse_type(plain[0]) if len(plain) == 1 else None
    if isinstance(avro_type, str):
        found = _PLAIN.get(avro_type)
        return f"Nullable({found})" if found else None
    logical = avro_type.get("logicalType")
    if logical == "decimal":
        precision, scale = avro_type["precision"], avro_type.get("scale", 0)
        return f"Nullable(Decimal({precision}, {scale}))" if precision <= 76 else None
    if logical in _LOGICAL:
        return f"Nullable({_LOGICAL[logical]})"
    if avro_type["type"] == "enum":
        return "LowCardinality(Nullable(String))"
    return clickhouse_type(avro_type["type"]) if isinstance(avro_type["type"], str) else None


def _event_columns(stream: Stream) -> Migration:
    schema = stream.schema_of_event
    docs = {f["name"]: f.get("doc", "") for f in json.loads(schema.text)["fields"]}
    statements = [
        f"ALTER TABLE {stream.name}.events ADD COLUMN IF NOT EXISTS `{name}` {kind}"
        + (f" COMMENT {_quoted(docs[name])}" if docs[name] else "")
        for name, kind in event_columns(stream).items()
    ]
    digest = hashlib.sha256("\n".join(statements).encode()).hexdigest()[:8]
    return Migration(f"event_columns_{digest}", tuple(statements))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
