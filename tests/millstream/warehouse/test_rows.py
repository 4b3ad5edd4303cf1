"""Kafka records as rows: one for each record, whatever its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import SCHEMAS, contract, topic_table
from millstream.errors import DependencyUnavailable, RecordRefused, Stage
from millstream.letters import DeadLetter, to_headers
from millstream.records import TIME_US_MAX, TIME_US_MIN, Headers, Records
from millstream.stream import Stream
from millstream.warehouse.rows import (
    AvroRows,
    LetterRows,
    contract_rows,
    event_rows,
    row_makers,
)
from tests.millstream.warehouse.test_ddl import stream_of
from tests.streams import LOANS, applications, framed

_LETTER = DeadLetter(
    "t", 1, 2, "decode", "truncated", "short", 1, 7, "m", "1", "2024-01-01T00:00:00+00:00"
)
_OURS, _UNKNOWN, _FOREIGN, _DOWN = 1, 77, 4, 78
_SCHEMAS = {
    _OURS: (LOANS / "event.v1.avsc").read_text("utf-8"),
    _FOREIGN: '{"type":"record","name":"Order","fields":[{"name":"n","type":"int"}]}',
}


def schema_of(schema_id: int) -> str:
    """The registry of these tests."""
    if schema_id == _DOWN:
        raise DependencyUnavailable("schema registry", "it sleeps")
    if schema_id not in _SCHEMAS:
        raise RecordRefused(Stage.FRAME, "unknown_schema_id", "unknown")
    return _SCHEMAS[schema_id]


def records(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    headers: Mapping[int, Headers] | None = None,
    timestamps_us: Sequence[int] | None = None,
) -> Records:
    """As if consumed from one partition, offsets from 10."""
    count = len(values)
    times = [1_704_067_200_000_000] * count if timestamps_us is None else timestamps_us
    return Records(
        "loans.events",
        list(values),
        list(keys) if keys is not None else [b"A"] * count,
        np.full(count, 2, np.int32),
        np.arange(10, 10 + count, dtype=np.int64),
        np.array(times, np.int64),
        dict(headers or {}),
    )


@pytest.fixture(scope="module")
def loans() -> Stream:
    """The shipped example."""
    return Stream.load(LOANS / "stream.toml")


@pytest.fixture(scope="module")
def events(loans: Stream) -> AvroRows:
    """The rows of its events."""
    return event_rows(loans, schema_of)


def test_good_events_are_rows_with_their_fields_and_coordinates(events: AvroRows) -> None:
    """Every value as it was published."""
    batch = applications(100, seed=2)
    table = events.rows(records(framed(batch, _OURS)))
    assert table.select(batch.schema.names).to_pylist() == batch.to_pylist()
    assert set(table.column("kafka_topic").to_pylist()) == {"loans.events"}
    assert set(table.column("kafka_partition").to_pylist()) == {2}
    assert table.column("kafka_offset").to_pylist() == list(range(10, 110))
    assert table.column("kafka_time")[0].as_py() == datetime(2024, 1, 1, tzinfo=UTC)
    assert set(table.column("kafka_key").to_pylist()) == {b"A"}
    assert set(table.column("kafka_value").to_pylist()) == {b""}
    assert set(table.column("kafka_schema_id").to_pylist()) == {_OURS}
    assert set(table.column("kafka_unreadable").to_pylist()) == {""}


_BAD: dict[str, tuple[bytes | None, str, int]] = {
    "null": (None, "empty_value", -1),
    "empty": (b"", "empty_value", -1),
    "json": (b"{}", "not_framed", -1),
    "unknown": (frame(_UNKNOWN) + b"x", "unknown_schema_id", _UNKNOWN),
    "beyond": (b"\x00\xff\xff\xff\xff\x00", "unknown_schema_id", -1),
    "foreign": (frame(_FOREIGN) + b"\x02", "incompatible_schema", _FOREIGN),
    "short": (frame(_OURS) + b"\x02", "truncated", _OURS),
}


@pytest.mark.parametrize("kind", _BAD)
@pytest.mark.parametrize("neighbours", [0, 40], ids=["alone", "among good ones"])
def test_an_unreadable_event_is_a_row_at_its_place(
    events: AvroRows, kind: str, neighbours: int
) -> None:
    """With its bytes, its reason and no fields; its neighbours have theirs."""
    value, name, schema_id = _BAD[kind]
    good = framed(applications(neighbours, seed=2), _OURS) if neighbours else []
    at = neighbours // 2
    table = events.rows(records([*good[:at], value, *good[at:]]))
    assert table.num_rows == neighbours + 1
    row = table.slice(at, 1).to_pylist()[0]
    assert (row["kafka_unreadable"], row["kafka_schema_id"]) == (name, schema_id)
    assert row["kafka_value"] == (value or b"")
    assert row["application_id"] is None
    assert row["salary"] is None
    ids = table.column("application_id").to_pylist()
    assert ids[:at] + ids[at + 1 :] == [f"L-{n}" for n in range(neighbours)]


@settings(max_examples=80, deadline=None)
@given(kinds=st.lists(st.sampled_from(["good", *_BAD]) | st.binary(max_size=30), max_size=60))
def test_every_record_is_one_row_in_its_place(kinds: list[str | bytes]) -> None:
    """Whatever is mixed, and whatever the bytes."""
    good = framed(applications(len(kinds), seed=2), _OURS) if kinds else []
    values = [
        kind if isinstance(kind, bytes) else good[row] if kind == "good" else _BAD[kind][0]
        for row, kind in enumerate(kinds)
    ]
    table = event_rows(Stream.load(LOANS / "stream.toml"), schema_of).rows(records(values))
    assert table.column("kafka_offset").to_pylist() == list(range(10, 10 + len(kinds)))
    for row, kind in enumerate(kinds):
        name = table.column("application_id")[row].as_py()
        why = table.column("kafka_unreadable")[row].as_py()
        if kind == "good":
            assert (name, why) == (f"L-{row}", "")
        else:
            assert name is None
            assert why == (_BAD[kind][1] if isinstance(kind, str) else why)
            assert why


def test_a_registry_that_sleeps_makes_no_rows(events: AvroRows) -> None:
    """The batch is read again later: an unknown schema is not a reason then."""
    with pytest.raises(DependencyUnavailable):
        events.rows(records([frame(_DOWN) + b"x"]))


def test_a_schema_that_becomes_known_is_read(loans: Stream) -> None:
    """What the registry did not know is asked for again."""
    known: set[int] = set()

    def registry(schema_id: int) -> str:
        if schema_id not in known:
            raise RecordRefused(Stage.FRAME, "unknown_schema_id", "not yet")
        return schema_of(schema_id)

    rows = event_rows(loans, registry)
    values = framed(applications(1), _OURS)
    assert rows.rows(records(values)).column("kafka_unreadable")[0].as_py() == "unknown_schema_id"
    known.add(_OURS)
    assert rows.rows(records(values)).column("kafka_unreadable")[0].as_py() == ""


def test_times_that_are_none_are_clipped(events: AvroRows) -> None:
    """Of the Kafka record: unknown is 1970, beyond what a table holds is its end."""
    values = framed(applications(3), _OURS)
    table = events.rows(records(values, timestamps_us=[-1, 2**62, TIME_US_MAX]))
    times = table.column("kafka_time").cast(pa.int64()).to_pylist()
    assert times == [0, TIME_US_MAX, TIME_US_MAX]


_TIMES: list[dict[str, Any]] = [
    {"name": "us", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "ms", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    {"name": "ns", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
    {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "clock", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "clock_us", "type": {"type": "long", "logicalType": "time-micros"}},
]
_DAY_MIN, _DAY_MAX = -25_567, 120_529


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ({"us": TIME_US_MIN}, TIME_US_MIN),
        ({"us": TIME_US_MAX}, TIME_US_MAX),
        ({"us": TIME_US_MAX + 1}, None),
        ({"us": -(2**63)}, None),
        ({"ms": -1}, -1),
        ({"ms": TIME_US_MAX // 1000}, TIME_US_MAX // 1000),
        ({"ms": TIME_US_MAX // 1000 + 1}, None),
        ({"ms": TIME_US_MIN // 1000}, TIME_US_MIN // 1000),
        ({"ms": TIME_US_MIN // 1000 - 1}, None),
        ({"ms": None}, None),
        ({"day": _DAY_MIN}, _DAY_MIN),
        ({"day": _DAY_MAX}, _DAY_MAX),
        ({"day": _DAY_MIN - 1}, None),
        ({"day": _DAY_MAX + 1}, None),
        ({"day": 2**31 - 1}, None),
        ({"ns": 2**63 - 1}, 2**63 - 1),
        ({"local": 1_234}, 1_234),
        ({"clock": 1_234}, 1_234),
        ({"clock_us": 1_234_567}, 1_234_567),
    ],
    ids=str,
)
def test_a_time_that_clickhouse_cannot_hold_is_null(
    tmp_path: Path, given_: dict[str, int | None], kept: int | None
) -> None:
    """It would store another time, or refuse the block for ever; what it can hold is kept. Times
    without a zone, times of day and nanoseconds are the number that was published."""
    stream = stream_of(tmp_path, _TIMES)
    schema = arrow_schema(stream.schema_of_event.text)
    values = {"id": "1", "at": 0, "n": 1} | {f["name"]: 0 for f in _TIMES} | given_
    arrays = [_array(values[field.name], field.type) for field in schema]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    value = Encoder(stream.schema_of_event.text, frame(1)).encode(batch)[0]
    rows = event_rows(stream, lambda _: stream.schema_of_event.text)
    (name,) = given_
    table = rows.rows(records([value]))
    assert table.column("kafka_unreadable")[0].as_py() == ""
    column = table.column(name)
    plain = pa.int32() if column.type in (pa.int32(), pa.date32()) else pa.int64()
    assert column.cast(plain)[0].as_py() == kept
    assert table.column("id")[0].as_py() == "1"


def _array(value: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_temporal(kind):
        return pa.array([value], pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    return pa.array([value], kind)


def test_dates_and_times_keep_their_types(tmp_path: Path) -> None:
    """A date is a date in ClickHouse, a timestamp a DateTime64."""
    stream = stream_of(tmp_path, _TIMES)
    rows = event_rows(stream, lambda _: stream.schema_of_event.text)
    types = {f.name: f.type for f in rows.rows(records([b""])).schema}
    assert types["day"] == pa.date32()
    assert types["us"] == pa.timestamp("us", "UTC")
    assert types["clock"] == pa.int32()
    assert types["local"] == pa.int64()
    assert date(1900, 1, 1).toordinal() - date(1970, 1, 1).toordinal() == _DAY_MIN


def _private_loans(folder: Path, *private: str) -> Stream:
    """The example with these fields private."""
    names = ", ".join(f'"{name}"' for name in private)
    text = (LOANS / "stream.toml").read_text("utf-8")
    (folder / "stream.toml").write_text(f"{text}\n[privacy]\nprivate = [{names}]\n")
    (folder / "event.v1.avsc").write_text((LOANS / "event.v1.avsc").read_text("utf-8"))
    return Stream.load(folder / "stream.toml")


def _seen(table: pa.Table) -> str:
    """Everything that would reach ClickHouse."""
    return repr(table.to_pylist())


def test_a_private_field_reaches_no_column(tmp_path: Path) -> None:
    """Nor do an unreadable event's bytes, which may hold it."""
    rows = event_rows(_private_loans(tmp_path, "salary"), schema_of)
    value = framed(applications(1), _OURS)[0]
    table = rows.rows(records([value, value[:-1]]))
    assert "salary" not in table.column_names
    assert table.column("kafka_value").to_pylist() == [b"", b""]
    assert table.column("kafka_unreadable").to_pylist() == ["", "truncated"]
    assert table.column("kafka_key").to_pylist() == [b"A", b"A"]


def test_a_private_key_reaches_no_table(tmp_path: Path) -> None:
    """The key's field, the Kafka key, and what predictions and letters repeat of both."""
    stream = _private_loans(tmp_path, "applicant")
    event = applications(1)
    secret = event.column("applicant")[0].as_py()
    key = secret.encode()
    assert secret not in _seen(
        event_rows(stream, schema_of).rows(records(framed(event, _OURS), keys=[key]))
    )
    predictions = contract_rows(
        stream, topic_table()["predictions"], lambda _: contract("prediction").text
    )
    table = predictions.rows(records([_prediction(key=secret)], keys=[key]))
    assert table.column("event_id").to_pylist() == ["L-0"]
    assert secret not in _seen(table)
    letters = LetterRows(keep_bytes=False, keep_key=False)
    headers = {0: to_headers(_LETTER)}
    assert secret not in _seen(letters.rows(records([key], keys=[key], headers=headers)))


@pytest.mark.parametrize(
    ("private", "column"),
    [("application_id", "event_id"), ("applied_at", "event_time"), ("applicant", "key")],
)
def test_a_prediction_has_no_column_of_a_private_field(
    tmp_path: Path, private: str, column: str
) -> None:
    """Its id, key and time are the event's."""
    stream = _private_loans(tmp_path, private)
    rows = contract_rows(
        stream, topic_table()["predictions"], lambda _: contract("prediction").text
    )
    names = rows.rows(records([_prediction()])).column_names
    assert column not in names
    assert {"event_id", "event_time", "key", "score"} - {column} <= set(names)


def _prediction(**changes: Any) -> bytes:
    example = json.loads(
        (LOANS.parent.parent / "schemas/golden/prediction.v2.json").read_text("utf-8")
    )[0]
    values = example | {"event_id": "L-0"} | changes
    text = contract("prediction").text
    schema = arrow_schema(text)
    arrays = [_array(values[field.name], field.type) for field in schema]
    return Encoder(text, frame(1)).encode(pa.RecordBatch.from_arrays(arrays, schema=schema))[0]


def test_a_prediction_is_a_row_with_every_field(loans: Stream) -> None:
    """As the contract has them."""
    rows = contract_rows(loans, topic_table()["predictions"], lambda _: contract("prediction").text)
    table = rows.rows(records([_prediction(label=None, confidence=None)]))
    row = table.to_pylist()[0]
    assert set(arrow_schema(contract("prediction").text).names) <= set(row)
    assert (row["label"], row["confidence"], row["scores"]) == (None, None, [0.1875, 0.8125])


def test_every_topic_with_a_table_gets_its_rows_and_no_other(loans: Stream) -> None:
    """Of those that exist; each into the table that the table of topics names."""
    tables = {t.kind: t.table for t in topic_table().values() if t.table}
    makers = row_makers(loans, schema_of, set(topic_table()))
    assert {topic: maker.table for topic, maker in makers.items()} == {
        loans.topic(kind): table for kind, table in tables.items()
    }
    assert isinstance(makers[loans.topic("dead_letters")], LetterRows)
    assert set(row_makers(loans, schema_of, {"events", "redrives"})) == {"loans.events"}


def test_a_labelled_record_is_a_row_without_what_is_private(tmp_path: Path) -> None:
    """Times as times, null where no outcome came; a private key stays away."""
    text = contract("labelled").text
    stream = _private_loans(tmp_path, "applicant")
    topic = stream.topic("labelled")
    golden = (SCHEMAS / "golden" / "labelled.v1.hex").read_text("utf-8").split()
    maker = row_makers(stream, lambda _: text, {"labelled"})[topic]
    table = maker.rows(records([bytes.fromhex(value) for value in golden]))
    assert "key" not in table.column_names
    assert table.column("status").to_pylist() == ["labelled", "corrected", "never_labelled"]
    assert table.column("known_at")[0].as_py() == datetime(2024, 2, 1, tzinfo=UTC)
    assert table.column("known_at")[2].as_py() is None
    assert set(table.column("kafka_key").to_pylist()) == {b""}
