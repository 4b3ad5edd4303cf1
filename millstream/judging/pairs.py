"""What two models said of the same events, and what each answer lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Final, Literal

import numpy as np

from millstream.performance.answers import Answers
from millstream.performance.metrics import Classes, Floats

Loss = Literal["error", "log_loss", "squared_error"]
CHANCE_MIN: Final = 0.01
"""A chance below it loses no more: the log loss needs a bound."""
SCALE_ROWS: Final = 100
"""First rows of a regression that tell how large an error is large; they are not judged."""
SCALE_TIMES: Final = 4.0
"""Median absolute errors that count as a whole loss."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both models' answers to the same labelled events, row by row, in the order in which their
    first labels became known: so that later rows only come behind.

    refused: events that only the challenger could not score; they are not among the rows. scored:
    those that it could, labelled or not, however many of them are rows.
    """

    champion: Answers
    challenger: Answers
    refused: int = 0
    scored: int = 0

    def __post_init__(self) -> None:
        assert len(self.champion) == len(self.challenger), (
            f"{len(self.champion)} answers beside {len(self.challenger)}"
        )

    def __len__(self) -> int:
        return len(self.champion)

    def first(self, count: int) -> Pairs:
        """So many rows, from the beginning."""
        return replace(
            self, champion=self.champion.first(count), challenger=self.challenger.first(count)
        )


def rows_needed(rows: int, regression: bool, value_scale: float | None) -> int:
    """How many pairs give so many differences."""
    return rows + (SCALE_ROWS if regression and value_scale is None else 0)


def differences(pairs: Pairs, loss: Loss, value_scale: float | None = None) -> Floats:
    """[n] in [-1, 1]: the champion's losses less the challenger's; above 0 the challenger did
    better. Of a regression without `value_scale` the first 100 rows are missing: they set it.

    error: 0 or 1; of a regression the absolute error. squared_error: the Brier score, halved where
    it sums over the labels. A regression's errors are in `value_scale`, and no larger than it.
    """
    classes = pairs.champion.classes
    if classes is None:
        return _of_values(pairs, loss, value_scale)
    ours, theirs = (_of_classes(side, classes, loss) for side in (pairs.champion, pairs.challenger))
    return ours - theirs


def _of_classes(answers: Answers, classes: Classes, loss: Loss) -> Floats:
    truth = answers.truth
    wrong: Floats = (truth != answers.predicted).astype(np.float64)
    if loss == "error":
        return wrong
    known = truth < classes.count
    rows = np.flatnonzero(known)
    hit = answers.raw[rows, truth[rows]]
    found = np.ones(len(answers))  # a label that is none of the classes is lost wholly
    if loss == "log_loss":
        found[rows] = np.log(np.clip(hit, CHANCE_MIN, 1.0)) / log(CHANCE_MIN)
    else:
        found[rows] = np.clip(((answers.raw[rows] ** 2).sum(axis=1) - 2 * hit + 1) / 2, 0.0, 1.0)
    return found


def _of_values(pairs: Pairs, loss: Loss, value_scale: float | None) -> Floats:
    sides = (pairs.champion, pairs.challenger)
    ours, theirs = (np.abs(side.value - side.true_value) for side in sides)
    first = 0
    if value_scale is None:
        first = SCALE_ROWS
        seen = np.concatenate((ours[:first], theirs[:first]))
        usual = float(np.median(seen)) if len(seen) else 0.0
        value_scale = SCALE_TIMES * usual or 1.0
    power = 2 if loss == "squared_error" else 1
    lost = [np.minimum(errors[first:] / value_scale, 1.0) ** power for errors in (ours, theirs)]
    found: Floats = lost[0] - lost[1]
    return found
