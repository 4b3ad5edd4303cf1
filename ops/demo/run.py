"""`millstream demo`: generate, train, publish, score, keep, and read it all back."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live

from consumers.produce import AtRate, EventProducer, publish_events
from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse
from millstream.columnar import Encoder, frame
from millstream.errors import MillstreamError, SettingsInvalid
from millstream.stream import Stream
from ops.demo.loans import applications, write_stream
from ops.demo.summary import Counts, Reader, progress_table, summary_tables
from ops.process import stop_requests
from ops.stack import Parts, Stack

PATIENCE_S = 60.0
"""How long the demo waits, at its end, while nothing more arrives in ClickHouse."""


@dataclass(slots=True)
class Feed:
    """The producer's thread: what it is to publish, what it has, and how it ended."""

    wanted: int | None
    rate: float
    seconds: float | None
    stop: threading.Event = field(default_factory=threading.Event)
    published: int = 0
    error: MillstreamError | None = None

    def advance(self, count: int) -> None:
        self.published += count

    def run(self, stack: Stack, stream: Stream) -> None:
        """Publish until stopped; the error that ended it is kept for the demo's own thread."""
        try:
            topic = stream.topic("events")
            text = stream.schema_of_event.text
            schema_id = Registry(stack.registry).register(subject_of(topic), text)
            publish_events(
                EventProducer(stack.kafka, "demo"),
                topic,
                applications(self.wanted),
                Encoder(text, frame(schema_id)),
                stream.event.key,
                AtRate(self.rate),
                self.advance,
                stopped=self.stop.is_set,
            )
        except MillstreamError as why:
            self.error = why
        finally:
            self.stop.set()


def run_demo(
    folder: Path, kafka: str, rate: float, events: int | None, seconds: float | None
) -> int:
    """Run it; 0 only if every published event has exactly one prediction in ClickHouse."""
    if kafka not in {"embedded", "real"}:
        raise SettingsInvalid(f"--kafka {kafka} is neither embedded nor real", "Choose one")
    console = Console()
    logging.basicConfig(level=logging.ERROR)
    stream = _fresh_stream(folder, console)
    interrupted = stop_requests()
    stack = Stack(stream, folder / "run", Parts(kafka=kafka, console=True))
    try:
        with console.status("starting") as status:
            stack.start(lambda part: status.update(f"starting {part}"))
        if interrupted.is_set():
            return 130
        _say_where(console, stack, stream, folder, kafka)
        with closing(Warehouse.connect(stack.warehouse)) as warehouse:
            reader = Reader(warehouse, stream.name)
            feed = Feed(events, rate, seconds)
            _watch(console, stack, reader, feed, stream, interrupted)
            return _conclude(console, reader, feed, folder)
    finally:
        with console.status("stopping"):
            stack.stop()


def _fresh_stream(folder: Path, console: Console) -> Stream:
    """The loans stream with its bundle; data of an earlier run is removed, the model stays."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    with console.status("training a model on 20,000 loan applications"):
        return Stream.load(write_stream(folder / "loans"))


def _say_where(console: Console, stack: Stack, stream: Stream, folder: Path, kafka: str) -> None:
    guarantee = "exactly once" if kafka == "real" else "at least once (embedded broker)"
    console.print(f"Kafka {stack.kafka.bootstrap}, {guarantee}; Ctrl-C ends the demo")
    console.print(f"data and logs: {folder / 'run'}")
    console.print(f"look at it in the browser: {stack.console_url}", highlight=False)
    console.print("query it while it runs, with any ClickHouse HTTP client:")
    query = f"SELECT label, count() FROM {stream.name}.predictions GROUP BY label"
    console.print(f"  curl '{stack.warehouse.url}' --data '{query}'", highlight=False)
    console.print("ask the model itself there, or on the console's SQL page:")
    score = f"millstream_score('{stream.name}', ({', '.join(stream.features.order)}))"
    console.print(f"  SELECT {score} FROM {stream.name}.events LIMIT 10", soft_wrap=True)


def _watch(
    console: Console,
    stack: Stack,
    reader: Reader,
    feed: Feed,
    stream: Stream,
    interrupted: threading.Event,
) -> None:
    """Publish and show until the end is reached and ClickHouse has everything, or nothing moves."""
    thread = threading.Thread(target=feed.run, args=(stack, stream), name="producer")
    thread.start()
    began = moved = last_at = time.monotonic()
    last = Counts()
    last_published = 0
    wanted = f" of {feed.wanted:,}" if feed.wanted else ""
    try:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while True:
                stack.tend()
                now = time.monotonic()
                counts = reader.counts()
                span = max(now - last_at, 1e-3)
                rates = (
                    (feed.published - last_published) / span,
                    (counts.predictions - last.predictions) / span,
                )
                live.update(progress_table(feed.published, wanted, counts, rates, now - began))
                if counts != last or feed.published != last_published:
                    moved = now
                last, last_at, last_published = counts, now, feed.published
                if interrupted.is_set() or (
                    feed.seconds is not None and now - began >= feed.seconds
                ):
                    feed.stop.set()
                landed = min(counts.events, counts.predictions + counts.dead_letters)
                done = not thread.is_alive() and landed >= feed.published
                if done or now - moved > PATIENCE_S:
                    return
                time.sleep(0.5)
    finally:
        feed.stop.set()
        thread.join()


def _conclude(console: Console, reader: Reader, feed: Feed, folder: Path) -> int:
    """Print the summary; the exit code says whether every event has one prediction."""
    if feed.error is not None:
        raise feed.error
    account = reader.account()
    console.print()
    console.print(summary_tables(account, reader.labels(), reader.counts()))
    whole = account.whole and account.events == account.predictions == feed.published
    if whole:
        console.print(f"every one of {feed.published:,} events has exactly one prediction")
    else:
        console.print(
            f"published {feed.published:,} events: not every one has exactly one prediction; "
            f"the programs' logs are in {folder / 'run' / 'logs'}"
        )
    console.print(
        "the data stays; look at it with: "
        f"millstream warehouse {folder / 'run' / 'clickhouse'} --port 8123 "
        f"--functions {folder / 'run' / 'functions'}"
    )
    return 0 if whole else 1
