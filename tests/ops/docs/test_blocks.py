"""Code in the documentation: commands are understood, those that need nobody are run; SQL is run;
Python compiles."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from consumers.warehouse import Warehouse, migrate
from millstream.cli import app
from millstream.contract.kit import examples
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from ops.docs.commands import command_pages
from ops.docs.errors import error_pages
from ops.docs.pages import ROOT
from tests.streams import LOANS, applications, framed

FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SQL_RUN_ELSEWHERE = ("docs/SQL.md", "docs/SQL_SCORING.md")
"""The cookbook's, with its parameters, and what needs a model: tests/millstream/sql/test_page.py,
tests/consumers/sql/test_analyst.py, tests/consumers/sql/test_champion.py."""
END_OF_COMMAND = {"|", "||", "&&", ";", ">", ">>", "<", "&"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. place: file and line."""

    place: str
    language: str
    text: str


def blocks(name: str, text: str) -> Iterator[Block]:
    """Every fenced block of a Markdown text."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(f"{name}:{line}", found[1], found[2])


def everywhere() -> list[Block]:
    """Of the written pages, and of those that the code makes."""
    found = [
        block
        for path in FILES
        for block in blocks(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]
    for made in (command_pages(), error_pages()):
        found += [block for name, text in made.items() for block in blocks(name, text)]
    return found


ALL = everywhere()


def commands_of(block: Block) -> Iterator[list[str]]:
    """Each `millstream ...` of a shell block, without what pipes and comments follow."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        words = re.sub(r"^\$ ", "", line.strip())
        words = re.sub(r"^(?:[A-Z_]+=\S+ +)+", "", words)
        if re.match(r"millstream [a-z]", words):
            split = shlex.split(words, comments=True)[1:]
            ends = [at for at, word in enumerate(split) if word in END_OF_COMMAND]
            yield split[: ends[0]] if ends else split


CALLS = [
    pytest.param(words, id=f"{block.place} {' '.join(words[:2])}")
    for block in ALL
    if block.language in ("sh", "console", "")
    for words in commands_of(block)
]


@pytest.mark.parametrize("words", CALLS)
def test_a_command_in_the_documentation_is_understood(words: list[str]) -> None:
    """There is such a command, with these options, and the values are of their types."""
    command: Any = get_command(app)
    context = command.context_class(command, info_name="millstream")
    rest = list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
        if hasattr(command, "commands"):
            context = command.context_class(command, info_name=name, parent=context)
    command.make_context(command.name, rest, parent=context)


def test_there_are_commands_to_understand() -> None:
    """The test above is not empty; and it would find an option that is not there."""
    assert len(CALLS) > 60
    with pytest.raises(Exception, match="no-such-option"):
        test_a_command_in_the_documentation_is_understood(["verify", "s.toml", "--no-such-option"])


RUNS = [
    pytest.param(words, id=f"{block.place} {' '.join(words[:2])}")
    for block in ALL
    if block.language == "sh"
    for words in commands_of(block)
    if words[0] in ("contract", "settings") and not {"--registry", "STREAM.TOML"} & set(words)
]
"""Calls that need no broker, no registry and no ClickHouse."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: two streams, and records to ask of."""
    here: Path = tmp_path_factory.mktemp("here")
    for stream in ("examples/loans", "orders"):
        (here / stream).mkdir(parents=True)
        for name in ("stream.toml", "event.v1.avsc"):
            shutil.copy(LOANS / name, here / stream / name)
    loans = Stream.load(LOANS / "stream.toml")
    (here / "events.jsonl").write_text(json.dumps(examples(loans)[0]) + "\n")
    (here / "captured.bin").write_bytes(framed(applications(1), 7)[0])
    return here


@pytest.mark.parametrize("words", RUNS)
def test_a_command_that_needs_nobody_runs(
    words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands on its page, in the order of the pages."""
    monkeypatch.chdir(folder)
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output


def test_there_are_commands_to_run() -> None:
    """The test above is not empty."""
    assert len(RUNS) >= 8


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "python"], ids=lambda block: block.place
)
def test_python_compiles(block: Block) -> None:
    """As it stands."""
    compile(block.text, block.place, "exec")


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The tables of the example, empty."""
    folder: Path = tmp_path_factory.mktemp("warehouse")
    connected = Warehouse.connect(WarehouseSettings(url=f"chdb:{folder / 'chdb'}"))
    migrate(connected, Stream.load(LOANS / "stream.toml"))
    connected.enter("loans", may_write=False)
    yield connected
    connected.close()


QUERIES = [
    pytest.param(query, id=block.place)
    for block in ALL
    if block.language == "sql" and block.place.partition(":")[0] not in SQL_RUN_ELSEWHERE
    for query in block.text.split(";")
    if query.strip()
]


@pytest.mark.parametrize("query", QUERIES)
def test_sql_runs(warehouse: Warehouse, query: str) -> None:
    """ClickHouse understands it, and knows every table and column."""
    warehouse.query(query)


def test_there_is_sql_to_run() -> None:
    """The test above is not empty."""
    assert len(QUERIES) >= 12
