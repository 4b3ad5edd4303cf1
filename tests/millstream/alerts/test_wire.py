"""Alarms, silences and incidents as Kafka values."""

from __future__ import annotations

import io
import json
from typing import Any

import avro.io
import avro.schema
import pytest

from millstream.alerts.alarm import Alarm
from millstream.alerts.silence import Matcher, Silence
from millstream.alerts.wire import Reader, Writer
from millstream.contracts import SCHEMAS, contract
from millstream.errors import RecordRefused
from tests.millstream.alerts.alarms import NOON, alarm
from tests.millstream.alerts.test_incident import FIELDS

INCIDENT = {
    "type": "record",
    "name": "Incident",
    "fields": [
        *({"name": n, "type": "string"} for n in ("id", "stream", "verdict", "status", "cause")),
        {"name": "features", "type": {"type": "array", "items": "string"}},
        {"name": "slices", "type": {"type": "array", "items": "string"}},
        {"name": "evidence", "type": {"type": "map", "values": "string"}},
        {"name": "first_offset", "type": "long"},
    ],
}
SCHEMA_OF = {1: contract("alarm").text, 2: contract("silence").text, 3: json.dumps(INCIDENT)}


def reader() -> Reader:
    return Reader(SCHEMA_OF.__getitem__)


def test_alarms_and_silences_come_back_as_they_were() -> None:
    """Several at once."""
    alarms = [alarm(number, evidence={"é": [1, None]}) for number in range(3)]
    assert [reader().alarm(v) for v in Writer("alarm", 1).values(alarms)] == alarms
    silence = Silence("s", (Matcher.parse("a=~b|c"),), NOON, NOON + 1, "anna", "why")
    (value,) = Writer("silence", 2).values([silence])
    assert reader().silence(value) == silence


def test_the_golden_alarms_are_alarms() -> None:
    """Each example of the contract is one that we read."""
    values = json.loads((SCHEMAS / "golden" / "alarm.v1.json").read_text("utf-8"))
    bodies = (SCHEMAS / "golden" / "alarm.v1.hex").read_text("utf-8").split()
    read = Reader(lambda _: contract("alarm").text)
    assert [read.alarm(bytes.fromhex(body)) for body in bodies] == [Alarm.of(v) for v in values]


def incident_value(fields: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    schema = avro.schema.parse(SCHEMA_OF[3])
    avro.io.DatumWriter(schema).write(fields, avro.io.BinaryEncoder(out))
    return b"\0\0\0\0\3" + out.getvalue()


def test_an_incident_is_read_by_its_writers_own_schema() -> None:
    """Its evidence may be an Avro map; what this version lacks is left out."""
    names = [field["name"] for field in INCIDENT["fields"]]  # type: ignore[index]
    fields = {n: FIELDS[n] for n in names} | {"evidence": {"odds": "21.5"}}
    incident = reader().incident(incident_value(fields))
    assert (incident.id, incident.evidence) == ("i-1", {"odds": "21.5"})
    assert incident.started_us is None


@pytest.mark.parametrize("value", [None, b"", b"\0\0\0", b"{}", b"\0\0\0\0\1", b"\0\0\0\0\1\xff"])
def test_what_cannot_be_read_is_refused(value: bytes | None) -> None:
    """And costs no neighbour: each value is read by itself."""
    with pytest.raises(RecordRefused):
        reader().alarm(value)


def test_another_contracts_record_is_refused() -> None:
    """Though it can be decoded."""
    (value,) = Writer("alarm", 1).values([alarm()])
    with pytest.raises(RecordRefused, match="not what its contract says"):
        reader().silence(value)
