"""Streams with a fault in the middle: twelve faults of four verdicts, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
NUMBERS = ("salary", "age", "loan", "score", "tempo")
ORDER = (*NUMBERS, "region", "channel")
CATEGORIES = ("region", "channel")
ROWS, FAULT, BACK = 24_000, 12_000, 18_000
LABELS = 250
"""Labelled predictions in a reading of the loss."""


@dataclass(frozen=True, slots=True)
class Source:
    """Events in order; the first `reference` of them make the profile."""

    columns: Columns
    order: tuple[str, ...]
    times: npt.NDArray[np.int64]
    reference: int = 4_000
    categories: tuple[str, ...] = ()


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


def _some_null(name: str) -> Callable[[Columns, slice, np.random.Generator], None]:
    def inject(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
        hit = rng.random(rows.stop - rows.start) < 0.15
        columns[name][rows] = np.where(hit, np.nan, columns[name][rows])

    return inject


def _more_south(columns: Columns, rows: slice, rng: np.random.Generator) -> None:
    count = rows.stop - rows.start
    columns["region"][rows] = rng.choice(
        ["north", "south", "east", "west"], count, p=[0.1, 0.6, 0.2, 0.1]
    )


FAULTS = (
    Fault("nulls", "broken_pipe", _some_null("loan"), features=("loan",)),
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

ELEC2_FAULTS = (
    Fault("nulls", "broken_pipe", _some_null("nswdemand"), features=("nswdemand",)),
    Fault("stuck", "broken_pipe", _set("nswdemand", 0.4), 0.3, features=("nswdemand",)),
    Fault("unit", "broken_pipe", _times("nswdemand", 1_000.0), 0.4, features=("nswdemand",)),
    Fault("cents", "broken_pipe", _times("nswprice", 100.0), features=("nswprice",)),
    Fault("schema", "broken_pipe", schema=True),
    Fault("price up", "harmless_shift", _times("nswprice", 3.0), features=("nswprice",)),
    Fault("demand down", "harmless_shift", _plus("nswdemand", -0.6), features=("nswdemand",)),
    Fault("demand up", "harmful_shift", _plus("nswdemand", 0.6), 0.3, features=("nswdemand",)),
    Fault("low price", "harmful_shift", _times("nswprice", 0.3), 0.25, features=("nswprice",)),
    Fault("new rule", "concept_change", None, 0.4),
    Fault("slightly new rule", "concept_change", None, 0.22),
    Fault("another rule", "concept_change", None, 0.3),
)


def loans(seed: int) -> Source:
    """ROWS generated events."""
    times = START_US + np.arange(ROWS, dtype=np.int64) * EVENT_US
    return Source(events(ROWS, seed), ORDER, times, categories=CATEGORIES)


def elec2() -> Source:
    """The real market, in its own order, from a reference of half a year."""
    import pandas as pd

    frame = pd.read_csv(DATA / "elec2" / "elec2.csv.gz", nrows=ROWS)
    order = ("day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
    times = pd.to_datetime(frame["event_time"]).astype("datetime64[us]").astype("int64")
    columns = {name: frame[name].to_numpy(dtype=np.float64, copy=True) for name in order}
    return Source(columns, order, np.asarray(times, np.int64), reference=9_000)


def watched(fault: Fault, source: Source, seed: int, delay: int = 0) -> list[Incident]:
    """Every revision of every incident, labels coming `delay` events after their predictions.

    The loss is judged as a simple monitor would: raised while the rate of the last two readings is
    4.5 standard errors above the reference.
    """
    columns, times = source.columns, source.times
    rng = np.random.default_rng(seed)
    first_rows = {name: column[: source.reference] for name, column in columns.items()}
    profile = make_profile("loans", source.order, first_rows, source.categories)
    rows = slice(FAULT, BACK)
    if fault.inject:
        fault.inject(columns, rows, rng)
    rate = np.full(ROWS, 0.1)
    rate[rows] = fault.error
    wrong = rng.random(ROWS) < rate
    offsets = np.arange(ROWS)
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
            recent = wrong[max(last + 1 - 2 * LABELS, 0) : last + 1]
            reading = LossReading(
                first=Position(int(times[first]), 0, first),
                last=Position(int(times[last]), 0, last),
                labels=last - first + 1,
                rate=float(wrong[first : last + 1].mean()),
                reference=0.1,
                raised=float(recent.mean()) > 0.16,
                model_version="1",
            )
            told += incidents.loss(reading)
    return told
