"""`millstream bundle optimise`: cheaper variants of a model, each measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import StreamPath
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from millstream.optimise.variants import Outcome


def optimise(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    rows: Annotated[
        Path, typer.Argument(metavar="ROWS", help="Labelled rows: CSV, JSON lines or Parquet.")
    ],
    into: Annotated[Path, typer.Option(help="Folder for the variants that are let in.")],
    form: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, fp16, int8, student_logistic_regression, student_mlp, student_lightgbm. "
            "May be given several times; else all."
        ),
    ] = None,
    label: Annotated[str, typer.Option(help="The column with what was true.")] = "label",
    time_column: Annotated[
        str | None, typer.Option(help="The column with the time. Else the event's field.")
    ] = None,
    flips_max: Annotated[
        float, typer.Option(min=0, max=1, help="Share of decisions that may flip.")
    ] = 0.01,
    loss_max: Annotated[
        float, typer.Option(min=0, help="By how much of itself the loss may rise, at worst.")
    ] = 0.01,
    seconds: Annotated[float, typer.Option(min=0.001, max=60, help="Of each timing.")] = 0.1,
    json: Annotated[bool, typer.Option("--json", help="Print the measures as JSON.")] = False,
) -> None:
    """Make cheaper variants of the stream's model, measure each, and keep those that pass.

    A network in FP32, FP16 and static INT8 (never dynamic: a row's score would depend on its batch
    mates); and students, smaller models that learn the model's own scores. The oldest 70 % of the
    rows fix scales and teach, the newest 30 % judge: flipped decisions, loss, batch independence,
    speed and size. Use one that passes as [serving.overload] cheaper. Needs the extra train.

    Example: millstream bundle optimise stream.toml labelled.csv --into build/cheaper
    """
    import time
    from datetime import UTC, datetime

    from millstream.models.bundle import Bundle
    from millstream.optimise.compare import Bench, Gate
    from millstream.optimise.variants import ALL, Order
    from millstream.optimise.variants import optimise as make
    from millstream.stream import Stream
    from millstream.toml import nearest
    from millstream.training.files import Columns, rows_of_file
    from millstream.training.rows import Task

    for name in form or ():
        if name not in ALL:
            raise SettingsInvalid(
                f"--form {name} is none{nearest(name, list(ALL))}", f"Give one of {', '.join(ALL)}"
            )
    stream = Stream.load(path)
    own = Bundle.load(stream.bundle_path)
    columns, task = Columns(label, time_column), Task.of_card(own.card)
    found = rows_of_file(stream, rows, columns, own.card, task)
    now = datetime.now(UTC)
    outcomes = make(
        own,
        found,
        Order(into, now, form or ALL, Gate(flips_max, loss_max)),
        Bench(time.perf_counter, seconds),
        lambda name: typer.echo(f"{name} ...", err=True),
    )
    if json:
        _print_json(outcomes)
    else:
        _show(outcomes)


def _print_json(outcomes: list[Outcome]) -> None:
    import json

    found = [
        {
            "form": outcome.form,
            "note": outcome.note,
            "folder": None if outcome.folder is None else str(outcome.folder),
            "measured": outcome.measured and outcome.measured.as_json(),
        }
        for outcome in outcomes
    ]
    typer.echo(json.dumps(found, indent=1))


def _show(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("form", "size", "speed at 1 / 64 / 1,024", "loss", "flips", "let in"):
        table.add_column(column)
    for outcome in outcomes:
        found = outcome.measured
        if found is None:
            table.add_row(outcome.form, "", "", "", "", "no")
            continue
        table.add_row(
            outcome.form,
            f"{found.size[1] / found.size[0]:.0%}",
            " / ".join(f"{times:.2f}x" for times in found.faster.values()),
            f"{found.increase[1]:+.2%} ({found.increase[0]:+.2%} to {found.increase[2]:+.2%})",
            f"{found.flips} of {found.rows}",
            "yes" if found.passed else "no",
        )
    Console().print(table)
    for outcome in outcomes:
        against = outcome.measured.against if outcome.measured else (outcome.note,)
        for reason in against:
            typer.echo(f"{outcome.form}: {reason}")
        if outcome.folder is not None:
            typer.echo(f"{outcome.form}: wrote {outcome.folder}")
