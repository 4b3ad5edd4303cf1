"""`millstream topics`, `migrate` and `settings`: make ready what the programs need."""

from __future__ import annotations

import typer

from millstream.cli.options import (
    Kafka,
    StreamPath,
    WarehouseUrl,
    kafka_settings,
    warehouse_settings,
)


def topics(path: StreamPath, kafka: Kafka = None) -> None:
    """Create a stream's topics where they are missing.

    Reads stream.toml and schemas/topics.toml; creates NAME.events, .predictions, .dead-letters,
    .outcomes and .redrives, each with serving.partitions partitions. Existing topics are left as
    they are; `millstream check` compares them. Needs the broker and the right to create topics.

    Example: millstream topics examples/loans/stream.toml --kafka 127.0.0.1:9092
    """
    from consumers.topics import create_topics
    from millstream.stream import Stream

    stream = Stream.load(path)
    created = create_topics(stream, kafka_settings(kafka))
    for name in created:
        typer.echo(f"created {name} with {stream.serving.partitions} partitions")
    if not created:
        typer.echo("every topic is there")


def migrate(path: StreamPath, warehouse: WarehouseUrl = None) -> None:
    """Bring a stream's ClickHouse tables up to date.

    Applies schemas/clickhouse/NNN_*.sql in order to database NAME, then one column of `events` for
    each field of the event schema. Applied steps are recorded in NAME.migrations; running it again
    changes nothing. Needs ClickHouse and the right to create databases and tables.

    Example: millstream migrate examples/loans/stream.toml --warehouse http://127.0.0.1:8123
    """
    from consumers import warehouse as clickhouse
    from millstream.stream import Stream
    from millstream.warehouse.caching import LOSES_ROWS

    stream = Stream.load(path)
    connected = clickhouse.Warehouse.connect(warehouse_settings(warehouse))
    try:
        applied = clickhouse.migrate(connected, stream)
    finally:
        connected.close()
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("every migration is applied")
    if connected.others_lose_rows:
        typer.echo(LOSES_ROWS, err=True)


def settings() -> None:
    """List every setting that the environment can hold, with its default and what it does.

    Example: millstream settings
    """
    from millstream.settings import PARTS, PREFIX

    for part, cls in PARTS.items():
        typer.echo(cls.__doc__)
        for name, field in cls.model_fields.items():
            typer.echo(f"  {PREFIX}{part}_{name.upper()} = {field.default}")
            if field.description:
                typer.echo(f"      {field.description}")
