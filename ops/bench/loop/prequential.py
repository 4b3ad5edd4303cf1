"""Prequential accuracy: every event is answered first, and its outcome is learned later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ops.bench.loop.contenders import Contender
from ops.bench.loop.models import Models
from ops.bench.loop.streams import Stream

STEP: Final = 10
"""Events that are answered before labels are looked at again."""
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Run:
    """right: bool [events behind the warm-up]. swaps: event numbers at which another model began
    to answer. fits, fit_s: models fitted for this run alone, and their seconds of CPU."""

    right: Bools
    swaps: tuple[int, ...]
    fits: int = 0
    fit_s: float = 0.0

    @property
    def accuracy(self) -> float:
        """In per cent."""
        return float(self.right.mean()) * 100.0


def run(models: Models, make: Callable[[Models], Contender], delay: int) -> Run:
    """One contender; the outcome of event i is known when event i + delay has been answered."""
    stream, first = models.stream, models.stream.warm_up
    fits, fit_s = models.fits, models.fit_s
    contender = make(models)
    ranges = contender.step(first, first)
    right = np.zeros(len(stream) - first, bool)
    swaps = []
    for begin in range(first, len(stream), STEP):
        end = min(begin + STEP, len(stream))
        found = models.predicted(ranges, begin, end) == stream.labels[begin:end]
        right[begin - first : end - first] = found
        if end - delay <= first:
            continue
        wanted = contender.step(end - delay, end)
        if wanted != ranges:
            ranges = wanted
            swaps.append(end)
    return Run(right, tuple(swaps), models.fits - fits, models.fit_s - fit_s)


def no_change(stream: Stream, delay: int) -> Run:
    """Predicts the newest label that is known."""
    first = stream.warm_up
    at = np.maximum(np.arange(first, len(stream)) - 1 - delay, 0)
    return Run(stream.labels[at] == stream.labels[first:], ())
