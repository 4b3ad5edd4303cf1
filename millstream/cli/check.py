"""`millstream check`: compare everything with everything before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import (
    Kafka,
    RegistryUrl,
    StreamPath,
    WarehouseUrl,
    kafka_settings,
    registry_settings,
    warehouse_settings,
)
from millstream.errors import MillstreamError, OperatorNeeded

if TYPE_CHECKING:
    from millstream.stream import Stream

Problem = tuple[str, str]


def check(
    path: StreamPath,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    warehouse: WarehouseUrl = None,
    offline: Annotated[
        bool, typer.Option(help="Files only: ask no broker, registry or ClickHouse.")
    ] = False,
) -> None:
    """Compare a stream's parts with each other; name each misfit and what to change.

    Reads stream.toml, the event schema and the bundle; asks the broker for the topics' partitions
    and settings, the registry whether the schemas are compatible, ClickHouse which migrations are
    missing. Changes nothing. Exit code 0 if all fits, else 2.

    Example: millstream check examples/loans/stream.toml
    """
    from millstream.stream import Stream

    stream = Stream.load(path)
    parts: dict[str, Callable[[], Iterator[Problem]]] = {
        "stream.toml and event schema": lambda: iter(()),
        "model bundle": lambda: _bundle(stream),
    }
    if not offline:
        parts |= {
            "topics": lambda: _topics(stream, kafka),
            "schema registry": lambda: _schemas(stream, registry),
            "ClickHouse": lambda: _tables(stream, warehouse),
        }
    failed = False
    for name, look in parts.items():
        problems = list(_caught(look))
        typer.echo(f"{'FAIL' if problems else 'ok':4} {name}")
        for problem, remedy in problems:
            typer.echo(f"     {problem}\n       {remedy}")
        failed = failed or bool(problems)
    if failed:
        raise typer.Exit(2)


def _caught(look: Callable[[], Iterator[Problem]]) -> Iterator[Problem]:
    """The part's problems; an error that it raises is one of them."""
    try:
        yield from look()
    except OperatorNeeded as why:
        yield why.problem, why.remedy
    except MillstreamError as why:
        yield str(why), "Start it, or correct its address"


def _bundle(stream: Stream) -> Iterator[Problem]:
    from millstream.fit import misfits, require_signature
    from millstream.models.bundle import Bundle

    overload = stream.serving.overload
    cheaper = overload.cheaper if overload is not None else None
    for folder in [stream.bundle_path, *([stream.beside(cheaper)] if cheaper else [])]:
        bundle = Bundle.load(folder)
        yield from misfits(stream, bundle)
        require_signature(stream, bundle)


def _topics(stream: Stream, kafka: str | None) -> Iterator[Problem]:
    from consumers.kafka import require_broker
    from consumers.topics import topic_problems

    settings = kafka_settings(kafka)
    admin = require_broker(settings)
    if not settings.embedded:
        for found in topic_problems(stream, admin):
            yield found.problem, found.remedy


def _schemas(stream: Stream, registry: str | None) -> Iterator[Problem]:
    from consumers.registry import Registry
    from millstream.contracts import contract

    client = Registry(registry_settings(registry))
    wanted = {
        f"{stream.topic('events')}-value": stream.schema_of_event.text,
        f"{stream.topic('predictions')}-value": contract("prediction").text,
        f"{stream.topic('labelled')}-value": contract("labelled").text,
        f"{stream.topic('releases')}-value": contract("release").text,
        f"{stream.topic('shadows')}-value": contract("shadow").text,
    }
    for subject, schema in wanted.items():
        for reason in client.compatible(subject, schema):
            yield (
                f"subject {subject}: the schema is incompatible with the registered one: {reason}",
                "Change the schema so that old events stay readable, or use another stream name",
            )


def _tables(stream: Stream, warehouse: str | None) -> Iterator[Problem]:
    from consumers.warehouse import Warehouse, require_tables

    connected = Warehouse.connect(warehouse_settings(warehouse))
    try:
        require_tables(connected, stream)
    finally:
        connected.close()
    yield from ()
