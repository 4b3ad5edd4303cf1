"""How much more than independent trials a stream's counts scatter, scale by scale.

Errors in a Kafka stream come in bursts: neighbouring batches resemble each other, and what looks
like a change may be the stream's everyday scatter. Differences of neighbouring blocks of 1, 2, 4,
... blocks (Haar's wavelet) give the variance at each scale; divided by that of independent trials
they are the stream's *dispersion* there: 1 where events are independent, more in bursts. The sum
over the scales above a window's own is the variance of its mean against a long reference, whatever
the kind of dependence (Percival 1995; Abry, Veitch 1998).

A change of the stream is no scatter: each difference counts one step late and for no more than
`CAP` times what is usual, so that one change hardly widens what the next is judged by, and bursts
that go on do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WINDOW: Final = 64.0
"""Differences that a level remembers. Too few: a noisy dispersion. Too many: slow to learn."""
PRIOR: Final = 12.0
"""Differences that the level below is worth where a level has few of its own."""
GROWTH_MAX: Final = 1.5
"""How much more a level may scatter than the one below it before it has been seen to."""
GROWTH_MIN: Final = 1.0 / 1.5
"""How much less. Were it 1, noise alone would make dispersions grow from scale to scale."""
SLACK: Final = 0.7
"""A level's dispersion may be so much below the floor before the levels are summed."""
CAP: Final = 16.0
"""The most that one difference counts, in usual ones. Too low: blind to rare long bursts."""
CAP_CUT: Final = 6.0
"""The same across an alarm. Too low: bursts that raised alarms are never learnt. Too high: a
stream of real changes goes deaf."""
EARLY_EVENTS: Final = 500.0
"""Dispersions are taken 1 + this / (events seen) times as large: little has been seen yet."""
EARLY_BLOCKS: Final = 12.0
"""The same for blocks, which tells where they are large."""
SMALL_EVENTS: Final = 64.0
"""Larger blocks may hide bursts within: less is assumed of them at first."""
SPANNED: Final = 2
"""Differences of a level that may span an alarm: the late one, and the one under way."""
LEVELS_BEYOND: Final = 3
"""Scales beyond those seen that a dispersion is guessed for."""


class _Level:
    """Differences of neighbouring blocks of one scale."""

    __slots__ = ("expected", "late", "observed", "pending", "scars", "size", "weight")

    def __init__(self) -> None:
        self.pending: list[float] | None = None
        self.late: list[float] | None = None
        self.observed = 0.0
        self.expected = 0.0
        self.weight = 0.0
        self.size = 0.0
        self.scars = 0

    def learn(self, difference: Sequence[float], usual: float) -> None:
        observed, expected, size = difference
        keep = 1.0 if self.weight < WINDOW else 1.0 - 1.0 / WINDOW
        self.size = size if not self.weight else self.size + (size - self.size) / (self.weight + 1)
        self.observed = self.observed * keep + min(
            observed, (CAP_CUT if self.scars else CAP) * usual * expected
        )
        self.scars = max(self.scars - 1, 0)
        self.expected = self.expected * keep + expected
        self.weight = self.weight * keep + 1.0

    @classmethod
    def restored(cls, row: Sequence[Any]) -> _Level:
        level = cls()
        for name, value in zip(cls.__slots__, row, strict=True):
            setattr(level, name, value)
        return level

    def dispersion(self, prior: float, worth: float) -> float:
        if self.expected <= 0.0:
            return prior
        own = self.observed / self.expected * self.weight
        return (worth * prior + own) / (worth + self.weight)


class Spectrum:
    """Dispersion by scale, learnt from blocks of counts.

    floor: the least dispersion; 1 for counts of events, less for sums of values in [0, 1].
    """

    def __init__(self, floor: float = 1.0) -> None:
        self.floor = floor
        self._levels: list[_Level] = []
        self._usual: list[float] = []
        self._events = 0.0
        self.blocks = 0
        self._scales: Floats = np.zeros(1)
        self._values: Floats = np.ones(1)

    def add(self, events: float, counts: Sequence[float]) -> None:
        """One block: its events, and the counts of its categories, which sum to the events."""
        depth = 0
        self._events += events
        self.blocks += 1
        block = [events, *counts]
        while True:
            if depth == len(self._levels):
                self._levels.append(_Level())
            level = self._levels[depth]
            if level.pending is None:
                level.pending = block
                break
            before, level.pending = level.pending, None
            if level.late is not None:
                level.learn(level.late, self._usual[depth] if depth < len(self._usual) else 1.0)
            level.late = _difference(before, block)
            block = [a + b for a, b in zip(before, block, strict=True)]
            depth += 1
        if depth:
            self._compile()

    def _compile(self) -> None:
        """Dispersions of all levels, and from them those of windows as long as their blocks."""
        prior, growth, size = 1.0, 1.0, 1.0
        self._usual = []
        sizes: list[float] = []
        taken: list[float] = []
        for level in self._levels:
            if not level.weight:
                break
            # nothing is below the first level: that events are independent is believed of few only
            worth = PRIOR if sizes else PRIOR * min(1.0, SMALL_EVENTS / level.size)
            value = max(level.dispersion(prior, worth), SLACK * self.floor)
            below = self._usual[-1] if self._usual else value
            self._usual.append(value)
            taken.append(value)
            size = level.size
            sizes.append(size)
            growth = min(max(value / below, GROWTH_MIN), GROWTH_MAX)
            prior = value * growth
        if not sizes:
            return
        for _ in range(LEVELS_BEYOND):
            size *= 2.0
            sizes.append(size)
            taken.append(prior)
            prior *= growth
        above = taken[-1]
        for place in range(len(taken) - 1, -1, -1):
            above = taken[place] = 0.5 * (taken[place] + above)
        self._scales = np.log2(np.array(sizes))
        self._values = np.maximum(np.array(taken), self.floor)

    def cut(self) -> None:
        """An alarm was raised: what spans it counts for little."""
        for level in self._levels:
            level.scars = SPANNED

    def of(self, events: Floats) -> Floats:
        """float64 [n]: the dispersion of windows of so many events, against a long reference."""
        scales, values, little = self.curve()
        at = np.log2(np.maximum(events, 1.0))
        found: Floats = np.interp(at, scales, values) * little
        return found

    def curve(self) -> tuple[Floats, Floats, float]:
        """What `of` interpolates: log2 of events, dispersions there, and a factor for the lot."""
        little = max(EARLY_EVENTS / max(self._events, 1.0), EARLY_BLOCKS / max(self.blocks, 1.0))
        return self._scales, self._values, 1.0 + little

    def state(self) -> dict[str, Any]:
        """Plain numbers: a row for each level."""
        return {
            "events": self._events,
            "blocks": self.blocks,
            "levels": [
                [getattr(level, name) for name in _Level.__slots__] for level in self._levels
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._events, self.blocks = state["events"], state["blocks"]
        self._levels = [_Level.restored(row) for row in state["levels"]]
        self._usual, self._scales, self._values = [], np.zeros(1), np.ones(1)
        self._compile()


def _difference(one: list[float], two: list[float]) -> list[float]:
    """Observed squared difference, the same expected of independent trials, and the block size."""
    n, m = one[0], two[0]
    both = n + m
    observed = expected = 0.0
    for a, b in zip(one[1:], two[1:], strict=True):
        share = (a + b) / both
        observed += (a / n - b / m) ** 2
        expected += share * (1.0 - share)
    unbiased = both / (both - 1.0) if both > 1.0 else 1.0
    return [observed * n * m / both, expected * unbiased, both / 2.0]
