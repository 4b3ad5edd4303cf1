"""The console in a real browser: a planted stream in ClickHouse, a broker, `millstream console`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    expect,
    sync_playwright,
)
from pydantic import SecretStr

from consumers.kafka import connection
from consumers.warehouse import Warehouse
from millstream.settings import KafkaSettings, WarehouseSettings
from ops.kafka.embedded import EmbeddedBroker
from ops.process import Child
from tests.consumers.console.planted import PARTITIONS, Planted, plant
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAITING = 8
"""Events that the scorer's group has not read."""


@dataclass(frozen=True, slots=True)
class Site:
    """A console that answers, and what it is of."""

    url: str
    planted: Planted
    warehouse: Warehouse


def _plant_kafka(embedded: EmbeddedBroker, planted: Planted) -> KafkaSettings:
    """40 events, of which the scorer has read all but WAITING; the sink has read everything."""
    settings = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    name = planted.stream.name
    events = planted.stream.topic("events")
    embedded.create_topic(events, PARTITIONS)
    producer = Producer(connection(settings))
    for number in range(40):
        producer.produce(events, b"x", partition=number % PARTITIONS)
    assert producer.flush(20) == 0
    for group, first in (("scorer", 20 - WAITING), ("sink", 20)):
        consumer = Consumer(connection(settings) | {"group.id": f"{name}-{group}"})
        places = [TopicPartition(events, 0, first), TopicPartition(events, 1, 20)]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()
    return settings


@contextmanager
def console(
    planted: Planted, folder: Path, environment: dict[str, str]
) -> Iterator[tuple[Child, str]]:
    """`millstream console` on a free port, and its address."""
    ready = folder / "console-ready"
    argv = [sys.executable, "-m", "millstream", "console", str(planted.stream.path), "--port", "0"]
    child = Child(
        "console", [*argv, "--ready-file", str(ready)], log=folder / "log", env=environment
    )
    try:
        child.wait_until(ready.exists, timeout_s=READY_S_MAX)
        yield child, ready.read_text().strip()
    finally:
        child.stop()


@contextmanager
def site(folder: Path, broker: EmbeddedBroker) -> Iterator[tuple[Site, Callable[[], None]]]:
    """Everything, and what ends ClickHouse."""
    process, url = serve(folder)
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    warehouse = Warehouse.connect(settings)
    try:
        planted = plant(warehouse, folder / "loans", "loans", time.time_ns() // 1_000)
        kafka = _plant_kafka(broker, planted)
        environment = {
            "MILLSTREAM_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "MILLSTREAM_KAFKA_EMBEDDED": "true",
            "MILLSTREAM_WAREHOUSE_URL": url,
            "MILLSTREAM_WAREHOUSE_USERNAME": "default",
            "MILLSTREAM_WAREHOUSE_PASSWORD": PASSWORD,
            "MILLSTREAM_CONSOLE_POLL_S": "0.5",
        }
        with console(planted, folder, environment) as (_, address):
            yield Site(address, planted, warehouse), process.kill
    finally:
        warehouse.close()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, embedded: EmbeddedBroker) -> Iterator[Site]:
    """A console that all tests of a file read."""
    with site(tmp_path_factory.mktemp("console"), embedded) as (made, _):
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips where there is none, fails if CI is true. Gone behind the file, as
    Playwright leaves an event loop running in which no other test could run one."""
    if shutil.which(CHROMIUM) is None:
        reason = f"there is no {CHROMIUM}: install Debian's package chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@contextmanager
def clean_page(browser: Browser, width: int = 1_600, dark: bool = False) -> Iterator[Page]:
    """A page that must end without an error in its console, and without a request elsewhere."""
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    page = browser.new_page(
        viewport={"width": width, "height": 1_000}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    faults: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            faults.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:")):
            faults.append(f"asked {request.url}")

    def opened(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
    page.on("request", asked)
    page.on("dialog", opened)
    yield page
    page.close()
    assert faults == []


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """1,600 px wide, light."""
    with clean_page(browser) as made:
        yield made
