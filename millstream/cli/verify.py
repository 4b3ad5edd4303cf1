"""`millstream verify`: is everything answered once, and is it in ClickHouse? Prove it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import (
    Kafka,
    RegistryUrl,
    StreamPath,
    WarehouseUrl,
    kafka_settings,
    log_to_stderr,
    registry_settings,
    warehouse_settings,
)
from millstream.errors import DependencyUnavailable, OperatorNeeded

if TYPE_CHECKING:
    from consumers.verify.audit import Audit
    from consumers.verify.log import Progress as Told
    from millstream.audit.report import Report


def verify(  # noqa: PLR0913, PLR0917 - each is an option
    path: StreamPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")
    ] = 10.0,
    metrics_file: Annotated[
        Path | None,
        typer.Option(help="--watch: metrics for Prometheus' textfile collector (name it *.prom)."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for what is late, while it moves.")
    ] = 10.0,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="A further bundle for scoring a sample again, such as an older one."),
    ] = None,
    rescore: Annotated[bool, typer.Option(help="Score a sample of 1 % again.")] = True,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    warehouse: WarehouseUrl = None,
) -> None:
    """Prove that every event has one answer and every record one row, or name what has not.

    Reads the topics of a stream (committed records only) and its tables; joins no group, commits
    and changes nothing. Topics may be written to meanwhile: it judges what was there when it began.
    Compares coverage, order, committed offsets, rows and their contents, and scores 1 % of the
    predictions again with the stream's bundle.

    With --watch it goes on with what is new, logs each finding once, writes damage as an alarm to
    NAME.alarms where that topic exists, and ends at Ctrl-C with the last report.

    Ends with 0: clean. 1: something is lost, doubled or wrong, with its offsets. 2: cannot tell,
    and why.

    Example: millstream verify examples/loans/stream.toml --json
    """
    from consumers.verify.about import Options
    from millstream.settings import ScorerSettings, from_environment
    from millstream.stream import Stream

    stream = Stream.load(path)
    settings = from_environment(ScorerSettings, os.environ)
    bundles = (stream.bundle_path, *(bundle or ())) if rescore else ()
    options = Options(wait, bundles, settings.threads)
    parts = (kafka_settings(kafka), registry_settings(registry), warehouse_settings(warehouse))
    try:
        if watch:
            from consumers.metrics.observed import observed
            from consumers.verify.watch import Watch
            from ops.process import stop_requests

            log_to_stderr()
            with observed("verify", stream, os.environ):
                report = Watch(stream, *parts, options, metrics_file).run(every, stop_requests())
        else:
            from consumers.verify.once import verify as audited

            with _bar(shown=not as_json and sys.stderr.isatty()) as bar:
                report = audited(stream, *parts, options, bar)
    except DependencyUnavailable as why:
        raise OperatorNeeded(
            f"cannot tell: {why.dependency}: {why.reason}", "Start it, or correct its address"
        ) from why
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        _show(report)
    raise typer.Exit(report.verdict.exit_code)


class _Bar:
    """A progress bar over the offsets that are read, with the time that is left."""

    def __init__(self, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
            transient=True,
        )

    def __call__(self, audit: Audit) -> Told:
        first, second = audit.expected()
        task = self._progress.add_task("reading", total=first + second)

        def told(topic: str, count: int) -> None:
            self._progress.update(task, advance=count, description=topic)

        return told

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def stop(self) -> None:
        self._progress.stop()


@contextmanager
def _bar(shown: bool) -> Iterator[_Bar]:
    bar = _Bar(shown).__enter__()
    try:
        yield bar
    finally:
        bar.stop()


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    # a file or a pipe gets whole lines; a terminal gets its own width
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table(title=f"{report.stream}: partitions", title_justify="left")
    heads = ("partition", "offsets", "events", "predictions", "dead letters", "committed")
    for name in (*heads, "waiting", "rows: events", "predictions", "dead letters", "waiting"):
        table.add_column(name, justify="right")
    for line in report.lines:
        table.add_row(
            str(line.partition),
            f"{line.first}..{line.end}",
            *(f"{n:,}" for n in (line.events, line.predictions, line.dead_letters)),
            "none" if line.committed is None else f"{line.committed:,}",
            f"{line.waiting:,}",
            *(f"{n:,}" for n in line.rows.values()),
            f"{sum(line.rows_waiting.values()):,}",
        )
    console.print(table)
    for finding in report.findings:
        style = "red" if finding.certain else "yellow"
        head = "WRONG " if finding.certain else "UNSURE"
        console.print(f"{head} {finding.text}", style=style, soft_wrap=True, markup=False)
    console.print(
        f"{report.verdict.value}: {report.total('events'):,} events in {report.seconds:.1f} s, "
        f"{report.compared:,} rows compared with their records, {report.rescored:,} predictions "
        "scored again",
        style={"clean": "green", "damaged": "red"}.get(report.verdict.value, "yellow"),
        soft_wrap=True,
    )
