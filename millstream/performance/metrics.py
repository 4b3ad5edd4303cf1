"""What a set of answers was worth, equal to scikit-learn on the same rows; numpy alone.

A measure that the rows do not define is None, never 0 or NaN: everything of no rows, the AUC of one
class, the precision of a label that was never predicted (scikit-learn's zero_division=nan).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CALIBRATION_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Measures:
    """Of `rows` answers whose truth is known; None where it is not defined.

    f1, precision, recall: of the positive label (binary), or the mean over the labels (multiclass).
    auc: of the positive label, or the mean over the labels that occur, each against the rest.
    brier: mean squared error of the positive label's probability (binary), or the sum over the
    labels (multiclass, 0 to 2). calibration_error: mean distance of confidence and hit rate in
    equal-width bins, weighted by their rows (ECE; Naeini et al. 2015). cost: per decision.
    mae, rmse: regression, in the value's unit.
    """

    rows: int
    accuracy: float | None = None
    log_loss: float | None = None
    auc: float | None = None
    brier: float | None = None
    calibration_error: float | None = None
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    cost: float | None = None
    mae: float | None = None
    rmse: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Those that are defined."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Classes:
    """What the numbers of classes mean.

    labels: in the order of the probability columns. positive: the positive one's number; None for
    more than two classes that have none.
    """

    labels: tuple[str, ...]
    positive: int | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.labels)


def classification(
    truth: Ints,
    predicted: Ints,
    chances: Floats,
    classes: Classes,
    costs: Floats | None = None,
) -> Measures:
    """Measures of n answers.

    truth, predicted: [n] class numbers; a truth that is none of the classes is `classes.count`: it
    is a wrong answer, and measures of probabilities leave its row out. chances: [n, k]. costs:
    [k, k], by truth and prediction.
    """
    rows = len(truth)
    if not rows:
        return Measures(0)
    table = confusion(truth, predicted, classes.count)
    precision, recall, f1 = rates(table, classes)
    known = truth < classes.count
    named, sure = truth[known], chances[known]
    positive = classes.positive
    if positive is None:
        brier = _squares(named, sure)
    else:
        brier = _mean((sure[:, positive] - (named == positive)) ** 2)
    return Measures(
        rows,
        accuracy=float(np.mean(truth == predicted)),
        log_loss=_log_loss(named, sure),
        auc=_auc(named, sure, positive),
        brier=brier,
        calibration_error=calibration_error(*_bets(named, predicted[known], sure, positive)),
        f1=f1,
        precision=precision,
        recall=recall,
        cost=None if costs is None else float((table[: len(costs)] * costs).sum() / rows),
    )


def regression(truth: Floats, predicted: Floats) -> Measures:
    """Measures of n values, both [n]."""
    if not len(truth):
        return Measures(0)
    errors = predicted - truth
    return Measures(
        len(truth),
        mae=float(np.mean(np.abs(errors))),
        rmse=float(np.sqrt(np.mean(errors**2))),
    )


def confusion(truth: Ints, predicted: Ints, count: int) -> Floats:
    """[count + 1, count] answers by truth and prediction; the last row is of no known label."""
    cells = np.bincount(truth * count + predicted, minlength=(count + 1) * count)
    return cells.reshape(count + 1, count).astype(np.float64)


def rates(table: Floats, classes: Classes) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and F1 of a confusion table, which may hold expected counts."""
    k = classes.count
    hits = np.diagonal(table[:k])
    said, were = table.sum(axis=0), table[:k].sum(axis=1)
    wanted = slice(None) if classes.positive is None else slice(classes.positive, None)
    rates = (
        _ratio(hits, said),
        _ratio(hits, were),
        _ratio(2 * hits, said + were),
    )
    if classes.positive is not None:
        ours = [float(rate[wanted][0]) for rate in rates]
        return _or_none(ours[0]), _or_none(ours[1]), _or_none(ours[2])
    means = [float(np.nanmean(rate)) if not np.isnan(rate).all() else np.nan for rate in rates]
    return _or_none(means[0]), _or_none(means[1]), _or_none(means[2])


def cost_table(
    classes: Classes, false_positive: float, false_negative: float, matrix: Mapping[str, Any]
) -> Floats | None:
    """[k, k] costs by truth and prediction, of a stream's [costs]; None where it says nothing of
    these classes: more than two and no matrix."""
    costs = np.zeros((classes.count, classes.count))
    if matrix:
        for row, true in enumerate(classes.labels):
            for column, said in enumerate(classes.labels):
                costs[row, column] = float(matrix.get(true, {}).get(said, 0.0))
        return costs
    if classes.count != 2 or classes.positive is None:
        return None
    costs[1 - classes.positive, classes.positive] = false_positive
    costs[classes.positive, 1 - classes.positive] = false_negative
    return costs


def auc(scores: Floats, positives: Floats, negatives: Floats) -> float | None:
    """Area under the ROC curve: the chance that a positive row's score is above a negative one's,
    ties counted half. positives, negatives: [n] weights of each row in the two classes (0 and 1
    where the truth is known, probabilities where it is estimated)."""
    total = positives.sum() * negatives.sum()
    if not total > 0:
        return None
    _, places = np.unique(scores, return_inverse=True)
    up = np.bincount(places, weights=positives)
    down = np.bincount(places, weights=negatives)
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / total)


def calibration_error(bets: Floats, hits: Floats) -> float | None:
    """ECE: bets are [n] probabilities, hits [n] whether each came true (or its probability)."""
    if not len(bets):
        return None
    bins = np.searchsorted(np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1], bets)
    surplus = np.bincount(bins, weights=bets - hits, minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(bets))


def _bets(
    truth: Ints, predicted: Ints, chances: Floats, positive: int | None
) -> tuple[Floats, Floats]:
    """What calibration is judged on: the positive label's chance, or the predicted label's."""
    if positive is not None:
        return chances[:, positive], (truth == positive).astype(np.float64)
    return chances[np.arange(len(truth)), predicted], (truth == predicted).astype(np.float64)


def _log_loss(truth: Ints, chances: Floats) -> float | None:
    bound = float(np.finfo(np.float64).eps)
    return _mean(-np.log(np.clip(chances[np.arange(len(truth)), truth], bound, 1 - bound)))


def _squares(truth: Ints, chances: Floats) -> float | None:
    """Multiclass Brier score: the squared distance from the truth's one-hot vector."""
    hit = chances[np.arange(len(truth)), truth]
    return _mean((chances**2).sum(axis=1) - 2 * hit + 1)


def _auc(truth: Ints, chances: Floats, positive: int | None) -> float | None:
    wanted = range(chances.shape[1]) if positive is None else (positive,)
    found = []
    for number in wanted:
        ours = (truth == number).astype(np.float64)
        one = auc(chances[:, number], ours, 1 - ours)
        if one is not None:
            found.append(one)
    return float(np.mean(found)) if found else None


def _ratio(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return found


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _mean(values: Floats) -> float | None:
    return float(np.mean(values)) if len(values) else None
