"""What `millstream sql` shows of statements, at the prompt and without it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from millstream.cli.tail import printable
from millstream.errors import MillstreamError, OperatorNeeded

if TYPE_CHECKING:
    from consumers.sql.analyst import Analyst, Answer

TEXTS = {"csv": "CSVWithNames", "json": "JSONEachRow"}
"""Our name of a format -> ClickHouse's."""
ROWS_SHOWN_MAX = 1_000
_CELL_MAX = 200


def run(
    analyst: Analyst, statement: str, parameters: Mapping[str, str], form: str, rows: int
) -> None:
    """Run one statement and write its answer to standard output."""
    from consumers.sql.analyst import has_rows

    if not has_rows(statement):
        analyst.command(statement)
        typer.echo("done", err=True)
    elif form == "table":
        _table(analyst.rows(statement, parameters, rows), rows)
    else:
        for piece in analyst.text(statement, parameters, TEXTS[form]):
            typer.echo(piece, nl=False)


def run_recipe(analyst: Analyst, name: str, given: Sequence[str], form: str, rows: int) -> None:
    """A question of the cookbook. given: PARAMETER=VALUE."""
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
