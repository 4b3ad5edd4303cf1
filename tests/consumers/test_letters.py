"""Letters are read to the end, grouped, found, and decoded as far as they go."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

import consumers.letters
from consumers.letters import (
    DUMP_BYTES_MAX,
    JUMP_RECORDS_MIN,
    MASK,
    OTHERS,
    Marks,
    TopicReader,
    Wanted,
    decode_as_far,
    find,
    find_by_source,
    grouped,
    read_letters,
    read_marks,
)
from millstream.columnar import Encoder, frame
from millstream.errors import OperatorNeeded, RecordRefused, Stage
from millstream.letters import DeadLetter, Source, to_headers
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from tests.streams import LOANS, applications

EVENTS = "loans.events"
LETTER = DeadLetter(
    source_topic=EVENTS,
    source_partition=0,
    source_offset=0,
    stage="decode",
    error="truncated",
    reason="it ends early",
    attempt=1,
    event_schema_id=7,
    model="loans",
    model_version="1",
    refused_at="2024-01-01T00:00:00.000+00:00",
)


@pytest.fixture
def kafka(embedded: EmbeddedBroker) -> KafkaSettings:
    return KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)


@pytest.fixture
def topic(embedded: EmbeddedBroker) -> str:
    """A topic of this test's own with two partitions."""
    name = f"t{uuid.uuid4().hex[:8]}"
    embedded.create_topic(name, 2)
    return name


def write(kafka: KafkaSettings, topic: str, records: list[dict[str, Any]]) -> None:
    """Each is what `produce` takes, partition 0 if it does not say."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for record in records:
        given: dict[str, Any] = {"partition": 0, "value": b"v"} | record
        producer.produce(topic, **given)
    assert producer.flush(30) == 0


def letter(offset: int, partition: int = 0, **changed: Any) -> dict[str, Any]:
    """A record that is a letter of an event at these coordinates."""
    said = replace(LETTER, source_partition=partition, source_offset=offset, **changed)
    return {"partition": partition, "headers": to_headers(said)}


def test_every_letter_is_read_and_what_is_none_is_left_out(
    kafka: KafkaSettings, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """From the beginning of each partition to its end; an empty topic has none."""
    assert list(read_letters(kafka, topic)) == []
    records = [letter(n, n % 2) for n in range(1_200)]
    write(kafka, topic, [*records, {"headers": [("foreign", b"1")]}, {"partition": 1}])
    found = list(read_letters(kafka, topic))
    assert len(found) == 1_200
    for number in (0, 1):
        offsets = [each.letter.source_offset for each in found if each.partition == number]
        assert offsets == list(range(number, 1_200, 2))
    assert caplog.text.count("not_a_letter") == 2


def test_a_topic_that_is_not_there_is_the_operators(kafka: KafkaSettings) -> None:
    """Nothing makes it in passing."""
    real = kafka.model_copy(update={"embedded": False})
    with pytest.raises(OperatorNeeded, match="has no topic nowhere"):
        list(read_letters(real, "nowhere"))


def test_letters_are_grouped_by_cause(kafka: KafkaSettings, topic: str) -> None:
    """Stage, error, model version and schema id; the most frequent first, with samples."""
    records = [letter(n, n % 2) for n in range(5)]
    records += [letter(n, 1, error="bad_utf8") for n in range(10, 12)]
    records += [letter(20, model_version="2"), letter(30, event_schema_id=None)]
    write(kafka, topic, records)
    marks = Marks(EVENTS)
    marks.add(Source(EVENTS, 0, 2))
    groups = grouped(read_letters(kafka, topic), marks, Wanted())
    first = groups[0]
    assert [group.count for group in groups] == [5, 2, 1, 1]
    assert (first.cause.error, first.cause.event_schema_id) == ("truncated", 7)
    assert (first.redriven, first.partitions, len(first.samples)) == (1, {0, 1}, 3)
    assert first.first is not None and first.last is not None and first.first <= first.last
    assert {(g.cause.model_version, g.cause.event_schema_id) for g in groups[2:]} == {
        ("2", 7),
        ("1", None),
    }


def test_made_up_causes_share_one_group(
    kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that invents schema ids does not fill our memory."""
    monkeypatch.setattr(consumers.letters, "GROUPS_MAX", 3)
    write(kafka, topic, [letter(n, event_schema_id=n) for n in range(10)])
    groups = grouped(read_letters(kafka, topic), Marks(EVENTS), Wanted())
    assert groups[0].cause == OTHERS
    assert [group.count for group in groups] == [7, 1, 1, 1]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Wanted(), 4),
        (Wanted(error="truncated"), 2),
        (Wanted(stage="validate"), 1),
        (Wanted(stage="decode", error="bad_utf8"), 1),
        (Wanted(schema_id=9), 1),
        (Wanted(error="nothing"), 0),
    ],
)
def test_a_filter_is_all_that_it_says(
    wanted: Wanted, count: int, kafka: KafkaSettings, topic: str
) -> None:
    """Together; what it leaves open matches anything."""
    others = [letter(2, error="bad_utf8"), letter(3, stage="validate", error="nan_feature")]
    write(kafka, topic, [letter(0), letter(1, event_schema_id=9), *others])
    found = list(read_letters(kafka, topic))
    assert sum(wanted.admits(each) for each in found) == count
    later = Wanted(since=found[-1].time + timedelta(milliseconds=1))
    assert not any(later.admits(each) for each in found)
    assert all(Wanted(since=found[0].time).admits(each) for each in found)


def test_a_letter_is_found_by_its_place_and_by_its_events(kafka: KafkaSettings, topic: str) -> None:
    """The same one; where there is none it is said."""
    write(kafka, topic, [letter(100 + n, 1) for n in range(20)])
    assert find(kafka, topic, 1, 7).letter.source_offset == 107
    assert find_by_source(kafka, topic, 1, 107).offset == 7
    for search, place in ((find, (1, 20)), (find, (5, 0)), (find_by_source, (1, 7))):
        with pytest.raises(OperatorNeeded, match="has no letter"):
            search(kafka, topic, *place)


def test_records_are_read_by_their_offsets(kafka: KafkaSettings, topic: str) -> None:
    """Near ones and far ones, in any order; those that are not there are left out."""
    count = 3 * JUMP_RECORDS_MIN
    write(kafka, topic, [{"value": str(n).encode()} for n in range(count)])
    wanted = [count - 1, 3, 0, 4, JUMP_RECORDS_MIN + 10, count + 5]
    reader = TopicReader(kafka, topic)
    found = reader.at(0, wanted)
    reader.close()
    assert {offset: record.value() for offset, record in found.items()} == {
        offset: str(offset).encode() for offset in wanted if offset < count
    }


def test_marks_are_the_keys_of_their_topic(
    kafka: KafkaSettings, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of this stream's events; a stranger's record is passed over, loudly."""
    keys = [b"loans.events/0/5", b"loans.events/1/0", b"other.events/0/6", b"junk", b"a/b/c"]
    write(kafka, topic, [{"key": key} for key in keys])
    marks = read_marks(kafka, topic, EVENTS)
    assert marks.have(0, np.array([4, 5, 6])).tolist() == [False, True, False]
    assert marks.have(1, np.array([0])).tolist() == [True]
    assert marks.have(2, np.array([0])).tolist() == [False]
    assert caplog.text.count("is no mark of ours") == 2


def stream(folder: Path, private: tuple[str, ...] = ()) -> Stream:
    """The loans stream, with private fields."""
    text = (LOANS / "stream.toml").read_text("utf-8").partition("[privacy]")[0]
    (folder / "stream.toml").write_text(f"{text}\n[privacy]\nprivate = {json.dumps(private)}\n")
    (folder / "event.v1.avsc").write_bytes((LOANS / "event.v1.avsc").read_bytes())
    return Stream.load(folder / "stream.toml")


def event(of: Stream, **changed: Any) -> bytes:
    """One framed event of schema id 1."""
    batch = applications(1)
    for name, value in changed.items():
        place = batch.schema.get_field_index(name)
        batch = batch.set_column(place, name, pa.array([value], batch.schema.field(name).type))
    return Encoder(of.schema_of_event.text, frame(1)).encode(batch)[0]


def test_a_whole_event_is_decoded_whole(tmp_path: Path) -> None:
    """As one that was refused for a value; nothing is left over."""
    loans = stream(tmp_path)
    value = event(loans, applicant="A-9", salary=float("nan"))
    partial = decode_as_far(value, loans, lambda _: loans.schema_of_event.text)
    assert list(partial.fields) == list(loans.schema_of_event.fields)
    assert partial.fields["applicant"] == "A-9"
    assert np.isnan(partial.fields["salary"])
    assert (partial.reason, partial.rest, partial.rest_bytes) == (None, b"", 0)


def test_a_damaged_event_is_decoded_up_to_the_damage(tmp_path: Path) -> None:
    """At every length: the fields that are whole, and the bytes that are left."""
    loans = stream(tmp_path)
    whole = event(loans)
    full = decode_as_far(whole, loans, lambda _: loans.schema_of_event.text).fields
    for length in range(5, len(whole)):
        partial = decode_as_far(whole[:length], loans, lambda _: loans.schema_of_event.text)
        names = list(partial.fields)
        assert names == list(full)[: len(names)]
        assert all(partial.fields[name] == full[name] for name in names)
        assert partial.reason is not None and "ends before" in partial.reason
        assert partial.rest == whole[length - partial.rest_bytes : length]
    longer = decode_as_far(whole + b"xyz", loans, lambda _: loans.schema_of_event.text)
    assert (longer.fields, longer.rest) == (full, b"xyz")
    assert longer.reason == "3 bytes follow the last field"


def test_private_fields_and_the_bytes_after_them_are_not_shown(tmp_path: Path) -> None:
    """Whatever the damage: bytes that were not decoded could be of a private field."""
    loans = stream(tmp_path, ("applicant", "salary"))
    whole = event(loans, applicant="Secret-9")
    for value in (whole, whole[:-4], b"{json: Secret-9}", frame(1) + b"\xff" + whole[5:]):
        partial = decode_as_far(value, loans, lambda _: loans.schema_of_event.text)
        assert partial.fields.get("applicant", MASK) == MASK
        assert partial.rest == b""
    assert partial.rest_bytes == len(whole) + 1 - 5
    renamed = loans.schema_of_event.text.replace('"applicant"', '"customer"')
    partial = decode_as_far(whole, loans, lambda _: renamed)
    assert partial.fields["customer"] == MASK, "a field we do not know could be a private one"
    assert partial.fields["age"] != MASK
    assert partial.reason is not None and "applicant" in partial.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no zero byte"),
        (b"", "no zero byte"),
        (b'{"not": "avro"}', "no zero byte"),
        (b"\x00\x00\x00", "no zero byte"),
        (frame(9) + b"x" * 1_000, "schema id 9 is not in the registry"),
    ],
)
def test_what_cannot_be_decoded_is_dumped_to_a_bound(
    value: bytes | None, reason: str, tmp_path: Path
) -> None:
    """With what is known of why."""

    def unknown(schema_id: int) -> str:
        raise RecordRefused(
            Stage.FRAME, "unknown_schema_id", f"schema id {schema_id} is not in the registry"
        )

    partial = decode_as_far(value, stream(tmp_path), unknown)
    assert partial.fields == {}
    assert partial.reason is not None and reason in partial.reason
    raw = value or b""
    start = 5 if raw.startswith(frame(9)) else 0
    assert partial.rest == raw[start : start + DUMP_BYTES_MAX]
    assert partial.rest_bytes == len(raw) - start
