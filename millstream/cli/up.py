"""`millstream up` and `millstream demo`: a whole Millstream on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.options import StreamPath, log_to_stderr

Part = "embedded, or the address of one that runs already."


def up(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    kafka: Annotated[
        str, typer.Option(help="embedded, real (started here), or HOST:PORT.")
    ] = "embedded",
    registry: Annotated[str, typer.Option(help=Part)] = "embedded",
    warehouse: Annotated[str, typer.Option(help=Part)] = "embedded",
    scorers: Annotated[int, typer.Option(min=1, help="How many scorers.")] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Join outcomes and watch for drift too.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="And retrain models, as [retrain] says.")
    ] = False,
    console: Annotated[
        bool, typer.Option("--console", help="And show it in the browser, on a free port.")
    ] = False,
    folder: Annotated[Path | None, typer.Option(help="Data and logs. Else .run/NAME.")] = None,
) -> None:
    """Run a stream whole on this machine: broker, registry, ClickHouse, scorer and sink.

    Reads stream.toml; writes topics, tables and logs below FOLDER. What ends is started again.
    Alerts run where stream.toml has [[alerts.rules]], or a channel has its address
    (MILLSTREAM_ALERTS_*).
    The embedded broker forgets everything when it stops; use --kafka real to keep it. Ctrl-C stops
    all in order.

    Example: millstream up examples/loans/stream.toml --kafka real
    """
    from millstream.stream import Stream
    from ops.process import stop_requests
    from ops.stack import Parts, Stack

    log_to_stderr()
    stop = stop_requests()
    stream = Stream.load(path)
    where = folder or Path(".run") / stream.name
    parts = Parts(kafka, registry, warehouse, scorers, watch or retrain, retrain, console)
    with Stack(stream, where, parts) as stack:
        typer.echo(f"{stream.name} is up; Ctrl-C stops it. In another shell:")
        for name, value in stack.environment.items():
            typer.echo(f"  export {name}={value}")
        if stack.console_url is not None:
            typer.echo(f"in the browser: {stack.console_url}")
        while not stop.wait(1.0):
            stack.tend()


def demo(
    events: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after so long.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Events a second; else 2,000, drift 500.")
    ] = None,
    kafka: Annotated[str, typer.Option(help="embedded, or real (needs Java and Maven).")] = (
        "embedded"
    ),
    folder: Annotated[Path, typer.Option(help="Data and logs; emptied first.")] = Path(".run/demo"),
    story: Annotated[
        str | None,
        typer.Option(help="concept: the rule changes, the watch says so. drift: a model follows."),
    ] = None,
) -> None:
    """Show the whole main job: loan applications are published, scored, and kept in ClickHouse.

    Generates the stream with River's synth.Agrawal, trains a model at the first start, and runs
    broker, registry, ClickHouse, scorer and sink. Ends on Ctrl-C or after --events or --seconds,
    with a summary read back from ClickHouse. Exit code 0 only if every event has one prediction.
    --story concept runs join and watch too, on 24,000 events whose rule changes in the middle:
    exit code 0 only if accuracy fell, one incident was opened as a concept change, and no input
    raised an alarm. --story drift runs the retrainer too, until a new model was proven, tried and
    promoted and has answered for a while: exit code 0 only if accuracy is back, every prediction is
    by the model that answered at its offset, and verify is clean.

    Example: millstream demo --events 20000 --kafka real
    """
    from importlib.util import find_spec

    from millstream.errors import OperatorNeeded

    if find_spec("examples") is None or find_spec("lightgbm") is None:
        raise OperatorNeeded(
            "the demo needs the examples and the training libraries, which are not installed",
            "Run `make demo` in a clone of the project",
        )
    if story is not None and (events is not None or seconds is not None):
        raise OperatorNeeded("a story has its own length", "Leave --events and --seconds out")
    if story == "concept":
        from ops.demo.story import run_story

        raise typer.Exit(run_story(folder, kafka, rate or 2_000))
    if story == "drift":
        from ops.demo.drift_story import RATE, run_drift_story

        raise typer.Exit(run_drift_story(folder, kafka, rate or RATE))
    if story is not None:
        raise OperatorNeeded(f"there is no story {story}", "Choose --story concept or drift")
    from ops.demo.run import run_demo

    raise typer.Exit(run_demo(folder, kafka, rate or 2_000, events, seconds))
