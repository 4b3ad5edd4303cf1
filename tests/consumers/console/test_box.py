"""The SQL page's queries."""

from __future__ import annotations

import pytest

from consumers.console.box import Box
from consumers.console.reach import Reach
from millstream.settings import ConsoleSettings
from millstream.sql.cookbook import cookbook
from tests.consumers.console.planted import EVENTS, MOVED, Planted


@pytest.fixture
def box(reach: Reach, planted: Planted) -> Box:
    """With small limits."""
    settings = ConsoleSettings(query_rows_max=100, query_s_max=5)
    return Box(reach, settings, planted.stream.name)


def test_a_query_gives_its_rows_with_names_and_types(box: Box, planted: Planted) -> None:
    """A semicolon at the end is no fault."""
    said = box.run(f"SELECT count() AS n, 'x' AS t FROM {planted.stream.name}.predictions ;", {})
    assert (said["names"], said["rows"]) == (("n", "t"), [[EVENTS, "x"]])
    assert said["types"][0] == "UInt64"
    assert not said["cut"]


def test_rows_beyond_the_limit_are_not_sent_and_that_is_said(box: Box) -> None:
    """100 of a million."""
    said = box.run("SELECT number FROM numbers(1000000)", {})
    assert len(said["rows"]) == 100
    assert said["cut"]


def test_a_query_that_takes_too_long_is_ended_by_clickhouse(box: Box) -> None:
    """With its own words."""
    said = box.run("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", {})
    assert "error" in said
    assert (
        "imeout" in said["error"]
        or "too many rows" in said["error"].lower()
        or ("limit" in said["error"].lower())
    )


@pytest.mark.parametrize(
    "sql",
    ["", ";", "SELEC 1", "DROP TABLE x", "SELECT 1; SELECT 2", "SELECT 1 SETTINGS readonly = 0",
     "x" * 20_001],
)  # fmt: skip
def test_what_is_no_query_is_answered_with_an_error(box: Box, sql: str) -> None:
    """A line for people; nothing is raised."""
    assert box.run(sql, {})["error"]


def test_values_keep_their_meaning(box: Box) -> None:
    """What a browser would round or cannot read goes as text."""
    said = box.run(
        "SELECT nan, 18446744073709551615, NULL, [1, 2], map('a', 1), toDate('2024-01-01')",
        {},
    )
    assert said["rows"] == [["nan", "18446744073709551615", None, [1, 2], {"a": 1}, "2024-01-01"]]


@pytest.mark.parametrize("name", cookbook())
def test_every_question_of_the_cookbook_is_answered(box: Box, name: str) -> None:
    """Its tables are the stream's; its parameters have their defaults, or what is given."""
    recipe = cookbook()[name]
    needed = {"field": MOVED, "event_id": "L-7"}
    missing = {p.name: needed[p.name] for p in recipe.parameters if p.default is None}
    assert box.run(recipe.sql, recipe.bind(missing))["error"] is None


def test_a_parameter_is_a_value_whatever_it_holds(box: Box) -> None:
    """ClickHouse binds it: it cannot end the text that it stands in."""
    hostile = "x') OR 1 = 1; DROP TABLE predictions --"
    said = box.run("SELECT {name:String} AS s, {n: UInt8} AS n", {"name": hostile, "n": "7"})
    assert said["rows"] == [[hostile, 7]]
    said = box.run("SELECT {sql:String}, {limits:String}", {"sql": "a", "limits": "b"})
    assert said["rows"] == [["a", "b"]]


def test_what_the_query_does_not_have_is_not_bound(box: Box) -> None:
    """A sign of per cent stays one; what it has and is not given is ClickHouse's to tell."""
    assert box.run("SELECT '%(x)s %s'", {"x": "1"})["rows"] == [["%(x)s %s"]]
    assert "x" in box.run("SELECT {x:UInt8}", {})["error"]
    assert box.run("SELECT {x:UInt8}", {"x": "red"})["error"]
    assert "2,000" in box.run("SELECT {x:String}", {"x": "y" * 2_001})["error"]
