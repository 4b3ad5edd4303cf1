"""The migrations: numbered files, then the columns that follow from the stream's event schema."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from millstream.columnar.schema import MISSING, AvroType, Enum, Fixed, Plain, Union, parse_record
from millstream.contracts import SCHEMAS
from millstream.errors import ContractMismatch
from millstream.stream import Stream

_PLAIN = {
    "string": "String",
    "bytes": "String",
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
}
_TEXT = ("Nullable(String)", "LowCardinality(Nullable(String))")
_WIDER = {
    "Nullable(Int32)": ("Nullable(Int64)", "Nullable(Float32)", "Nullable(Float64)"),
    "Nullable(Int64)": ("Nullable(Float32)", "Nullable(Float64)"),
    "Nullable(Float32)": ("Nullable(Float64)",),
} | dict.fromkeys(_TEXT, _TEXT)
"""Column type -> the types that it may become: Avro's promotions."""

_LITERALS: dict[str, Callable[[Any], str]] = {
    "timestamp-millis": lambda value: f"fromUnixTimestamp64Milli({int(value)}, 'UTC')",
    "timestamp-micros": lambda value: f"fromUnixTimestamp64Micro({int(value)}, 'UTC')",
    "string": lambda value: quoted(str(value)),
    "boolean": lambda value: "true" if value else "false",
} | dict.fromkeys(("int", "long", "float", "double"), repr)
"""Kind or logical type -> a default's text in SQL."""

_TABLE = re.compile(r"(?:--[^\n]*\n|\s)*(?:CREATE|ALTER) TABLE (?:IF NOT EXISTS )?\w+\.(\w+)")
_REPEATING = re.compile(r"(\w+)`?\s+LowCardinality\(")


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
        f"CREATE TABLE IF NOT EXISTS {database}.migrations ("
        "name String COMMENT 'Of its file, or event_columns and a digest', "
        "digest String COMMENT 'sha256 of its statements, 16 digits', "
        "applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied') "
        "ENGINE = MergeTree ORDER BY name "
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


def repeating_columns(stream: Stream, table: str) -> frozenset[str]:
    """Those of a table's columns that ClickHouse keeps as numbers of a dictionary."""
    found: set[str] = set()
    for step in migrations(stream):
        for statement in step.statements:
            named = _TABLE.match(statement)
            if named is not None and named.group(1) == table:
                found |= set(_REPEATING.findall(statement))
    return frozenset(found)


def event_columns(stream: Stream) -> dict[str, str]:
    """ClickHouse column of `events` -> its type, for every event field that is kept.

    Private fields, and nested ones (arrays, maps, records), are not kept. Raises ContractMismatch
    where a field has a type that cannot be read at all.
    """
    fields = parse_record(stream.schema_of_event.text).fields
    types = {field.name: clickhouse_type(field.type) for field in fields}
    private = stream.privacy.private
    return {name: kind for name, kind in types.items() if kind and name not in private}


def clickhouse_type(of: AvroType) -> str | None:
    """The column type of an Avro type, Nullable since an unreadable event has no fields.

    A time of day, a local timestamp and a timestamp in nanoseconds are Avro's plain number.
    None for a type that has no column.
    """
    match of:
        case Union():
            return clickhouse_type(of.inner)
        case Enum():
            return "LowCardinality(Nullable(String))"
        case Plain(logical="decimal") | Fixed(logical="decimal"):
            return f"Nullable(Decimal({of.precision}, {of.scale}))"
        case Fixed():
            return "Nullable(String)"
        case Plain():
            found = _LOGICAL.get(of.logical or "") or _PLAIN.get(of.kind)
            return f"Nullable({found})" if found else None
    return None


def column_changes(stream: Stream, present: Mapping[str, str]) -> list[str]:
    """Statements that widen the columns of fields whose type was promoted, such as int to long.

    present: column of `events` -> its type now. Raises ContractMismatch for any other change.
    """
    changes = []
    for name, kind in event_columns(stream).items():
        now = present.get(name, kind)
        if now == kind:
            continue
        if kind not in _WIDER.get(now, ()):
            raise ContractMismatch(
                f"column {name} of {stream.name}.events is {now}, the event schema makes it {kind}",
                "Restore the field's type, or give the field another name",
            )
        changes.append(f"ALTER TABLE {stream.name}.events MODIFY COLUMN `{name}` {kind}")
    return changes


def column_defaults(stream: Stream, present: Mapping[str, str]) -> list[str]:
    """Statements by which rows that are older than a column read as Avro's resolution reads their
    events: the value under the field's former name (an alias), else the field's default.

    present: column of `events` -> its default expression, "" where it has none. A column that has
    one keeps it. Defaults of decimals, dates, bytes and nested fields are not carried over.
    """
    columns, statements = event_columns(stream), []
    for field in parse_record(stream.schema_of_event.text).fields:
        if field.name not in columns or present.get(field.name) != "":
            continue
        former = next((alias for alias in field.aliases if alias in present), None)
        value = _literal(field.type, field.default)
        if former is not None:
            value = f"CAST(`{former}` AS {columns[field.name]})"
        if value is None:
            continue
        statements.append(
            f"ALTER TABLE {stream.name}.events MODIFY COLUMN `{field.name}` "
            f"DEFAULT if(kafka_unreadable = '', {value}, NULL)"
        )
    return statements


def _literal(of: AvroType, value: Any) -> str | None:
    """A field's default in ClickHouse's SQL; None where it has none, or null, or it is left out."""
    if value is MISSING or value is None:
        return None
    if isinstance(of, Union):
        return _literal(of.inner, value)
    if isinstance(of, Enum):
        return quoted(str(value))
    if not isinstance(of, Plain):
        return None
    plain = _LITERALS.get(of.logical or of.kind)
    return plain(value) if plain else None


def _event_columns(stream: Stream) -> Migration:
    schema = stream.schema_of_event
    docs = {f["name"]: f.get("doc", "") for f in json.loads(schema.text)["fields"]}
    statements = [
        f"ALTER TABLE {stream.name}.events ADD COLUMN IF NOT EXISTS `{name}` {kind}"
        + (f" COMMENT {quoted(docs[name])}" if docs[name] else "")
        for name, kind in event_columns(stream).items()
    ]
    digest = hashlib.sha256("\n".join(statements).encode()).hexdigest()[:8]
    return Migration(f"event_columns_{digest}", tuple(statements))


def quoted(text: str) -> str:
    """A string literal of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
