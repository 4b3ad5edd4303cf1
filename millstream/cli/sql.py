"""`millstream sql`: questions to ClickHouse, from a prompt, a file or the cookbook."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from millstream.cli.options import StreamPath, WarehouseUrl, warehouse_settings
from millstream.cli.tail import printable
from millstream.errors import MillstreamError, OperatorNeeded, SettingsInvalid

if TYPE_CHECKING:
    from consumers.analyst import Analyst, Answer

Format = Literal["table", "csv", "json"]
TEXTS = {"csv": "CSVWithNames", "json": "JSONEachRow"}
"""Our name of a format -> ClickHouse's."""
ROWS_SHOWN_MAX = 1_000
_CELL_MAX = 200


def sql(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    recipe: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A question of the cookbook.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Argument(metavar="[PARAMETER=VALUE]...", help="What it asks for.")
    ] = None,
    command: Annotated[
        str | None, typer.Option("-c", "--command", help="Run this statement.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="Run the statements of a file; - is stdin.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the cookbook.")] = False,
    form: Annotated[
        Format, typer.Option("--format", help="table, csv, or json: one object a line.")
    ] = "table",
    rows: Annotated[
        int, typer.Option(min=1, help="Rows that a table shows at most.")
    ] = ROWS_SHOWN_MAX,
    write: Annotated[
        bool, typer.Option("--write", help="Let statements change the database.")
    ] = False,
    warehouse: WarehouseUrl = None,
) -> None:
    """Ask ClickHouse about a stream: a question of the cookbook, a statement, a file, or a prompt.

    Tables need no database before their names: it is the stream's. Reads only, unless --write.
    Without anything to run a prompt opens, which completes tables, columns, functions and the
    cookbook; with a pipe on standard input the statements are read from it. Works on
    a server, on `millstream warehouse`, and on a folder that nobody has open (chdb:FOLDER).

    Example: millstream sql examples/loans/stream.toml accuracy_by_day since=2026-01-01
    """
    from consumers.analyst import Analyst
    from millstream.sql.cookbook import cookbook
    from millstream.stream import Stream

    if show:
        for each in cookbook().values():
            asks = "".join(
                f" {p.name}={'...' if p.default is None else p.default or chr(39) * 2}"
                for p in each.parameters
            )
            typer.echo(f"{each.name}{asks}\n    {each.question}")
        return
    if sum(x is not None for x in (recipe, command, file)) > 1:
        raise SettingsInvalid("give one of NAME, --command and --file", "Leave the others out")
    stream = Stream.load(path)
    analyst = Analyst.connect(warehouse_settings(warehouse), stream.name, may_write=write)
    try:
        if recipe is not None:
            _run_recipe(analyst, recipe, given or (), form, rows)
        elif command is not None or file is not None or not sys.stdin.isatty():
            for statement in statements(command if command is not None else _read(file)):
                run(analyst, statement, {}, form, rows)
        else:
            from millstream.cli.sql_prompt import Prompt

            Prompt(analyst, stream.name, form, rows).run()
    finally:
        analyst.close()


def run(
    analyst: Analyst, statement: str, parameters: Mapping[str, str], form: str, rows: int
) -> None:
    """Run one statement and write its answer to standard output."""
    from consumers.analyst import has_rows

    if not has_rows(statement):
        analyst.command(statement)
        typer.echo("done", err=True)
    elif form == "table":
        _table(analyst.rows(statement, parameters, rows), rows)
    else:
        for piece in analyst.text(statement, parameters, TEXTS[form]):
            typer.echo(piece, nl=False)


def run_recipe(analyst: Analyst, words: list[str], form: str, rows: int) -> None:
    """NAME and PARAMETER=VALUE, as words."""
    _run_recipe(analyst, words[0], words[1:], form, rows)


def _run_recipe(
    analyst: Analyst, name: str, given: list[str] | tuple[str, ...], form: str, rows: int
) -> None:
    from millstream.sql.cookbook import recipe

    found = recipe(name)
    values = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise OperatorNeeded(f"{text} is no parameter", "Write PARAMETER=VALUE")
        values[key] = value
    run(analyst, found.sql, found.bind(values), form, rows)


def statements(text: str) -> list[str]:
    """The statements of a text, cut at semicolons that are not in a string, name or comment."""
    from ops.warehouse.sql import tokens

    raw, cuts = text.encode(), [0]
    ends = [token for token in tokens(raw) if token.text == b";"]
    found = []
    for token in ends:
        found.append(raw[cuts[-1] : token.start])
        cuts.append(token.end)
    found.append(raw[cuts[-1] :])
    return [part.decode().strip() for part in found if next(tokens(part), None) is not None]


def _read(file: Path | None) -> str:
    """The text of a file, or of standard input."""
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise OperatorNeeded(f"{file} cannot be read: {why}", "Give a UTF-8 file") from None


def _table(answer: Answer, rows: int) -> None:
    """The answer as a table; its texts cannot steer the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if sys.stdout.isatty() else 500
    console = Console(width=width, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, kind in zip(answer.names, answer.types, strict=True):
        is_number = any(word in kind for word in ("Int", "Float", "Decimal")) and "(" not in (
            kind.replace("Nullable(", "").replace("Decimal(", "")
        )
        table.add_column(Text(printable(name)), justify="right" if is_number else "left")
    for row in answer.rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    if answer.names:
        console.print(table)
    more = f"; --rows shows more than {rows:,}" if answer.is_cut else ""
    count = len(answer.rows)
    typer.echo(f"{count:,} row{'' if count == 1 else 's'}{more}", err=True)


def _cell(value: object) -> str:
    text = "-" if value is None else value if isinstance(value, str) else str(value)
    shown = printable(text)
    return shown if len(shown) <= _CELL_MAX else f"{shown[:_CELL_MAX]}..."


def say(why: MillstreamError) -> None:
    """An error at the prompt, which goes on."""
    lines = (why.problem, f"  {why.remedy}") if isinstance(why, OperatorNeeded) else (str(why),)
    for line in lines:
        typer.echo(printable(line), err=True)
