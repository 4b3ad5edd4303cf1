"""Options that several commands share, the settings they become, and how programs start."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.errors import SettingsInvalid
from millstream.settings import (
    KafkaSettings,
    RegistrySettings,
    WarehouseSettings,
    from_environment,
)

if TYPE_CHECKING:
    from millstream.stream import Stream

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

StreamPath = Annotated[Path, typer.Argument(metavar="STREAM.TOML", help="The stream's file.")]
Kafka = Annotated[
    str | None, typer.Option(help="Brokers as HOST:PORT. Else MILLSTREAM_KAFKA_BOOTSTRAP.")
]
RegistryUrl = Annotated[
    str | None, typer.Option("--registry", help="Schema registry. Else MILLSTREAM_REGISTRY_URL.")
]
WarehouseUrl = Annotated[
    str | None,
    typer.Option(
        "--warehouse",
        help="ClickHouse: http://HOST:PORT or chdb:FOLDER. Else MILLSTREAM_WAREHOUSE_URL.",
    ),
]
ReadyFile = Annotated[Path | None, typer.Option(help="Written when it is ready.")]


def kafka_settings(bootstrap: str | None) -> KafkaSettings:
    return from_environment(KafkaSettings, os.environ, bootstrap=bootstrap)


def registry_settings(url: str | None) -> RegistrySettings:
    return from_environment(RegistrySettings, os.environ, url=url)


def warehouse_settings(url: str | None) -> WarehouseSettings:
    return from_environment(WarehouseSettings, os.environ, url=url)


@dataclass(frozen=True, slots=True)
class Started:
    """What a program that runs until it is stopped begins with; ready writes the ready file."""

    stream: Stream
    kafka: KafkaSettings
    registry: RegistrySettings
    stop: threading.Event
    ready: Callable[[object], None]


def start(path: Path, kafka: str | None, registry: str | None, ready_file: Path | None) -> Started:
    """Log to standard error, listen for signals, and read the stream and the shared options."""
    from consumers.metrics.instruments import current
    from millstream.stream import Stream
    from ops.process import stop_requests, write_ready_file

    def ready(_: object) -> None:
        if ready_file is not None:
            write_ready_file(ready_file, str(os.getpid()))
        current().up()

    log_to_stderr()
    stop = stop_requests()
    stream = Stream.load(path)
    return Started(stream, kafka_settings(kafka), registry_settings(registry), stop, ready)


def seconds(option: str, text: str, units: str = "smhdw") -> int:
    """A length of time such as 30m, in seconds, more than 0; units: the letters it may end in."""
    found = re.fullmatch(rf"(\d{{1,9}})([{units}])", text, re.ASCII)
    if found is None or not int(found[1]):
        known = f"{', '.join(units[:-1])} or {units[-1]}"
        raise SettingsInvalid(
            f"{option} {text} is no length of time", f"Write a number and {known}, such as 30m"
        )
    return int(found[1]) * UNITS_S[found[2]]


def time_of(option: str, text: str | None) -> datetime | None:
    """An ISO 8601 time, UTC where it has no zone."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsInvalid(
            f"{option} {text} is no ISO 8601 time", "Write it as 2024-05-01T12:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def log_to_stderr() -> None:
    """What programs say goes to standard error, a line each."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in ("avro", "urllib3", "httpx", "httpx2", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
