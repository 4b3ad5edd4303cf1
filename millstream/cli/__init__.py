"""The command line. Each command imports what it needs when it runs, so that --help is quick.

A command that cannot go on says one line with the thing and one with the remedy. Exit codes:
0 done, 1 a check failed, 2 the operator must act, 3 a dependency failed (start it again), 4 the
operator must act and starting it again would do harm, 130 Ctrl-C.
"""

from __future__ import annotations

import sys

import typer

from millstream.cli import (
    alerts,
    bundle,
    check,
    console,
    contract,
    drift,
    init,
    judge,
    letters,
    models,
    performance,
    produce,
    programs,
    releases,
    repro,
    retrain,
    servers,
    sql,
    sql_functions,
    stream,
    tail,
    train,
    up,
    verify,
    watch,
)
from millstream.errors import MillstreamError, OperatorNeeded

app = typer.Typer(
    name="millstream",
    help="Score Kafka events in-stream with ONNX models, exactly once; keep them in ClickHouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for _command in (
    init.init,
    check.check,
    stream.topics,
    stream.migrate,
    up.up,
    programs.score,
    programs.sink,
    watch.watch,
    programs.join,
    produce.produce,
    releases.release,
    releases.rollback,
    releases.releases,
    tail.tail,
    verify.verify,
    performance.performance,
    judge.judge,
    train.train,
    repro.repro,
    retrain.retrain,
    retrain.retrainings,
    sql.sql,
    sql_functions.sql_functions,
    sql_functions.score_rows,
    servers.warehouse,
    servers.registry,
    servers.kafka,
    stream.settings,
    console.console,
    up.demo,
):
    app.command()(_command)
app.add_typer(letters.app)
app.add_typer(alerts.app)
app.add_typer(bundle.app)
app.add_typer(models.app)
app.add_typer(drift.app)
app.add_typer(contract.app)


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except OperatorNeeded as why:
        sys.stderr.write(f"millstream: {why.problem}\n  {why.remedy}\n")
        sys.exit(why.exit_code)
    except MillstreamError as why:
        sys.stderr.write(f"millstream: {why}\n")
        sys.exit(why.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
