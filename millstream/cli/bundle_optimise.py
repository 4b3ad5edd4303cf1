"""`millstream bundle optimise`: cheaper variants of a model, each measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import StreamPath, WarehouseUrl, time_of, warehouse_settings
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from datetime import datetime

    from millstream.models.bundle import Bundle
    from millstream.optimise.variants import Logged, Outcome
    from millstream.stream import Stream
    from millstream.training.rows import Rows


RowsFile = Annotated[
    Path | None,
    typer.Argument(metavar="[ROWS]", help="Labelled rows: CSV, JSON lines or Parquet."),
]
Into = Annotated[Path, typer.Option(help="Folder for the variants that are let in.")]
Model = Annotated[
    str | None,
    typer.Option(help="A bundle's folder or NAME@VERSION. Else the stream's own bundle."),
]
FromLog = Annotated[
    bool, typer.Option("--logged", help="In place of ROWS: what ClickHouse has of the model.")
]
Since = Annotated[
    str | None, typer.Option(help="With --logged, only events since: ISO 8601, UTC without zone.")
]
Until = Annotated[str | None, typer.Option(help="With --logged, only events before.")]
Limit = Annotated[
    int, typer.Option(min=100, help="With --logged, at most so many answers, the newest.")
]
Forms = Annotated[
    list[str] | None,
    typer.Option(
        help="fp32, fp16, int8, student_logistic_regression, student_mlp, student_lightgbm. "
        "May be given several times; else all."
    ),
]
Label = Annotated[str, typer.Option(help="The file's column with what was true.")]
TimeColumn = Annotated[
    str | None, typer.Option(help="The file's column with the time. Else the event's field.")
]
FlipsMax = Annotated[float, typer.Option(min=0, max=1, help="Share of decisions that may flip.")]
LossMax = Annotated[
    float, typer.Option(min=0, help="By how much of itself the loss may rise, at worst.")
]
Seconds = Annotated[float, typer.Option(min=0.001, max=60, help="Of each timing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the measures as JSON.")]


def optimise(  # noqa: PLR0913 - one parameter for each option
    path: StreamPath,
    rows: RowsFile = None,
    *,
    into: Into,
    model: Model = None,
    logged: FromLog = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = 200_000,
    warehouse: WarehouseUrl = None,
    form: Forms = None,
    label: Label = "label",
    time_column: TimeColumn = None,
    flips_max: FlipsMax = 0.01,
    loss_max: LossMax = 0.01,
    seconds: Seconds = 0.1,
    json: AsJson = False,
) -> None:
    """Make cheaper variants of the stream's model, measure each, and keep those that pass.

    A network in FP32, FP16 and static INT8 (never dynamic: a row's score would depend on its batch
    mates); and students, smaller models that learn the model's own scores. The oldest 70 % of the
    labelled rows fix scales and teach, the newest 30 % judge: flipped decisions, loss, batch
    independence, speed and size. With --logged the labelled rows come from ClickHouse, and students
    learn every answer that the model gave before those that judge, labelled or not, as it was
    published. Use one that passes as [serving.overload] cheaper. Needs the extra train.

    Example: millstream bundle optimise stream.toml labelled.csv --into build/cheaper
    """
    import time
    from datetime import UTC, datetime

    from millstream.cli.train import bundle_named
    from millstream.models.bundle import Bundle
    from millstream.optimise.compare import Bench, Gate
    from millstream.optimise.variants import ALL, Order
    from millstream.optimise.variants import optimise as make
    from millstream.stream import Stream

    _require_forms(form or (), ALL)
    if logged == (rows is not None):
        raise SettingsInvalid("give either ROWS or --logged", "Name a file, or take ClickHouse's")
    stream = Stream.load(path)
    with TemporaryDirectory() as folder:
        named = bundle_named(stream, model, Path(folder)) if model else None
        own = named or Bundle.load(stream.bundle_path)
        if rows is not None:
            found, answers = _from_file(stream, own, rows, (label, time_column)), None
        else:
            times = time_of("--since", since), time_of("--until", until)
            found, answers = _from_warehouse(stream, own, warehouse, (*times, limit))
        outcomes = make(
            own,
            found,
            Order(into, datetime.now(UTC), form or ALL, Gate(flips_max, loss_max)),
            Bench(time.perf_counter, seconds),
            lambda name: typer.echo(f"{name} ...", err=True),
            answers,
        )
    if json:
        _print_json(outcomes)
    else:
        _show(outcomes)


def _require_forms(asked: Sequence[str], known: Sequence[str]) -> None:
    from millstream.toml import nearest

    for name in asked:
        if name not in known:
            raise SettingsInvalid(
                f"--form {name} is none{nearest(name, list(known))}",
                f"Give one of {', '.join(known)}",
            )


def _from_file(stream: Stream, own: Bundle, file: Path, named: tuple[str, str | None]) -> Rows:
    from millstream.training.files import Columns, rows_of_file
    from millstream.training.rows import Task

    return rows_of_file(stream, file, Columns(*named), own.card, Task.of_card(own.card))


def _from_warehouse(
    stream: Stream,
    own: Bundle,
    url: str | None,
    which: tuple[datetime | None, datetime | None, int],
) -> tuple[Rows, Logged]:
    """Labelled rows, and what the model answered; which: since, until, how many at most."""
    from dataclasses import replace

    from consumers.logged_rows import read_logged
    from consumers.training_rows import Wanted, read
    from consumers.warehouse import Warehouse

    wanted = Wanted(*which)
    connected = Warehouse.connect(warehouse_settings(url))
    try:
        loaded = read(stream, connected, wanted, own.card)
        answers = read_logged(stream, connected, own, wanted)
    finally:
        connected.close()
    for note in loaded.notes:
        typer.echo(note, err=True)
    typer.echo(f"{len(loaded.rows):,} labelled rows, {len(answers.rows):,} answers", err=True)
    return replace(loaded.rows, task=answers.rows.task), answers


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
    seen = max((each.measured.seen for each in outcomes if each.measured), default=0)
    if seen:
        typer.echo(
            f"{seen:,} of the rows that judge are no newer than what the model was trained on: its "
            "own loss is too low there, so variants look worse than they are"
        )
    for outcome in outcomes:
        against = outcome.measured.against if outcome.measured else ()
        for reason in (*against, outcome.note):
            if reason:
                typer.echo(f"{outcome.form}: {reason}")
        if outcome.folder is not None:
            typer.echo(f"{outcome.form}: wrote {outcome.folder}")
