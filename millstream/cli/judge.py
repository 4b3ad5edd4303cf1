"""`millstream judge`: promote, reject, roll back, keep or hold, by the labels known now."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

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


def judge(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    model: Annotated[
        str | None,
        typer.Option(help="Only this challenger or shadow: NAME@VERSION. Else each of them."),
    ] = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="A further bundle that answered, where its labels are not the stream's."),
    ] = None,
    record: Annotated[
        bool, typer.Option(help="Write what is decided to NAME.decisions, with its evidence.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: one object a line.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Judge each new champion until stopped; roll back by itself."),
    ] = False,
    ready_file: ReadyFile = None,
    warehouse: WarehouseUrl = None,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Judge the challenger and the shadows of the newest release against the champion.

    Compares them on the same labelled events in ClickHouse, by a test that may be looked at as
    often as one likes, and passes them through the gates of [judge], [fairness] and [costs]. It
    decides, and writes down why; it releases nothing.

    With --watch it runs until stopped, and does release: the champion before scores beside each new
    one, until it is shown that the new one is better, or worse: then the one before answers again.
    A retrainer that runs does the same.

    Ends with 0, or with 1 if a new champion is to be rolled back.

    Example: millstream judge examples/loans/stream.toml --no-record
    """
    if watch:
        _watch(path, kafka, registry, warehouse, ready_file)
        return

    from consumers.judge import contests, decide, publish, require_contest
    from consumers.registry import Registry
    from consumers.warehouse import Warehouse
    from millstream.alerts.alarm import json_text
    from millstream.judging.evidence import Verdict
    from millstream.judging.records import DecisionRecord
    from millstream.models.bundle import Bundle
    from millstream.stream import Stream

    stream = Stream.load(path)
    cards = [Bundle.load(each).card for each in (stream.bundle_path, *(bundle or ()))]
    connected = Warehouse.connect(warehouse_settings(warehouse))
    try:
        found = require_contest(stream, contests(stream, connected), model)
        decisions = [decide(stream, connected, cards, one) for one in found]
    finally:
        connected.close()
    for each in decisions:
        if as_json:
            typer.echo(json_text(each.as_json()))
        else:
            text = each.markdown() if markdown else each.table()
            typer.echo("\n".join(printable(line) for line in text.splitlines()))
    if record:
        now_us = time.time_ns() // 1_000
        records = [DecisionRecord(each, now_us) for each in decisions]
        publish(stream, kafka_settings(kafka), Registry(registry_settings(registry)), records)
    rolled = any(each.verdict is Verdict.ROLL_BACK for each in decisions)
    raise typer.Exit(1 if rolled else 0)


def _watch(
    path: Path,
    kafka: str | None,
    registry: str | None,
    warehouse: str | None,
    ready_file: Path | None,
) -> None:
    from consumers.releases.probation import run_probations

    given = start(path, kafka, registry, ready_file)
    if not given.stream.judge.probation:
        raise SettingsInvalid(
            f"[judge] probation of {path} is off", "Set probation = true, or leave --watch out"
        )
    run_probations(
        given.stream,
        given.kafka,
        given.registry,
        warehouse_settings(warehouse),
        given.stop,
        given.ready,
    )
