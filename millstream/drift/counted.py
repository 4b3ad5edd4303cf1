"""Which predictions' labels were counted already: ranges of their events' offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millstream.drift.state import packed, unpacked

Ints = npt.NDArray[np.int64]
RANGES_MAX: Final = 4_096
"""Of one partition, gaps between them being labels that did not come yet. Beyond it the oldest gap
is given up: a label that fills it later is not counted."""


class Counted:
    """The counted offsets of one partition.

    late: labels that came too late to say whether they were counted before.
    """

    def __init__(self, ranges_max: int = RANGES_MAX) -> None:
        self._max = ranges_max
        self._starts = np.empty(0, np.int64)
        self._ends = np.empty(0, np.int64)
        self._floor = 0
        self.late = 0

    def take(self, offsets: Ints) -> npt.NDArray[np.bool_]:
        """Count these, [n]; True for those that were not counted before, here included."""
        place = np.searchsorted(self._starts, offsets, side="right") - 1
        known = np.zeros(len(offsets), bool)
        inside = place >= 0
        known[inside] = offsets[inside] < self._ends[place[inside]]
        late = ~known & (offsets < self._floor)
        self.late += int(late.sum())
        fresh = np.zeros(len(offsets), bool)
        fresh[np.unique(offsets, return_index=True)[1]] = True
        fresh &= ~known & ~late
        if fresh.any():
            self._insert(np.sort(offsets[fresh]))
        return fresh

    def _insert(self, points: Ints) -> None:
        starts = np.concatenate((self._starts, points))
        ends = np.concatenate((self._ends, points + 1))
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        apart = np.concatenate(([True], starts[1:] > ends[:-1]))  # disjoint: ends ascend too
        last = np.concatenate((np.flatnonzero(apart)[1:] - 1, [len(ends) - 1]))
        starts, ends = starts[apart], ends[last]
        if len(starts) > self._max:
            extra = len(starts) - self._max
            self._floor = int(starts[extra])
            starts, ends = starts[extra:], ends[extra:]
        self._starts, self._ends = starts, ends

    def state(self) -> dict[str, Any]:
        """As JSON."""
        arrays = packed({"starts": np.diff(self._starts, prepend=0), "ends": self._ends})
        return {"arrays": arrays, "floor": self._floor, "late": self.late}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        arrays = unpacked(state["arrays"])
        self._starts, self._ends = np.cumsum(arrays["starts"]), arrays["ends"]
        self._floor, self.late = state["floor"], state["late"]
