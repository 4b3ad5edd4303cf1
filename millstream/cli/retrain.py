"""`millstream retrain` and `millstream retrainings`."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import (
    Kafka,
    ReadyFile,
    RegistryUrl,
    StreamPath,
    WarehouseUrl,
    kafka_settings,
    registry_settings,
    start,
    warehouse_settings,
)
from millstream.cli.tail import printable
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from millstream.retraining.stages import Attempt

ME = "a person"


def retrain(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    once: Annotated[
        bool, typer.Option("--once", help="One retraining, now, to its end. Needs --reason.")
    ] = False,
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Ask the retrainer that runs for one. Needs --reason."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, with --once or --ask.")] = "",
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    warehouse: WarehouseUrl = None,
    ready_file: ReadyFile = None,
) -> None:
    """Retrain a stream whenever [retrain] of stream.toml says so, until stopped.

    Collects labelled rows from ClickHouse, fits candidates, compares them and former champions with
    the champion on the newest labels, registers a winner, and releases it: beside the champion, for
    some keys, for all. Each stage's start and end is a record of NAME.retraining, so a killed
    retrainer goes on where it was. A second one of the same stream takes the first one's place.

    Example: millstream retrain examples/loans/stream.toml --once --reason "a new product"
    """
    from consumers.metrics.observed import observed
    from consumers.registry import Registry
    from consumers.retrainer import asked_for
    from consumers.retraining.log import ask_for
    from consumers.retraining.program import TOPICS, run_retrainer
    from consumers.topics import require_topics
    from millstream.retraining.stages import Outcome

    if (once or ask) != bool(reason.strip()) or (once and ask):
        raise SettingsInvalid(
            "--reason goes with --once or with --ask, and each of them needs it",
            'Write --once --reason "WHY"',
        )
    given = start(path, kafka, registry, ready_file)
    require_topics(given.stream, given.kafka, list(TOPICS))
    if ask:
        name = given.stream.name
        step = ask_for(
            given.stream,
            given.kafka,
            Registry(given.registry),
            lambda log: asked_for(name, log.number, reason, time.time_ns() // 1_000, ME),
        )
        typer.echo(f"asked for retraining {step.number}: millstream retrainings {path}")
        return
    with observed("retrain", given.stream, os.environ):
        ended = run_retrainer(
            given.stream,
            given.kafka,
            given.registry,
            warehouse_settings(warehouse),
            given.stop,
            given.ready,
            reason if once else None,
        )
    if ended is not None:
        typer.echo("\n".join(_lines(ended)))
        failed = ended.over is None or ended.over.outcome is Outcome.FAILED
        raise typer.Exit(1 if failed else 0)


def retrainings(
    path: StreamPath,
    last: Annotated[int, typer.Option(min=1, help="How many, the newest last.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every fact, one object a retraining.")
    ] = False,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """List a stream's retrainings: why each began, how far it came, how it ended and why.

    Reads NAME.retraining to its end, without joining a group. ClickHouse has the same as the table
    `retraining`.

    Example: millstream retrainings examples/loans/stream.toml
    """
    from consumers.registry import Registry
    from consumers.retraining.log import read_log
    from millstream.stream import Stream

    stream = Stream.load(path)
    client = Registry(registry_settings(registry))
    log = read_log(stream, kafka_settings(kafka), client)
    for attempt in log.attempts[-last:]:
        if as_json:
            typer.echo(json.dumps(_as_json(attempt)))
        else:
            typer.echo("\n".join(_lines(attempt)))
    if not log.attempts:
        typer.echo(f"{stream.name} was never retrained", err=True)


def _lines(attempt: Attempt) -> list[str]:
    from millstream.alerts.alarm import iso

    head = f"{attempt.number:>4} {iso(attempt.asked_us)} {attempt.trigger}: {attempt.reason}"
    said = [f"       {stage} done" for stage in attempt.done]
    if attempt.over is not None:
        said.append(f"       {attempt.over.outcome} in {attempt.over.stage}: {attempt.over.reason}")
    elif attempt.running is not None:
        said.append(f"       {attempt.running} runs, try {attempt.tries}")
    elif not attempt.done:
        said.append("       asked for, not begun")
    return [printable(line) for line in [head, *said]]


def _as_json(attempt: Attempt) -> dict[str, object]:
    over = attempt.over
    return {
        "id": attempt.id,
        "number": attempt.number,
        "trigger": attempt.trigger.value,
        "reason": attempt.reason,
        "asked_us": attempt.asked_us,
        "stages": {stage.value: dict(facts) for stage, facts in attempt.done.items()},
        "running": None if attempt.running is None else attempt.running.value,
        "outcome": None if over is None or over.outcome is None else over.outcome.value,
        "over": None if over is None else {"reason": over.reason, **dict(over.facts)},
    }
