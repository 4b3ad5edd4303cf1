"""Which features moved: windows against the windows before them, never a p-value of one window.

Season and dependence make neighbouring windows differ without any drift, so a test against
independent draws alarms always (KS and PSI do in every window of elec2 in its own order). Here a
feature's own history says how much its windows differ: the log odds of the Jensen-Shannon distance
from the recent windows has a running mean and spread, and a window counts only if it is
far above them, above what sampling gives and above what matters at all; if it is like no normal
that is known (the profile, earlier states); and if the next window says the same against the same,
frozen recent windows. A slow change therefore never moves a feature: it is in the PSI, as context.

Where windows differ hugely by nature no distance is far above that. There a window counts that lies
for the most part where no window was: its share above the most that each cell ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.drift.distances import jensen_shannon, shares
from millstream.drift.profile import Floats, Ints

_TINY = 1e-4
NORMALS = 4
"""Earlier states that a feature may return to without an alarm."""


@dataclass(frozen=True, slots=True)
class ShiftRules:
    """The dials of the shift test; the defaults are those that every stream is watched with."""

    warmup: int = 8
    """Windows before the first judgement. Too low trusts a spread of few; too high is blind."""
    spreads: float = 4.0
    """How far above its mean (log odds), in standard deviations. Too low cries wolf."""
    spread_min: float = 0.4
    """The least standard deviation: about what independent windows have."""
    distance_min: float = 0.02
    """Jensen-Shannon, bits; about 0.11 of PSI. What is below is no shift worth a word."""
    novel_min: float = 0.6
    """Share of a window above the most that each cell held in any window but the last. Too low
    cries wolf in a first season; too high is deaf where windows differ hugely."""
    persist: int = 2
    """Windows in a row. Too low believes a spike; too high is late."""
    decay: float = 0.9
    """What the recent windows keep of themselves at each window."""
    return_windows: int = 2
    """Windows in a row that are near enough again before a shift is over."""
    return_share: float = 0.5
    """Of the threshold: near enough. Below 1, so that a feature at the border does not flicker."""
    adopt_windows: int = 20
    """After so many windows the new state is the normal one."""


class ShiftTest:
    """The state of every feature of one partition; `step` takes a window's counts.

    After a step: `moved` bool [f], `first` [f, 2] (offset and time of the first window that
    differed), `distance` and `threshold`, `novelty`: float [f].
    """

    def __init__(
        self, reference: Floats | Ints, judged: npt.NDArray[np.bool_], rules: ShiftRules
    ) -> None:
        """reference: the profile's counts [f, c]; judged: False for features left out, [f]."""
        count, cells = reference.shape
        self._rules = rules
        self._judged = judged
        self._profile = shares(reference)
        self._used = (reference > 0).sum(axis=1)
        self.windows = 0
        self.recent = np.zeros((count, cells))
        self.fresh = np.zeros((count, cells))
        self.most = self._profile.copy()
        self.last = self._profile.copy()
        self.novelty = np.zeros(count)
        self.normals = np.full((count, NORMALS, cells), np.nan)
        self.mean = np.full(count, _logit(np.array(_TINY)))
        self.square = np.zeros(count)
        self.streak = np.zeros(count, np.int64)
        self.back = np.zeros(count, np.int64)
        self.age = np.zeros(count, np.int64)
        self.adopted = np.zeros(count, np.int64)
        self.moved = np.zeros(count, np.bool_)
        self.first = np.full((count, 2), -1, np.int64)
        self.distance = np.zeros(count)
        self.threshold = np.full(count, np.inf)

    @property
    def ready(self) -> bool:
        """Whether it has seen windows enough to judge."""
        return self.windows >= self._rules.warmup

    def step(self, counts: Ints, first: tuple[int, int]) -> None:
        """Take a window: counts [f, c], offset and time of its first event."""
        now = shares(counts)
        if self.windows == 0:
            self.recent += counts
            self.last = now
            self.windows = 1
            return
        rules = self._rules
        self.distance = jensen_shannon(now, shares(self.recent))
        self.threshold = self._thresholds(counts)
        self.novelty = np.maximum(now - self.most, 0.0).sum(axis=1)
        near = np.minimum(self.distance, self._to_normals(now))
        far = ((near > self.threshold) | self.is_novel) & self._judged & self.ready
        was = self.moved.copy()
        begins = far & ~was & (self.streak == 0)
        self.first[begins] = first
        self.streak = np.where(far & ~was, self.streak + 1, 0)
        self.moved |= self.streak >= rules.persist
        self._follow(was, near, counts)
        calm = ~self.moved & ~was & ~far
        self._absorb(calm, counts)
        # the last one waits: the window in which a shift began is half of it
        self.most[calm] = np.maximum(self.most, self.last)[calm]
        self.last[calm] = now[calm]
        self.fresh[begins] = counts[begins]
        again = far & ~begins & ~was
        self.fresh[again] = self.fresh[again] * rules.decay + counts[again]
        self.windows += 1

    @property
    def is_novel(self) -> npt.NDArray[np.bool_]:
        """Whether the newest window is for the most part where none was, bool [f]."""
        found: npt.NDArray[np.bool_] = self.novelty > self._rules.novel_min
        return found

    def _thresholds(self, counts: Ints) -> Floats:
        rules = self._rules
        spread = np.maximum(np.sqrt(self.square), rules.spread_min)
        # few windows estimate a spread badly: a wider margin at first, as Student's t has
        margin = rules.spreads * (1 + 4 / max(self.windows - 1, 1))
        own = 1 / (1 + np.exp(-(self.mean + margin * spread)))
        least: Floats = np.maximum(4 * self._sampling(counts), rules.distance_min)
        return np.maximum(own, np.minimum(least, 0.9))

    def _sampling(self, counts: Ints) -> Floats:
        """Expected distance of two samples of one distribution: (c - 1) (1/n + 1/m) / (8 ln 2)."""
        rows = np.maximum(counts.sum(axis=1), 1), np.maximum(self.recent.sum(axis=1), 1)
        cells = np.maximum(np.maximum(self._used, (self.recent > 0).sum(axis=1)), 2)
        made: Floats = (cells - 1) / (8 * np.log(2)) * (1 / rows[0] + 1 / rows[1])
        return made

    def _to_normals(self, now: Floats) -> Floats:
        """Distance to the nearest state that counts as normal."""
        nearest = jensen_shannon(now, self._profile)
        for place in range(NORMALS):
            known = self.normals[:, place]
            there = ~np.isnan(known[:, 0])
            if there.any():
                away = jensen_shannon(now, np.nan_to_num(known))
                nearest = np.where(there, np.minimum(nearest, away), nearest)
        return nearest

    def _follow(self, was: npt.NDArray[np.bool_], near: Floats, counts: Ints) -> None:
        """Those that had moved: are they back, or has the new state become the normal one?"""
        if not was.any():
            return
        rules = self._rules
        home = was & (near <= rules.return_share * self.threshold)
        home &= self.novelty <= rules.return_share * rules.novel_min
        self.back = np.where(home, self.back + 1, 0)
        away = was & ~home
        self.fresh[away] = self.fresh[away] * rules.decay + counts[away]
        self.age = np.where(was, self.age + 1, 0)
        over = was & (self.back >= rules.return_windows)
        settled = was & ~over & (self.age >= rules.adopt_windows)
        for feature in np.flatnonzero(settled):
            place = self.adopted[feature] % NORMALS
            self.normals[feature, place] = shares(self.recent[feature : feature + 1])[0]
            self.adopted[feature] += 1
            self.recent[feature] = self.fresh[feature]
            self.last[feature] = shares(self.fresh[feature : feature + 1])[0]
            self.most[feature] = np.maximum(self.most[feature], self.last[feature])
        done = over | settled
        self.moved[done] = False
        for values in (self.streak, self.back, self.age):
            values[done] = 0

    def _absorb(self, calm: npt.NDArray[np.bool_], counts: Ints) -> None:
        """Calm windows are the recent ones, and say how much windows differ."""
        rules = self._rules
        # windows that are more alike than chance makes them say nothing about their spread
        least = np.maximum(self._sampling(counts), _TINY)
        seen = _logit(np.clip(self.distance, np.minimum(least, 0.5), 1 - _TINY))
        if self.windows > 1:
            spread = np.maximum(np.sqrt(self.square), rules.spread_min)
            seen = np.minimum(seen, self.mean + 3 * spread) if self.windows > 4 else seen
            weight = max(1 / self.windows, 0.02)
            off = seen - self.mean
            self.mean[calm] += weight * off[calm]
            self.square[calm] = (1 - weight) * (self.square + weight * off**2)[calm]
        else:
            self.mean = seen
        self.recent[calm] = self.recent[calm] * rules.decay + counts[calm]

    def state(self) -> dict[str, Any]:
        """Everything that changes."""
        return {name: np.array(getattr(self, name)) for name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        for name, value in state.items():
            setattr(self, name, np.array(value))
        self.windows = int(self.windows)


def _logit(share: Floats) -> Floats:
    made: Floats = np.log(share / (1 - share))
    return made


_STATE = (
    "windows", "recent", "fresh", "normals", "mean", "square", "streak", "back", "age", "adopted",
    "moved", "first", "distance", "threshold", "most", "last", "novelty",
)  # fmt: skip
