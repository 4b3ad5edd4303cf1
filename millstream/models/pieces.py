"""Scores ranges of a batch; a range that fails is cut in halves until a failing row is alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.errors import Refusal, Stage

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

STOPS_MAX = 12
"""Runs that may be stopped in one call of `score` before what is left is refused unsplit."""


class CannotScore(Exception):
    """The model gave no usable answer for a batch; never leaves a session."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


class Pieces:
    """Scores ranges of the feeds, by `run`: feeds and rows in, [rows, k] or CannotScore out.

    failed: row -> why it has no scores.
    """

    def __init__(
        self, run: Callable[[dict[str, Array], int], Floats], feeds: dict[str, Array]
    ) -> None:
        self._run = run
        self._feeds = feeds
        self._done: list[Floats] = []
        self._tried = 0
        self._stops = 0
        self.failed: dict[int, CannotScore] = {}

    def score(self, start: int, end: int) -> None:
        """Score these rows."""
        self._tried += end - start
        self._score(start, end)

    def _score(self, start: int, end: int) -> None:
        whole = start == 0 and all(len(array) == end for array in self._feeds.values())
        feeds = self._feeds
        if not whole:
            feeds = {name: array[start:end] for name, array in feeds.items()}
        try:
            self._done.append(self._run(feeds, end - start))
        except CannotScore as failure:
            self._stops += failure.name == "score_timeout"
            if end - start == 1 or self._stops > STOPS_MAX:
                self.failed.update(dict.fromkeys(range(start, end), failure))
                return
            middle = (start + end) // 2
            self._score(start, middle)
            self._score(middle, end)

    def scores(self, width: int) -> Floats:
        """[rows, width] of all that did not fail, in order."""
        if len(self._done) == 1:
            return self._done[0]
        return np.concatenate(self._done) if self._done else np.empty((0, width))

    def refusals(self, positions: npt.NDArray[np.int64]) -> list[Refusal]:
        """Of the rows that failed. positions: of every row, in the batch."""
        everything = len(self.failed) == self._tried > 1
        suspect = f", as on all {self._tried} rows of its batch: suspect the model"
        return [
            Refusal(
                int(positions[row]),
                Stage.SCORE,
                failure.name,
                failure.reason + (suspect if everything else ""),
            )
            for row, failure in self.failed.items()
        ]
