"""`millstream bundle`: its commands, and `tune`, which measures a model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli import bundle_check, bundle_make, bundle_optimise, bundle_sign

if TYPE_CHECKING:
    from rich.table import Table

    from millstream.models.bundle import Bundle
    from millstream.models.tuner import Effort
    from millstream.models.tuning import Choice, Machine, Tuning

app = typer.Typer(
    name="bundle",
    help="Make, check, compare, sign and measure model bundles.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


for _command in (
    bundle_make.make,
    bundle_make.hostile,
    bundle_check.check,
    bundle_check.show,
    bundle_check.diff,
    bundle_sign.sign,
    bundle_sign.keys,
    bundle_optimise.optimise,
):
    app.command()(_command)


@app.callback()
def _bundle() -> None:
    """Make, check, compare, sign and measure model bundles."""


@app.command()
def tune(
    path: Annotated[
        Path, typer.Argument(metavar="STREAM_OR_BUNDLE", help="stream.toml, or a bundle's folder.")
    ],
    seconds: Annotated[
        float, typer.Option(min=0.001, max=60, help="Of each measurement. More is steadier.")
    ] = 0.1,
    threads_max: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads to try up to; else the cores.")
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(min=1, help="Latency budget for the choice shown; else the stream's, or 250."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the curve as JSON.")] = False,
) -> None:
    """Measure how fast a bundle's model is on this machine, and keep the curve with the bundle.

    Scores made-up rows in batches of 1 to 8,192, by ONNX Runtime and, where the model is a tree
    ensemble, by compiled trees, on 1, 2, 4 ... threads; checks that all give the same scores;
    writes tuning.json beside bundle.toml. `millstream score` then uses what is fastest within the
    latency budget. Run it on the machine that will score, while nothing else runs: about 10 s.

    Example: millstream bundle tune examples/loans/stream.toml
    """
    from millstream.models.bundle import Bundle
    from millstream.models.tuner import Effort
    from millstream.models.tuning import this_machine, write_tuning
    from millstream.stream import Stream

    if path.is_dir():
        bundle, budget = Bundle.load(path), budget_ms or 250.0
    else:
        stream = Stream.load(path)
        bundle = Bundle.load(stream.bundle_path)
        budget = budget_ms or float(stream.serving.latency_budget_ms)
    machine = this_machine()
    most = threads_max or machine.cores
    numbers = tuple(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n <= most)
    made = _measured(bundle, machine, Effort(seconds=seconds, threads=numbers))
    file = write_tuning(bundle, made)
    if json:
        typer.echo(made.model_dump_json())
    else:
        _show(made, made.choose(budget), budget)
        typer.echo(f"wrote {file}")


def _measured(bundle: Bundle, machine: Machine, effort: Effort) -> Tuning:
    """Measure with a bar on standard error."""
    import time
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from millstream.models.tuner import tune as measure

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=2 * effort.points)
        return measure(
            bundle,
            machine,
            time.perf_counter,
            datetime.now(UTC),
            effort,
            lambda found: progress.update(
                task,
                advance=int(hasattr(found, "rows")),
                description=f"{found.engine}, {found.threads} threads",
            ),
        )


def _show(made: Tuning, choice: Choice, budget_ms: float) -> None:
    from rich.console import Console

    Console().print(_table(made, choice))
    for variant in made.variants:
        typer.echo(
            f"{variant.engine}, {variant.threads} threads: largest difference "
            f"{variant.difference:.3g}, {variant.flips} of {variant.checked} labels flipped"
        )
    if made.note:
        typer.echo(made.note)
    typer.echo(
        f"within {budget_ms:g} ms: {choice.engine}, {choice.threads} threads, "
        f"batches of {choice.rows}"
    )


def _table(made: Tuning, choice: Choice) -> Table:
    from rich.table import Table

    variants = [(variant.engine, variant.threads) for variant in made.variants]
    rates = {(p.engine, p.threads, p.rows): p.rows_per_s for p in made.points}
    table = Table(title=f"rows/s on {made.machine.processor}, {made.machine.cores} cores")
    table.add_column("batch", justify="right")
    for engine, threads in variants:
        table.add_column(f"{engine}\n{threads} threads", justify="right")
    for rows in sorted({p.rows for p in made.points}):
        cells = []
        for engine, threads in variants:
            rate = rates.get((engine, threads, rows))
            chosen = (engine, threads, rows) == (choice.engine, choice.threads, choice.rows)
            shown = "-" if rate is None else f"{rate:,.0f}"
            cells.append(f"[bold]* {shown}[/bold]" if chosen else shown)
        table.add_row(f"{rows:,}", *cells)
    return table
