"""The producer's test kit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from millstream.contract.json_schema import json_schema
from millstream.contract.kit import examples, kit
from millstream.contract.partition import partition_of
from millstream.contract.refusals import BY_NAME
from millstream.errors import OperatorNeeded
from millstream.stream import Stream
from tests.millstream.contract.schemas import EVERYTHING, shop
from tests.streams import LOANS

PARTITIONS = {f"partition_{number}" for number in range(4)}
SCORED = PARTITIONS | {"ordinary", "another", "least", "most", "nulls", "year_1900", "year_2299"}
EXPECTED = {
    "id_empty": "bad_id",
    "id_too_long": "bad_id",
    "time_in_2300": "bad_time",
    "time_in_microseconds": "bad_time",
    "feature_nan": "nan_feature",
    "feature_infinite": "infinite_feature",
    "feature_null": "null_feature",
    "empty": "empty_value",
    "json": "not_framed",
    "not_framed": "not_framed",
    "unknown_schema": "unknown_schema_id",
    "truncated": "truncated",
    "trailing": "trailing_bytes",
    "bad_utf8": "bad_utf8",
    "bad_length": "bad_length",
    "int_of_33_bits": "int_out_of_range",
    "endless_number": "bad_varint",
    "boolean_of_2": "bad_boolean",
    "no_such_symbol": "bad_enum_index",
    "no_such_branch": "bad_union_branch",
}


@pytest.fixture(params=["loans", "shop"])
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Stream:
    """The example, and one with every kind of type."""
    return Stream.load(LOANS / "stream.toml") if request.param == "loans" else shop(tmp_path)


def test_each_case_has_the_verdict_that_its_name_says(stream: Stream) -> None:
    """A refusal tells stage, error, reason, and how to mend it."""
    for case in kit(stream)["cases"]:
        if case["name"] in SCORED:
            assert case["verdict"] == "scored", case
            key = case["key"].encode()
            assert case["partition"] == partition_of(key, stream.serving.partitions)
        else:
            assert case["error"] == EXPECTED[case["name"]], case
            assert case["stage"] == BY_NAME[case["error"]].stage
            assert case["mend"] == BY_NAME[case["error"]].mend
            assert case["reason"]


def test_there_is_a_key_for_each_partition(stream: Stream) -> None:
    """Whoever hashes otherwise finds out."""
    found = {case["name"]: case.get("partition") for case in kit(stream)["cases"]}
    assert {name: found[name] for name in PARTITIONS} == {f"partition_{n}": n for n in range(4)}


def test_a_schema_with_every_type_has_every_case(tmp_path: Path) -> None:
    """But for ids that are texts, which it has not."""
    names = {case["name"] for case in kit(shop(tmp_path))["cases"]}
    assert (SCORED | set(EXPECTED)) - names == {"id_empty", "id_too_long"}


def test_the_json_of_a_case_is_valid_by_the_json_schema(stream: Stream) -> None:
    """Its examples too."""
    avro: dict[str, Any] = json.loads(stream.schema_of_event.text)
    judge = jsonschema.Draft202012Validator(json_schema(avro, "urn:x"))
    records = [case["json"] for case in kit(stream)["cases"] if case["json"] is not None]
    assert len(records) > 8
    for record in [*records, *examples(stream)]:
        assert [error.message for error in judge.iter_errors(record)] == []


def test_a_stream_whose_ordinary_event_is_refused_has_no_kit(tmp_path: Path) -> None:
    """A number as a category: no model takes it."""
    shop(tmp_path)
    file = tmp_path / "stream.toml"
    file.write_text(
        file.read_text().replace('["colour"]', '["count"]').replace('"colour", "count"', '"count"')
    )
    assert EVERYTHING["fields"][4]["name"] == "count"
    with pytest.raises(OperatorNeeded, match="an ordinary event of its schema is refused"):
        kit(Stream.load(file))
