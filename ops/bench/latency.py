"""From the time at which an event is to be sent to a read_committed read of its answer.

The generator, the contender and the reader are processes of their own on one clock.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from millstream.errors import DependencyUnavailable
from ops.bench.arena import Arena, Course
from ops.bench.data import SUBJECTS
from ops.bench.figures import Percentiles, percentiles, steady
from ops.bench.plan import Trial
from ops.bench.usage import Spent, between, look
from ops.process import Child

WARM_UP_S = 2.0
"""At each rate, left out of the percentiles."""
PRIMING_RATE = 500
GRACE_S = 8.0
START_S_MAX = 60.0
KEPT_UP = 0.99
"""A lower share of answers in time: a queue grows, and higher rates would measure its length."""
FLOOR = "floor"
"""The contender that is not there: the reader reads what the generator sends."""


@dataclass(frozen=True, slots=True)
class Latency:
    """One contender at one rate. share: of the events' answers that came in time.

    late_ms: how far the generator itself was behind at worst; the percentiles contain it.
    records_a_request: that the generator sent, on average; near 1 the broker is measured.
    """

    trial: Trial
    rate: int
    found: Percentiles | None = None
    share: float = 0.0
    late_ms: float = 0.0
    records_a_request: float = 0.0
    spent: Spent | None = None
    failure: str | None = None


def latencies(
    arena: Arena,
    course: Course,
    trial: Trial,
    rates: Sequence[int],
    seconds: float,
    said: Callable[[str], None] = lambda text: None,
) -> list[Latency]:
    """Every rate with one start of the contender. Never raises for what a contender does."""
    done: list[Latency] = []
    try:
        arena.ground.create(course.events)
        if trial.contender == FLOOR:
            return [_at(arena, course, trial, course.events, [], r, seconds) for r in rates]
        with arena.running(course, trial) as (children, topic):
            said("starting")
            prime(arena, course, topic, children)
            for rate in rates:
                said(f"{rate:,}/s")
                done.append(_at(arena, course, trial, topic, children, rate, seconds))
                if done[-1].share < KEPT_UP:
                    why = f"not tried: it did not keep up with {rate:,}/s"
                    done += [Latency(trial, r, failure=why) for r in rates[len(done) :]]
                    break
        arena.ground.delete(topic)
    except Exception as why:  # noqa: BLE001 - one contender's end is not the benchmark's
        rest = rates[len(done) :]
        done += [Latency(trial, rate, failure=str(why)) for rate in rest]
    return done


def prime(arena: Arena, course: Course, topic: str, children: list[Child]) -> None:
    """Send a few events and wait for their answers: then the contender is up."""
    folder = arena.scratch()
    child = generating(arena, course, folder, PRIMING_RATE, 1.0)
    deadline = time.monotonic() + START_S_MAX
    while child.alive() or arena.ground.committed(topic) < PRIMING_RATE:
        for each in children:
            if not each.alive():
                raise DependencyUnavailable(each.name, f"it ended\n{each.tail(8)}")
        if time.monotonic() > deadline:
            child.kill()
            why = f"no answers in {START_S_MAX:.0f} s"
            raise DependencyUnavailable(children[0].name, f"{why}\n{children[0].tail(8)}")
        time.sleep(0.1)


def _at(
    arena: Arena,
    course: Course,
    trial: Trial,
    topic: str,
    children: list[Child],
    rate: int,
    seconds: float,
) -> Latency:
    folder = arena.scratch()
    whole_s = WARM_UP_S + seconds
    reader = reading(arena, folder, topic, int(rate * whole_s), whole_s + GRACE_S)
    generator = None
    pids = [child.pid for child in children]
    try:
        reader.wait_until((folder / "ready").exists, timeout_s=30)
        generator = generating(arena, course, folder, rate, whole_s)
        before = look(pids, arena.ground.broker_pid)
        await_end(generator, whole_s + 30, children)
        spent = between(before, look(pids, arena.ground.broker_pid))
        await_end(reader, GRACE_S + 30, children)
    finally:
        reader.kill()
        if generator is not None:
            generator.kill()
    made = Latency(trial, rate, spent=spent)
    try:
        report = json.loads((folder / "report").read_text("utf-8"))
        scheduled, arrived = np.load(folder / "found.npy")
    except OSError as why:
        return replace(made, failure=f"{why}\n{generator.tail(5)}\n{reader.tail(5)}")
    kept = steady(scheduled, arrived, report["begin_us"] + int(WARM_UP_S * 1e6))
    made = replace(
        made,
        share=len(scheduled) / int(rate * whole_s),
        late_ms=report["late_us"] / 1000,
        records_a_request=report["records_a_request"],
    )
    return (
        replace(made, found=percentiles(kept))
        if len(kept)
        else replace(made, failure="no answer came in time")
    )


def await_end(child: Child, seconds: float, watched: list[Child]) -> None:
    """Raises DependencyUnavailable where it takes longer, or one of those watched ends before."""
    deadline = time.monotonic() + seconds
    while child.alive():
        for each in watched:
            if not each.alive():
                raise DependencyUnavailable(each.name, f"it ended\n{each.tail(8)}")
        if time.monotonic() > deadline:
            raise DependencyUnavailable(child.name, f"not done in {seconds:.0f} s")
        time.sleep(0.05)


def generating(arena: Arena, course: Course, folder: Path, rate: int, seconds: float) -> Child:
    """The generator, started; its report is in the folder afterwards."""
    job = {
        "bootstrap": arena.ground.bootstrap,
        "topic": course.events,
        "partitions": arena.ground.partitions,
        "subject": course.letter,
        "schema_id": arena.ground.register(course.events, SUBJECTS[course.letter].shape),
        "rate": rate,
        "seconds": seconds,
        "report": str(folder / "report"),
    }
    return _program("generator", job, folder)


def reading(arena: Arena, folder: Path, topic: str, expected: int, seconds: float) -> Child:
    """The reader, started; `found.npy` is in the folder afterwards."""
    job = {
        "bootstrap": arena.ground.bootstrap,
        "topic": topic,
        "partitions": arena.ground.partitions,
        "expected": expected,
        "seconds_max": seconds,
        "ready": str(folder / "ready"),
        "found": str(folder / "found.npy"),
    }
    return _program("reader", job, folder)


def _program(name: str, job: dict[str, Any], folder: Path) -> Child:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(job), "utf-8")
    argv = [sys.executable, "-m", f"ops.bench.{name}", str(path)]
    return Child(name, argv, log=folder / f"{name}.log")
