"""The statements that follow from stream.toml; what they do is asked of a real engine in
tests/consumers/test_warehouse_views.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millstream.stream import Stream
from millstream.warehouse.views import column_comments, keeping, scored_names, views
from tests.consumers.analysts import stream_called
from tests.consumers.warehouses import stream_in


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (("colour",), {"colour": "colour"}),
        (("score",), {"score": "event_score"}),
        (("event_score", "score"), {"event_score": "event_score", "score": "event_event_score"}),
        (("event_time",), {"event_time": "event_event_time"}),
    ],
)
def test_a_field_keeps_its_name_where_it_is_free(
    fields: tuple[str, ...], wanted: dict[str, str], tmp_path: Path
) -> None:
    """Else it is event_NAME, as often as it takes."""
    stream = stream_in(tmp_path, "mine", *({"name": n, "type": "string"} for n in fields))
    names = scored_names(stream)
    assert {name: names[name] for name in fields} == wanted
    assert len(set(names.values())) == len(names)


def test_a_private_id_is_in_no_statement(tmp_path: Path) -> None:
    """Nor is any other private field."""
    stream = stream_in(tmp_path, "mine", {"name": "secret", "type": "string"})
    text = stream.path.read_text() + '[privacy]\nprivate = ["id", "secret"]\n'
    stream.path.write_text(text)
    told = "\n".join(views(Stream.load(stream.path)))
    assert "secret" not in told
    assert "`id`" not in told
    assert "event_id AS event_id" in told


def test_an_id_that_is_a_number_is_compared_as_text(tmp_path: Path) -> None:
    """Predictions have it as text."""
    stream = stream_in(tmp_path, "mine", {"name": "number", "type": "long"})
    stream.path.write_text(stream.path.read_text().replace('\nid = "id"', '\nid = "number"'))
    told = "\n".join(views(Stream.load(stream.path)))
    assert "ifNull(toString(v.`number`), '') AS event_id" in told


def test_only_what_differs_is_told_again(tmp_path: Path) -> None:
    """A comment that is there already is left alone."""
    stream = stream_in(tmp_path, "mine", {"name": "colour", "type": ["null", "string"]})
    about: dict[str, Any] = {"id": "It's the id", "n": "Field n of the event, in Avro int"}
    told = column_comments(stream, about)
    assert [line.split("`")[1] for line in told] == ["at", "colour"]


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ("MergeTree ORDER BY n", ["MODIFY SETTING", "MODIFY TTL"]),
        ("MergeTree TTL toDateTime(kafka_time) + toIntervalDay(90) SETTINGS x = 1", []),
        ("MergeTree TTL toDateTime(kafka_time) + toIntervalDay(91)", ["SETTING", "TTL"]),
    ],
)
def test_time_to_live_is_told_where_it_differs(now: str, wanted: list[str], tmp_path: Path) -> None:
    """And taken back where the stream no longer says any."""
    stream = stream_called("mine", tmp_path, "\n[warehouse.keep_days]\nevents = 90\n")
    told = keeping(stream, {"events": now})
    assert len(told) == len(wanted)
    assert all(word in line for word, line in zip(wanted, told, strict=True))
    assert keeping(stream, {}) == []
    other = stream_called("mine", tmp_path)
    taken = ["ALTER TABLE mine.events REMOVE TTL"] if "TTL" in now else []
    assert keeping(other, {"events": now}) == taken
