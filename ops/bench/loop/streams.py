"""Streams for the loop: rows in their order, from ../shared/data or from generators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from ops.bench.drift.streams import GENERATED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WARM_UP: Final = 0.15
"""Part of a stream whose labels are there at the start: the first model is fitted on it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Accuracies in per cent, outcomes at once: the loop's goal, and what FACTS measured."""

    loop: float
    frozen: float
    adwin: float


GOALS: Final = {
    "elec2": Goal(76.5, 74.7, 75.9),
    "insects_switch": Goal(71.0, 30.0, 63.2),
    "nsl_kdd": Goal(98.4, 88.9, 97.9),
    "loans": Goal(89.5, 60.6, 82.8),
}
REAL: Final = {
    "elec2": ("elec2/elec2.csv.gz", ("event_time",), ()),
    "insects_switch": (
        "insects/insects_switch.csv.gz",
        ("event_time", "concept"),
        (4_000, 6_000, 9_000, 11_000, 14_000, 16_000),
    ),
    "nsl_kdd": (
        "nsl_kdd/nsl_kdd.csv.gz",
        ("event_time", "attack", "difficulty", "part"),
        (25_192,),
    ),
    "loans": (
        "loans/loans_dev.csv.gz",
        ("event_time", "concept"),
        (10_000, 20_000, 30_000, 40_000),
    ),
    "insects_gradual": ("insects/insects_gradual.csv.gz", ("event_time",), (14_028,)),
}
"""Name -> file, columns that are no features, true changes."""


@dataclass(frozen=True, slots=True)
class Stream:
    """features: float64 [n, m], texts as codes. labels: [n] codes. names: of the m features.
    changes: rows with which a new concept begins, where they are known."""

    name: str
    features: Floats
    labels: Ints
    names: tuple[str, ...]
    changes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def warm_up(self) -> int:
        """Rows that the first model is fitted on."""
        return int(len(self) * WARM_UP)


def names(data: Path | None) -> list[str]:
    """The streams that can be made here."""
    real = [name for name, (file, _, _) in REAL.items() if data and (data / file).is_file()]
    return [*real, *(name for name in GENERATED if name not in real)]


def load(name: str, data: Path | None) -> Stream:
    """A stream by its name; of the data folder where it is there, else generated."""
    file, hidden, changes = REAL.get(name, ("", (), ()))
    if data is None or not file or not (data / file).is_file():
        rows = GENERATED[name]()
        columns = tuple(f"x{number}" for number in range(rows.features.shape[1]))
        return Stream(
            name, rows.features, rows.labels, columns, tuple(at for at, _ in rows.changes)
        )
    frame = pd.read_csv(data / file)
    labels: Ints = np.asarray(frame["label"].astype("category").cat.codes, np.int64)
    frame = frame.drop(columns=[c for c in ("label", *hidden) if c in frame])
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype("category").cat.codes
    return Stream(name, frame.to_numpy(np.float64), labels, tuple(frame.columns), changes)
