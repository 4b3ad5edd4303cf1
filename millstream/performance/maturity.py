"""How late labels come: the share that has come by an age, learned from known and waiting ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from millstream.performance.metrics import Floats, Ints

AT_RISK_MIN: Final = 20
PLATEAU_RISE_MAX: Final = 0.01
PLATEAU_ROWS_MIN: Final = 100
COMPLETE: Final = 0.999


@dataclass(frozen=True, slots=True)
class Maturity:
    """A Kaplan-Meier curve (Kaplan, Meier 1958) of label delays: a waiting label says only that it
    took longer than its age.

    delays_us: [m] ascending ages in µs. came: [m] share of all predictions whose label had come by
    each. ever: share that is taken to come at all; 1 as long as the curve may still rise. settled:
    whether `ever` was seen, not assumed.
    """

    delays_us: Ints
    came: Floats
    ever: float
    settled: bool

    def share(self, ages_us: Ints) -> Floats:
        """[n] of the labels that will come at all, the share that is in at each age."""
        return np.minimum(self._came(ages_us) / self.ever, 1.0) if self.ever > 0 else _ones(ages_us)

    def still(self, ages_us: Ints) -> Floats:
        """[n] chance that a label which has not come by each age comes yet."""
        came = self._came(ages_us)
        left = np.maximum(self.ever - came, 0.0)
        return np.divide(left, 1 - came, out=np.zeros(len(came)), where=came < 1)

    def age_of(self, share: float) -> int | None:
        """The age in µs at which so much of the labels that come at all is in; None: unknown."""
        if not self.ever > 0:
            return None
        there = np.flatnonzero(self.came >= share * self.ever - 1e-12)
        return int(self.delays_us[there[0]]) if len(there) else None

    def _came(self, ages_us: Ints) -> Floats:
        steps = np.concatenate(([0.0], self.came))
        found: Floats = steps[np.searchsorted(self.delays_us, ages_us, side="right")]
        return found


def learn(delays_us: Ints, waiting_us: Ints, wait_us: int) -> Maturity:
    """The curve of [a] delays of labels that came and [b] ages of predictions that wait.

    wait_us: how long an outcome may take; what is older than that never comes (give the wait as
    its age). A delay below 0, where a label was known before the prediction, counts as 0.
    """
    delays = np.sort(np.maximum(delays_us, 0))
    ages = np.sort(np.clip(waiting_us, 0, wait_us))
    at, events = np.unique(delays, return_counts=True)
    risk = (len(delays) - np.searchsorted(delays, at)) + (len(ages) - np.searchsorted(ages, at))
    came = 1 - np.cumprod(1 - events / np.maximum(risk, 1)) if len(at) else np.zeros(0)
    seen = np.sort(np.concatenate((delays, ages)))
    horizon = int(seen[-min(AT_RISK_MIN, len(seen))]) if len(seen) else 0
    # beyond the horizon a step is the luck of a few
    kept = (at <= horizon) | (came >= COMPLETE)
    at, came = at[kept], came[kept]
    top = float(came[-1]) if len(came) else 0.0
    settled = bool(len(seen)) and (horizon >= wait_us or top >= COMPLETE)
    if not settled and top > 0:
        before = int(np.searchsorted(at, horizon // 2, side="right"))
        half = float(came[before - 1]) if before else 0.0
        old = len(ages) - np.searchsorted(ages, horizon // 2)
        settled = top - half <= PLATEAU_RISE_MAX * top and bool(old >= PLATEAU_ROWS_MIN)
    return Maturity(at.astype(np.int64), came, top if settled else 1.0, settled)


def share_in(known: int, waiting_us: Ints, curve: Maturity) -> float | None:
    """Share of a set's labels that is in: `known` ones, and [n] ages of those that wait. None where
    no label is to be expected at all."""
    due = known + float(curve.still(waiting_us).sum())
    return known / due if due > 0 else None


def _ones(ages_us: Ints) -> Floats:
    return np.ones(len(ages_us))
