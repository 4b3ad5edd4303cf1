"""`millstream sql` as it is typed, on a real ClickHouse: recipes, statements, files, the prompt."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from prompt_toolkit.document import Document
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.output import DummyOutput
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from consumers.sql.analyst import Analyst
from consumers.warehouse import Warehouse
from millstream.cli.sql import sql
from millstream.cli.sql_prompt import Prompt, SqlCompleter, is_whole, terminal
from millstream.cli.sql_shown import statements
from millstream.errors import OperatorNeeded, SettingsInvalid
from millstream.settings import WarehouseSettings
from millstream.sql.completion import Words
from millstream.sql.cookbook import cookbook
from tests.consumers.analysts import World, fill, stream_called
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve

LOW = os.open(os.devnull, os.O_RDONLY)
"""Taken when the tests are collected. prompt_toolkit reads by select(), which knows no descriptor
above 1,023, and would ask for ever; each chDB that was closed keeps threads, and their files."""

app = typer.Typer()
app.command()(sql)


@dataclass(frozen=True, slots=True)
class Site:
    """A server with three days of loans in it."""

    settings: WarehouseSettings
    path: Path
    world: World

    def run(self, *words: str, typed: str | None = None) -> Result:
        """`millstream sql` with these words; its errors as they are."""
        env = {
            "MILLSTREAM_WAREHOUSE_USERNAME": "default",
            "MILLSTREAM_WAREHOUSE_PASSWORD": PASSWORD,
        }
        arguments = [str(self.path), *words, "--warehouse", self.settings.url]
        return CliRunner().invoke(app, arguments, env=env, input=typed)

    def told(self, *words: str, typed: str | None = None) -> str:
        """Its standard output; it must have ended well."""
        result = self.run(*words, typed=typed)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of this file's own."""
    process, url = serve(tmp_path_factory.mktemp("served"))
    try:
        settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
        stream = stream_called("loans", tmp_path_factory.mktemp("stream"))
        warehouse = Warehouse.connect(settings)
        world = fill(warehouse, stream)
        warehouse.close()
        yield Site(settings, stream.path, world)
    finally:
        process.terminate()
        process.wait(READY_S_MAX)


@pytest.fixture
def analyst(site: Site) -> Iterator[Analyst]:
    """Who may only read."""
    made = Analyst.connect(site.settings, "loans")
    yield made
    made.close()


def test_the_list_shows_every_recipe_with_its_parameters(site: Site) -> None:
    """And asks no server."""
    told = CliRunner().invoke(app, [str(site.path), "--list"]).stdout
    for recipe in cookbook().values():
        assert recipe.name in told
        assert recipe.question in told
    assert "lineage event_id=..." in told


def test_a_recipe_is_run_by_its_name(site: Site) -> None:
    """With what it is told; as a table, as CSV, as JSON."""
    lineage = site.told("lineage", "event_id=L-5", "--format", "json")
    row = json.loads(lineage)
    answer = site.world.answers[(5 % 2, 5 // 2)]
    assert (row["event_id"], row["predicted"]) == ("L-5", answer["label"])
    rows = list(csv.reader(io.StringIO(site.told("value", "--format", "csv"))))
    assert [row[1] for row in rows] == ["model_version", "1", "2"]
    assert "refused_share" in site.told("data_quality", "since=2024-03-01")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("valuee",), "did you mean value"),
        (("lineage",), "lineage needs event_id"),
        (("lineage", "L-5"), "L-5 is no parameter"),
        (("value", "x=1"), "has no parameter x"),
        (("-c", "SELECT x FROM nowhere.nothing"), "nowhere"),
        (("-f", "no/such/file.sql"), "cannot be read"),
    ],
)
def test_a_mistake_is_the_operators(words: tuple[str, ...], said: str, site: Site) -> None:
    """Told with what to write instead."""
    result = site.run(*words)
    assert isinstance(result.exception, OperatorNeeded)
    assert said in result.exception.problem


def test_one_thing_is_run_at_a_time(site: Site) -> None:
    """Not a recipe and a statement."""
    result = site.run("value", "-c", "SELECT 1")
    assert isinstance(result.exception, SettingsInvalid)


def test_statements_come_from_an_option_a_file_or_a_pipe(site: Site, tmp_path: Path) -> None:
    """Each of several; a semicolon in a text is none."""
    text = "SELECT 'a;b' AS x; -- over; and out\n SELECT count() AS n FROM labelled_now;\n"
    (tmp_path / "two.sql").write_text(text)
    wanted = ['"x"', '"a;b"', '"n"', str(len(site.world.labels))]
    assert site.told("-c", text, "--format", "csv").split() == wanted
    assert site.told("-f", str(tmp_path / "two.sql"), "--format", "csv").split() == wanted
    assert site.told("-f", "-", "--format", "csv", typed=text).split() == wanted
    assert site.told("--format", "csv", typed=text).split() == wanted


def test_nothing_is_changed_unless_asked_for(site: Site) -> None:
    """--write lets a statement through."""
    make = "CREATE TABLE mine (n Int8) ENGINE = MergeTree ORDER BY n"
    assert isinstance(site.run("-c", make).exception, OperatorNeeded)
    site.told("-c", f"{make}; INSERT INTO mine SELECT 7", "--write")
    assert site.told("-c", "SELECT n FROM mine", "--format", "csv").split() == ['"n"', "7"]
    site.told("-c", "DROP TABLE mine", "--write")


def test_a_table_cannot_steer_the_terminal(site: Site) -> None:
    """Control characters of the data are shown as what they are: none; markup is text."""
    told = site.told("-c", "SELECT concat('a', char(27), '[31mred [bold]x[/]') AS t")
    assert "\x1b" not in told
    assert "[bold]x[/]" in told


def test_more_rows_than_a_table_shows_are_mentioned(site: Site) -> None:
    """And --rows shows them."""
    result = site.run("-c", "SELECT number FROM numbers(9)", "--rows", "3")
    assert "3 rows; --rows shows more than 3" in result.stderr
    assert "9 rows" in site.run("-c", "SELECT number FROM numbers(9)").stderr


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (";;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT ';'; SELECT 2 -- ;\n;", ["SELECT ';'", "SELECT 2 -- ;"]),
        ("SELECT `a;b` /* ; */ FROM t", ["SELECT `a;b` /* ; */ FROM t"]),
    ],
)
def test_a_text_is_cut_into_its_statements(text: str, parts: list[str]) -> None:
    """At semicolons outside of texts, names and comments."""
    assert statements(text) == parts


@contextmanager
def keyboard() -> Iterator[tuple[Vt100Input, Callable[[str], object]]]:
    """A terminal's input, its descriptor LOW, and what types on it."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    nothing = os.dup(LOW)
    os.dup2(theirs, LOW)
    try:
        with open(LOW, closefd=False) as keys:
            yield Vt100Input(keys), lambda text: os.write(ours, text.encode())
    finally:
        os.dup2(nothing, LOW)
        for each in (nothing, ours, theirs):
            os.close(each)


def typed(analyst: Analyst, text: str) -> None:
    """A whole visit at the prompt."""
    with keyboard() as (keys, send):
        send(text)
        session = terminal(analyst.words(), input=keys, output=DummyOutput())
        Prompt(analyst, "loans", "csv", 10, session).run()


def test_the_prompt_runs_statements_recipes_and_commands(
    analyst: Analyst, site: Site, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """A statement over two lines ends with its semicolon; an error is told and the next asked."""
    typed(
        analyst,
        "SELECT count()\rAS n FROM labelled_now;\r"
        "SELECT nothing;\r"
        "\\c lineage event_id=L-5\r"
        "\\c lineage\r"
        "\\d latency\r"
        "\\f json\r"
        "SELECT 7 AS seven;\r"
        "\\nonsense\r"
        "\\q\r",
    )
    told = capsys.readouterr()
    assert f'"n"\n{len(site.world.labels)}\n' in told.out
    assert '"L-5"' in told.out
    assert "p99_ms" in told.out
    assert '{"seven":7}' in told.out
    for words in ("nothing", "lineage needs event_id", "\\nonsense is no command"):
        assert words in told.err
    assert "SELECT 7 AS seven" in (home / ".millstream_history").read_text()


def test_the_prompt_ends_with_its_input(
    analyst: Analyst, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """Ctrl-C drops the line, Ctrl-D leaves."""
    typed(analyst, "SELECT 1\x03\x04")
    assert capsys.readouterr().out == ""
    assert home.is_dir()


class Failing(dict[str, str]):
    """Tables that cannot be listed."""

    def __iter__(self) -> Iterator[str]:
        raise LookupError("no tables today")


class Told(logging.Handler):
    """Hears that something failed beside the prompt."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.happened = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.happened.set()


@pytest.mark.timeout(60)
def test_the_prompt_goes_on_where_a_completion_fails(
    analyst: Analyst, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails beside the prompt is logged; it asks nobody for ENTER, and loses nothing typed."""
    told, log = Told(), logging.getLogger("asyncio")
    log.addHandler(told)
    # DVC, where a test before this one has used it, leaves this logger at CRITICAL.
    caplog.set_level(logging.ERROR, log.name)
    with keyboard() as (keys, send):

        def type_it() -> None:
            send("\\d x")
            told.happened.wait(30)
            send("\x15\\q\r")

        typist = threading.Thread(target=type_it)
        typist.start()
        session = terminal(Words(about=Failing()), input=keys, output=DummyOutput())
        Prompt(analyst, "loans", "csv", 10, session).run()
        typist.join()
    log.removeHandler(told)
    assert told.happened.is_set()
    assert "\\q" in (home / ".millstream_history").read_text()


def test_the_prompt_lists_the_cookbook_and_its_commands(
    analyst: Analyst, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """And every table."""
    typed(analyst, "\\l\r\\?\r\\d\rexit\r")
    told = capsys.readouterr().out
    for word in ("accuracy_by_day", "\\q", "scored_events"):
        assert word in told
    assert home.is_dir()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, for the history."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_prompt_completes_what_the_database_has(analyst: Analyst) -> None:
    """Its tables behind FROM, its columns behind a dot."""
    completer = SqlCompleter(analyst.words())

    def offered(text: str) -> list[str]:
        found = completer.get_completions(Document(text), None)  # type: ignore[arg-type]
        return [each.text for each in found]

    assert "scored_events" in offered("SELECT * FROM sco")
    assert offered("SELECT l. FROM latency AS l WHERE l.p99") == ["p999_ms", "p99_ms"]
    assert "salary" in offered("SELECT sal")


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("SELECT 1", False), ("SELECT 1;", True), ("\\q", True), ("", True), ("exit", True)],
)
def test_enter_runs_what_is_whole(text: str, is_so: bool) -> None:
    """Else it begins another line."""
    assert is_whole(text) is is_so
