"""`millstream performance`: how well the models answer, realised and estimated."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import (
    UNITS_S,
    StreamPath,
    WarehouseUrl,
    seconds,
    time_of,
    warehouse_settings,
)
from millstream.cli.tail import printable

if TYPE_CHECKING:
    from millstream.performance.report import Cell, Report
    from millstream.stream import Stream

WIDTH = 170
"""Columns of a whole table; a narrower terminal gets fewer measures."""
_CLASSES = ("accuracy", "log_loss", "auc", "brier", "calibration_error", "f1", "cost")
_NARROW = ("accuracy", "auc", "cost")
_VALUES = ("mae", "rmse")
_HEADS = {"log_loss": "log loss", "calibration_error": "ECE", "cost": "cost"}


def performance(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    window: Annotated[
        str | None, typer.Option(help="Width of a window, such as 30m, 1h or 1d. Else about 12.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only events since: ISO 8601, UTC where it has no zone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only events before: as --since.")] = None,
    rows: Annotated[
        int, typer.Option(min=1, help="Read at most so many predictions, the newest.")
    ] = 1_000_000,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="A further bundle that answered, such as an older one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    warehouse: WarehouseUrl = None,
) -> None:
    """Show what the models' answers were worth, by version, window of event time and slice.

    Reads predictions, labelled rows, dead letters and slice fields from ClickHouse; changes
    nothing. Realised measures are of windows whose labels are in (95 %, by the learned delay of
    labels). Estimated ones need no labels: calibrated confidence says what they are expected to be,
    and where that cannot be trusted it says why. Groups of [fairness] are compared with each other.

    Ends with 0, or with 1 if an alarm holds: groups are treated unlike beyond the stream's limits,
    or labels come out worse than was estimated.

    Example: millstream performance examples/loans/stream.toml --window 1h
    """
    from consumers.performance import Range, read
    from consumers.warehouse import Warehouse
    from millstream.models.bundle import Bundle
    from millstream.performance.answers import Asked
    from millstream.performance.report import report
    from millstream.stream import Stream

    stream = Stream.load(path)
    cards = [Bundle.load(each).card for each in (stream.bundle_path, *(bundle or ()))]
    asked = Asked(
        now_us=time.time_ns() // 1_000,
        wait_us=stream.label.outcome_wait_s * 1_000_000,
        width_us=None if window is None else seconds("--window", window) * 1_000_000,
        false_positive=stream.costs.false_positive,
        false_negative=stream.costs.false_negative,
        matrix=stream.costs.matrix,
        fairness=stream.fairness,
    )
    which = Range(time_of("--since", since), time_of("--until", until), rows)
    connected = Warehouse.connect(warehouse_settings(warehouse))
    try:
        loaded = read(stream, connected, cards, which)
    finally:
        connected.close()
    made = report(loaded.answers, loaded.refused, asked)
    if as_json:
        told = {"stream": stream.name, "notes": list(loaded.notes), **made.as_json()}
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        _show(stream, made, loaded.notes)
    raise typer.Exit(1 if made.alarms else 0)


def _show(stream: Stream, made: Report, notes: Sequence[str]) -> None:
    from rich.console import Console

    # a file or a pipe gets whole lines; a terminal gets its own width
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    wanted: Sequence[str] = _CLASSES if console.width >= WIDTH else _NARROW
    wanted = _VALUES if stream.label.kind == "regression" else wanted
    width = _span(made.width_us)
    if not made.versions:
        console.print(f"{stream.name}: no predictions in ClickHouse")
    else:
        console.print(_ripeness(made))
        title = f"{stream.name}: versions, over windows of {width} whose labels are in"
        console.print(_table(title, made.versions, wanted))
        console.print(_table(f"windows of {width}", made.windows, wanted))
        waiting = [cell for cell in made.newest if cell.answers]
        if waiting:
            console.print(_table("windows whose labels are not in yet", waiting, wanted))
        if made.slices:
            console.print(_table("slices, over the mature windows", made.slices, wanted))
    if made.gaps:
        console.print(_gaps(made))
    for cell in (*made.versions, *made.newest):
        for doubt in cell.doubts if cell.answers else ():
            where = "newest answers" if cell in made.newest else "all"
            text = f"not trusted: {printable(cell.version)} ({where}): {doubt}"
            console.print(text, style="yellow", markup=False, soft_wrap=True)
    for note in notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    for alarm in made.alarms:
        text = printable(f"ALARM {alarm.kind}: {alarm.version}: {alarm.text}")
        console.print(text, style="red", markup=False, soft_wrap=True)


def _ripeness(made: Report) -> str:
    ever = f"{made.ever:.0%} of them come at all" if made.settled else "how many come is not known"
    if made.mature_age_us is None:
        return f"labels: too few to know how late they come; {ever}"
    return f"labels: 95 % are in {made.mature_age_us / 1e6:,.0f} s after the score; {ever}"


def _table(title: str, cells: Sequence[Cell], wanted: Sequence[str]) -> Any:
    """One row a cell: realised measures, then the estimate beside them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    cut = any(cell.window_us for cell in cells)
    sliced = any(cell.slice for cell in cells)
    heads = ["version", *(["window"] if cut else []), *(["slice"] if sliced else [])]
    for head in heads:
        table.add_column(head, no_wrap=True)
    for head in ("answers", "labels", *(_HEADS.get(name, name) for name in wanted)):
        table.add_column(head, justify="right", no_wrap=True)
    estimated = "accuracy" in wanted
    for head in ("estimated", "gap", "trusted") if estimated else ():
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("p50 ms", "p99 ms", "errors"):
        table.add_column(head, justify="right", no_wrap=True)
    for cell in cells:
        realised = cell.realised.as_json() if cell.realised else {}
        row = [_safe(cell.version)]
        row += [f"{_at(cell.window_us[0])}" if cell.window_us else ""] if cut else []
        row += [_safe(" = ".join(cell.slice)) if cell.slice else ""] if sliced else []
        row += [f"{cell.answers:,}", "-" if cell.share_in is None else f"{cell.share_in:.0%}"]
        row += [_number(realised.get(name)) for name in wanted]
        row += _estimate(cell) if estimated else []
        p50, p99 = cell.latency_ms or (None, None)
        row += [_number(p50, 1), _number(p99, 1)]
        row += ["-" if cell.error_rate is None else f"{cell.error_rate:.2%}"]
        table.add_row(*row)
    return table


def _estimate(cell: Cell) -> list[str]:
    if cell.estimated is None or not cell.estimated.rows:
        return ["-", "-", "-"]
    bound = "" if cell.bound is None else f" ±{cell.bound:.3f}"
    gap = "-" if cell.gap is None else f"{cell.gap:+.3f}{bound}"
    trusted = "[green]yes[/]" if cell.trusted else "[yellow]no[/]"
    return [_number(cell.estimated.accuracy), gap, trusted]


def _gaps(made: Report) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="groups", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in ("measure", "group", "against"):
        table.add_column(head)
    for head in ("answers", "value", "interval", "limit", "alarm"):
        table.add_column(head, justify="right")
    for gap in made.gaps:
        span = "too few" if gap.low is None else f"{gap.low:.3f} to {gap.high:.3f}"
        alarm = "[red]yes[/]" if gap.alarm else "no"
        group, limit = _safe(f"{gap.field} = {gap.group}"), f"{gap.limit:g}"
        kind = gap.kind.replace("_", " ")
        table.add_row(
            kind, group, _safe(gap.against), f"{gap.rows:,}", _number(gap.value), span, limit, alarm
        )
    return table


def _safe(text: str) -> str:
    """What a stream's data says, without control characters and without markup."""
    from rich.markup import escape

    return escape(printable(text))


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _at(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%y-%m-%d %H:%M:%S}"


def _span(width_us: int) -> str:
    whole = width_us // 1_000_000
    unit = next(u for u in reversed(UNITS_S) if whole % UNITS_S[u] == 0)
    return f"{whole // UNITS_S[unit]}{unit}"
