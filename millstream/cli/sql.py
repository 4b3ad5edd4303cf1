"""`millstream sql`: questions to ClickHouse, from a prompt, a file or the cookbook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from millstream.cli.options import StreamPath, WarehouseUrl, warehouse_settings
from millstream.cli.sql_shown import ROWS_SHOWN_MAX, run, run_recipe, statements
from millstream.errors import OperatorNeeded, SettingsInvalid

Format = Literal["table", "csv", "json"]


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
    from consumers.sql.analyst import Analyst
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
            run_recipe(analyst, recipe, given or (), form, rows)
        elif command is not None or file is not None or not sys.stdin.isatty():
            for statement in statements(command if command is not None else _read(file)):
                run(analyst, statement, {}, form, rows)
        else:
            from millstream.cli.sql_prompt import Prompt

            Prompt(analyst, stream.name, form, rows).run()
    finally:
        analyst.close()


def _read(file: Path | None) -> str:
    """The text of a file, or of standard input."""
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise OperatorNeeded(f"{file} cannot be read: {why}", "Give a UTF-8 file") from None
