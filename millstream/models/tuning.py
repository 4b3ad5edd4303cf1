"""tuning.json: how fast a bundle's model is on one machine, by engine, threads and batch size.

Written beside bundle.toml by `millstream bundle tune` (tuner.py). It belongs to one model and one
machine: anything else, or a damaged file, is ignored with a warning, since scoring goes on without.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from pathlib import Path
from typing import Annotated, Literal, Self

import onnxruntime as ort
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from millstream.models.bundle import Bundle

TUNING_FILE = "tuning.json"
TUNING_VERSION: Literal[1] = 1
TUNING_BYTES_MAX = 1 << 20
BUDGET_SHARE = 0.25
"""Of the latency budget that one piece of a batch may take: its events wait, and are written."""
NEARLY = 0.95
"""Of the best rate: good enough to prefer fewer threads, then a smaller batch."""

_log = logging.getLogger(__name__)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Part):
    """What a curve depends on besides the model."""

    processor: str
    cores: Annotated[int, Field(ge=1)]
    onnxruntime: str


class Choice(_Part):
    """How a session scores: what runs the model, its threads, and rows of a piece."""

    engine: Literal["onnxruntime", "compiled"] = "compiled"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1_024


class Point(Choice):
    """One measurement: the best of several runs."""

    rows_per_s: Annotated[float, Field(gt=0)]


class Variant(_Part):
    """How one engine with one number of threads answers beside ONNX Runtime with one thread.

    difference: the largest, absolute up to 1 and relative above. flips: rows with another label.
    checked: rows compared, many of them at the model's own thresholds.
    """

    engine: Literal["onnxruntime", "compiled"]
    threads: Annotated[int, Field(ge=1)]
    difference: Annotated[float, Field(ge=0)]
    flips: Annotated[int, Field(ge=0)]
    checked: Annotated[int, Field(ge=1)]


class Tuning(_Part):
    """Everything in tuning.json. note: why an engine was not measured."""

    version: Literal[1] = TUNING_VERSION
    model_digest: str
    machine: Machine
    measured: AwareDatetime
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    note: str | None = None

    @model_validator(mode="after")
    def _every_point_was_compared(self) -> Self:
        compared = {(variant.engine, variant.threads) for variant in self.variants}
        if any((point.engine, point.threads) not in compared for point in self.points):
            raise ValueError("a point's engine and threads were not compared")
        return self

    def choose(self, latency_budget_ms: float, threads: int | None = None) -> Choice:
        """The fastest point whose batch takes at most a quarter of the budget.

        Only what answers with the very bits of ONNX Runtime's one thread, if anything does:
        `millstream verify` compares bits. threads: only these, where they were measured; the
        operator who asks for them takes what bits they give. Where no batch is quick enough, the
        point with the quickest batch.
        """
        exact = {(v.engine, v.threads) for v in self.variants if not v.difference and not v.flips}
        points = [p for p in self.points if p.threads == threads]
        points = points or [p for p in self.points if (p.engine, p.threads) in exact]
        points = points or list(self.points)
        limit_s = BUDGET_SHARE * latency_budget_ms / 1_000
        quick = [p for p in points if p.rows / p.rows_per_s <= limit_s]
        if not quick:
            chosen = min(points, key=lambda p: p.rows / p.rows_per_s)
        else:
            best = max(p.rows_per_s for p in quick)
            good = [p for p in quick if p.rows_per_s >= NEARLY * best]
            chosen = min(good, key=lambda p: (p.threads, p.rows))
        return Choice(engine=chosen.engine, threads=chosen.threads, rows=chosen.rows)


def this_machine() -> Machine:
    """The machine that this process runs on."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Machine(processor=name, cores=cores or 1, onnxruntime=ort.__version__)


def write_tuning(bundle: Bundle, tuning: Tuning) -> Path:
    """Put it beside bundle.toml, whole or not at all. Raises OSError."""
    file = bundle.folder / TUNING_FILE
    draft = file.with_suffix(".json.draft")
    draft.write_text(json.dumps(tuning.model_dump(mode="json"), indent=1) + "\n", "utf-8")
    draft.replace(file)
    return file


def read_tuning(bundle: Bundle, machine: Machine) -> Tuning | None:
    """The bundle's curve, if there is one and it is of this model and machine.

    Anything else is said in one warning, with the remedy.
    """
    file = bundle.folder / TUNING_FILE
    remedy = f"sensible defaults are used; run: millstream bundle tune {bundle.folder}"
    try:
        with file.open("rb") as stream:
            text = stream.read(TUNING_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s cannot be read: %s; %s", file, error.strerror, remedy)
        return None
    try:
        found = Tuning.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        _log.warning("%s is not valid: %s %s; %s", file, where, first["msg"], remedy)
        return None
    if found.model_digest != bundle.digest:
        _log.warning("%s was measured with another model; %s", file, remedy)
        return None
    if found.machine != machine:
        _log.warning("%s was measured on %s; %s", file, _shown(found.machine), remedy)
        return None
    return found


def choice_for(bundle: Bundle, latency_budget_ms: float, threads: int | None = None) -> Choice:
    """How to score this bundle here: by its curve, else compiled trees or one thread.

    threads: what the operator set, if anything.
    """
    tuning = read_tuning(bundle, this_machine())
    if tuning is None:
        return Choice(threads=threads or 1)
    return tuning.choose(latency_budget_ms, threads)


def _shown(machine: Machine) -> str:
    return f"{machine.processor}, {machine.cores} cores, onnxruntime {machine.onnxruntime}"
