"""Evidence that the shares of a stream's categories have changed: an e-detector fed by counts.

Every block of counts may be the first of a new stream. For each such start a two-sample Bayes
factor compares what came since with what came before: numerator, the counts since under rates of
their own (a mixture of fixed odds against the rate before, and Jeffreys' prior); denominator, the
same counts under the rate before, itself uncertain (the predictive of Jeffreys' posterior). While
nothing changes each factor has expectation 1 at every time, so their sum, each start weighted by
the share of the budget that its events have used, grows no faster than the budget: *an e-detector*
(Shin, Ramdas, Rinaldo 2023; after Shiryaev 1963 and Roberts 1966), whose mean time to a false alarm
is at least one budget. This is exact for independent events of a rate drawn from the prior. For
dependent ones counts are divided by the dispersion of their scale (`spectrum.py`), which makes the
factors about right and is measured, not proven (`ops/bench/drift`).

Starts that are long ago are thinned out: of those older than RESOLUTION * 2^v blocks only multiples
of 2^(v+1) stay. Which ones will is known from the beginning, so those that stay weigh more from
the beginning, and no weight is ever moved to another start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lgamma
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millstream.columnar.engine import kernels_load
from millstream.drift.spectrum import Spectrum

Floats = npt.NDArray[np.float64]

RESOLUTION: Final = 16
"""Blocks that each scale of starts is kept for. Too few: a change is placed coarsely."""
SCALES: Final = 10
"""Scales among which the budget is divided."""
WEIGHT_MAX: Final = 1 / 32
"""The most that one start may weigh, in budgets."""
STARTS_MAX: Final = 256
BLOCKS_MIN: Final = 10
"""Blocks before anything is judged: how they scatter is not known before."""
ODDS: Final = (1.6, 2.5, 5.0, 12.0)
"""A change multiplies the odds of an error by one of these, or divides them; two categories."""
OPEN: Final = 0.1
"""Weight of the alternative that assumes nothing about the new rate."""
HALF: Final = 0.5
"""Jeffreys' prior."""
WORTH: Final = 5.0
"""Starts whose counts lie within so much of chi square (and its degrees) are left out: they add
next to nothing, and leaving out can only lower the evidence."""
ALWAYS: Final = 1e18


@dataclass(frozen=True, slots=True)
class Change:
    """Where the evidence points.

    since_events: how many events ago it began, at_us: the time of the first of them (as it was
    given). before, after: shares of the categories.
    """

    since_events: float
    at_us: float
    before: tuple[float, ...]
    after: tuple[float, ...]


class Evidence:
    """Counts in, evidence out; 1 is enough for an alarm.

    categories: how many; their counts sum to the events of a batch. floor: least dispersion, 1 for
    counts of events, less for sums of values in [0, 1]. block_events: smaller batches are
    collected until there are so many. reference_events_min: what a change is compared with.
    memory_events: how many events the reference goes back.
    """

    def __init__(
        self,
        categories: int = 2,
        floor: float = 1.0,
        block_events: int = 8,
        reference_events_min: int = 64,
        memory_events: float = ALWAYS,
    ) -> None:
        assert categories >= 2, f"{categories} categories"
        self.categories = categories
        self.block_events = block_events
        self.reference_events_min = reference_events_min
        self.memory_events = memory_events
        self.spectrum = Spectrum(floor)
        odds = [*ODDS, *(1.0 / each for each in ODDS)]
        self._shifts = np.log(odds)[:, None]
        self._worth = WORTH + categories - 1
        self._open = categories * lgamma(HALF) - lgamma(categories * HALF)
        self._pending = [0.0] * categories
        self._pending_events = 0.0
        self._pending_weight = 0.0
        self._pending_at = 0.0
        self.level = 0.0
        """Evidence now, in budgets."""
        self.spent = 0.0
        """Budget used since the last restart."""
        self._best = 0
        self._clear()

    def _clear(self) -> None:
        self._index = 0
        self._rows = 0
        # rows: first block's number, blocks that its start is kept for, events, weight, time
        self._table = np.zeros((5 + self.categories, STARTS_MAX))
        self.level = 0.0
        self.spent = 0.0

    def update(self, counts: Sequence[float], share: float, at_us: float = 0.0) -> float:
        """Take a batch: counts of the categories; share: budget that each event uses. The level."""
        if not self._pending_events:
            self._pending_at = at_us
        events = 0.0
        for place, count in enumerate(counts):
            self._pending[place] += count
            events += count
        self._pending_events += events
        self._pending_weight += events * share
        if self._pending_events >= self.block_events:
            self._close()
            self.level = self._judge()
        return self.level

    def _close(self) -> None:
        """The pending counts become a block."""
        self.spectrum.add(self._pending_events, self._pending)
        if self._rows == STARTS_MAX:
            self._thin()
        if not self._index:
            life, weight = ALWAYS, 0.0  # nothing is before the first block
        else:
            scale = (self._index & -self._index).bit_length() - 1
            life = float(RESOLUTION << scale)
            weight = min(
                self._pending_weight * 2.0 ** min(scale + 1, SCALES - 1) / SCALES, WEIGHT_MAX
            )
        self._table[:5, self._rows] = (
            self._index, life, self._pending_events, weight, self._pending_at
        )  # fmt: skip
        self._table[5:, self._rows] = self._pending
        self._rows += 1
        self._index += 1
        self.spent += self._pending_weight
        self._pending = [0.0] * self.categories
        self._pending_events = self._pending_weight = 0.0

    def _thin(self) -> None:
        """Forget starts whose time is over; their blocks join the ones before."""
        table = self._table[:, : self._rows]
        ages = self._index - table[0]
        keep = np.flatnonzero(ages <= table[1])
        counts = np.add.reduceat(table[5:], keep, axis=1)
        events = np.add.reduceat(table[2], keep)
        kept = table[:, keep]
        kept[2], kept[5:] = events, counts
        behind = np.cumsum(events[::-1])[::-1]  # events from each start to now
        first = int(np.searchsorted(-behind, -self.memory_events))
        if 0 < first < len(keep):
            kept = kept[:, first:]
            kept[1, 0] = ALWAYS
        if kept.shape[1] == STARTS_MAX:  # more than any stream needs: the oldest two are one
            kept[2, 0] += kept[2, 1]
            kept[5:, 0] += kept[5:, 1]
            kept = np.delete(kept, 1, axis=1)
        self._rows = kept.shape[1]
        self._table[:, : self._rows] = kept

    def _judge(self) -> float:
        """The sum of the weighted factors of all starts."""
        rows = self._rows
        if self.spectrum.blocks < BLOCKS_MIN:
            return 0.0
        if kernels_load():
            return self._judge_compiled()
        sums = np.cumsum(self._table[2:, :rows], axis=1)
        first = int(np.searchsorted(sums[0], self.reference_events_min))
        if first >= rows - 1:
            return 0.0
        before_events, before = sums[0, first:-1], sums[3:, first:-1]
        since_events, since = sums[0, -1] - before_events, sums[3:, -1:] - before
        count = len(before_events)
        dispersion = self.spectrum.of(np.concatenate((before_events, since_events)))
        before, since = before / dispersion[:count], since / dispersion[count:]
        worth = np.flatnonzero(_chi_square(before, since) > self._worth)
        if not len(worth):
            return 0.0
        factors = self._factors(before[:, worth], since[:, worth])
        levels = self._table[3, first + 1 : rows][worth] * np.exp(np.minimum(factors, 600.0))
        self._best = first + 1 + int(worth[np.argmax(levels)])
        return float(levels.sum())

    def _judge_compiled(self) -> float:
        """The same by a kernel, to 1e-9."""
        from millstream.drift.evidence_kernel import judge  # noqa: PLC0415 - loads numba

        scales, values, little = self.spectrum.curve()
        best = np.full(1, -1)
        level = judge(
            self._table, self._rows, float(self.reference_events_min), scales, values, little,
            self._worth, self._shifts[:, 0], HALF, self._open, OPEN, best,
        )  # fmt: skip
        if best[0] >= 0:
            self._best = int(best[0])
        return float(level)

    def _factors(self, before: Floats, since: Floats) -> Floats:
        """log Bayes factors [n] of effective counts [categories, n]."""
        k, n = before.shape
        counts = np.empty((3, k + 1, n))
        counts[0, :k], counts[1, :k], counts[2, :k] = before, since, before + since
        counts[:, k] = counts[:, :k].sum(axis=1)
        counts[:, :k] += HALF
        counts[:, k] += HALF * k
        logs = log_gamma(counts)
        marginals = logs[:, :k].sum(axis=1) - logs[:, k]
        null: Floats = marginals[2] - marginals[0]
        free: Floats = marginals[1] - self._open
        if k > 2:
            return free - null
        logit = np.log(counts[0, 0] / counts[0, 1]) + self._shifts
        hits = -np.log1p(np.exp(-logit))
        fixed = since[0] * hits + since[1] * (hits - logit)
        top = np.maximum(fixed.max(axis=0), free)
        mixed = np.exp(fixed - top).sum(axis=0) * ((1 - OPEN) / len(self._shifts))
        found: Floats = top + np.log(mixed + OPEN * np.exp(free - top)) - null
        return found

    def change(self) -> Change:
        """Where the evidence points now; of no meaning where it is little."""
        table = self._table[:, : self._rows]
        before, after = table[5:, : self._best].sum(axis=1), table[5:, self._best :].sum(axis=1)
        return Change(
            float(table[2, self._best :].sum()),
            float(table[4, self._best]),
            tuple((before / max(before.sum(), 1.0)).tolist()),
            tuple((after / max(after.sum(), 1.0)).tolist()),
        )

    def restart(self) -> None:
        """Take the later half of what came since the change as the new reference."""
        begin = (self._best + self._rows) // 2
        events, counts = (
            self._table[2, begin : self._rows].sum(),
            self._table[5:, begin : self._rows],
        )
        kept = counts.sum(axis=1)
        at_us = self._table[4, begin]
        self._clear()
        self._table[:5, 0] = (0.0, ALWAYS, events, 0.0, at_us)
        self._table[5:, 0] = kept
        self._rows = self._index = 1
        self.spectrum.cut()

    @property
    def e_value(self) -> float:
        """Evidence against "nothing changed since the restart": 1 or less in the mean."""
        return self.level / self.spent if self.spent > 0.0 else 0.0

    def state(self) -> dict[str, Any]:
        """Plain numbers; `restore` goes on from them to the same bit."""
        return {
            "pending": [*self._pending, self._pending_events, self._pending_weight,
                        self._pending_at],
            "table": self._table[:, : self._rows].tolist(),
            "index": self._index,
            "level": self.level,
            "spent": self.spent,
            "best": self._best,
            "spectrum": self.spectrum.state(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()` of evidence with the same arguments."""
        self._clear()
        *self._pending, self._pending_events, self._pending_weight, self._pending_at = state[
            "pending"
        ]
        self._rows = len(state["table"][0])
        self._table[:, : self._rows] = state["table"]
        self._index, self._best = state["index"], state["best"]
        self.level, self.spent = state["level"], state["spent"]
        self.spectrum.restore(state["spectrum"])


def _chi_square(before: Floats, since: Floats) -> Floats:
    """How far apart two counts [categories, n] are: chi square of categories - 1 degrees."""
    one, two = before.sum(axis=0), since.sum(axis=0)
    apart = before / one - since / two
    share = (before + since + 1e-9) / (one + two)
    found: Floats = (apart * apart / share).sum(axis=0) * (one * two / (one + two))
    return found


def log_gamma(x: Floats) -> Floats:
    """log of the gamma function, x > 0, to 1e-9: Stirling's series behind six steps of recursion.

    >>> [round(float(value), 9) for value in log_gamma(np.array([0.5, 1.0, 11.0]))]
    [0.572364943, -0.0, 15.104412573]
    """
    product = x * (x + 1.0) * (x + 2.0) * (x + 3.0) * (x + 4.0) * (x + 5.0)
    z = x + 6.0
    inverse = 1.0 / z
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    found: Floats = (z - 0.5) * np.log(z) - z + 0.9189385332046727 + series - np.log(product)
    return found
