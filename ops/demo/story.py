"""`millstream demo --story concept`: the rule changes in the middle of the stream.

Loan applications go on as before, and their features too; but from one application on, others are
approved (River's synth.Agrawal with another classification function). The labels come a second
late. What must come of it is asserted from what lies in ClickHouse: accuracy fell, one incident was
opened, its verdict is concept_change, and the inputs' watch raised no alarm.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumers.warehouse import Warehouse
from millstream.errors import SettingsInvalid
from millstream.stream import Stream
from ops.demo.feed import Feed, story_batches
from ops.demo.loans import write_profile, write_stream
from ops.process import stop_requests
from ops.stack import Parts, Stack

EVENTS, CHANGE_AT = 24_000, 10_000
BUCKET = 1_000
"""Events of one bar of the picture."""
FALL_MIN = 0.1
"""Accuracy must have fallen by so much."""
PATIENCE_S = 40.0
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Seen:
    """What ClickHouse has. accuracy: of each BUCKET events. incidents: their newest revisions:
    id, verdict, status, cause, offset of the first event. alarms: detector -> alarms."""

    labelled: int = 0
    accuracy: tuple[float, ...] = ()
    incidents: tuple[tuple[str, str, str, str, int], ...] = ()
    opened: int = 0
    alarms: dict[str, int] = field(default_factory=dict)

    def mean(self, first: int, stop: int) -> float:
        """Accuracy of these buckets."""
        part = self.accuracy[first:stop]
        return sum(part) / len(part) if part else 0.0


def look(warehouse: Warehouse, name: str) -> Seen:
    """Ask it."""
    accuracy = warehouse.query(
        f"SELECT intDiv(toUInt32(substring(event_id, 3)), {BUCKET}) AS bucket, "
        f"avg(predicted = label), count() FROM {name}.labelled_now "
        "WHERE status = 'labelled' GROUP BY bucket ORDER BY bucket"
    )
    incidents = warehouse.query(
        f"SELECT id, verdict, status, cause, first_offset FROM {name}.incidents_now"
    )
    ((opened,),) = warehouse.query(
        f"SELECT uniqExact(id) FROM {name}.incidents WHERE status = 'opened'"
    )
    alarms = warehouse.query(
        "SELECT detector, uniqExact(source_partition, source_offset) "
        f"FROM {name}.drift WHERE status = 'alarm' GROUP BY detector"
    )
    return Seen(
        sum(int(count) for _, _, count in accuracy),
        tuple(float(mean) for _, mean, _ in accuracy),
        tuple((str(a), str(b), str(c), str(d), int(e)) for a, b, c, d, e in incidents),
        int(opened),
        {str(detector): int(count) for detector, count in alarms},
    )


def picture(feed: Feed, seen: Seen) -> RenderableType:
    """Accuracy as bars, incidents, alarms."""
    bars = "".join(BARS[round(mean * (len(BARS) - 1))] for mean in seen.accuracy)
    now = f"{seen.accuracy[-1]:.1%}" if seen.accuracy else "unknown"
    table = Table(title="Millstream: the rule changes", title_justify="left")
    table.add_column("")
    table.add_column("", min_width=40)
    table.add_row("published", f"{feed.events:,} of {EVENTS:,}; changed at {CHANGE_AT:,}")
    table.add_row("outcomes", f"{feed.outcomes:,}, joined {seen.labelled:,}")
    table.add_row(f"accuracy of {BUCKET:,} each", f"{bars} now {now}")
    alarms = ", ".join(f"{name} {count}" for name, count in sorted(seen.alarms.items()))
    table.add_row("alarms", alarms or "none")
    lines = [
        Text(f"incident {number[:8]} {status}: {verdict} ({cause}), first offset {first}")
        for number, verdict, status, cause, first in seen.incidents
    ]
    return Group(table, *lines)


def faults_of(seen: Seen) -> Iterator[str]:
    """What is not as it must be; nothing where the story came out."""
    change = CHANGE_AT // BUCKET
    before, after = seen.mean(1, change), seen.mean(change, len(seen.accuracy))
    if seen.labelled != EVENTS:
        yield f"{seen.labelled:,} of {EVENTS:,} predictions were labelled"
    if not before - after >= FALL_MIN:
        yield f"accuracy did not fall: {before:.1%} before the change, {after:.1%} after it"
    if seen.opened != 1:
        yield f"{seen.opened} incidents were opened, not one"
    for _, verdict, _, _, _ in seen.incidents:
        if verdict != "concept_change":
            yield f"an incident's verdict is {verdict}"
    if seen.alarms.get("inputs"):
        yield f"the inputs' watch raised {seen.alarms['inputs']} alarms"


def run_story(folder: Path, kafka: str, rate: float, console: Console | None = None) -> int:
    """Run it; 0 only if it came out as it must."""
    if kafka not in {"embedded", "real"}:
        raise SettingsInvalid(f"--kafka {kafka} is neither embedded nor real", "Choose one")
    console = console or Console()
    logging.basicConfig(level=logging.ERROR)
    shutil.rmtree(folder / "run", ignore_errors=True)
    with console.status("training a model on 20,000 loan applications"):
        stream = Stream.load(write_stream(folder / "loans"))
        write_profile(stream)
        feed = Feed(rate, story_batches(stream, EVENTS, CHANGE_AT))
    interrupted = stop_requests()
    stack = Stack(stream, folder / "run", Parts(kafka=kafka, watch=True))
    try:
        with console.status("starting") as status:
            stack.start(lambda part: status.update(f"starting {part}"))
        console.print(f"Kafka {stack.kafka.bootstrap}; data and logs: {folder / 'run'}")
        with closing(Warehouse.connect(stack.warehouse)) as warehouse:
            seen = _follow(console, stack, feed, warehouse, interrupted)
    finally:
        with console.status("stopping"):
            stack.stop()
    if feed.errors:
        raise feed.errors[0]
    return 130 if interrupted.is_set() else _conclude(console, seen)


def _follow(
    console: Console,
    stack: Stack,
    feed: Feed,
    warehouse: Warehouse,
    interrupted: threading.Event,
) -> Seen:
    """Publish and show until everything is told, or nothing moves."""
    threads = feed.start(stack, stack.stream)
    seen, moved = Seen(), time.monotonic()
    try:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while not interrupted.is_set() and time.monotonic() - moved < PATIENCE_S:
                stack.tend()
                last, seen = seen, look(warehouse, stack.stream.name)
                live.update(picture(feed, seen))
                if seen.labelled != last.labelled or seen.incidents != last.incidents:
                    moved = time.monotonic()
                if seen.labelled >= EVENTS and seen.opened and seen == last:
                    break
                if feed.errors:
                    break
                time.sleep(0.5)
        return seen
    finally:
        feed.stop.set()
        for thread in threads:
            thread.join()


def _conclude(console: Console, seen: Seen) -> int:
    change = CHANGE_AT // BUCKET
    before, after = seen.mean(1, change), seen.mean(change, len(seen.accuracy))
    console.print(f"accuracy {before:.1%} before the change, {after:.1%} after it")
    faults = list(faults_of(seen))
    for fault in faults:
        console.print(f"not as it must be: {fault}")
    if not faults:
        console.print(
            "one incident was opened, its verdict is concept_change; no alarm of the inputs"
        )
    return 1 if faults else 0
