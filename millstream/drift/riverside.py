"""River's detectors of a stream: each once for every model version, so that a release is no drift.

What they raise goes to the drift topic. It opens no incident: on bursty errors of an unchanged rate
they alarm too, and no budget binds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from millstream.drift.rivers import On, RiverDetector, RiverTable
from millstream.drift.snapshot import Part, Rebuild, restored, river_part

Raising = tuple[int, str, Literal["warning", "alarm"], float]
"""Row, the detector's id, warning or alarm, the value at which it was raised."""


class Riverside:
    """The detectors that stream.toml names."""

    def __init__(self, tables: Sequence[RiverTable]) -> None:
        self._tables = {table.id: table for table in tables}
        self._made: dict[tuple[str, str], RiverDetector] = {}
        self._warned: dict[tuple[str, str], bool] = {}

    def watches(self, *signals: On) -> bool:
        """Whether any detector is on one of these."""
        return any(table.on in signals for table in self._tables.values())

    def update(self, on: On, version: str, values: npt.NDArray[Any]) -> Iterator[Raising]:
        """Give values, [n], in order to the detectors on this signal."""
        for name, table in self._tables.items():
            if table.on != on:
                continue
            key = (name, version)
            if key not in self._made:
                self._made[key] = RiverDetector(table)
            raised = self._made[key].update(values)
            for row in raised.drifts:
                yield row, name, "alarm", float(values[row])
            before = -1 if self._warned.get(key) else -2  # of a run of warnings the first is told
            for row in raised.warnings:
                if row != before + 1:
                    yield row, name, "warning", float(values[row])
                before = row
            if len(values):
                self._warned[key] = before == len(values) - 1

    def forget(self, version: str) -> None:
        """No more is kept of this version."""
        for key in [key for key in self._made if key[1] == version]:
            del self._made[key]
            self._warned.pop(key, None)

    def parts(self) -> dict[str, Part]:
        """Every detector's state."""
        made = {}
        for (name, version), detector in self._made.items():
            part = river_part(detector)
            state = {"river": part.state, "warned": bool(self._warned.get((name, version)))}
            made[f"river/{name}/{version}"] = Part(part.kind, part.params, state, part.library)
        return made

    def restore(self, parts: Mapping[str, Part]) -> list[str]:
        """Go on from `parts()`. What cannot begins anew; a line for people says so."""
        notes = []
        for full, part in parts.items():
            if not full.startswith("river/"):
                continue
            _, name, version = full.split("/", 2)
            table = self._tables.get(name)
            if table is None:
                notes.append(f"detector {name} is no longer named: its state is dropped")
                continue
            inner = Part(part.kind, part.params, part.state["river"], part.library)
            found = restored(table, inner)
            if isinstance(found, Rebuild):
                notes.append(f"detector {name} begins anew: {found.why}")
                continue
            self._made[name, version] = found
            self._warned[name, version] = part.state["warned"]
        return notes


def log_loss(right: npt.NDArray[np.bool_], confidence: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """-log of what the true label was given, [n]. With more than two labels a wrong prediction's
    true label got at most 1 - confidence, so this is the least that the loss can be."""
    chance = np.where(right, confidence, 1.0 - confidence)
    return np.asarray(-np.log(np.clip(chance, 1e-9, 1.0)))
