"""The contracts in schemas/, as data: subjects and their versions, the table of topics."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import avro.errors
import avro.schema

from millstream.errors import ContractMismatch, StreamInvalid

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
RESERVED_PREFIX = "kafka_"
"""ClickHouse columns of ours start so; event fields may not."""

TEXT_LIKE = {"string", "int", "long"}
_NUMBERS = {"int", "long", "float", "double", "boolean"}
TIMESTAMPS = {"timestamp-millis", "timestamp-micros"}


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one subject: its Avro schema as JSON text."""

    subject: str
    version: int
    text: str


@cache
def contract(subject: str, version: int | None = None) -> Contract:
    """The contract `schemas/SUBJECT.vN.avsc`; the newest version if none is given."""
    found = {
        int(match.group(1)): path
        for path in SCHEMAS.glob(f"{subject}.v*.avsc")
        if (match := re.fullmatch(rf"{re.escape(subject)}\.v(\d+)\.avsc", path.name))
    }
    if not found:
        raise ContractMismatch(f"no contract {subject} in {SCHEMAS}", "Install Millstream whole")
    number = version or max(found)
    return Contract(subject, number, found[number].read_text("utf-8"))


def dead_letter_headers() -> dict[str, str]:
    """Field of the dead-letter contract -> the Kafka header that carries it."""
    fields = json.loads(contract("dead_letter").text)["fields"]
    return {field["name"]: field["header"] for field in fields}


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of schemas/topics.toml.

    table: the ClickHouse table that the sink writes it to, None where it writes none.
    optional: whether programs start without it; streams made by an older version lack it.
    """

    kind: str
    pattern: str
    value: str
    writers: str
    readers: str
    config: dict[str, str]
    table: str | None = None
    optional: bool = False

    def name(self, stream: str) -> str:
        return self.pattern.format(stream=stream)


@cache
def topic_table() -> dict[str, Topic]:
    """Every topic of a stream, by kind."""
    rows = tomllib.loads((SCHEMAS / "topics.toml").read_text("utf-8"))
    return {
        kind: Topic(
            kind,
            row["topic"],
            row["value"],
            row["writers"],
            row["readers"],
            row["config"],
            row.get("table"),
            row.get("optional", False),
        )
        for kind, row in rows.items()
    }


@dataclass(frozen=True, slots=True)
class EventField:
    """One field of an event: its Avro type without null, and its logical type if it has one."""

    name: str
    type: str
    logical: str | None
    nullable: bool


@dataclass(frozen=True, slots=True)
class EventSchema:
    """A stream's event schema: the text that is registered, and its fields in order."""

    path: Path
    text: str
    fields: dict[str, EventField]

    @classmethod
    def load(cls, path: Path) -> EventSchema:
        """Raises StreamInvalid where the file is missing, or no Avro record."""
        try:
            text = path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise StreamInvalid(
                f"event schema {path} does not exist", "Set event.schema to an .avsc file"
            ) from None
        except (OSError, UnicodeDecodeError) as why:
            raise StreamInvalid(f"{path} cannot be read: {why}", "Give a UTF-8 file") from None
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path) -> EventSchema:
        try:
            json.loads(text)  # its errors name the line; avro's quote the whole file
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an unknown logical type is its plain type
                parsed = avro.schema.parse(text)
        except (avro.errors.AvroException, ValueError, RecursionError) as why:
            said = " ".join(str(why).split())[:300]
            raise StreamInvalid(f"{path} is no Avro schema: {said}", "Mend the schema") from None
        if parsed.type != "record":
            raise StreamInvalid(f"{path} is an Avro {parsed.type}", "An event is an Avro record")
        fields = {f["name"]: _event_field(f) for f in json.loads(text)["fields"]}
        for name in fields:
            if name.startswith(RESERVED_PREFIX):
                raise StreamInvalid(
                    f"{path}: field {name} starts with {RESERVED_PREFIX}, which is kept for "
                    "Millstream's own columns",
                    "Rename the field",
                )
        return cls(path, text, fields)

    def require_text_like(self, name: str, key: str) -> None:
        field = self.fields[name]
        if field.type not in TEXT_LIKE or field.nullable:
            self._wrong(key, field, "a string, int or long that is never null")

    def require_timestamp(self, name: str, key: str) -> None:
        field = self.fields[name]
        if field.logical not in TIMESTAMPS or field.nullable:
            self._wrong(key, field, "a timestamp-millis or timestamp-micros that is never null")

    def require_feature(self, name: str, *, category: bool) -> None:
        field = self.fields[name]
        if category and field.type not in TEXT_LIKE | {"enum", "boolean"}:
            self._wrong("features.categories", field, "a string, enum, int, long or boolean")
        if not category and (field.type not in _NUMBERS or field.logical is not None):
            self._wrong("features.order", field, "a number, or named in features.categories")

    def _wrong(self, key: str, field: EventField, wanted: str) -> None:
        kind = f"{field.logical or field.type}{' or null' if field.nullable else ''}"
        raise StreamInvalid(
            f"{key} names {field.name}, which {self.path} declares as {kind}",
            f"It must be {wanted}",
        )


def _event_field(field: dict[str, Any]) -> EventField:
    branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
    plain = [b for b in branches if b != "null"]
    one = plain[0] if len(plain) == 1 else "union"
    kind, logical = one, None
    if isinstance(one, dict):
        kind, logical = one["type"], one.get("logicalType")
        if isinstance(kind, dict):
            kind, logical = kind["type"], kind.get("logicalType")
    return EventField(field["name"], str(kind), logical, len(plain) < len(branches))
