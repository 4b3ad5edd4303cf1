"""The real `millstream score` with a clock at each step of its loop.

A program: `python -m ops.bench.staged REPORT.json score STREAM.TOML ...`. The steps are wrapped
from outside, a call or two a batch, so the program is the one that users run. A step's time is its
own: that of a step inside it is taken off.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millstream.cli import main

STEPS = (
    ("consume", "consumers.loop", "Loop._gather"),
    ("admit: values, keys, offsets", "consumers.loop", "Loop._admitted"),
    ("frame: sizes", "millstream.decoding", "EventDecoder._within_size"),
    ("frame: schema ids", "millstream.decoding", "split_frames"),
    ("decode", "millstream.decoding", "EventDecoder._decode"),
    ("validate: ids", "millstream.decoding", "EventDecoder._identified"),
    ("validate: times", "millstream.decoding", "EventDecoder._dated"),
    ("features", "millstream.models.features", "FeatureReader.read"),
    ("model", "millstream.models.session", "Session._run"),
    ("score: labels, confidence", "millstream.models.session", "Session.score"),
    ("columns of the prediction", "millstream.scoring", "ScoringPlan._columns"),
    ("encode", "millstream.columnar.encoder", "Encoder.encode"),
    ("produce", "consumers.publishers", "produce"),
    ("send offsets", "consumers.publishers", "ExactlyOnce._send_offsets"),
    ("commit", "consumers.publishers", "ExactlyOnce.transact"),
    ("publish: the rest", "consumers.publishers", "ExactlyOnce.publish"),
    ("plan: the rest", "millstream.scoring", "ScoringPlan.run"),
    ("loop: the rest", "consumers.loop", "Loop.step"),
)
"""Name of a step, the module, and the function in it."""


class Clocks:
    """Own times of nested calls, wall and this thread's CPU, in nanoseconds."""

    def __init__(self) -> None:
        self.wall: dict[str, int] = {}
        self.cpu: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self._inner: list[list[int]] = []

    def around(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append([0, 0])
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            try:
                return call(*args, **kwargs)
            finally:
                wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
                inner = self._inner.pop()
                self.wall[step] = self.wall.get(step, 0) + wall - inner[0]
                self.cpu[step] = self.cpu.get(step, 0) + cpu - inner[1]
                self.calls[step] = self.calls.get(step, 0) + 1
                if self._inner:
                    self._inner[-1][0] += wall
                    self._inner[-1][1] += cpu

        return timed


def install(clocks: Clocks) -> list[str]:
    """Wrap every step; the names of those whose function is not there any more."""
    absent = []
    for step, module, path in STEPS:
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part, None)
        call = getattr(owner, name, None)
        if call is None:
            absent.append(step)
            continue
        setattr(owner, name, clocks.around(step, call))
    return absent


def run(report: Path, argv: list[str]) -> None:
    """Run the command line, and write the report when it ends."""
    clocks = Clocks()
    absent = install(clocks)

    def write() -> None:
        text = {
            "wall_ns": clocks.wall, "cpu_ns": clocks.cpu, "calls": clocks.calls, "absent": absent,
        }  # fmt: skip
        report.write_text(json.dumps(text, indent=1), "utf-8")

    atexit.register(write)
    sys.argv = ["millstream", *argv]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
