"""Streams for the loop: rows in their order, from ../shared/data or from generators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ops.bench.drift.streams import GENERATED, read_coded
from ops.bench.drift.streams import REAL as DRIFTS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WARM_UP: Final = 0.15
"""Part of a stream whose labels are there at the start: the first model is fitted on it."""


GOALS: Final = {"elec2": 76.5, "insects_switch": 71.0, "nsl_kdd": 98.4, "loans": 89.5}
"""The loop's accuracy in per cent, outcomes at once."""
REAL: Final = {
    "elec2": ("elec2/elec2.csv.gz", ("event_time",), ()),
    **{
        name: (file, hidden, tuple(at for at, _ in changes))
        for name, (file, changes, hidden) in DRIFTS.items()
    },
    "loans": (
        "loans/loans_dev.csv.gz",
        ("event_time", "concept"),
        (10_000, 20_000, 30_000, 40_000),
    ),
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
    frame, labels = read_coded(data / file, hidden)
    return Stream(name, frame.to_numpy(np.float64), labels, tuple(frame.columns), changes)
