"""What alarms are worth: delays, missed changes, false alarms with their interval. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

import numpy as np
from scipy.stats import chi2

from ops.bench.drift.streams import Piece

SETTLE_EVENTS: Final = 1_000
"""After a change, and its width, further alarms are its own for so long."""


@dataclass(slots=True)
class Score:
    """One detector on one stream, over all seeds.

    delays: events from each change that was found to its first alarm. false: alarms of each seed
    that belong to no change.
    """

    delays: list[int] = field(default_factory=list)
    missed: int = 0
    false: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, found: Sequence[tuple[Piece, Sequence[int]]], seconds: float) -> None:
        """One seed: its pieces with their alarms, and the CPU time."""
        false = 0
        for piece, alarms in found:
            delays, missed, wrong = judge(alarms, piece)
            self.delays += delays
            self.missed += missed
            false += wrong
        self.false.append(false)
        self.events.append(sum(len(piece.errors) for piece, _ in found))
        self.seconds += seconds

    @property
    def delay(self) -> float | None:
        """Mean events from a change to its alarm."""
        return fmean(self.delays) if self.delays else None

    @property
    def rate(self) -> float:
        """False alarms per 10,000 events."""
        return 1e4 * sum(self.false) / sum(self.events)

    @property
    def events_per_second(self) -> float:
        """Of CPU time."""
        return sum(self.events) / self.seconds

    def interval(self, draws: int = 2_000) -> tuple[float, float]:
        """95 % of the rate: the wider of a bootstrap over seeds and the exact Poisson one."""
        count, events = sum(self.false), sum(self.events)
        low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
        high = chi2.ppf(0.975, 2 * count + 2) / 2
        picks = np.random.default_rng(1).integers(len(self.false), size=(draws, len(self.false)))
        rates = np.array(self.false)[picks].sum(axis=1) / np.array(self.events)[picks].sum(axis=1)
        below, above = np.quantile(rates, [0.025, 0.975])
        return 1e4 * min(low / events, float(below)), 1e4 * max(high / events, float(above))


def judge(alarms: Sequence[int], piece: Piece) -> tuple[list[int], int, int]:
    """Delays of the changes that were found, how many were missed, how many alarms were false.

    >>> errors = np.zeros(9_000, np.int8)
    >>> judge([500, 3_040, 3_900, 4_500], Piece(errors, ((3_000, 1), (6_000, 1))))
    ([40], 1, 2)
    """
    ends = [*(at for at, _ in piece.changes), len(piece.errors)][1:]
    delays, missed, explained = [], 0, set()
    for (at, width), end in zip(piece.changes, ends, strict=True):
        inside = [alarm for alarm in alarms if at <= alarm < end]
        if not inside:
            missed += 1
            continue
        delays.append(inside[0] - at)
        settled = max(inside[0], at + width) + SETTLE_EVENTS
        explained |= {alarm for alarm in inside if alarm < settled}
    return delays, missed, len(alarms) - len(explained)
