"""What the prompt offers next."""

from __future__ import annotations

import pytest

from millstream.sql.completion import COMPLETIONS_MAX, Completion, Words, completions

WORDS = Words(
    columns={
        "labelled": {"label": "The true label", "score": "As in predictions"},
        "latency": {"p50_ms": "Half are quicker", "day": ""},
    },
    about={"labelled": "Every outcome", "latency": "How long"},
    functions=["length", "lower"],
    recipes={"latency_by_day": "How long?", "value": "What did it cost?"},
)


def offered(before: str) -> list[str]:
    """The texts, in order."""
    return [each.text for each in completions(before, WORDS)]


def test_tables_come_behind_from() -> None:
    """And behind JOIN, whatever the case; only those that fit what was typed."""
    assert offered("SELECT * FROM ") == ["labelled", "latency"]
    assert offered("select 1 from labelled join la") == ["labelled", "latency"]
    assert offered("SELECT * FROM lat") == ["latency"]


def test_columns_are_those_of_the_tables_that_are_named() -> None:
    """Before functions and keywords; of all tables where none is."""
    assert offered("SELECT day FROM latency WHERE p")[0] == "p50_ms"
    assert "score" not in offered("SELECT day FROM latency WHERE s")
    assert "score" in offered("SELECT s")


def test_a_dot_asks_for_columns_of_a_table_or_an_alias() -> None:
    """And for nothing where the name is unknown."""
    assert offered("SELECT l. FROM labelled AS l WHERE l.") == ["label", "score"]
    assert offered("SELECT 1 FROM labelled l JOIN latency AS t ON t.p") == ["p50_ms"]
    assert offered("SELECT x.") == []


def test_what_begins_so_comes_before_what_has_it_within() -> None:
    """And says what it is, and how much of the text it replaces."""
    found = completions("SELECT lab", WORDS)
    assert found[0] == Completion("label", 3, "The true label")
    assert [
        each.text for each in completions("SELECT max", Words(functions=["argMax", "max"]))
    ] == [
        "max",
        "argMax",
    ]


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ("\\c la", ["latency_by_day"]),
        ("\\c latency_by_day since", []),
        ("\\d lat", ["latency"]),
        ("\\f c", ["csv"]),
        ("\\q", ["\\q"]),
        ("", []),
    ],
)
def test_commands_complete_what_they_take(before: str, wanted: list[str]) -> None:
    """Recipes, tables, formats; nothing in front of nothing."""
    assert offered(before) == wanted


def test_a_long_list_is_cut() -> None:
    """ClickHouse has more than a thousand functions."""
    many = Words(functions=[f"function_{n}" for n in range(1_000)])
    assert len(completions("f", many)) == COMPLETIONS_MAX
