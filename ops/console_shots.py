"""`python -m ops.console_shots`: the drift story with its console, and a picture of each page.

The story is the demo's: the rule changes, an incident is opened, a model is retrained, tried and
promoted; a few damaged events come with it, so that there are dead letters. When the new model has
answered for a while, Debian's Chromium takes the pictures into docs/console. Needs the extra `dev`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer
from confluent_kafka import Producer
from rich.console import Console

from consumers.kafka import connection
from consumers.warehouse import Warehouse
from millstream.stream import Stream
from ops.demo.drift_story import (
    AFTERWARDS,
    CHANGE_AT,
    EVENTS_MAX,
    RATE,
    SETTINGS,
    Seen,
    look,
    picture,
)
from ops.demo.feed import Feed, story_batches
from ops.demo.loans import write_profile, write_stream
from ops.demo.play import Patience, begin, follow, running
from ops.process import stop_requests
from ops.stack import Parts, Stack

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGES: Final = {
    "overview": "/", "performance": "/performance", "drift": "/drift", "incidents": "/incidents",
    "models": "/models", "letters": "/letters", "lookup": "/lookup?q={event}", "sql": "/sql",
}  # fmt: skip
SIZES: Final = {"": (1_600, 1_000), "-400": (400, 860)}
DAMAGED: Final = {
    b"": 3,
    b"\x00\x00\x00": 8,
    b"not avro at all": 5,
    b"\x00\x00\x00\x00\x01\x06L": 14,
}
"""Kafka value -> how many events have it."""
PATIENCE_S: Final = 120.0
WAIT_MS: Final = 30_000
SHOWN: Final = (
    "() => document.querySelector('#page .panel') && !document.querySelector('#reading') && "
    "document.querySelectorAll('#page .chart').length === "
    "document.querySelectorAll('#page .chart[data-drawn]').length"
)
"""Whether a page has its data and its charts."""


def shoot(url: str, into: Path, event: str, every: bool, said: Callable[[str], None]) -> None:
    """Pictures of each page of the console at `url`.

    every: in both themes and both widths; else one of each page, and the overview in all of them.
    event: the id that is looked up.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    into.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for dark in (False, True):
            for suffix, (width, height) in SIZES.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if dark else "light",
                )
                for name, path in PAGES.items():
                    if (dark or suffix) and not every and name != "overview":
                        continue
                    page.goto(url + path.format(event=event))
                    if name == "sql":
                        page.get_by_role("button", name="Run").click()
                    if name == "letters":
                        page.locator("#page tbody button").first.click()
                    page.wait_for_timeout(2_000 if name != "overview" else 6_000)
                    page.wait_for_function(SHOWN, timeout=WAIT_MS)
                    file = into / f"{name}{'-dark' if dark else ''}{suffix}.png"
                    page.screenshot(path=file, full_page=True)
                    said(f"{file}")
                page.close()
        browser.close()


def _damage(stack: Stack, stream: Stream) -> None:
    producer = Producer(connection(stack.kafka))
    for value, count in DAMAGED.items():
        for number in range(count):
            producer.produce(stream.topic("events"), value, key=f"A-{number}".encode())
    producer.flush(10)


def _event(warehouse: Warehouse, name: str) -> str:
    """One that the new model answered, and whose label is in."""
    ((found,),) = warehouse.query(
        f"SELECT argMax(event_id, scored_at) FROM {name}.labelled_now WHERE status = 'labelled'"
    )
    return str(found)


def main(
    folder: Annotated[Path, typer.Option(help="Data and logs; emptied first.")] = Path(
        ".run/shots"
    ),
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("docs/console"),
    every: Annotated[bool, typer.Option("--every", help="All pages, themes and widths.")] = False,
    url: Annotated[str | None, typer.Option(help="Of a console that runs: no story then.")] = None,
    event: Annotated[str, typer.Option(help="With --url: the id that is looked up.")] = "L-0",
    rate: Annotated[float, typer.Option(min=1, help="Events a second.")] = RATE,
) -> None:
    """Run the story, and take the pictures."""
    console = Console()
    if url is not None:
        shoot(url, out, event, every, console.print)
        return
    begin("embedded")
    shutil.rmtree(folder, ignore_errors=True)
    path = write_stream(folder / "loans")
    path.write_text(path.read_text("utf-8") + SETTINGS, "utf-8")
    stream = Stream.load(path)
    write_profile(stream)
    feed = Feed(rate, story_batches(stream, EVENTS_MAX, CHANGE_AT))
    stop = stop_requests()
    parts = Parts(watch=True, retrain=True, console=True)
    with (
        running(console, stream, folder / "run", parts) as stack,
        closing(Warehouse.connect(stack.warehouse)) as warehouse,
    ):
        _damage(stack, stream)
        taken = False

        def is_over(_: Seen, seen: Seen) -> bool:
            nonlocal taken
            if seen.promoted and seen.renewed >= AFTERWARDS:
                taken = True
                assert stack.console_url is not None, "it was asked for"
                event = _event(warehouse, stream.name)
                shoot(stack.console_url, out, event, every, lambda text: None)
            return taken

        follow(
            console, stack, feed, Patience(stop, PATIENCE_S),
            lambda: look(warehouse, stream.name), lambda seen: picture(feed, seen), is_over,
        )  # fmt: skip
    sys.exit(0 if taken else 1)


if __name__ == "__main__":
    typer.run(main)
