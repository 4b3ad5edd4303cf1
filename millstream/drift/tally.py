"""Counts of one window of events: the hot path of the input watch, which keeps counts only.

A compiled kernel walks the columns once; where numba cannot be loaded numpy does the same, with
the same counts. All of them are integers, so how the events were batched changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.columnar.engine import kernels_load
from millstream.drift.profile import (
    MAGNITUDES,
    CategoryFeature,
    Floats,
    Ints,
    Profile,
    magnitude_bits,
)

NULL, OUTSIDE, RUN = 0, 1, 2
"""Marks of a feature: first null, first value outside of the reference, start of the last run."""


class Tally:
    """The counts of one window, and what runs on from one window into the next.

    cells: int64 [f, c], a row for each feature: its bins or categories (others in the one behind
    the last), and its nulls in the last column. magnitudes: int64 [f, 64]. logs: int64 [f], sums
    of log2 |x| in 2^-20. runs: int64 [f], longest run that the window saw. marks: int64 [f, 3, 2],
    offset and time, -1 where there was none. longest_mark: int64 [f, 2], start of that run.
    """

    def __init__(self, profile: Profile) -> None:
        features = profile.features
        count = len(features)
        self.width = np.array([len(feature.counts) for feature in features], np.int64)
        self.others = np.array(
            [
                float(len(f.categories)) if isinstance(f, CategoryFeature) else np.nan
                for f in features
            ]
        )
        edges = [
            # a code k is in cell k: edges between the codes
            np.arange(len(f.categories)) + 0.5 if isinstance(f, CategoryFeature) else f.edges
            for f in features
        ]
        self.edges = np.full((count, max(map(len, edges)) + 1), np.inf)
        for place, some in enumerate(edges):
            self.edges[place, : len(some)] = some
        self.edge_counts = np.array([len(some) for some in edges], np.int64)
        self.cells = np.zeros((count, int(self.width.max()) + 1), np.int64)
        self.magnitudes = np.zeros((count, MAGNITUDES), np.int64)
        self.logs = np.zeros(count, np.int64)
        self.runs = np.zeros(count, np.int64)
        self.marks = np.full((count, 3, 2), -1, np.int64)
        self.longest_mark = np.full((count, 2), -1, np.int64)
        self.last = np.full(count, np.nan)
        self.run = np.zeros(count, np.int64)

    def add(self, matrix: Floats, offsets: Ints, times_us: Ints) -> None:
        """Count [features, rows], the rows in order; offsets and times are int64 [rows]."""
        if matrix.shape[1] == 0:
            return
        if kernels_load():
            from millstream.drift.tally_kernel import count_rows  # noqa: PLC0415 - loads numba

            count_rows(
                np.ascontiguousarray(matrix), np.ascontiguousarray(offsets),
                np.ascontiguousarray(times_us), self.edges, self.edge_counts,
                self.others, self.cells, self.magnitudes, self.logs, self.runs, self.marks,
                self.longest_mark, self.last, self.run,
            )  # fmt: skip
        else:
            for place in range(len(matrix)):
                self._add_feature(place, matrix[place], offsets, times_us)

    def clear(self) -> None:
        """Begin the next window; a run goes on."""
        for counts in (self.cells, self.magnitudes, self.logs, self.runs):
            counts[...] = 0
        self.marks[:, (NULL, OUTSIDE)] = -1
        self.longest_mark[...] = -1

    def _add_feature(self, place: int, values: Floats, offsets: Ints, times: Ints) -> None:
        null = np.isnan(values)
        present = values[~null]
        used = self.edges[place, : self.edge_counts[place]]
        places = np.searchsorted(used, present, side="left")
        self.cells[place] += np.bincount(places, minlength=self.cells.shape[1])
        self.cells[place, -1] += null.sum()
        bins, logs = magnitude_bits(present[(present != 0) & np.isfinite(present)])
        self.magnitudes[place] += np.bincount(bins, minlength=MAGNITUDES)
        self.logs[place] += logs.sum()
        beyond = ~null
        number = np.isnan(self.others[place])
        beyond[~null] = (places == len(used)) | ((places == 0) & number)
        for kind, rows in ((NULL, null), (OUTSIDE, beyond)):
            if rows.any() and self.marks[place, kind, 0] < 0:
                first = int(np.argmax(rows))
                self.marks[place, kind] = offsets[first], times[first]
        self._runs(place, values, offsets, times)

    def _runs(self, place: int, values: Floats, offsets: Ints, times: Ints) -> None:
        before = np.concatenate(([self.last[place]], values[:-1]))
        same = (values == before) & (values != self.others[place])
        rows = np.arange(len(values))
        starts = np.maximum.accumulate(np.where(same | np.isnan(values), -1, rows))
        lengths = np.where(starts < 0, self.run[place] + rows + 1, rows - starts + 1)
        lengths = np.where(np.isnan(values), 0, lengths)
        longest = int(np.argmax(lengths))
        if lengths[longest] > self.runs[place]:
            self.runs[place] = lengths[longest]
            begun = int(starts[longest])
            self.longest_mark[place] = (
                self.marks[place, RUN] if begun < 0 else (offsets[begun], times[begun])
            )
        if starts[-1] >= 0:
            self.marks[place, RUN] = offsets[starts[-1]], times[starts[-1]]
        self.last[place], self.run[place] = values[-1], lengths[-1]

    def state(self) -> dict[str, Any]:
        """Everything that changes, as arrays."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Go on from `state()`."""
        for name in _STATE:
            getattr(self, name)[...] = state[name]


_STATE = ("cells", "magnitudes", "logs", "runs", "marks", "longest_mark", "last", "run")
