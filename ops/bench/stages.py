"""Where an event's time goes in our own loop; what decoding, scoring and encoding alone cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from millstream.columnar import FRAME_BYTES, Encoder, frame, make_decoder
from millstream.models.bundle import Bundle
from millstream.models.session import Session
from ops.bench.arena import Arena, Course
from ops.bench.clocked import clocked
from ops.bench.contenders import model_ports
from ops.bench.data import SUBJECTS, chunk, event_schema, matrix

ROWS = (1, 1_000, 20_000)
LIMIT_S = 0.5
STAGED_S_MAX = 90.0
SETTLE_S = 0.3
IDLE_STEPS = {"consume"}
"""Steps that also wait: their wall time is no work."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the loop, in microseconds an event."""

    name: str
    wall_us: float
    cpu_us: float
    calls: int


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing alone, in this process: microseconds a row at each batch size."""

    name: str
    us: dict[int, float]


def stages(arena: Arena, course: Course, events: int) -> tuple[list[Step], list[str]]:
    """(steps, names of those that could not be found) of a run over all events, exactly once.

    The clocks run from the program's start to its end, so start-up of the loop is in them.
    """
    found = clocked(arena, course, events, "ops.bench.staged", STAGED_S_MAX, SETTLE_S)
    steps = [
        Step(
            name, wall / events / 1000, found["cpu_ns"][name] / events / 1000, found["calls"][name]
        )
        for name, wall in found["wall_ns"].items()
    ]
    return sorted(steps, key=lambda step: -step.cpu_us), found["absent"]


def limits(course: Course) -> list[Limit]:
    """Decode only, score only (the session with its checks, and ONNX Runtime bare), encode only."""
    shape = SUBJECTS[course.letter].shape
    schema = event_schema(shape)
    bundle = Bundle.load(course.folder / "bundle")
    session = Session(bundle)
    session.warm_up()
    tensor, width, _ = model_ports(bundle)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    bare = ort.InferenceSession(bundle.model_bytes, options, providers=["CPUExecutionProvider"])
    decoder = make_decoder(schema)
    encoder = Encoder(schema, frame(1))
    found: dict[str, dict[int, float]] = {}
    for rows in ROWS:
        columns = chunk(shape, 0, rows)
        values = encoder.encode(columns)
        feeds = {tensor: matrix(columns, shape).astype(width)}
        calls: dict[str, Callable[[], Any]] = {
            "decode only": lambda v=values: decoder.decode(v, skip=FRAME_BYTES),  # type: ignore[misc]
            "score only, with features and checks": lambda c=columns: session.score(c),  # type: ignore[misc]
            "score only, ONNX Runtime bare": lambda f=feeds: bare.run(None, f),  # type: ignore[misc]
            "encode only (the event, not the prediction)": lambda c=columns: encoder.encode(c),  # type: ignore[misc]
        }
        for name, call in calls.items():
            found.setdefault(name, {})[rows] = _each_us(call, rows)
    session.close()
    return [Limit(name, us) for name, us in found.items()]


def _each_us(call: Callable[[], Any], rows: int) -> float:
    """CPU microseconds a row: the median call of as many as fit into LIMIT_S, of three at least."""
    call()
    spent: list[int] = []
    deadline = time.monotonic() + LIMIT_S
    while len(spent) < 3 or time.monotonic() < deadline:
        begin = time.thread_time_ns()
        call()
        spent.append(time.thread_time_ns() - begin)
    return float(np.median(spent)) / rows / 1000
