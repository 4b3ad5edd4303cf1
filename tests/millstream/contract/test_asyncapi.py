"""The AsyncAPI document, by the AsyncAPI initiative's own JSON Schema (tests/data/asyncapi)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]

from millstream.contract.folder import contract_files
from millstream.contract.json_schema import json_schema
from millstream.contract.public import CHANNELS, INTERNAL
from millstream.contracts import topic_table
from millstream.stream import Stream
from tests.millstream.contract.schemas import shop
from tests.streams import LOANS

SCHEMA = Path(__file__).resolve().parents[2] / "data" / "asyncapi" / "3.0.0.json"


@cache
def judge() -> jsonschema.Draft7Validator:
    """Of AsyncAPI 3.0.0 documents."""
    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8")))


def document(stream: Stream) -> dict[str, Any]:
    """As a reader of the file has it."""
    read: dict[str, Any] = yaml.safe_load(contract_files(stream)[Path("asyncapi.yaml")])
    return read


@pytest.fixture(scope="module")
def loans() -> dict[str, Any]:
    """The example's."""
    return document(Stream.load(LOANS / "stream.toml"))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for key, each in value.items():
            if key != "examples":
                yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def test_it_is_valid(loans: dict[str, Any], tmp_path: Path) -> None:
    """The example's, and that of a schema with every type."""
    assert [error.message for error in judge().iter_errors(loans)] == []
    assert [error.message for error in judge().iter_errors(document(shop(tmp_path)))] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda made: made.pop("info"),
        lambda made: made["channels"]["events"].update(adress="x"),
        lambda made: made["operations"]["receive_events"].update(action="read"),
        lambda made: made["channels"]["events"]["bindings"]["kafka"].update(partitions="4"),
        lambda made: made["servers"]["kafka"].pop("protocol"),
    ],
)
def test_the_judge_finds_what_is_wrong(damage: Any, loans: dict[str, Any]) -> None:
    """Each of these, alone."""
    made = json.loads(json.dumps(loans))
    damage(made)
    assert list(judge().iter_errors(made))


def test_every_reference_leads_somewhere(loans: dict[str, Any]) -> None:
    """Inside of the document."""
    found = list(_references(loans))
    assert len(found) >= 2 * len(CHANNELS)
    for reference in found:
        place = loans
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_each_public_topic_is_a_channel_with_an_operation(loans: dict[str, Any]) -> None:
    """By its name, with what the broker was told; internal topics are none."""
    assert set(loans["channels"]) == set(topic_table()) - INTERNAL
    events = loans["channels"]["events"]
    assert events["address"] == "loans.events"
    assert events["bindings"]["kafka"]["partitions"] == 4
    assert events["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == 604_800_000
    actions = {name: made["action"] for name, made in loans["operations"].items()}
    assert actions["receive_events"] == actions["receive_outcomes"] == "receive"
    assert list(actions.values()).count("receive") == 2


def test_examples_are_valid_by_their_own_schema(loans: dict[str, Any]) -> None:
    """Each payload, by the JSON Schema of its Avro schema; each dead letter's headers."""
    for name, made in loans["components"]["messages"].items():
        assert made["examples"], name
        for example in made["examples"]:
            if name == "DeadLetter":
                jsonschema.validate(example["headers"], made["headers"])
                continue
            schema = json_schema(made["payload"]["schema"], "urn:x")
            jsonschema.validate(example["payload"], schema, jsonschema.Draft202012Validator)


def test_it_says_how_often_an_event_is_answered(tmp_path: Path) -> None:
    """As stream.toml guarantees."""
    stream = shop(tmp_path)
    assert "exactly once" in document(stream)["info"]["description"]
    assert "Exactly once" in document(stream)["channels"]["predictions"]["description"]
    file = tmp_path / "stream.toml"
    file.write_text(file.read_text() + '[serving]\nguarantee = "at_least_once"\n')
    made = document(Stream.load(file))
    assert "at least once" in made["info"]["description"]
    assert "Exactly once" not in made["channels"]["predictions"]["description"]


def test_it_says_which_field_is_what(loans: dict[str, Any]) -> None:
    """Key, id and time of an event."""
    said = loans["channels"]["events"]["description"]
    assert "applicant is the key, application_id the id, applied_at the event's time" in said
