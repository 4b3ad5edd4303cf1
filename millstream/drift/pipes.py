"""Signs of a broken pipe: nulls jump, a value is stuck, a unit changes, a category vanishes.

Each is a sharp test of one window's counts, with a bound on what chance does (Chernoff's for
rates) and a margin above the extremes of the profile and of the calm windows so far: what the
stream did before is not a sign. Each has a lower threshold to end than to begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from millstream.drift.distances import bernoulli_divergence, shares
from millstream.drift.findings import Position, Sign, SignKind
from millstream.drift.profile import (
    MAGNITUDES,
    CategoryFeature,
    Floats,
    Ints,
    NumberFeature,
    Profile,
)
from millstream.drift.tally import NULL, OUTSIDE, Tally

KINDS: tuple[SignKind, ...] = ("nulls", "stuck_value", "unit_change", "vanished_category")
_NULLS, _STUCK, _UNIT, _VANISHED = range(4)


@dataclass(frozen=True, slots=True)
class PipeRules:
    """The dials of the sharp tests."""

    evidence: float = 25.0
    """-log of what chance may do, for one feature and window. Too low cries wolf."""
    null_excess: float = 0.02
    """Share of nulls above the most so far. Too low reports what nobody will mend."""
    stuck_run: int = 50
    """The shortest run that is a stuck value, however varied the feature was."""
    stuck_factor: float = 5.0
    """Times the longest run so far."""
    unit_log2: float = 3.0
    """Doublings or halvings: 3 is a factor of 8. Shifts below are shifts, not units."""
    unit_overlap: float = 0.6
    """How well the shifted magnitudes must match the old ones."""
    unit_gain: float = 0.35
    """How much better than those not shifted."""
    unit_rows: int = 50
    """Values that are not zero, in the window."""
    warmup: int = 8
    """Windows before a vanished category is believed: the profile's rows may be another mix."""


class PipeTests:
    """The state of the tests of one partition; `step` takes a closed window's tally."""

    def __init__(self, profile: Profile, rules: PipeRules) -> None:
        self._rules = rules
        self._names = profile.names
        self._categories = [
            f.categories if isinstance(f, CategoryFeature) else () for f in profile.features
        ]
        rows = float(profile.rows)
        features = profile.features
        # three rows more: what a rate of 0 in so many rows still allows
        self.null_most = np.array([(f.nulls + 3) / (rows + 3) for f in features])
        self._repeat = np.array([(f.repeat_rate * rows + 3) / (rows + 3) for f in features])
        self.run_most = np.array([f.longest_run for f in features], np.int64)
        self._reference_logs = np.array(
            [f.log2_mean if isinstance(f, NumberFeature) else 0.0 for f in features]
        )
        self._reference_powers = np.array(
            [f.magnitudes if isinstance(f, NumberFeature) else (0,) * MAGNITUDES for f in features],
            np.float64,
        )
        width = max(len(f.counts) for f in features)
        self.least = np.zeros((len(features), width))
        for place, feature in enumerate(features):
            kinds = len(feature.counts)
            if isinstance(feature, CategoryFeature):
                self.least[place, : kinds - 1] = np.array(feature.counts[:-1]) / rows
            elif feature.discrete and not feature.constant:
                self.least[place, 1 : kinds - 1] = np.array(feature.counts[1:-1]) / rows
        self.powers = np.zeros_like(self._reference_powers)
        self.logs = self._reference_logs.copy()
        self.doubt = np.zeros(len(features), np.int64)
        self.doubt_mark = np.full((len(features), 2), -1, np.int64)
        self.on = np.zeros((len(features), len(KINDS)), np.bool_)
        self.since = np.full((len(features), len(KINDS), 2), -1, np.int64)
        self.windows = 0

    def step(self, tally: Tally, first: tuple[int, int], partition: int) -> tuple[Sign, ...]:
        """The signs of a window; first: offset and time of its first event."""
        total = float(tally.cells[0].sum())
        nulls = tally.cells[:, -1] / total
        vanished, worst = self._vanished(tally, total)
        powers, logs = tally.magnitudes, self._mean_logs(tally)
        self._doubt(powers, logs, tally.marks[:, OUTSIDE])
        begins = np.stack(
            [
                self._null_jump(nulls, total),
                self._stuck(tally),
                self._unit(powers, logs),
                vanished,
            ],
            axis=1,
        )
        holds = begins.copy()
        holds[:, _NULLS] |= nulls - self.null_most >= self._rules.null_excess / 2
        holds[:, _STUCK] |= tally.run >= self._rules.stuck_run
        on = begins | (self.on & holds)
        starts = self._starts(tally, first)
        new = on & ~self.on
        self.since[new] = starts[new]
        self.on = on
        values = np.stack([nulls, tally.runs, logs, np.zeros(len(nulls))], axis=1)
        references = np.stack(
            [self.null_most, self.run_most, self._reference_logs, worst[1]], axis=1
        )
        signs = tuple(
            self._sign(int(f), int(k), values, references, worst[0], partition)
            for f, k in np.argwhere(on)
        )
        self._absorb(tally, nulls, powers, logs, total)
        return signs

    def _null_jump(self, nulls: Floats, total: float) -> Any:
        excess = nulls - self.null_most
        evidence = total * bernoulli_divergence(nulls, self.null_most)
        return (excess >= self._rules.null_excess) & (evidence >= self._rules.evidence)

    def _stuck(self, tally: Tally) -> Any:
        rules = self._rules
        least = np.maximum(rules.stuck_run, rules.stuck_factor * self.run_most)
        chance = -np.log(np.minimum(self._repeat, 1 - 1e-12)) * tally.runs
        return (tally.runs >= least) & (chance >= rules.evidence)

    def _mean_logs(self, tally: Tally) -> Floats:
        made: Floats = tally.logs / np.maximum(tally.magnitudes.sum(axis=1), 1) / (1 << 20)
        return made

    def _unit(self, powers: Ints, logs: Floats) -> Any:
        """Against the profile, and against the calm windows once there are any."""
        found = self._shifted(powers, logs, self._reference_powers, self._reference_logs)
        seen = self.powers.sum(axis=1) > 0
        return found & (~seen | self._shifted(powers, logs, self.powers, self.logs))

    def _doubt(self, powers: Ints, logs: Floats, outside: Ints) -> None:
        """Note windows whose magnitudes differ: the first may have values of both units.

        It must not count among the calm ones, or the next would not differ from them; three in a
        row are the stream's own way.
        """
        seen = (self.powers.sum(axis=1) > 0) & (powers.sum(axis=1) > 0)
        differs = ~seen | (np.abs(logs - self.logs) >= self._rules.unit_log2 / 2)
        fresh = differs & (self.doubt == 0)
        self.doubt_mark[fresh] = outside[fresh]
        self.doubt = np.where(differs & seen, self.doubt + 1, 0)

    def _shifted(self, powers: Ints, logs: Floats, before: Floats, before_logs: Floats) -> Any:
        rules = self._rules
        enough = (powers.sum(axis=1) >= rules.unit_rows) & (before.sum(axis=1) >= rules.unit_rows)
        by = logs - before_logs
        candidates = enough & (np.abs(by) >= rules.unit_log2)
        for feature in np.flatnonzero(candidates):
            now = shares(powers[feature : feature + 1])[0]
            then = shares(before[feature : feature + 1])[0]
            whole = int(np.floor(by[feature]))
            part = by[feature] - whole
            moved = (1 - part) * _slid(then, whole) + part * _slid(then, whole + 1)
            fits = float(np.minimum(now, moved).sum())
            gain = fits - float(np.minimum(now, then).sum())
            candidates[feature] = fits >= rules.unit_overlap and gain >= rules.unit_gain
        return candidates

    def _vanished(self, tally: Tally, total: float) -> tuple[Any, tuple[Ints, Floats]]:
        """Features with a cell that chance does not empty; the largest such cell and its share."""
        width = self.least.shape[1]
        gone = np.where(tally.cells[:, :width] == 0, self.least, 0.0)
        cell = gone.argmax(axis=1)
        share = gone.max(axis=1)
        found = (-np.log1p(-np.minimum(share, 1 - 1e-12)) * total) >= self._rules.evidence
        return found & (self.windows >= self._rules.warmup), (cell, share)

    def _starts(self, tally: Tally, first: tuple[int, int]) -> Ints:
        starts = np.empty_like(self.since)
        starts[...] = first
        starts[:, _NULLS] = tally.marks[:, NULL]
        starts[:, _STUCK] = tally.longest_mark
        starts[:, _UNIT] = self.doubt_mark
        return np.where(starts >= 0, starts, np.array(first))

    def _sign(
        self, feature: int, kind: int, values: Floats, references: Floats, cells: Ints, part: int
    ) -> Sign:
        offset, time_us = (int(number) for number in self.since[feature, kind])
        value, reference = float(values[feature, kind]), float(references[feature, kind])
        detail = ""
        if kind == _UNIT:
            value, reference = 2.0 ** (value - reference), 1.0
            detail = f"times {value:.3g}"
        if kind == _VANISHED and self._categories[feature]:
            detail = self._categories[feature][int(cells[feature])]
        first = Position(time_us, part, offset)
        return Sign(KINDS[kind], self._names[feature], first, value, reference, detail)

    def _absorb(
        self, tally: Tally, nulls: Floats, powers: Ints, logs: Floats, total: float
    ) -> None:
        """What a window without the sign did is no sign from now on."""
        calm = ~self.on
        keep = calm[:, _NULLS]
        self.null_most[keep] = np.maximum(self.null_most, nulls)[keep]
        keep = calm[:, _STUCK]
        self.run_most[keep] = np.maximum(self.run_most, tally.runs)[keep]
        known = (self.doubt == 0) | (self.doubt >= 3)
        keep = calm[:, _UNIT] & (powers.sum(axis=1) > 0) & known
        seen = self.powers.sum(axis=1) > 0
        weight = np.where(seen, 0.5, 1.0)
        self.logs[keep] += (weight * (logs - self.logs))[keep]
        self.powers[keep] = 0.5 * self.powers[keep] + powers[keep]
        keep = calm[:, _VANISHED]
        width = self.least.shape[1]
        now = tally.cells[:, :width] / total
        self.least[keep] = np.minimum(self.least, now)[keep]
        self.windows += 1

    def state(self) -> dict[str, Any]:
        """Everything that changes."""
        return {name: np.array(getattr(self, name)) for name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        for name in _STATE:
            setattr(self, name, np.array(state[name]))
        self.windows = int(self.windows)


def _slid(histogram: Floats, by: int) -> Floats:
    moved = np.roll(histogram, by)
    if by > 0:
        moved[:by] = 0
    elif by < 0:
        moved[by:] = 0
    return moved


_STATE = (
    "null_most", "run_most", "least", "powers", "logs", "doubt", "doubt_mark", "on", "since",
    "windows",
)  # fmt: skip
