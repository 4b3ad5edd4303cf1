"""`millstream drift`: what the drift monitor would say of a user's own stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import WarehouseUrl, warehouse_settings
from millstream.errors import OperatorNeeded, SettingsInvalid

if TYPE_CHECKING:
    from millstream.drift.calibrate import Calibration
    from millstream.stream import Stream

app = typer.Typer(name="drift", help="The drift monitor.", no_args_is_help=True)
_ROWS = """
SELECT toFloat64(assumeNotNull(label != predicted)) AS error,
       toUnixTimestamp64Micro(assumeNotNull(known_at)) / 1e6 AS at
FROM {database}.labelled_now
WHERE label IS NOT NULL AND predicted IS NOT NULL AND known_at IS NOT NULL
ORDER BY known_at DESC, source_partition, source_offset LIMIT {rows}
"""


@app.callback()
def _drift() -> None:
    """The drift monitor."""


@app.command()
def calibrate(  # noqa: PLR0913, PLR0917 - one parameter for each option
    history: Annotated[
        Path, typer.Argument(help="A CSV or Parquet file in event order, or a STREAM.TOML.")
    ],
    error: Annotated[
        str, typer.Option(help="Column of errors: 0 or 1, or losses in 0..1.")
    ] = "error",
    label: Annotated[
        str | None, typer.Option(help="Column of true labels, with --predicted.")
    ] = None,
    predicted: Annotated[str | None, typer.Option(help="Column of predicted labels.")] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times: gives the events a week.")
    ] = None,
    events_per_week: Annotated[float | None, typer.Option(min=1, help="Instead of --time.")] = None,
    false_alarms_per_week: Annotated[
        float | None, typer.Option(min=1e-6, help="The one dial. Else stream.toml's, or 1.")
    ] = None,
    shift: Annotated[
        list[float] | None,
        typer.Option(help="A change of the error rate to be found, such as 0.05."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=10_000, help="Histories that are played.")] = 40,
    block: Annotated[
        int, typer.Option(min=0, help="Events played in a row; 0: by the length.")
    ] = 0,
    rows: Annotated[int, typer.Option(min=1_000, help="The newest rows of ClickHouse.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed plays the same.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write a picture here, such as drift.svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    warehouse: WarehouseUrl = None,
) -> None:
    """Show what a false-alarm budget means for your stream, before anything goes live.

    Plays the history's errors again in blocks, as they are and with shifts planted, and counts the
    false alarms a week and the events until a shift is found. A history with real drift in it makes
    the answer cautious: its own alarms are shown.

    Example: millstream drift calibrate history.csv --label y --predicted p --time at --out d.svg
    """
    import json

    from millstream.drift.calibrate import SHIFTS, Plan
    from millstream.drift.calibrate import as_json as plain
    from millstream.drift.calibrate import calibrate as played

    stream = _stream(history)
    pair = (label, predicted) if label or predicted else None
    errors, rate = _stored(stream, warehouse, rows) if stream else _file(history, pair, error, time)
    budget = false_alarms_per_week or (stream.watch.false_alarms_per_week if stream else 1.0)
    plan = Plan(budget, runs, tuple(shift or SHIFTS), block, seed)
    try:
        with _bar(shown=not as_json and sys.stderr.isatty()) as told:
            found = played(errors, _known(events_per_week or rate), plan, told)
    except ValueError as why:
        raise OperatorNeeded(f"{history}: {why}", "Give another history or option") from why
    if out is not None:
        from millstream.drift.picture import calibration_plot

        out.write_text(calibration_plot(found), "utf-8")
    if as_json:
        typer.echo(json.dumps(plain(found), indent=2))
    else:
        _show(found, budget, out)


def _known(rate: float | None) -> float:
    if rate is None:
        raise SettingsInvalid(
            "How many events a week there are is not known",
            "Give --time COLUMN or --events-per-week",
        )
    return rate


def _stream(path: Path) -> Stream | None:
    if path.suffix != ".toml":
        return None
    from millstream.stream import Stream

    return Stream.load(path)


def _stored(stream: Stream, url: str | None, rows: int) -> tuple[Any, float | None]:
    """Errors and events a week from the labelled rows in ClickHouse."""
    import numpy as np

    from consumers.warehouse import Warehouse

    warehouse = Warehouse.connect(warehouse_settings(url))
    try:
        table = warehouse.table(_ROWS.format(database=stream.name, rows=rows))
    finally:
        warehouse.close()
    errors = table.column("error").to_numpy().astype(np.float64)[::-1]
    return errors, _rate(table.column("at"), len(errors))


def _file(
    path: Path, pair: tuple[str | None, str | None] | None, error: str, time: str | None
) -> tuple[Any, float | None]:
    """Errors and events a week of a file."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pair is not None and None in pair:
        raise SettingsInvalid("--label and --predicted go together", "Give both, or --error")
    wanted = [name for name in (*(pair or (error,)), time) if name]
    table = _read(path)
    absent = [name for name in wanted if name not in table.column_names]
    if absent:
        raise SettingsInvalid(
            f"{path} has no column {absent[0]}",
            f"It has {', '.join(table.column_names[:12])}; name one of them",
        )
    table = table.select(list(dict.fromkeys(wanted))).drop_null()
    try:
        if pair is not None:
            told, truth = (table.column(str(name)).cast(pa.string()) for name in pair)
            errors = pc.not_equal(told, truth).to_numpy().astype(np.float64)
        else:
            errors = table.column(error).cast(pa.float64()).to_numpy()
    except pa.ArrowException as why:
        raise SettingsInvalid(f"{path}: {why}", "Give a column of numbers with --error") from why
    return errors, _rate(table.column(time), len(errors)) if time else None


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pa_parquet

    if not path.is_file():
        raise SettingsInvalid(f"{path} is no file", "Give a CSV or Parquet file, or a stream.toml")
    try:
        parquet = path.suffix in (".parquet", ".pq")
        return pa_parquet.read_table(path) if parquet else pa_csv.read_csv(path)
    except (pa.ArrowException, OSError) as why:
        raise SettingsInvalid(f"{path}: {why}", "Give a CSV or Parquet file") from why


def _rate(times: Any, events: int) -> float | None:
    """Events a week of a column of times; plain numbers are seconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from millstream.drift.calibrate import events_per_week

    if events < 2:
        return None
    bounds = pc.min_max(times)
    if pa.types.is_temporal(times.type):
        stamps = [bounds[name].cast(pa.timestamp("us")).value for name in ("min", "max")]
        seconds = (stamps[1] - stamps[0]) / 1e6
    else:
        try:
            seconds = float(bounds["max"].as_py()) - float(bounds["min"].as_py())
        except (TypeError, ValueError) as why:
            raise SettingsInvalid(
                "The column of times is neither times nor numbers", "Write ISO 8601 times"
            ) from why
    return events_per_week(events, seconds) if seconds > 0 else None


@contextmanager
def _bar(shown: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not shown, transient=True) as bar:
        task = bar.add_task("playing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(found: Calibration, budget: float, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    low, high = found.interval
    console.print(
        f"{found.events:,} events, error {found.error_rate:.2%}, {found.events_per_week:,.0f} a "
        f"week; played {found.runs} times in blocks of {found.block_events:,}",
        soft_wrap=True,
    )
    style = "green" if low <= budget else "red"
    console.print(
        f"false alarms a week: {found.false_alarms_per_week:.2f} (95 %: {low:.2f} to {high:.2f}), "
        f"budget {budget:g}; {found.run_events:,.0f} events between two",
        style=style,
        soft_wrap=True,
    )
    if found.history_alarms:
        shown = ", ".join(f"{at:,}" for at in found.history_alarms[:8])
        more = " ..." if len(found.history_alarms) > 8 else ""
        console.print(
            f"the history itself raises {len(found.history_alarms)}: at event {shown}{more}",
            style="yellow",
            soft_wrap=True,
        )
    table = Table()
    for name in ("error moves by", "found", "events, half", "events, 90 %", "time, half"):
        table.add_column(name, justify="right")
    for delay in found.delays:
        hours = None
        if delay.median_events is not None:
            hours = delay.median_events / found.events_per_week * 168
        table.add_row(
            f"{100 * delay.shift:+g} points",
            f"{delay.found:.0%}",
            "-" if delay.median_events is None else f"{delay.median_events:,.0f}",
            "-" if delay.p90_events is None else f"{delay.p90_events:,.0f}",
            "-" if hours is None else _duration(hours),
        )
    console.print(table)
    if out is not None:
        console.print(f"picture: {out}", soft_wrap=True)


def _duration(hours: float) -> str:
    """
    >>> _duration(0.01), _duration(0.5), _duration(5.0), _duration(100.0)
    ('36 s', '30 min', '5.0 h', '4.2 d')
    """
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"
