"""`millstream demo --story concept`: the rule changes in the middle of the stream.

Loan applications go on as before, and their features too; but from one application on, others are
approved (River's synth.Agrawal with another classification function). The labels come a second
late. What must come of it is asserted from what lies in ClickHouse: accuracy fell, one incident was
opened, its verdict is concept_change, and the inputs' watch raised no alarm.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from consumers.warehouse import Warehouse
from millstream.stream import Stream
from ops.demo.feed import Feed, story_batches
from ops.demo.loans import write_profile, write_stream
from ops.demo.play import (
    BUCKET,
    FALL_MIN,
    Labelled,
    Patience,
    begin,
    conclude,
    follow,
    labelled,
    progress,
    running,
)
from ops.process import stop_requests
from ops.stack import Parts

EVENTS, CHANGE_AT = 24_000, 10_000
PATIENCE_S = 40.0


@dataclass(frozen=True, slots=True)
class Seen(Labelled):
    """What ClickHouse has. incidents: their newest revisions: id, verdict, status, cause, offset of
    the first event. alarms: detector -> alarms."""

    incidents: tuple[tuple[str, str, str, str, int], ...] = ()
    opened: int = 0
    alarms: dict[str, int] = field(default_factory=dict)


def look(warehouse: Warehouse, name: str) -> Seen:
    """Ask it."""
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
        *labelled(warehouse, name),
        tuple((str(a), str(b), str(c), str(d), int(e)) for a, b, c, d, e in incidents),
        int(opened),
        {str(detector): int(count) for detector, count in alarms},
    )


def picture(feed: Feed, seen: Seen) -> RenderableType:
    """Accuracy as bars, incidents, alarms."""
    published = f"{feed.events:,} of {EVENTS:,}; changed at {CHANGE_AT:,}"
    table = progress("Millstream: the rule changes", published, feed, seen)
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
    before, after = seen.mean(1, change), seen.mean(change)
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
    begin(kafka)
    console = console or Console()
    shutil.rmtree(folder / "run", ignore_errors=True)
    with console.status("training a model on 20,000 loan applications"):
        stream = Stream.load(write_stream(folder / "loans"))
        write_profile(stream)
        feed = Feed(rate, story_batches(stream, EVENTS, CHANGE_AT))
    interrupted = stop_requests()
    parts = Parts(kafka=kafka, watch=True, console=True)
    with (
        running(console, stream, folder / "run", parts) as stack,
        closing(Warehouse.connect(stack.warehouse)) as warehouse,
    ):
        seen = follow(
            console,
            stack,
            feed,
            Patience(interrupted, PATIENCE_S),
            lambda: look(warehouse, stream.name),
            lambda seen: picture(feed, seen),
            lambda last, seen: seen.labelled >= EVENTS and seen.opened > 0 and seen == last,
        )
    if feed.errors:
        raise feed.errors[0]
    return 130 if interrupted.is_set() else _conclude(console, seen)


def _conclude(console: Console, seen: Seen) -> int:
    change = CHANGE_AT // BUCKET
    before, after = seen.mean(1, change), seen.mean(change)
    console.print(f"accuracy {before:.1%} before the change, {after:.1%} after it")
    good = "one incident was opened, its verdict is concept_change; no alarm of the inputs"
    return conclude(console, list(faults_of(seen)), good)
