"""One run of the benchmark: what is measured, in which order, within which time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from millstream.errors import DependencyUnavailable, OperatorNeeded
from ops.bench.arena import Arena, Course
from ops.bench.contenders import AT_LEAST, CONTENDERS, EXACTLY, prepare
from ops.bench.data import SUBJECTS, write_stream
from ops.bench.figures import Spread
from ops.bench.ground import Ground
from ops.bench.latency import FLOOR, latencies
from ops.bench.plan import Trial, alternate, reachable, trials
from ops.bench.sinks import sink_rate
from ops.bench.stages import limits, stages
from ops.bench.summary import Found
from ops.bench.throughput import Run, throughput
from ops.kafka.fetch import REPOSITORY

MEASURES = ("throughput", "latency", "sweep", "stages", "limits", "sink")
STREAMS = REPOSITORY / ".run" / "bench" / "streams"
PARTITIONS = 4
RATES = (1_000, 10_000, 50_000)
SWEEP = (10, 100, 1_000, 3_000, 10_000, 30_000, 50_000, 100_000, 200_000)
LATENCY_SUBJECT = "b"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does. seconds_max: of one throughput trial. minutes: of the whole run; what has
    not begun by then is left out, and said so."""

    is_quick: bool
    events: int
    rounds: int
    subjects: tuple[str, ...]
    only: tuple[str, ...]
    measures: tuple[str, ...]
    rates: tuple[int, ...]
    seconds: float
    seconds_max: float
    minutes: float

    @classmethod
    def full(cls) -> Plan:
        """Everything."""
        return cls(
            False,
            1_000_000,
            3,
            tuple(SUBJECTS),
            tuple(CONTENDERS),
            MEASURES,
            RATES,
            8.0,
            30.0,
            120.0,
        )

    @classmethod
    def quick(cls) -> Plan:
        """What fits into three minutes."""
        chosen = tuple(each.name for each in CONTENDERS.values() if each.quick)
        measures = ("throughput", "latency", "stages", "limits")
        return cls(True, 200_000, 1, ("b", "a"), chosen, measures, (10_000,), 3.0, 10.0, 2.3)

    def changed(self, **given: Any) -> Plan:
        """With what is not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def entries(self, absent: dict[str, str]) -> list[tuple[str, str]]:
        """(contender, guarantee) of the throughput trials; a quick run takes exactly once alone."""
        return [
            (name, guarantee)
            for name in self.only
            if name not in absent
            for guarantee in CONTENDERS[name].guarantees
            if guarantee == EXACTLY or not self.is_quick
        ]


class _Clock:
    """The time that is left, and the line that shows what is being done."""

    def __init__(self, plan: Plan, found: Found, progress: Progress) -> None:
        self._deadline = time.monotonic() + 60 * plan.minutes
        self._found = found
        self._progress = progress
        self._task = progress.add_task("", total=1)

    def begins(self, what: str, total: int = 1) -> bool:
        """Show it; False, and noted, where no time is left."""
        if time.monotonic() > self._deadline:
            self._found.skipped.append(what)
            return False
        self.shows(what, total)
        return True

    def shows(self, what: str, total: int = 1) -> None:
        self._progress.update(self._task, description=what, total=total, completed=0)

    def at(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def says(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)


def measure(plan: Plan, found: Found, folder: Path, console: Console) -> None:
    """Fill `found`. Raises OperatorNeeded or DependencyUnavailable where the ground is missing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        clock = _Clock(plan, found, progress)
        for name in plan.only:
            clock.begins(f"environment of {CONTENDERS[name].title}")
            try:
                prepare(CONTENDERS[name], build=not plan.is_quick)
            except OperatorNeeded as why:
                found.absent[name] = f"{why.problem}. {why.remedy}"
        for letter in plan.subjects:
            clock.begins(f"model of {letter.upper()}")
            subject = SUBJECTS[letter]
            write_stream(subject, STREAMS / subject.stream, subject.stream, PARTITIONS)
        clock.begins("Kafka and registry")
        with Ground(folder / "ground", PARTITIONS) as ground:
            arena = Arena(ground, folder / "runs", STREAMS)
            for letter in plan.subjects:
                _subject(plan, found, arena, clock, letter)
                if letter == LATENCY_SUBJECT:
                    _latency(plan, found, arena, clock)


def _subject(plan: Plan, found: Found, arena: Arena, clock: _Clock, letter: str) -> None:
    """Throughput, stages, limits and sink on one stream's events."""
    name = f"{letter.upper()}"
    needs_events = {"throughput", "stages", "sink"} & set(plan.measures)
    course = arena.course(letter)
    if needs_events and clock.begins(f"{name}: publishing", plan.events):
        sent = 0

        def advance(count: int) -> None:
            nonlocal sent
            sent += count
            clock.at(sent)

        arena.ground.publish(course.events, SUBJECTS[letter].shape, plan.events, advance)
        if "throughput" in plan.measures:
            _throughput(plan, found, arena, clock, course)
        _ours(plan, found, arena, clock, course)
    if "limits" in plan.measures and clock.begins(f"{name}: limits"):
        found.limits[letter] = limits(course)
    arena.ground.delete(*course.topics)


def _throughput(plan: Plan, found: Found, arena: Arena, clock: _Clock, course: Course) -> None:
    entries = plan.entries(found.absent)
    for trial in trials(entries, [course.letter], plan.rounds):
        title = CONTENDERS[trial.contender].title
        what = f"{course.letter.upper()} {trial.round}/{plan.rounds}: {title}, {trial.guarantee}"
        if not clock.begins(what, plan.events):
            continue
        run = throughput(arena, course, trial, plan.events, plan.seconds_max, clock.at)
        found.runs.append(run)
        clock.says(_line(what, run))


def _line(what: str, run: Run) -> str:
    if run.failure is not None:
        return f"{what}: failed: {run.failure.splitlines()[0]}"
    return f"{what}: {run.rate:,.0f} events/s" + (" (cut)" if run.cut else "")


def _ours(plan: Plan, found: Found, arena: Arena, clock: _Clock, course: Course) -> None:
    """The steps of our own loop; the predictions that this run leaves feed the sink."""
    letter = course.letter
    wants_sink = "sink" in plan.measures and letter == LATENCY_SUBJECT
    staged = "stages" in plan.measures and (letter == LATENCY_SUBJECT or not plan.is_quick)
    if not (staged or wants_sink) or not clock.begins(f"{letter.upper()}: steps of our loop"):
        return
    try:
        found.steps[letter], found.absent_steps = stages(arena, course, plan.events)
    except (DependencyUnavailable, OSError) as why:
        clock.says(f"{letter.upper()}: steps of our loop: failed: {why}")
        found.skipped.append(f"{letter.upper()}: steps of our loop: {why}")
        return
    if wants_sink and clock.begins("sink"):
        found.sink = sink_rate(arena, course, STREAMS)
        clock.says(f"sink: {found.sink.failure or f'{found.sink.rate:,.0f} rows/s'}")


def _latency(plan: Plan, found: Found, arena: Arena, clock: _Clock) -> None:
    if "latency" in plan.measures:
        course = arena.course(LATENCY_SUBJECT, live=True)
        entries = _live_entries(plan, found)
        for number, (name, guarantee) in alternate(entries, plan.rounds):
            trial = Trial(name, LATENCY_SUBJECT, guarantee, number)
            rates = reachable(plan.rates, _known_rate(found, name, guarantee))
            what = f"latency {number}/{plan.rounds}: {name}, {guarantee}"
            if rates and clock.begins(what):
                done = latencies(arena, course, trial, rates, plan.seconds, _teller(clock, what))
                found.latencies += done
        arena.ground.delete(*course.topics)
    if "sweep" in plan.measures and clock.begins("latency from few events to many"):
        course = arena.course(LATENCY_SUBJECT, live=True)
        trial = Trial("millstream", LATENCY_SUBJECT, EXACTLY, 1)
        rates = reachable(SWEEP, _known_rate(found, "millstream", EXACTLY))
        what = "latency from few events to many"
        found.sweep = latencies(arena, course, trial, rates, plan.seconds, _teller(clock, what))


def _teller(clock: _Clock, what: str) -> Callable[[str], None]:
    def tell(text: str) -> None:
        clock.shows(f"{what}, {text}")

    return tell


def _live_entries(plan: Plan, found: Found) -> list[tuple[str, str]]:
    """The floor first; a quick run takes the two that the goals compare."""
    names = [name for name in plan.only if CONTENDERS[name].latency and name not in found.absent]
    if plan.is_quick:
        names = [name for name in names if name in {"millstream", "streams-2"}]
    chosen = [
        (name, guarantee)
        for name in names
        for guarantee in CONTENDERS[name].guarantees
        if guarantee == EXACTLY or not plan.is_quick
    ]
    return [(FLOOR, AT_LEAST), *chosen]


def _known_rate(found: Found, name: str, guarantee: str) -> float | None:
    if name == FLOOR:
        return None
    rate: Spread | None = found.rate(name, LATENCY_SUBJECT, guarantee)
    return rate.median if rate else None
