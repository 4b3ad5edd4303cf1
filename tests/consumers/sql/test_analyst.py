"""Questions of analysts: the cookbook and the views on three days of loans, over HTTP and in the
process; and what their connection may do."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.sql.analyst import Analyst, has_rows
from consumers.warehouse import Warehouse
from millstream.errors import OperatorNeeded
from millstream.settings import WarehouseSettings
from millstream.sql.cookbook import cookbook
from millstream.stream import Stream
from tests.consumers.analysts import World, fill, stream_called

GIVEN = {
    "accuracy_by_slice": {"field": "elevel"},
    "field_values": {"field": "salary"},
    "lineage": {"event_id": "L-5"},
}
"""Recipe -> what it must be told."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A warehouse with the three days in it."""

    settings: WarehouseSettings
    stream: Stream
    world: World


@pytest.fixture(scope="module", params=["served", "in_process"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Each engine in turn."""
    settings: WarehouseSettings = request.getfixturevalue(request.param)
    stream = stream_called(f"a{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("stream"))
    warehouse = Warehouse.connect(settings)
    try:
        return Filled(settings, stream, fill(warehouse, stream))
    finally:
        warehouse.close()


@pytest.fixture
def analyst(filled: Filled) -> Iterator[Analyst]:
    """One who may only read."""
    made = Analyst.connect(filled.settings, filled.stream.name)
    yield made
    made.close()


@pytest.mark.parametrize("name", cookbook())
def test_every_recipe_answers_with_rows(name: str, analyst: Analyst) -> None:
    """Of the small stream, with its defaults and what it must be told."""
    recipe = cookbook()[name]
    answer = analyst.rows(recipe.sql, recipe.bind(GIVEN.get(name, {})), 1_000)
    assert answer.rows
    assert len(answer.names) == len(answer.types) == len(answer.rows[0])


def test_performance_is_that_of_the_newest_labels(analyst: Analyst, filled: Filled) -> None:
    """Counted by hand, by version: labels, right ones, those that never came."""
    answer = analyst.rows(
        "SELECT model_version, sum(labels), sum(never_labelled), sum(abstained), "
        "round(sum(accuracy * (labels - abstained))) FROM performance_by_version_and_day "
        "GROUP BY model_version ORDER BY model_version",
        {},
        10,
    )
    wanted = []
    for version in "12":
        ours = [x for x in filled.world.labels.values() if x["model_version"] == version]
        known = [x for x in ours if x["status"] != "never_labelled"]
        right = sum(x["label"] == x["predicted"] for x in known)
        silent = sum(x["predicted"] is None for x in known)
        wanted.append([version, len(known), len(ours) - len(known), silent, right])
    assert answer.rows == wanted


def test_scored_events_join_the_event_its_answer_and_its_outcome(
    analyst: Analyst, filled: Filled
) -> None:
    """One row for each answer, the fields and the newest label in it."""
    answer = analyst.rows(
        "SELECT source_partition, source_offset, event_id, application_id, predicted, outcome, "
        "label FROM scored_events ORDER BY source_partition, source_offset",
        {},
        10_000,
    )
    wanted = []
    for place, said in sorted(filled.world.answers.items()):
        known = filled.world.labels.get(place, {})
        outcome = known.get("status", "waiting")
        told = (said["event_id"], said["event_id"], said["label"], outcome, known.get("label"))
        wanted.append([*place, *told])
    assert answer.rows == wanted


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("data_quality", ("published", "unreadable", "answered", "abstained", "late", "refused")),
        ("latency", ("answered", "late")),
        ("label_delay", ("labels", "never_labelled")),
        ("calibration", ("answers_in_bin",)),
        ("value_by_version", ("decisions", "wrong", "false_positives", "false_negatives", "cost")),
        ("drift_by_feature", ("readings", "warnings", "alarms")),
    ],
)
def test_a_views_sums_are_those_of_the_records(
    name: str, sums: tuple[str, ...], analyst: Analyst, filled: Filled
) -> None:
    """Counted by hand."""
    world = filled.world
    answers, known = world.answers.values(), list(world.labels.values())
    decided = [x for x in known if x["label"] is not None and x["predicted"] is not None]
    wrong = [x for x in decided if x["label"] != x["predicted"]]
    late = sum(not x["in_budget"] for x in answers)
    wanted = {
        "data_quality": [1_200, 12, len(answers), 8, late, 12],
        "latency": [len(answers), late],
        "label_delay": [
            sum(x["status"] != "never_labelled" for x in known),
            sum(x["status"] == "never_labelled" for x in known),
        ],
        "calibration": [len(decided)],
        "value_by_version": [
            len(decided),
            len(wrong),
            sum(x["predicted"] == "1" for x in wrong),
            sum(x["predicted"] == "0" for x in wrong),
            len(wrong),
        ],
        "drift_by_feature": [20, 1, 1],
    }
    listed = ", ".join(f"toInt64(sum({column}))" for column in sums)
    assert analyst.rows(f"SELECT {listed} FROM {name}", {}, 1).rows == [wanted[name]]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE x (n Int8) ENGINE = Memory",
        "INSERT INTO migrations (name, digest) VALUES ('x', 'y')",
        "DROP TABLE labelled",
        "ALTER TABLE events DELETE WHERE true",
        "SET readonly = 0",
    ],
)
def test_who_only_reads_changes_nothing(statement: str, analyst: Analyst) -> None:
    """The engine refuses it, and the connection goes on."""
    with pytest.raises(OperatorNeeded, match="ClickHouse: "):
        analyst.command(statement)
    assert analyst.rows("SELECT count() > 0 FROM labelled", {}, 1).rows[0][0] in (1, True)


def test_who_may_write_does(filled: Filled) -> None:
    """In the stream's database, without its name before the table's."""
    writer = Analyst.connect(filled.settings, filled.stream.name, may_write=True)
    try:
        writer.command("CREATE TABLE mine (n Int8) ENGINE = MergeTree ORDER BY n")
        writer.command("INSERT INTO mine SELECT 7")
        assert writer.rows("SELECT n FROM mine", {}, 1).rows == [[7]]
        writer.command("DROP TABLE mine")
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1 FROM nothing", "nothing"),
        ("SELECT no_such_column FROM labelled", "no_such_column"),
        ("SELECT 1 +* 2", "Syntax error|SYNTAX_ERROR"),
        ("SELECT throwIf(number = 3, 'stop here') FROM numbers(5)", "stop here"),
    ],
)
def test_a_wrong_statement_is_told_in_clickhouses_words(
    statement: str, said: str, analyst: Analyst
) -> None:
    """In one line, without an address or a version."""
    with pytest.raises(OperatorNeeded, match=said) as caught:
        analyst.rows(statement, {}, 10)
    assert "\n" not in caught.value.problem
    assert "version" not in caught.value.problem
    assert "http" not in caught.value.problem


def test_an_error_behind_the_first_rows_is_one(analyst: Analyst) -> None:
    """A server that has begun to answer can tell it only by breaking off: it is let end first."""
    statement = (
        "SELECT throwIf(number = 2999999, 'stop here') FROM numbers(3000000) "
        "SETTINGS max_threads = 1, max_block_size = 10000"
    )
    with pytest.raises(OperatorNeeded, match="stop here"):
        analyst.rows(statement, {}, 4_000_000)


def test_who_cannot_enter_leaves_nothing_open(tmp_path: Path) -> None:
    """In a process of its own, for chDB has one folder open in a process: then another can be."""
    program = """
import sys
from consumers.sql.analyst import Analyst
from consumers.warehouse import Warehouse
from millstream.errors import DependencyUnavailable
from millstream.settings import WarehouseSettings

def away(*_, **__):
    raise DependencyUnavailable("ClickHouse", "it went")

Warehouse.enter = away
try:
    Analyst.connect(WarehouseSettings(url=f"chdb:{sys.argv[1]}/one"), "default")
except DependencyUnavailable as why:
    kept = why  # with all that it refers to
other = Warehouse.connect(WarehouseSettings(url=f"chdb:{sys.argv[1]}/other"))
print(kept.reason, other.query("SELECT 7"))
other.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "it went [(7,)]\n"), ran.stderr


def test_more_rows_than_asked_for_are_said_to_be_there(analyst: Analyst) -> None:
    """The first ones are given."""
    cut = analyst.rows("SELECT number FROM numbers(1000000)", {}, 5)
    assert (cut.rows, cut.is_cut) == ([[0], [1], [2], [3], [4]], True)
    assert not analyst.rows("SELECT number FROM numbers(5)", {}, 5).is_cut


def test_values_come_as_they_are(analyst: Analyst) -> None:
    """Large numbers whole, no number as text, bytes that are no text marked, times in UTC."""
    answer = analyst.rows(
        "SELECT toUInt64(18446744073709551615), nan, NULL, unhex('41FF42'), "
        "toDateTime64('2024-03-01 10:00:00.000001', 6, 'UTC'), [1, 2]",
        {},
        1,
    )
    at = "2024-03-01 10:00:00.000001"
    assert answer.rows == [
        [18446744073709551615, "nan", None, "A\N{REPLACEMENT CHARACTER}B", at, [1, 2]]
    ]


def test_text_is_in_the_format_that_was_asked_for(analyst: Analyst) -> None:
    """CSV with its heads, and JSON with a line for each row; a quotation mark stays one."""
    statement = "SELECT number AS n, 'a\"b' AS t FROM numbers(3)"
    made = b"".join(analyst.text(statement, {}, "CSVWithNames")).decode()
    assert list(csv.reader(io.StringIO(made))) == [["n", "t"], *([str(n), 'a"b'] for n in range(3))]
    lines = b"".join(analyst.text(statement, {}, "JSONEachRow")).decode().splitlines()
    assert [int(json.loads(line)["n"]) for line in lines] == [0, 1, 2]


def test_the_words_are_those_of_the_database(analyst: Analyst) -> None:
    """Tables and views, columns with their comments, functions, recipes."""
    words = analyst.words()
    assert {"events", "labelled", "scored_events", "latency"} <= set(words.about)
    assert words.columns["labelled"]["known_at"] == "When the outcome became known"
    assert words.columns["events"]["salary"].startswith("Currency a year")
    assert "quantileExact" in words.functions
    assert set(words.recipes) == set(cookbook())


def test_a_stream_without_a_database_is_told_to_migrate(in_process: WarehouseSettings) -> None:
    """It has never been migrated."""
    with pytest.raises(OperatorNeeded, match="has no database nowhere") as caught:
        Analyst.connect(in_process, "nowhere")
    assert "millstream migrate" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("select 1", True), ("-- x\n WITH 1 AS a SELECT a", True), ("(SELECT 1)", True),
     ("/* x */ show tables", True), ("INSERT INTO t SELECT 1", False), ("", False)],
)  # fmt: skip
def test_the_first_word_tells_whether_rows_come(text: str, is_so: bool) -> None:
    """Comments before it do not count."""
    assert has_rows(text) is is_so
