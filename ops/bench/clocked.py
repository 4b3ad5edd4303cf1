"""A run of the real scorer under one of our programs that put clocks around its parts."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from millstream.errors import DependencyUnavailable
from ops.bench.arena import Arena, Course
from ops.bench.contenders import EXACTLY, millstream_start
from ops.process import Child


def clocked(
    arena: Arena, course: Course, events: int, module: str, seconds_max: float, settle_s: float
) -> dict[str, Any]:
    """What the program reported of a run over all events, exactly once, in the environment as it
    is now.

    module: `python -m MODULE REPORT.json score STREAM.TOML ...` writes the report when it is told
    to stop. settle_s: how long it runs on behind the last event.
    Raises DependencyUnavailable where it does not finish in seconds_max.
    """
    folder = arena.scratch()
    arena.ground.forget_group(f"{course.stream}-scorer")
    arena.ground.create(course.predictions)
    start = millstream_start(course.folder, EXACTLY, 0, folder / "ready")
    report = folder / "report.json"
    name = f"{module.rpartition('.')[2]} scorer"
    argv = [sys.executable, "-m", module, str(report), *start[3:]]
    child = Child(name, argv, log=folder / "log", env=arena.ground.environment())
    deadline = time.monotonic() + seconds_max
    try:
        while arena.ground.committed(course.predictions) < events:
            if not child.alive() or time.monotonic() > deadline:
                raise DependencyUnavailable(name, f"did not finish\n{child.tail(8)}")
            time.sleep(0.1)
        time.sleep(settle_s)
    finally:
        child.stop(timeout_s=20)
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found
