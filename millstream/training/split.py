"""Rows by time: what a model is fitted on, what chooses among models, what judges the one chosen.

No row is fitted on whose label was not known when the next part began (de Prado's purging, Advances
in Financial Machine Learning 2018, chapter 7): in production it would not have been there either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from millstream.performance.metrics import Ints
from millstream.training.rows import CannotTrain, Rows

PART_ROWS_MIN: Final = 30


@dataclass(frozen=True, slots=True)
class Shares:
    """choose, test: of all rows, the newest ones last. embargo_s: seconds of event time that are
    left out before each border, besides the rows whose labels came after it."""

    choose: float = 0.2
    test: float = 0.2
    embargo_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.choose, self.test) <= 0 or self.choose + self.test >= 0.9:
            raise CannotTrain(
                f"shares of {self.choose:g} and {self.test:g} leave too little to fit",
                "Let both together be below 0.9",
            )


@dataclass(frozen=True, slots=True)
class Parts:
    """fit: before `choose`, in which the search compares. known: all that a model to be judged on
    `test` may learn from. left_out: rows in the embargo or with labels that came too late."""

    fit: Rows
    choose: Rows
    known: Rows
    test: Rows
    left_out: int


def split(rows: Rows, shares: Shares) -> Parts:
    """Cut rows, which are in order of time, at two borders of event time.

    Raises CannotTrain where a part has fewer than 30 rows.
    """
    count = len(rows)
    if count < 3 * PART_ROWS_MIN:
        raise CannotTrain(
            f"{count:,} labelled rows are too few to fit, choose and test a model",
            f"Take at least {3 * PART_ROWS_MIN}; thousands are better",
        )
    times = rows.times_us
    assert (np.diff(times) >= 0).all(), "rows are not in order of time"
    chosen_from = int(times[int(count * (1 - shares.test - shares.choose))])
    tested_from = int(times[int(count * (1 - shares.test))])
    fit = _before(rows, chosen_from, shares)
    choose = fit_for_test = _before(rows, tested_from, shares)
    choose = choose[times[choose] >= chosen_from]
    test = np.flatnonzero(times >= tested_from)
    for name, part in (("fit", fit), ("choose", choose), ("test", test)):
        if len(part) < PART_ROWS_MIN:
            raise CannotTrain(
                f"the part to {name} has {len(part):,} rows: labels come too late for the time "
                "that the rows span, or most rows have one time",
                "Take rows over a longer time, or a smaller embargo",
            )
    return Parts(
        rows.take(fit),
        rows.take(choose),
        rows.take(fit_for_test),
        rows.take(test),
        count - len(fit_for_test) - len(test),
    )


def _before(rows: Rows, border_us: int, shares: Shares) -> Ints:
    """Places of the rows before a border that were known at it."""
    kept = rows.times_us < border_us - shares.embargo_s * 1e6
    if rows.known_us is not None:
        kept &= rows.known_us <= border_us
    return np.flatnonzero(kept)
