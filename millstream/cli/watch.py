"""`millstream watch`: the drift watch of a stream."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from millstream.cli.options import Kafka, ReadyFile, RegistryUrl, StreamPath, start


def watch(
    path: StreamPath,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    rebuild: Annotated[
        bool, typer.Option(help="Forget the state: read the topics from their beginning.")
    ] = False,
    ready_file: ReadyFile = None,
) -> None:
    """Watch a stream for drift until stopped: its inputs, its predictions, and their loss.

    Reads NAME.events, NAME.predictions and NAME.labelled (`millstream join` writes it); writes
    NAME.drift, NAME.incidents and its own state, NAME.watch-state, in one Kafka transaction on a
    real broker. One process watches all partitions of a stream: a second one takes its place. The
    state is sealed with MILLSTREAM_WATCH_KEY, or with the key in .watch.key beside stream.toml,
    which is made at the first start.

    Example: millstream watch examples/loans/stream.toml --kafka 127.0.0.1:9092
    """
    from consumers.metrics.observed import observed
    from consumers.topics import require_topics
    from consumers.watch import run_watch
    from millstream.settings import WatchSettings, from_environment

    given = start(path, kafka, registry, ready_file)
    settings = from_environment(WatchSettings, os.environ)
    require_topics(given.stream, given.kafka, ["labelled", "drift", "incidents", "watch_state"])
    with observed("watch", given.stream, os.environ):
        run_watch(
            given.stream,
            given.kafka,
            given.registry,
            settings,
            given.stop,
            given.ready,
            rebuild=rebuild,
        )
