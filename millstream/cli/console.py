"""`millstream console`: a stream in the browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.options import (
    Kafka,
    ReadyFile,
    WarehouseUrl,
    kafka_settings,
    log_to_stderr,
    warehouse_settings,
)


def console(
    path: Annotated[
        Path, typer.Argument(metavar="[STREAM.TOML]", help="The stream's file.")
    ] = Path("stream.toml"),
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8350,
    hash_password: Annotated[
        bool, typer.Option("--hash-password", help="Ask for a password, print its hash, end.")
    ] = False,
    kafka: Kafka = None,
    warehouse: WarehouseUrl = None,
    ready_file: ReadyFile = None,
) -> None:
    """Show a stream in the browser: rates, lag, performance, drift, incidents, models, letters.

    Reads ClickHouse and the offsets in Kafka; writes nothing. Asks them while someone looks. A part
    that is away is named, and what was last known of it is shown with its age. Anywhere but on
    loopback it needs MILLSTREAM_CONSOLE_PASSWORD or _PASSWORD_HASH, and https before it. Ctrl-C or
    SIGTERM stops it.

    Example: millstream console examples/loans/stream.toml --port 8350
    """
    if hash_password:
        _print_hash()
        return
    from consumers.console.app import Given
    from consumers.console.serve import run_console
    from millstream.settings import ConsoleSettings, MetricsSettings, from_environment
    from millstream.stream import Stream
    from ops.process import write_ready_file

    def ready(url: str) -> None:
        typer.echo(f"the console answers at {url}")
        if ready_file is not None:
            write_ready_file(ready_file, url)

    log_to_stderr()
    targets = from_environment(MetricsSettings, os.environ).targets
    given = Given(
        Stream.load(path),
        kafka_settings(kafka),
        warehouse_settings(warehouse),
        from_environment(ConsoleSettings, os.environ),
        Path(targets) if targets else None,
    )
    run_console(given, host, port, ready)


def _print_hash() -> None:
    from millstream.console.sessions import SALT_BYTES
    from millstream.console.sessions import hash_password as hashed

    password = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    typer.echo(hashed(password, os.urandom(SALT_BYTES)))
