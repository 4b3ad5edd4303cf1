"""One event with everything that came of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from consumers.console.lookup import Lookup
from consumers.console.reach import Reach
from millstream.errors import SettingsInvalid
from millstream.stream import Stream
from tests.consumers.console.planted import OPEN_INCIDENT, SWITCH, Planted


@pytest.fixture
def lookup(planted: Planted, reach: Reach) -> Lookup:
    """Of the planted stream."""
    return Lookup(planted.stream, reach)


def test_an_event_is_found_by_its_id_with_its_whole_lineage(lookup: Lookup) -> None:
    """Event, prediction, model, release, outcome, incident."""
    (found,) = lookup.find("L-1800")["events"]
    assert (found["partition"], found["offset"]) == (0, 900)
    assert found["event"]["fields"]["application_id"] == "L-1800"
    (answer,) = found["answers"]
    assert (answer["model"], answer["version"]) == ("loans", "2")
    assert found["release"]["number"] == 1
    assert found["release"]["first_offset"] == SWITCH
    (label,) = found["labels"]
    assert label["status"] == "labelled"
    assert label["is_known"]
    assert [i["id"] for i in found["incidents"]] == [OPEN_INCIDENT]


def test_before_the_first_release_the_bundle_of_the_stream_answered(lookup: Lookup) -> None:
    """And its incident is none: nothing was open then."""
    (found,) = lookup.find("L-3")["events"]
    assert found["answers"][0]["version"] == "1"
    assert found["release"] is None
    assert found["incidents"] == []


def test_a_correction_is_shown_after_what_it_corrects(lookup: Lookup) -> None:
    """Both, in order."""
    (found,) = lookup.find("L-50")["events"]
    assert [(x["version"], x["status"]) for x in found["labels"]] == [
        (1, "labelled"),
        (2, "corrected"),
    ]
    assert {x["label"] for x in found["labels"]} == {"0", "1"}


def test_an_event_is_found_by_its_place(lookup: Lookup) -> None:
    """Answered, or refused: then its letter tells why."""
    (found,) = lookup.find("1:3")["events"]
    assert found["answers"][0]["event_id"] == "L-7"
    assert found["event"]["key"] == "<b>key</b>"


def test_what_nobody_knows_is_nothing(lookup: Lookup) -> None:
    """Not an error."""
    assert lookup.find("L-999999")["events"] == []
    assert lookup.find("'; DROP TABLE x; --")["events"] == []


@pytest.mark.parametrize("text", ["", "  ", "x" * 1_001])
def test_what_is_no_id_is_refused(lookup: Lookup, text: str) -> None:
    """With what to give."""
    with pytest.raises(SettingsInvalid, match="PARTITION:OFFSET"):
        lookup.find(text)


def test_a_private_id_is_looked_up_by_its_place_alone(
    planted: Planted, reach: Reach, tmp_path: Path
) -> None:
    """It is not in ClickHouse."""
    for name in ("stream.toml", "event.v1.avsc"):
        shutil.copy(planted.stream.beside(name), tmp_path / name)
    path = tmp_path / "stream.toml"
    path.write_text(path.read_text() + '[privacy]\nprivate = ["application_id"]\n')
    with pytest.raises(SettingsInvalid, match="private"):
        Lookup(Stream.load(path), reach).find("L-1")
