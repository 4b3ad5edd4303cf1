"""Options that several commands share, and the settings they become."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from millstream.settings import (
    KafkaSettings,
    RegistrySettings,
    WarehouseSettings,
    from_environment,
)

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


def log_to_stderr() -> None:
    """What programs say goes to standard error, a line each."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in ("avro", "urllib3", "httpx", "httpx2", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
