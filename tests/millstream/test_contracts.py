"""The contracts in schemas/: golden examples, the table of topics, event schemas."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import fastavro
import pyarrow as pa
import pytest
from pydantic import ValidationError

from millstream.columnar import FRAME_BYTES, Encoder, arrow_schema, frame, make_decoder
from millstream.contracts import (
    SCHEMAS,
    EventSchema,
    contract,
    dead_letter_headers,
    topic_table,
)
from millstream.errors import ContractMismatch, StreamInvalid
from millstream.letters import DeadLetter, from_headers, to_headers
from millstream.stream import EventTable
from ops.kafka.broker import RECORD_BYTES_MAX as BROKER_BYTES_MAX

GOLDEN = SCHEMAS / "golden"
_CONTRACTS = sorted(path.name.removesuffix(".avsc") for path in SCHEMAS.glob("*.avsc"))
_AVRO = [name for name in _CONTRACTS if not name.startswith("dead_letter.")]


def _text(name: str) -> str:
    return (SCHEMAS / f"{name}.avsc").read_text("utf-8")


def _examples(name: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """(values, framed bytes) of each golden example; times are microseconds, and the text of a
    bytes field has a character for each byte, as in Avro's JSON encoding."""
    values = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    raw = {f["name"] for f in json.loads(_text(name))["fields"] if f["type"] == "bytes"}
    for example in values:
        example |= {field: example[field].encode("latin-1") for field in raw}
    bodies = (GOLDEN / f"{name}.hex").read_text("utf-8").split()
    yield from zip(values, (bytes.fromhex(body) for body in bodies), strict=True)


def _plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows with times as whole numbers of their unit, as Avro has them."""
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    rows: list[dict[str, Any]] = pa.table(columns, names=batch.schema.names).to_pylist()
    return rows


def _without_logical(schema: str) -> str:
    """So that every reader gives the number that was written."""
    return re.sub(r'"logicalType":\s*"[^"]*"', '"doc": ""', schema)


def test_there_are_contracts() -> None:
    """Each test below runs for at least these."""
    assert {"prediction.v1", "outcome.v1", "dead_letter.v1"} <= set(_CONTRACTS)


@pytest.mark.parametrize("name", _CONTRACTS)
def test_every_contract_has_golden_examples(name: str) -> None:
    """A new version of a subject comes with bytes that later readers must read."""
    assert (GOLDEN / f"{name}.json").is_file()
    assert json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    if name in _AVRO:
        assert len(list(_examples(name))) >= 2


@pytest.mark.parametrize("name", _AVRO)
def test_avro_reads_the_golden_bytes(name: str) -> None:
    """The Apache library, which is not ours, finds the golden values."""
    schema = avro.schema.parse(_without_logical(_text(name)))
    for values, value in _examples(name):
        body = io.BytesIO(value[FRAME_BYTES:])
        assert avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(body)) == values
        assert body.read() == b""


@pytest.mark.parametrize("name", _AVRO)
def test_fastavro_reads_the_golden_bytes(name: str) -> None:
    """The second library agrees."""
    schema = fastavro.parse_schema(json.loads(_without_logical(_text(name))))
    for values, value in _examples(name):
        assert fastavro.schemaless_reader(io.BytesIO(value[FRAME_BYTES:]), schema, None) == values


@pytest.mark.parametrize("name", _AVRO)
@pytest.mark.parametrize("copies", [1, 50], ids=["few rows", "many rows"])
def test_our_decoder_reads_the_golden_bytes(name: str, copies: int) -> None:
    """Row by row and in columns, the same values."""
    examples = list(_examples(name)) * copies
    decoded = make_decoder(_text(name)).decode([value for _, value in examples], FRAME_BYTES)
    assert decoded.refusals == ()
    assert _plain(decoded.columns) == [values for values, _ in examples]


@pytest.mark.parametrize("name", _AVRO)
def test_every_later_version_reads_the_golden_bytes(name: str) -> None:
    """What is in a topic stays readable when a version is added."""
    subject, version = name.split(".v")
    for later in (n for n in _AVRO if n.startswith(f"{subject}.v")):
        if int(later.split(".v")[1]) < int(version):
            continue
        decoder = make_decoder(_text(name), _text(later))
        decoded = decoder.decode([value for _, value in _examples(name)], FRAME_BYTES)
        assert decoded.refusals == ()


@pytest.mark.parametrize("name", _AVRO)
@pytest.mark.parametrize("copies", [1, 50], ids=["few rows", "many rows"])
def test_our_encoder_writes_the_golden_bytes(name: str, copies: int) -> None:
    """To the byte."""
    examples = list(_examples(name)) * copies
    schema = arrow_schema(_text(name))
    columns = [
        pa.array([values[f.name] for values, _ in examples], _stored(f.type)).cast(f.type)
        for f in schema
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    schema_id = int.from_bytes(examples[0][1][1:FRAME_BYTES], "big")
    written = Encoder(_text(name), frame(schema_id)).encode(batch)
    assert written == [value for _, value in examples]


def _stored(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def test_the_golden_dead_letter_is_headers() -> None:
    """Each golden letter becomes the golden headers, and they become it again."""
    for example in json.loads((GOLDEN / "dead_letter.v1.json").read_text("utf-8")):
        letter = DeadLetter(**example["letter"])
        headers = [(name, text.encode()) for name, text in example["headers"]]
        assert to_headers(letter) == headers
        assert from_headers(headers) == letter


def test_every_field_of_a_dead_letter_has_a_header_of_its_own() -> None:
    """Under one prefix, so that they never meet an event's own."""
    headers = dead_letter_headers()
    assert len(set(headers.values())) == len(headers)
    assert all(name.startswith("millstream.errors.") for name in headers.values())


def test_a_contract_that_is_not_there_is_named() -> None:
    """An unfinished installation says so."""
    with pytest.raises(ContractMismatch, match="no contract nothing"):
        contract("nothing")


def test_the_newest_version_is_taken() -> None:
    """By number; a version may be asked for."""
    newest = contract("prediction")
    assert newest.version == max(
        int(n.split(".v")[1]) for n in _CONTRACTS if n.startswith("prediction.v")
    )
    assert contract("prediction", 1).text == _text("prediction.v1")


def test_every_topic_names_its_writers_and_readers() -> None:
    """A topic that nobody writes or reads has no place in the table."""
    table = topic_table()
    assert set(table) >= {"events", "predictions", "dead_letters", "outcomes", "redrives"}
    assert set(table) >= {"alarms", "silences", "labelled", "join_state", "drift", "incidents"}
    for topic in table.values():
        assert topic.writers.strip(), topic.kind
        assert topic.readers.strip(), topic.kind
        assert topic.config["cleanup.policy"] in {"delete", "compact"}
        if topic.config["cleanup.policy"] == "delete":
            assert int(topic.config["retention.ms"]) > 0
    names = [topic.name("s") for topic in table.values()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("s.") for name in names)


def test_every_value_in_the_table_is_a_contract() -> None:
    """Or the stream's own schema, or the refused event's bytes."""
    subjects = {name.split(".v")[0] for name in _CONTRACTS}
    values = {kind: topic.value for kind, topic in topic_table().items()}
    assert values.pop("events") == "the stream's own event schema"
    assert values.pop("dead_letters").endswith("headers: dead_letter")
    assert values.pop("watch_state").startswith("the watch's sealed state")
    assert set(values.values()) <= subjects


def test_a_letter_has_room_for_its_event() -> None:
    """What is written about an event may be larger than it: its headers, its key once more."""
    table = topic_table()
    events = int(table["events"].config["max.message.bytes"])
    for kind in ("dead_letters", "predictions"):
        room = int(table[kind].config["max.message.bytes"]) - events
        assert room >= 1_000_000, kind
        assert int(table[kind].config["max.message.bytes"]) <= BROKER_BYTES_MAX


def test_event_bytes_max_cannot_promise_more_than_the_topic_holds() -> None:
    """The topic's limit is accepted, one byte more is not."""
    events = int(topic_table()["events"].config["max.message.bytes"])
    named = {"schema": "s", "key": "k", "id": "i", "time": "t"}
    assert EventTable(**named, bytes_max=events).bytes_max == events
    with pytest.raises(ValidationError, match="bytes_max"):
        EventTable(**named, bytes_max=events + 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no Avro schema"),
        ('{\n "type":\n "record"', "is no Avro schema"),
        ('{"type": "record", "name": "E"}', "is no Avro schema"),
        ('{"type":"record","name":"E","fields":[{"name":"a","type":"strng"}]}', "is no Avro"),
        ('["null", "string"]', "is an Avro union"),
        ('"string"', "is an Avro string"),
        (
            '{"type":"record","name":"E","fields":[{"name":"kafka_time","type":"long"}]}',
            "field kafka_time starts with kafka_",
        ),
        ("[" * 3_000, "is no Avro schema"),
    ],
)
def test_what_is_no_event_schema_is_named_in_one_line(text: str, said: str) -> None:
    """Whatever the Avro library says of it, and however long the file."""
    with pytest.raises(StreamInvalid, match=said) as caught:
        EventSchema.parse(text, Path("event.avsc"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_event_schema_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    """As one that cannot be read."""
    (tmp_path / "e.avsc").write_bytes(b"\xff\xfe")
    with pytest.raises(StreamInvalid, match="cannot be read"):
        EventSchema.load(tmp_path / "e.avsc")


def test_fields_are_told_with_their_logical_type_and_nullability() -> None:
    """Whether null comes first or last; a union of several is one of its own kind."""
    text = json.dumps(
        {
            "type": "record",
            "name": "E",
            "fields": [
                {"name": "a", "type": ["string", "null"]},
                {"name": "b", "type": ["null", {"type": "int", "logicalType": "date"}]},
                {"name": "c", "type": ["string", "long"]},
                {"name": "d", "type": "double"},
            ],
        }
    )
    fields = EventSchema.parse(text, Path("e")).fields
    assert [(f.type, f.logical, f.nullable) for f in fields.values()] == [
        ("string", None, True),
        ("int", "date", True),
        ("union", None, False),
        ("double", None, False),
    ]
