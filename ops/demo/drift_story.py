"""`millstream demo --story drift`: the rule changes, and a better model takes over by itself.

Loan applications go on as before; from one application on, others are approved. Accuracy falls,
the watch opens an incident, the retrainer fits on what came since, proves, registers, shadows and
judges its candidate, lets it answer a share of the applicants, and promotes it at an exact offset
of each partition. Accuracy is back. All of it is asserted from what lies in ClickHouse, and
`millstream verify` has the last word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from consumers.warehouse import Warehouse
from millstream.retraining.stages import Stage
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
from ops.stack import Parts, Stack

EVENTS_MAX, CHANGE_AT = 100_000, 8_000
RATE = 500.0
AFTERWARDS = 4_000
"""Events labelled under new models before the story ends, at least: the first may have been fitted
on few rows, and is followed by one of more."""
LOSS_MAX = 0.05
"""The accuracy that the new model may lack of what it was before the change."""
ENDING = 0.02
"""The story ends with so much less lacking: its last events are still on their way, and 3,000 tell
an accuracy to half a point, so that a model that is not good enough looks it now and then."""
PATIENCE_S = 60.0
VERIFY_S_MAX = 120.0
SETTINGS = """
[judge]
rows_min = 400

[retrain]
canary_labels = 400
"""


@dataclass(frozen=True, slots=True)
class Seen(Labelled):
    """What ClickHouse has.

    incidents: verdict and status, their newest revisions. steps: stages that are done, of the
    newest retraining, and how it ended. switches: release, kind, champion, challenger, partition,
    first offset. astray: predictions by a model that model_timeline does not name for their offset.
    renewed: events labelled behind the first promotion.
    """

    incidents: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[str, str, str], ...] = ()
    switches: tuple[tuple[int, str, str, str, int, int], ...] = ()
    astray: int = 0
    renewed: int = 0

    @property
    def promoted(self) -> bool:
        """Whether a retraining has ended with its candidate as the champion."""
        return any(outcome == "promoted" for _, _, outcome in self.steps)


def look(warehouse: Warehouse, name: str) -> Seen:
    """Ask it."""
    incidents = warehouse.query(f"SELECT verdict, status FROM {name}.incidents_now")
    steps = warehouse.query(
        f"SELECT stage, status, outcome FROM {name}.retraining WHERE status IN ('done', 'over') "
        "AND attempt = (SELECT argMax(attempt, (outcome = 'promoted', number)) "
        f"FROM {name}.retraining) ORDER BY at"
    )
    switches = warehouse.query(
        "SELECT number, kind, champion_version, challenger_version, source_partition, first_offset "
        f"FROM {name}.model_timeline ORDER BY number, source_partition"
    )
    ((astray,),) = warehouse.query(
        f"SELECT count() FROM {name}.predictions AS p INNER JOIN {name}.model_timeline AS t "
        "USING (source_partition) WHERE p.source_offset >= t.first_offset "
        "AND (t.next_offset IS NULL OR p.source_offset < t.next_offset) "
        "AND p.model_version != t.champion_version "
        "AND (t.canary_share = 0 OR p.model_version != t.challenger_version)"
    )
    ((renewed,),) = warehouse.query(
        f"SELECT count() FROM {name}.labelled_now AS l INNER JOIN "
        "(SELECT source_partition, min(first_offset) AS offset "
        f"FROM {name}.model_timeline WHERE kind = 'promote' GROUP BY source_partition) AS t "
        "USING (source_partition) WHERE l.status = 'labelled' AND l.source_offset >= t.offset"
    )
    return Seen(
        *labelled(warehouse, name),
        tuple((str(a), str(b)) for a, b in incidents),
        tuple((str(a), str(b), str(c)) for a, b, c in steps),
        tuple((int(a), str(b), str(c), str(d), int(e), int(f)) for a, b, c, d, e, f in switches),
        int(astray),
        int(renewed),
    )


def picture(feed: Feed, seen: Seen) -> RenderableType:
    """Accuracy as bars, incidents, the retraining's stages, the switches."""
    published = f"{feed.events:,}; changed at {CHANGE_AT:,}"
    table = progress("Millstream: the rule changes, a model follows", published, feed, seen)
    said = ", ".join(f"{verdict} {status}" for verdict, status in seen.incidents)
    table.add_row("incidents", said or "none")
    stages = ", ".join(outcome or stage for stage, _, outcome in seen.steps)
    table.add_row("retraining", stages or "none yet")
    lines = [
        Text(
            f"release {number} ({kind}): {champion}"
            + (f", on trial {challenger}" if challenger else "")
            + f", partition {partition} from offset {offset:,} on"
        )
        for number, kind, champion, challenger, partition, offset in seen.switches
    ]
    return Group(table, *lines)


def _after(seen: Seen) -> float:
    return seen.mean(-AFTERWARDS // BUCKET + 1)


def is_back(seen: Seen) -> bool:
    """Whether the accuracy of the last events is nearly what it was before the change."""
    return _after(seen) >= seen.mean(1, CHANGE_AT // BUCKET) - LOSS_MAX + ENDING


def faults_of(seen: Seen, events: int) -> Iterator[str]:
    """What is not as it must be; nothing where the story came out."""
    change = CHANGE_AT // BUCKET
    before, lowest = seen.mean(1, change), min(seen.accuracy[change:], default=1.0)
    after = _after(seen)
    if seen.labelled != events:
        yield f"{seen.labelled:,} of {events:,} predictions were labelled"
    if not before - lowest >= FALL_MIN:
        yield f"accuracy did not fall: {before:.1%} before the change, {lowest:.1%} at worst"
    if not any(verdict == "concept_change" for verdict, _ in seen.incidents):
        yield "no incident says concept_change"
    if not seen.promoted:
        yield "no retraining ended with a promotion"
    elif missing := [s for s in Stage if s.value not in {stage for stage, _, _ in seen.steps}]:
        yield f"the retraining has no {', '.join(missing)}"
    if "promote" not in {kind for _, kind, _, _, _, _ in seen.switches}:
        yield "no partition switched to a promoted model"
    if seen.astray:
        yield f"{seen.astray:,} predictions are by a model that did not answer at their offsets"
    if not after >= before - LOSS_MAX:
        yield f"accuracy is not back: {before:.1%} before the change, {after:.1%} at the end"


def run_drift_story(folder: Path, kafka: str, rate: float, console: Console | None = None) -> int:
    """Run it; 0 only if it came out as it must."""
    begin(kafka)
    console = console or Console()
    for name in ("run", "loans/models", "loans/.models", "loans/.retraining"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with console.status("training a model on 20,000 loan applications"):
        path = write_stream(folder / "loans")
        path.write_text(path.read_text("utf-8") + SETTINGS, "utf-8")
        stream = Stream.load(path)
        write_profile(stream)
        feed = Feed(rate, story_batches(stream, EVENTS_MAX, CHANGE_AT))
    interrupted = stop_requests()
    parts = Parts(kafka=kafka, watch=True, retrain=True, console=True)

    def is_over(_: Seen, seen: Seen) -> bool:
        if seen.promoted and seen.renewed >= AFTERWARDS and is_back(seen):
            feed.last.set()
        return feed.is_told and seen.labelled >= feed.events

    with running(console, stream, folder / "run", parts) as stack:
        with closing(Warehouse.connect(stack.warehouse)) as warehouse:
            seen = follow(
                console,
                stack,
                feed,
                Patience(interrupted, PATIENCE_S),
                lambda: look(warehouse, stream.name),
                lambda seen: picture(feed, seen),
                is_over,
            )
        clean = interrupted.is_set() or bool(feed.errors) or _verified(console, stack, folder)
    if feed.errors:
        raise feed.errors[0]
    return 130 if interrupted.is_set() else _conclude(console, seen, feed, clean)


def _verified(console: Console, stack: Stack, folder: Path) -> bool:
    """Whether `millstream verify` finds everything answered once, by the model it says."""
    command = [sys.executable, "-m", "millstream", "verify", str(stack.stream.path)]
    with console.status("verifying"):
        run = subprocess.run(
            command,
            env={**os.environ, **stack.environment},
            capture_output=True,
            text=True,
            timeout=VERIFY_S_MAX,
            check=False,
        )
    (folder / "run" / "logs" / "verify.log").write_text(run.stdout + run.stderr, "utf-8")
    console.print(run.stdout.strip() or run.stderr.strip(), markup=False, highlight=False)
    return run.returncode == 0


def _conclude(console: Console, seen: Seen, feed: Feed, clean: bool) -> int:
    change = CHANGE_AT // BUCKET
    console.print(
        f"accuracy {seen.mean(1, change):.1%} before the change, "
        f"{min(seen.accuracy[change:], default=0.0):.1%} at worst, "
        f"{_after(seen):.1%} under the new model"
    )
    faults = list(faults_of(seen, feed.events))
    if not clean:
        faults.append("millstream verify is not clean")
    good = (
        "the change was seen, a model was retrained and promoted, and every prediction is by the "
        "model that answered at its offset; verify is clean"
    )
    return conclude(console, faults, good)
