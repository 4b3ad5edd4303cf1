"""A producer's test kit: records of the stream as bytes and as JSON, each with what becomes of it.

The records are made of the event schema: ordinary ones, the extremes that are still scored, and one
for each way in which this schema's bytes can be wrong. No verdict is written by hand: each is the
scorer's own (checker.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from millstream.columnar import frame
from millstream.contract.checker import Checker, Verdict, own_schema
from millstream.contract.jsonform import JsonWriter, Names, long_bytes
from millstream.contract.partition import partition_of
from millstream.contract.refusals import BY_NAME
from millstream.errors import OperatorNeeded
from millstream.stream import Stream

SCHEMA_ID: Final = 1
"""The id in the kit's frames: a registry gives another one, so a test replaces these four bytes."""
PARTITIONS_SHOWN_MAX: Final = 8
UNKNOWN_ID: Final = 2_147_483_000
NEW_YEAR_S: Final = 1_704_067_200  # 2024
_YEAR_2300_S: Final = 10_413_792_000
_TICKS: Final = {"timestamp-millis": 1_000, "timestamp-micros": 1_000_000}
_LOGICAL: Final[dict[str, Any]] = {
    "time-": 3_600_000, "decimal": "\x01", "uuid": "0f0e0d0c-0b0a-4908-8706-050403020100",
}  # fmt: skip
"""Beginning of a logical type whose values are not any of its plain type."""
_ORDINARY: Final[dict[str, Any]] = {
    "null": None, "boolean": True, "int": 7, "long": 7, "float": 1.5, "double": 1.5,
    "bytes": "\x00\xff",
}  # fmt: skip
_LEAST: Final[dict[str, Any]] = {
    "null": None, "boolean": False, "int": -(2**31), "long": -(2**53), "float": -1.5,
    "double": -1e300, "bytes": "", "string": "",
}  # fmt: skip
_MOST: Final[dict[str, Any]] = {
    "null": None, "boolean": True, "int": 2**31 - 1, "long": 2**53, "float": 1.5, "double": 1e300,
    "bytes": "\xff" * 64, "string": "Ünï ☃ \U0001f600",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A record of the kit. about: what it shows. record: JSON form, None where it has none."""

    name: str
    about: str
    value: bytes | None
    record: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Maker:
    """Values of types in JSON form. values: by kind of type, in place of the ordinary ones."""

    names: Names
    values: dict[str, Any]
    number: int

    def made(self, spec: Any, space: str, path: str) -> Any:
        """A value of the type. path: name of its field."""
        spec, space = self.names.resolve(spec, space)
        if isinstance(spec, list):
            others = [branch for branch in spec if branch != "null"]
            return self.made(others[0], space, path) if others else None
        if isinstance(spec, str):
            spec = {"type": spec}
        kind = spec["type"]
        if isinstance(kind, dict | list):
            return self.made(kind, space, path)
        logical = str(spec.get("logicalType"))
        for start, value in _LOGICAL.items():
            if logical.startswith(start):
                return value if kind != "fixed" else "\x00" * (spec["size"] - 1) + "\x01"
        if kind in _ORDINARY or kind == "string":
            return self.values.get(kind, _ORDINARY.get(kind, f"{path}-{self.number + 1}"))
        return self._complex(kind, spec, space, path)

    def _complex(self, kind: str, spec: dict[str, Any], space: str, path: str) -> Any:
        match kind:
            case "enum":
                return spec["symbols"][0]
            case "fixed":
                return "\x01" * spec["size"]
            case "array":
                return [self.made(spec["items"], space, path)]
            case "map":
                return {"key": self.made(spec["values"], space, path)}
        return {
            each["name"]: self.made(each["type"], space, each["name"]) for each in spec["fields"]
        }


def kit(stream: Stream) -> dict[str, Any]:
    """The kit as JSON.

    Raises StreamInvalid or OperatorNeeded where the schema's ordinary record is refused.
    """
    cases = list(cases_of(stream))
    verdicts = Checker(stream, own_schema(stream, SCHEMA_ID)).check([c.value for c in cases])
    if verdicts[0].refusal is not None:
        raise OperatorNeeded(
            f"{stream.path}: an ordinary event of its schema is refused: "
            f"{verdicts[0].refusal.reason}",
            "Compare [event] and [features] with the event schema",
        )
    return {
        "stream": stream.name,
        "topic": stream.topic("events"),
        "schema_id": SCHEMA_ID,
        "partitions": stream.serving.partitions,
        "cases": [_told(case, verdict) for case, verdict in zip(cases, verdicts, strict=True)],
    }


def examples(stream: Stream) -> list[dict[str, Any]]:
    """Events in JSON form that are scored: the first cases of the kit."""
    return [record_of(stream, at) for at in range(2)]


def _told(case: Case, verdict: Verdict) -> dict[str, Any]:
    made: dict[str, Any] = {"name": case.name, "about": case.about}
    if verdict.refusal is None:
        assert verdict.key is not None
        made |= {
            "verdict": "scored",
            "id": verdict.event_id,
            "key": verdict.key.decode(),
            "partition": verdict.partition,
        }
    else:
        refusal = verdict.refusal
        made |= {
            "verdict": "refused",
            "stage": str(refusal.stage),
            "error": refusal.name,
            "reason": refusal.reason,
            "mend": BY_NAME[refusal.name].mend,
        }
    return made | {
        "json": case.record,
        "hex": None if case.value is None else case.value.hex(),
    }


def record_of(stream: Stream, number: int, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """An event of the schema in JSON form. values: by kind of type, in place of the ordinary."""
    schema = json.loads(stream.schema_of_event.text)
    names = Names()
    names.learn(schema, "")
    space = names.resolve(schema, "")[1]
    maker = _Maker(names, values or {}, number)
    made: dict[str, Any] = maker.made(schema, space, "")
    event = stream.event
    for name, text in ((event.id, f"E-{number + 1}"), (event.key, f"K-{number + 1}")):
        is_text = stream.schema_of_event.fields[name].type == "string"
        made[name] = text if is_text else number + 1
    made[event.time] = (NEW_YEAR_S + number) * _ticks(stream)
    return made


def _ticks(stream: Stream) -> int:
    logical = stream.schema_of_event.fields[stream.event.time].logical
    assert logical is not None
    return _TICKS[logical]


def cases_of(stream: Stream) -> Iterator[Case]:
    """Every case, the ordinary ones first."""
    writer = JsonWriter(json.loads(stream.schema_of_event.text))
    for case in (*_sound(stream), *_of_each_partition(stream), *_not_allowed(stream)):
        name, about, record = case
        yield Case(name, about, frame(SCHEMA_ID) + writer.body(record), record)
    yield from _damaged(stream, writer)


def _sound(stream: Stream) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "ordinary", "an ordinary event", record_of(stream, 0)
    yield "another", "another one, of another key", record_of(stream, 1)
    yield "least", "the smallest values of each type, empty texts", record_of(stream, 2, _LEAST)
    yield "most", "large values of each type, text that is not ASCII", record_of(stream, 3, _MOST)
    nullable = [
        name
        for name, field in stream.schema_of_event.fields.items()
        if field.nullable and name not in stream.features.order
    ]
    if nullable:
        record = record_of(stream, 4) | dict.fromkeys(nullable)
        yield "nulls", f"null where the schema allows it: {', '.join(nullable)}", record
    for number, year, seconds in ((5, "1900", -2_208_988_800), (6, "2299", _YEAR_2300_S - 1)):
        record = record_of(stream, number) | {stream.event.time: seconds * _ticks(stream)}
        yield f"year_{year}", f"a time at the end of what is allowed: {year}", record


def _of_each_partition(stream: Stream) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Events whose keys land on different partitions: the hash is right where all of them fit."""
    key, partitions = stream.event.key, stream.serving.partitions
    if stream.schema_of_event.fields[key].type != "string":
        return
    for wanted in range(min(partitions, PARTITIONS_SHOWN_MAX)):
        text = next(
            text
            for text in map("key-{}".format, count(1))
            if partition_of(text.encode(), partitions) == wanted
        )
        about = f"a key that lands on partition {wanted} of {partitions}"
        yield f"partition_{wanted}", about, record_of(stream, wanted) | {key: text}


def _not_allowed(stream: Stream) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Good Avro whose values are refused."""
    event, fields = stream.event, stream.schema_of_event.fields
    plain = record_of(stream, 0)
    if fields[event.id].type == "string":
        yield "id_empty", "an empty id", plain | {event.id: ""}
        yield "id_too_long", "an id of 1,025 bytes", plain | {event.id: "x" * 1_025}
    late = {event.time: _YEAR_2300_S * _ticks(stream)}
    yield "time_in_2300", "a time that no table can hold", plain | late
    if _ticks(stream) == 1_000:
        wrong = {event.time: NEW_YEAR_S * 1_000_000}
        yield "time_in_microseconds", "microseconds in a field of milliseconds", plain | wrong
    numbers = [n for n in stream.features.order if fields[n].type in ("float", "double")]
    if numbers:
        yield "feature_nan", f"feature {numbers[0]} is NaN", plain | {numbers[0]: "NaN"}
        infinite = plain | {numbers[-1]: "Infinity"}
        yield "feature_infinite", f"feature {numbers[-1]} is infinite", infinite
    nullable = [name for name in stream.features.order if fields[name].nullable]
    if nullable:
        record = plain | {nullable[0]: None}
        yield "feature_null", f"feature {nullable[0]} is null", record


def _damaged(stream: Stream, writer: JsonWriter) -> Iterator[Case]:
    """Bytes that are no event."""
    record = record_of(stream, 0)
    parts = writer.parts(record)
    body, head = b"".join(parts.values()), frame(SCHEMA_ID)
    yield Case("empty", "no value at all: a tombstone", None)
    yield Case("json", "the event as JSON", json.dumps(record).encode())
    yield Case("not_framed", "the Avro body without its five bytes in front", b"\x01" + body)
    unknown = frame(UNKNOWN_ID) + body
    yield Case("unknown_schema", "an id that the registry does not know", unknown)
    yield Case("truncated", "the last byte is missing", head + body[:-1])
    yield Case("trailing", "a byte follows the last field", head + body + b"\x00")
    for name, about, field, damaged in _wrong_fields(stream, record, parts):
        spoilt = b"".join(damaged if each == field else raw for each, raw in parts.items())
        yield Case(name, f"field {field}: {about}", head + spoilt)


def _wrong_fields(
    stream: Stream, record: dict[str, Any], parts: dict[str, bytes]
) -> Iterator[tuple[str, str, str, bytes]]:
    """Name, about, field and its bytes, for the first field of each kind that can be so wrong."""
    seen: set[str] = set()
    for name, field in stream.schema_of_event.fields.items():
        kind = "union" if field.nullable else field.type
        if kind in seen:
            continue
        seen.add(kind)
        if kind == "string":
            yield "bad_utf8", "Latin-1 in place of UTF-8", name, long_bytes(1) + b"\xfc"
            yield "bad_length", "a length below zero", name, long_bytes(-5)
        elif kind == "int":
            yield "int_of_33_bits", "an int of 33 bits", name, long_bytes(2**31)
        elif kind == "long":
            yield "endless_number", "a number of eleven bytes", name, b"\xff" * 10 + b"\x01"
        elif kind == "boolean":
            yield "boolean_of_2", "neither true nor false", name, b"\x02"
        elif kind == "enum":
            yield "no_such_symbol", "a symbol that the enum has not", name, long_bytes(10_000)
        elif kind == "union":
            yield "no_such_branch", "a type that the union has not", name, long_bytes(7)
