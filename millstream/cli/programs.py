"""`millstream score`, `sink` and `join`: the programs that run for ever."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from millstream.cli.options import (
    Kafka,
    ReadyFile,
    RegistryUrl,
    StreamPath,
    WarehouseUrl,
    start,
    warehouse_settings,
)


def score(
    path: StreamPath,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    slot: Annotated[
        int | None,
        typer.Option(help="Which of several scorers this is. Else MILLSTREAM_SCORER_SLOT, or 0."),
    ] = None,
    ready_file: ReadyFile = None,
) -> None:
    """Score a stream's events until stopped.

    Reads NAME.events; writes NAME.predictions and NAME.dead-letters, in one Kafka transaction a
    batch on a real broker. Needs the broker, the schema registry, the topics (`millstream topics`)
    and the stream's bundle. Several can share a stream, each with a slot of its own. Ctrl-C or
    SIGTERM: the batch in hand is finished first.

    Example: millstream score examples/loans/stream.toml --kafka 127.0.0.1:9092
    """
    from consumers.metrics.observed import observed
    from consumers.scorer import run_scorer
    from consumers.topics import require_topics
    from millstream.settings import ScorerSettings, from_environment

    given = start(path, kafka, registry, ready_file)
    settings = from_environment(ScorerSettings, os.environ, slot=slot)
    require_topics(given.stream, given.kafka)
    with observed("scorer", given.stream, os.environ, settings.slot):
        run_scorer(given.stream, given.kafka, given.registry, settings, given.stop, given.ready)


def sink(
    path: StreamPath,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    warehouse: WarehouseUrl = None,
    slot: Annotated[
        int | None,
        typer.Option(help="Which of several sinks this is. Else MILLSTREAM_SINK_SLOT, or 0."),
    ] = None,
    ready_file: ReadyFile = None,
) -> None:
    """Write a stream's events, predictions, labelled records and so on to ClickHouse until stopped.

    Reads every topic of schemas/topics.toml that has a table and exists; writes the tables (events,
    predictions, dead_letters, labelled ...) of database NAME, one row for each record, exactly
    once. Needs the broker, the schema registry, ClickHouse and its tables (`millstream migrate`).

    Example: millstream sink examples/loans/stream.toml --warehouse http://127.0.0.1:8123
    """
    from consumers.metrics.observed import observed
    from consumers.sink import run_sink
    from consumers.topics import require_topics
    from millstream.settings import SinkSettings, from_environment

    given = start(path, kafka, registry, ready_file)
    settings = from_environment(SinkSettings, os.environ, slot=slot)
    require_topics(given.stream, given.kafka)
    with observed("sink", given.stream, os.environ, settings.slot):
        run_sink(
            given.stream,
            given.kafka,
            given.registry,
            warehouse_settings(warehouse),
            settings,
            given.stop,
            given.ready,
        )


def join(
    path: StreamPath,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    slot: Annotated[
        int | None,
        typer.Option(help="Which of several joins this is. Else MILLSTREAM_JOIN_SLOT, or 0."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option(help="Make lost state anew by reading both topics again.")
    ] = False,
    ready_file: ReadyFile = None,
) -> None:
    """Join a stream's predictions with their outcomes until stopped.

    Reads NAME.predictions and NAME.outcomes; writes NAME.labelled (labelled, corrected or, after
    label.outcome_wait_s without an outcome, never_labelled) and its own state, NAME.join-state, in
    one Kafka transaction a batch on a real broker. Several can share a stream, each with a slot of
    its own.

    Example: millstream join examples/loans/stream.toml --kafka 127.0.0.1:9092
    """
    from consumers.join import run_join
    from consumers.metrics.observed import observed
    from consumers.topics import require_topics
    from millstream.settings import JoinSettings, from_environment

    given = start(path, kafka, registry, ready_file)
    settings = from_environment(JoinSettings, os.environ, slot=slot)
    require_topics(given.stream, given.kafka, ["labelled", "join_state"])
    with observed("join", given.stream, os.environ, settings.slot):
        run_join(
            given.stream,
            given.kafka,
            given.registry,
            settings,
            given.stop,
            given.ready,
            rebuild=rebuild,
        )
