"""`millstream warehouse`, `registry` and `kafka`: the servers of a laptop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.options import ReadyFile, log_to_stderr

Host = Annotated[str, typer.Option(help="Address to listen on; loopback needs no password.")]


def warehouse(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the data lies.")],
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8123,
    ready_file: ReadyFile = None,
    functions: Annotated[
        Path | None, typer.Option(help="Folder of `millstream sql-functions`: to score in SQL.")
    ] = None,
) -> None:
    """Serve the embedded ClickHouse (chDB) to any ClickHouse HTTP client.

    Reads and writes FOLDER, which one process can use at a time. On another address than loopback
    it needs MILLSTREAM_WAREHOUSE_PASSWORD. Ctrl-C or SIGTERM: running statements are finished.

    Example: millstream warehouse .run/clickhouse --port 8123
    """
    import os

    from millstream.settings import WarehouseSettings, from_environment
    from ops.warehouse.serve import serve

    log_to_stderr()
    password = from_environment(WarehouseSettings, os.environ).password
    serve(path, host, port, password, ready_file, functions)


def registry(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the schemas lie.")],
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8081,
    ready_file: ReadyFile = None,
) -> None:
    """Serve the embedded schema registry (Confluent's REST API, Avro only).

    Reads and writes FOLDER. For a laptop and for tests; in production use a registry of your own.

    Example: millstream registry .run/registry --port 8081
    """
    from ops.registry.server import serve

    log_to_stderr()
    serve(path, host, port, ready_file)


def kafka(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Where the log lies.")
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 9092,
    ready_file: ReadyFile = None,
) -> None:
    """Run a real Apache Kafka on this machine (KRaft, one node, loopback).

    Fetches Kafka's jars by Maven at the first start (54 MB) and needs Java 17. Without FOLDER the
    log is temporary. Ctrl-C stops it.

    Example: millstream kafka .run/kafka --port 9092
    """
    from ops.kafka.broker import Broker
    from ops.process import stop_requests, write_ready_file

    stop = stop_requests()
    with Broker(path, port=port) as broker:
        typer.echo(f"Kafka answers at {broker.bootstrap}; Ctrl-C stops it")
        if ready_file is not None:
            write_ready_file(ready_file, broker.bootstrap)
        stop.wait()
