"""Alarms: their ids, their times, and what goes into a record and comes back."""

from __future__ import annotations

import doctest
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from millstream.alerts import alarm as module
from millstream.alerts.alarm import Alarm, Severity, alarm_id, iso, json_text, mapping, microseconds
from tests.millstream.alerts.alarms import NOON, alarm


def test_the_examples_in_the_docstrings_hold() -> None:
    """To the letter."""
    assert doctest.testmod(module).failed == 0


def test_an_id_depends_on_what_happened_and_on_nothing_else() -> None:
    """The order of labels is nothing; each other difference is another alarm."""
    ids = {
        alarm_id("s", "r", {"a": "1", "b": "2"}, 5),
        alarm_id("s", "r", {"b": "2", "a": "1"}, 5),
    }
    assert len(ids) == 1
    ids |= {
        alarm_id("s", "r", {"a": "1", "b": "2"}, 6),
        alarm_id("s", "r", {"a": "1", "b": "2"}, None),
        alarm_id("s", "r", {"a": "12", "b": ""}, 5),
        alarm_id("s", "q", {"a": "1", "b": "2"}, 5),
        alarm_id("t", "r", {"a": "1", "b": "2"}, 5),
    }
    assert len(ids) == 6


def test_fields_come_back_as_the_alarm_they_were_of() -> None:
    """Maps travel as JSON text."""
    made = alarm(evidence={"a": [1, {"b": None}], "é": "x"})
    assert Alarm.of(made.fields()) == made
    assert json.loads(made.fields()["labels"]) == {"program": "p1"}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("status", "burning", ValueError),
        ("severity", "", ValueError),
        ("labels", "[1]", TypeError),
        ("labels", "7", ValueError),
        ("evidence", "{", ValueError),
    ],
)
def test_what_is_no_alarm_is_refused(name: str, value: str, error: type[Exception]) -> None:
    """With an error of the values', which a reader turns into a refusal."""
    with pytest.raises(error):
        Alarm.of(alarm().fields() | {name: value})


def test_evidence_that_json_lacks_becomes_text() -> None:
    """NaN, infinities and foreign types: a measurement must never cost the alarm."""
    text = json_text(
        {"a": math.nan, "b": [-math.inf, 1.5], "c": NOON, "d": Severity.PAGE, "e": {1}}
    )
    assert json.loads(text) == {"a": "nan", "b": ["-inf", 1.5], "c": NOON, "d": "page", "e": [1]}


def test_a_map_may_come_as_text_as_pairs_or_as_itself() -> None:
    """As different writers of evidence have it."""
    assert mapping('{"a": 1}') == mapping([("a", 1)]) == mapping({"a": 1}) == {"a": 1}
    assert mapping("") == {}


def test_times_are_microseconds_whatever_their_zone() -> None:
    """One without a zone is UTC."""
    time = datetime(2024, 2, 1, 12, tzinfo=UTC)
    east = time.astimezone(timezone(timedelta(hours=5)))
    assert microseconds(time) == microseconds(east) == microseconds(time.replace(tzinfo=None))
    assert microseconds(time) == NOON
    assert iso(NOON) == "2024-02-01T12:00:00.000Z"
    assert iso(-(10**20)) == "0001-01-01T00:00:00.000Z"
