"""The cookbook's files and what they ask for."""

from __future__ import annotations

import pytest

from millstream.errors import OperatorNeeded
from millstream.sql.cookbook import Parameter, cookbook, parse, recipe

TEXT = """\
-- title: A title
-- question: A question?
-- parameter: since DateTime = 1970-01-01 00:00:00: when it begins, in UTC
-- parameter: name String = : a name; empty: all
-- parameter: field Identifier: a field
SELECT {field:Identifier} FROM t WHERE at >= {since:DateTime} AND {name: String} = ''
"""


def test_there_are_thirty_questions_each_of_its_own() -> None:
    """At least; none is asked twice."""
    questions = [each.question for each in cookbook().values()]
    assert len(questions) >= 30
    assert len(set(questions)) == len(questions)
    assert all(question.endswith("?") for question in questions)


def test_a_file_is_read_as_it_is_written() -> None:
    """Title, question, parameters with and without a default, the statement."""
    made = parse("mine", TEXT)
    assert (made.title, made.question) == ("A title", "A question?")
    assert made.parameters == (
        Parameter("since", "DateTime", "1970-01-01 00:00:00", "when it begins, in UTC"),
        Parameter("name", "String", "", "a name; empty: all"),
        Parameter("field", "Identifier", None, "a field"),
    )
    assert made.sql.startswith("SELECT {field:Identifier}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-- title: A title\n", ""),
        ("SELECT {field:Identifier} FROM t", "SELECT 1 FROM t"),
        ("{since:DateTime}", "{since:Date}"),
        (": when it begins, in UTC", ""),
        (TEXT.partition("SELECT")[1] + TEXT.partition("SELECT")[2], ""),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(old: str, new: str) -> None:
    """No title, a parameter that is not used or of another type or without a word, no statement."""
    assert old in TEXT
    with pytest.raises(ValueError, match="mine: "):
        parse("mine", TEXT.replace(old, new))


def test_what_is_not_given_has_its_default() -> None:
    """What must be given is asked for by name."""
    made = parse("mine", TEXT)
    bound = made.bind({"field": "age", "name": "x=y"})
    assert bound == {"since": "1970-01-01 00:00:00", "name": "x=y", "field": "age"}
    with pytest.raises(OperatorNeeded, match="mine needs field: a field"):
        made.bind({})


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    """Of a parameter and of a recipe."""
    with pytest.raises(OperatorNeeded, match=r"no parameter sinze \(did you mean since"):
        parse("mine", TEXT).bind({"sinze": "1"})
    with pytest.raises(OperatorNeeded, match=r"no acuracy_by_day \(did you mean accuracy_by_day"):
        recipe("acuracy_by_day")
