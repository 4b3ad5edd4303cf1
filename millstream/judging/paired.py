"""A paired test that may be looked at after every row: is the second model better, or worse?

Each row gives a difference d in [-1, 1]: the first model's loss less the second one's. A gambler
who stakes a share of his wealth on "the second is better by more than the margin m" multiplies it
by 1 + c (d - m) at each row; where that is not so, no way of betting makes money in the mean, and
the chance that his wealth ever reaches 1/alpha is alpha at most (Ville 1939). The wealth is the
evidence: an e-process (Waudby-Smith, Ramdas: Estimating means of bounded random variables by
betting, JRSS B 2024; Choe, Ramdas: Comparing sequential forecasters, Operations Research 2023). A
second gambler bets on "worse" with the same differences turned round.

That is exact where a row's expected difference, given the rows before, is m or less. Bursts break
it: for a hundred rows one of two equal models is the better one. So dependence is looked for, in
the sums of blocks of 8, 16, 32, ... rows; where they scatter more than those of independent rows,

- the logarithm of the wealth is divided by the dispersion: an upper bound of the variance of a long
  sum over that of independent rows (batch means; Alexopoulos, Seila 1998), continued to lengths
  that were not seen yet;
- and blocks of 96 rows must show it too, each as one observation of unknown spread: exp(c S -
  c^2 S^2 / 2) of block sums S that fall as often above the margin as below has a mean of 1 at most,
  whatever happens within a block (de la Peña, Annals of Probability 1999).

Both only lower evidence that is above 1, and 1/alpha is: what is exact without them stays so. What
they do for bursts is measured (docs/JUDGING.md), not proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from typing import Final

import numpy as np

from millstream.performance.metrics import Bools, Floats, Ints

BLOCK: Final = 8
"""Rows between two looks."""
STAKES: Final = (0.06, 0.14, 0.3, 0.6)
"""Shares of the wealth that are bet on one row; a fixed part of the wealth to each. The best one is
the effect over the mean squared difference: 3 points with 20 % of the rows decided otherwise: 0.15.
"""
PARTS: Final = (0.2, 0.3, 0.3, 0.2)
BLOCKS_MIN: Final = 6
"""Block sums that a scale is judged by at least."""
DEPENDENT: Final = 2.0
"""Standard errors above 1 from which on a scale's dispersion counts as dependence. Lower: slower on
independent rows. Higher: later to see bursts."""
UPPER: Final = 2.0
"""Standard errors added to a dispersion once there is dependence."""
FADING: Final = 0.8
"""What growth of the dispersion from the last scale to the next is left for the one behind it."""
SCALES_BEYOND: Final = 7
LONG_BLOCK: Final = 96
"""Rows that count as one observation under dependence. A multiple of BLOCK."""
BLOCK_STAKES: Final = (0.15, 0.3, 0.6, 1.2)
"""Bets on one long block, in its usual size (root mean square of those before)."""
QUIET: Final = 1e-3
"""While long blocks are usually no larger, nothing is bet on one: models that said the same so far
tell of no usual size, and what comes next would be so many times it that no wealth outlives that.
"""
TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Rule:
    """When it is decided. alpha: chance of each kind of wrong decision. margin: differences of mean
    loss up to it are none. rows_min, rows_max: rows before, and at which, it is decided at all."""

    alpha: float = 0.05
    margin: float = 0.0
    rows_min: int = 500
    rows_max: int = 20_000

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 0.5 or not 0.0 <= self.margin < 1.0:
            raise ValueError(f"alpha {self.alpha} or margin {self.margin} is out of range")
        if not 0 < self.rows_min <= self.rows_max:
            raise ValueError(f"rows_min {self.rows_min} is not in 1 to {self.rows_max}")


@dataclass(frozen=True, slots=True)
class Finding:
    """What the differences show.

    better_at, worse_at: rows at which the second model was first proven better, or worse, by more
    than the margin; None: not. e_better, e_worse: evidence now. difference: mean of the
    differences; low, high: its interval, always valid with 1 - 2 alpha. dispersion: variance
    of a long sum over that of independent rows, 1 where no dependence was seen.
    """

    rows: int
    better_at: int | None
    worse_at: int | None
    e_better: float
    e_worse: float
    difference: float
    low: float
    high: float
    dispersion: float
    dependent: bool
    exhausted: bool


def paired(differences: Floats, rule: Rule) -> Finding:
    """The finding of [n] losses of the first model less the second one's on the same rows, in the
    order in which their labels came; rows beyond rows_max change nothing. Raises ValueError where
    one is not in [-1, 1]."""
    taken = differences[: rule.rows_max]
    if not (np.abs(taken) <= 1.0).all():
        raise ValueError("a difference of losses is not in [-1, 1]")
    up, down = Trace(taken, rule.margin), Trace(-taken, rule.margin)
    mean = float(taken.mean()) if len(taken) else 0.0
    wealth = log(1.0 / rule.alpha)
    return Finding(
        rows=len(taken),
        better_at=up.crossed(rule),
        worse_at=down.crossed(rule),
        e_better=exp(min(up.last, 700.0)),
        e_worse=exp(min(down.last, 700.0)),
        difference=mean,
        low=_bound(taken, wealth),
        high=-_bound(-taken, wealth),
        dispersion=up.dispersion,
        dependent=up.dependent,
        exhausted=len(taken) >= rule.rows_max,
    )


class Trace:
    """The evidence that a mean is above the margin after each block of 8 rows.

    differences: [n] in [-1, 1]; the last n % 8 wait for the next look.
    """

    def __init__(self, differences: Floats, margin: float) -> None:
        self._blocks = len(differences) // BLOCK
        self._rows = differences[: self._blocks * BLOCK]
        self._margin = margin

    @cached_property
    def evidence(self) -> Floats:
        """[blocks] logarithms; 0 at the beginning."""
        if not self._blocks:
            return np.zeros(0)
        dependent, dispersion = self._dependence
        found = _mixed(self._stakes() / dispersion, np.log(PARTS))
        return np.where(dependent, np.minimum(found, self._long_blocks()), found)

    @property
    def last(self) -> float:
        """Its logarithm now."""
        return float(self.evidence[-1]) if self._blocks else 0.0

    @property
    def dispersion(self) -> float:
        """The one that the evidence is divided by now."""
        return float(self._dependence[1][-1]) if self._blocks else 1.0

    @property
    def dependent(self) -> bool:
        """Whether rows depend on their neighbours, as far as it shows now."""
        return bool(self._dependence[0][-1]) if self._blocks else False

    def crossed(self, rule: Rule) -> int | None:
        """Rows after which the evidence first was 1/alpha, from rows_min on; None: never."""
        first = -(-rule.rows_min // BLOCK) - 1
        enough = np.flatnonzero(self.evidence[first:] >= log(1.0 / rule.alpha))
        return (first + int(enough[0]) + 1) * BLOCK if len(enough) else None

    def _stakes(self) -> Floats:
        """[stakes, blocks] log wealth of each stake."""
        values, places = np.unique(self._rows, return_inverse=True)
        made = np.empty((len(STAKES), self._blocks))
        for number, stake in enumerate(STAKES):
            # a loss of everything is d = -1; the stake is of what that would cost
            gains = np.log1p(stake / (1.0 + self._margin) * (values - self._margin))
            made[number] = gains[places].reshape(self._blocks, BLOCK).sum(axis=1).cumsum()
        return made

    def _long_blocks(self) -> Floats:
        """[blocks] log evidence of the whole long blocks so far."""
        size = LONG_BLOCK // BLOCK
        count = self._blocks // size
        if not count:
            return np.zeros(self._blocks)
        excess = self._rows[: count * LONG_BLOCK].reshape(count, LONG_BLOCK) - self._margin
        sums = excess.sum(axis=1)
        squares = np.cumsum(sums * sums)
        usual = np.sqrt(squares / np.arange(1, count + 1))
        scaled = np.zeros(count)  # nothing is bet on the first: its usual size is not known
        known = np.flatnonzero(usual[:-1] > QUIET)
        scaled[known + 1] = sums[known + 1] / usual[known]
        stakes = np.array(BLOCK_STAKES)[:, None]
        gains = (stakes * scaled - (stakes * scaled) ** 2 / 2).cumsum(axis=1)
        found = np.concatenate(([0.0], _mixed(gains, np.full(len(stakes), -log(len(stakes))))))
        return found[np.arange(1, self._blocks + 1) // size]

    @cached_property
    def _dependence(self) -> tuple[Bools, Floats]:
        """[blocks] whether rows depend on their neighbours, and their dispersion."""
        scales = _scales(self._rows, self._blocks)
        dependent = np.zeros(self._blocks, bool)
        upper, last, growth = (np.ones(self._blocks) for _ in range(3))
        for number, (first, count, dispersion) in enumerate(scales):
            error = np.sqrt(2.0 / count)
            dependent[first:] |= dispersion - 1.0 > DEPENDENT * error
            np.maximum(upper[first:], dispersion * (1.0 + UPPER * error), out=upper[first:])
            if number:
                growth[first:] = np.clip(dispersion / np.maximum(last[first:], TINY), 1.0, 2.0)
            last[first:] = dispersion
        beyond = np.ones(self._blocks)
        for step in range(1, SCALES_BEYOND + 1):
            beyond *= 1.0 + (growth - 1.0) * FADING**step
        return dependent, np.where(dependent, np.maximum(upper, last * beyond), 1.0)


def _scales(rows: Floats, blocks: int) -> list[tuple[int, Ints, Floats]]:
    """Of each scale: the block from which on it is judged; and from there on, for each block, how
    many sums there are, and their variance over that of independent rows."""
    small = rows.reshape(blocks, BLOCK)
    n = np.arange(1, blocks + 1) * BLOCK
    mean = small.sum(axis=1).cumsum() / n
    variance = np.maximum((small**2).sum(axis=1).cumsum() / n - mean**2, TINY)
    sums, size, found = small.sum(axis=1), 1, []
    while len(sums) >= BLOCKS_MIN:
        first = BLOCKS_MIN * size - 1
        count = np.arange(first + 1, blocks + 1) // size
        own = size * BLOCK * mean[first:]
        once, twice = np.cumsum(sums)[count - 1], np.cumsum(sums**2)[count - 1]
        spread = twice - 2.0 * own * once + count * own**2
        found.append((first, count, spread / (count - 1) / (size * BLOCK * variance[first:])))
        half = len(sums) // 2
        sums, size = sums[: half * 2].reshape(half, 2).sum(axis=1), size * 2
    return found


def _mixed(logs: Floats, parts: Floats) -> Floats:
    """[n] logarithm of the mean of [k, n] logarithms, weighted by [k] logarithms."""
    weighted = logs + parts[:, None]
    top = weighted.max(axis=0)
    found: Floats = top + np.log(np.exp(weighted - top).sum(axis=0))
    return found


def _bound(differences: Floats, wealth: float) -> float:
    """The highest mean that the evidence now has refuted: a lower bound; -1 where it has none."""
    low, high = -1.0, float(differences.mean()) if len(differences) else -1.0
    if len(differences) < BLOCK:
        return low
    while high - low > 1e-4:
        middle = (low + high) / 2
        if Trace(differences, middle).last >= wealth:
            low = middle
        else:
            high = middle
    return low
