"""The real `millstream score` with a clock at each place where it is watched.

A program: `python -m ops.bench.watched REPORT.json score STREAM.TOML ...`. What others do on the
machine moves a rate by more than being watched does; CPU time of the instruments themselves, of the
thread that reads /metrics out and of the one that sends spans, it hardly moves. A place's time is
its own, that of the scorer inside it is taken off, and the median call's: Python's garbage
collector runs wherever its count is full, some 10 ms each time, and would run as often elsewhere.
"""

from __future__ import annotations

import atexit
import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Final

from consumers.metrics.instruments import Metered
from millstream.cli import main
from millstream.records import Records
from ops.bench.arena import Arena, Course
from ops.bench.clocked import clocked
from ops.bench.staged import Clocks

SCORER: Final = "scorer"
"""What the instruments have around them, and leave out of their own time."""
LOOP: Final = (
    ("batches: time, size, records", "consumers.metrics.instruments", "Metered.take"),
    ("gauges: lag, tallies, signs of life", "consumers.metrics.instruments", "Metered.idle"),
    (SCORER, "consumers.scorer", "Scorer.take"),
    (SCORER, "consumers.scorer", "Scorer.idle"),
    ("answers: counts, latency", "consumers.metrics.instruments", "Live.answered"),
    ("transactions: calls", "consumers.metrics.instruments", "Live.called"),
    ("events' own traces", "consumers.metrics.instruments", "Live.continued"),
    ("spans: begin", "consumers.metrics.traces", "Exported._begin"),
    ("spans: end", "consumers.metrics.traces", "Exported._end"),
)
"""Of the loop's thread: name, module, function."""
OTHERS: Final = (
    ("a reading of /metrics", "consumers.metrics.server", "_Handler._answer"),
    ("spans: sending", "consumers.metrics.span_sender", "SpanSender._send"),
)
"""Of threads beside it."""
SECONDS_MAX: Final = 120.0
SETTLE_S: Final = 1.5
"""Until the last spans are sent."""


class Medians(Clocks):
    """Each call's own CPU, for its median."""

    def __init__(self) -> None:
        super().__init__()
        self.each: dict[str, list[int]] = {}

    def around(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""
        timed = super().around(step, call)

        @functools.wraps(call)
        def noted(*args: Any, **kwargs: Any) -> Any:
            before = self.cpu.get(step, 0)
            try:
                return timed(*args, **kwargs)
            finally:
                self.each.setdefault(step, []).append(self.cpu[step] - before)

        return noted

    def usual(self) -> dict[str, float]:
        """Place -> its calls at the median of one, in nanoseconds."""
        return {step: median(each) * len(each) for step, each in self.each.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """CPU of one place. us: microseconds an event. calls: how often it was come to."""

    name: str
    us: float
    calls: int


@dataclass(frozen=True, slots=True)
class Own:
    """One run. process_us: CPU an event of the whole scorer, its clients' threads included."""

    mode: str
    process_us: float
    places: tuple[Place, ...]

    def share(self, without: str = OTHERS[0][0]) -> float:
        """Of the process's CPU, all places but one: readings come as often as they are asked for.

        >>> Own("x", 4.0, (Place("a", 0.04, 1), Place("a reading of /metrics", 1.0, 1))).share()
        0.01
        """
        return sum(each.us for each in self.places if each.name != without) / self.process_us


def watched(arena: Arena, course: Course, events: int, mode: str) -> Own:
    """A run over all events, exactly once, in the environment as it is now.

    Raises DependencyUnavailable where it does not end.
    """
    found = clocked(arena, course, events, "ops.bench.watched", SECONDS_MAX, SETTLE_S)
    places = tuple(
        Place(name, cpu / events / 1000, found["calls"][name])
        for name, cpu in found["cpu_ns"].items()
        if name != SCORER
    )
    return Own(mode, found["process_ns"] / events / 1000, places)


def install() -> list[Medians]:
    """Wrap every place; the loop's clocks are nested, a thread beside it has one of its own."""
    loop = Medians()
    clocks = [loop]
    for name, module, path in (*LOOP, *OTHERS):
        owner, _, function = path.partition(".")
        made = getattr(import_module(module), owner)
        own = loop if (name, module, path) in LOOP else Medians()
        if own is not loop:
            clocks.append(own)
        setattr(made, function, own.around(name, getattr(made, function)))
    return clocks


def run(report: Path, argv: list[str]) -> None:
    """Run the command line, and write the report when it ends."""
    clocks = install()
    begun: list[int] = []
    take = Metered.take

    def first(self: Metered, batch: list[Records]) -> None:
        """Imports and warm-up are not in the process's time."""
        if not begun:
            begun.append(time.process_time_ns())
        take(self, batch)

    Metered.take = first  # type: ignore[method-assign]

    def write() -> None:
        text = {
            "cpu_ns": {name: ns for each in clocks for name, ns in each.usual().items()},
            "calls": {name: count for each in clocks for name, count in each.calls.items()},
            "process_ns": time.process_time_ns() - begun[0],
        }
        report.write_text(json.dumps(text, indent=1), "utf-8")

    atexit.register(write)
    sys.argv = ["millstream", *argv]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
