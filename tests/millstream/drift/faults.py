"""Streams with a fault in the middle: three faults of each verdict, and what is watched of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.drift.findings import LossReading, Position
from millstream.drift.incident import Incident, Incidents
from millstream.drift.inputs import InputMonitor
from millstream.drift.profile import make_profile

Columns = dict[str, npt.NDArray[Any]]
START_US = 1_700_000_000_000_000
EVENT_US = 250_000
NUMBERS = ("salary", "age", "loan", "score", "tempo")
ORDER = (*NUMBERS, "region", "channel")
CATEGORIES = ("region", "channel")
ROWS, FAULT, BACK = 24_000, 12_000, 18_000
LABELS = 250
"""Labelled predictions in a reading of the loss."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the events from FAULT until BACK, and what it is called.

    error: what the share of errors becomes. schema: the schema id becomes another.
    """

    name: str
    verdict: str
    inject: Callable[[Columns, slice, np.random.Generator], None] | None = None
    error: float = 0.1
    schema: bool = False
    features: tuple[str, ...] = ()


def events(rows: int, seed: int) -> Columns:
    """Loans with a daily season, an autocorrelated number, and two categories."""
    rng = np.random.default_rng(seed)
    at = np.arange(rows)
    tempo = np.zeros(rows)
    shocks = rng.normal(0, 1, rows)
    for row in range(1, rows):
        tempo[row] = 0.97 * tempo[row - 1] + shocks[row]
    return {
        "salary": rng.lognormal(10.5, 0.5, rows) * (1 + 0.1 * np.sin(at / 1_500)),
        "age": rng.integers(20, 81, rows).astype(np.float64),
        "loan": rng.uniform(0, 500_000, rows),
        "score": rng.normal(600, 60, rows) + 10 * np.sin(at / 700),
        "tempo": tempo,
        "region": rng.choice(["north", "south", "east", "west"], rows, p=[0.4, 0.3, 0.2, 0.1]),
        "channel": rng.choice(["web", "shop"], rows, p=[0.8, 0.2]).astype(object),
    }


def _set(name: str, value: Any) -> Callable[[Columns, slice, np.random.Generator], None]:
    def inject(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
        columns[name][rows] = value

    return inject


def _times(name: str, factor: float) -> Callable[[Columns, slice, np.random.Generator], None]:
    def inject(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
        columns[name][rows] *= factor

    return inject


def _plus(name: str, by: float) -> Callable[[Columns, slice, np.random.Generator], None]:
    def inject(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
        columns[name][rows] += by

    return inject


def _some_null(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
    hit = rng.random(rows.stop - rows.start) < 0.15
    columns["loan"][rows] = np.where(hit, np.nan, columns["loan"][rows])


def _more_south(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
    count = rows.stop - rows.start
    columns["region"][rows] = rng.choice(
        ["north", "south", "east", "west"], count, p=[0.1, 0.6, 0.2, 0.1]
    )


FAULTS = (
    Fault("nulls", "broken_pipe", _some_null, features=("loan",)),
    Fault("stuck value", "broken_pipe", _set("score", 612.5), 0.3, features=("score",)),
    Fault("unit", "broken_pipe", _times("salary", 1_000.0), 0.4, features=("salary",)),
    Fault("schema", "broken_pipe", schema=True),
    Fault("category gone", "broken_pipe", _set("channel", "web"), features=("channel",)),
    Fault("older people", "harmless_shift", _plus("age", 15.0), features=("age",)),
    Fault("higher scores", "harmless_shift", _plus("score", 60.0), features=("score",)),
    Fault("more of the south", "harmful_shift", _more_south, 0.25, features=("region",)),
    Fault("larger loans", "harmful_shift", _plus("loan", 200_000.0), 0.3, features=("loan",)),
    Fault("more pay", "harmful_shift", _times("salary", 1.8), 0.2, features=("salary",)),
    Fault("new rule", "concept_change", None, 0.4),
    Fault("slightly new rule", "concept_change", None, 0.22),
)


def watched(fault: Fault, seed: int, delay: int = 0, back: int = BACK) -> list[Incident]:
    """Every revision of every incident, labels coming `delay` events after their predictions.

    The loss is judged as a simple monitor would: raised while the rate of the last two readings is
    4.5 standard errors above the reference.
    """
    columns = events(ROWS, seed)
    rng = np.random.default_rng(seed + 1)
    profile = make_profile("loans", ORDER, {k: v[:4_000] for k, v in columns.items()}, CATEGORIES)
    rows = slice(FAULT, back)
    if fault.inject:
        fault.inject(columns, rows, rng)
    rate = np.full(ROWS, 0.1)
    rate[rows] = fault.error
    wrong = rng.random(ROWS) < rate
    offsets = np.arange(ROWS)
    times = START_US + offsets * EVENT_US
    schemas = np.where((offsets >= FAULT) & fault.schema, 8, 7)
    monitor, incidents = InputMonitor(profile), Incidents("loans")
    told: list[Incident] = []
    for start in range(0, ROWS + delay, LABELS):
        batch = slice(start, min(start + LABELS, ROWS))
        if start < ROWS:
            some = {name: column[batch] for name, column in columns.items()}
            for window in monitor.add(some, offsets[batch], times[batch], schemas[batch]):
                told += incidents.window(window)
        first = start - delay
        if 0 <= first < ROWS:
            last = min(first + LABELS, ROWS) - 1
            share = float(wrong[first : last + 1].mean())
            reading = LossReading(
                first=Position(int(times[first]), 0, first),
                last=Position(int(times[last]), 0, last),
                labels=last - first + 1,
                rate=share,
                reference=0.1,
                raised=float(wrong[max(last + 1 - 2 * LABELS, 0) : last + 1].mean()) > 0.16,
                model_version="1",
            )
            told += incidents.loss(reading)
    return told
