"""Performance before the labels come: what calibrated confidence expects it to be.

If q(x) is the chance that an answer is right, the mean of q over a window is its expected accuracy,
and every other measure that is a sum over answers follows in the same way (confidence-based
performance estimation; Guerra et al., 2022). The chances are calibrated on matured labels of the
same model version, each row's on labels that were ready before it was scored, and again as labels
arrive: the newest ones, back to where they stop agreeing with each other.

This sees a change of the inputs. A change of P(label | inputs) it cannot see before labels show it:
so every estimate is judged by the newest matured labels, and says when it is not to be trusted.
For regression no estimate is offered: a value has no confidence to calibrate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from millstream.performance import metrics
from millstream.performance.calibrate import Curve, beta, fit
from millstream.performance.metrics import Bools, Classes, Floats, Ints, Measures

STEPS_MAX: Final = 100
STEP_ROWS_MIN: Final = 100
SIDE_ROWS_MIN: Final = 100
BLOCK_ROWS: Final = 25
BREAK_Z: Final = 1.95
"""Largest excursion of a Brownian bridge that one in a thousand exceeds (Kolmogorov)."""
NEVER_US: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Options:
    """labels_min: too low believes a curve of a few labels; too high estimates late. labels_max:
    too low follows noise; too high remembers what is over. z: standard errors between estimate and
    labels that are still chance. gap_min: accuracy that does not matter, in 0..1. outside_max:
    share of answers whose confidence no label was seen of."""

    labels_min: int = 200
    labels_max: int = 5_000
    z: float = 3.0
    gap_min: float = 0.01
    outside_max: float = 0.05
    looks: tuple[int, ...] = (250, 1_000)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Curves of one version at one time; rows: labels behind them.

    sides: from the predicted label's confidence to how often it was right, for each predicted
    label of two, so that the level is right on each side, even where confidence means the opposite
    of what it did; of more, one for all. each: of every label's own probability, with more than two
    of them, to share out what is left.
    """

    classes: Classes
    sides: tuple[Curve, ...]
    each: tuple[Curve, ...]
    rows: int

    def chances(self, raw: Floats, predicted: Ints) -> Floats:
        """[n, k] calibrated probabilities of raw ones; rows sum to 1."""
        here = np.arange(len(raw))
        sure, hit = raw[here, predicted], np.empty(len(raw))
        for number, curve in enumerate(self.sides):
            ours = predicted == number
            hit[ours] = curve(sure[ours])
        if self.each:
            columns = [curve(raw[:, number]) for number, curve in enumerate(self.each)]
            found = np.maximum(np.column_stack(columns), 1e-9)
        else:
            found = np.ones((len(raw), self.classes.count))
        found[here, predicted] = 0.0
        found *= ((1 - hit) / found.sum(axis=1))[:, None]
        found[here, predicted] = hit
        return found

    def covers(self, raw: Floats, predicted: Ints) -> Bools:
        """[n] whether labels were seen of answers as sure as each."""
        sure, found = raw[np.arange(len(raw)), predicted], np.empty(len(raw), bool)
        for number, curve in enumerate(self.sides):
            ours = predicted == number
            found[ours] = curve.covers(sure[ours])
        return found


def calibrate(raw: Floats, truth: Ints, predicted: Ints, classes: Classes) -> Calibration:
    """Curves from n labelled answers of one version, n >= 1; a truth of no class is a miss."""
    sure = raw[np.arange(len(raw)), predicted]
    hits = (truth == predicted).astype(np.float64)
    if classes.count == 2:
        sides = [_side(raw, truth, predicted, number) for number in (0, 1)]
    else:
        sides = [fit(sure, hits)] * classes.count
    each = [
        beta(raw[:, number], (truth == number).astype(np.float64))
        for number in range(classes.count if classes.count > 2 else 0)
    ]
    return Calibration(classes, tuple(sides), tuple(each), len(truth))


def _side(raw: Floats, truth: Ints, predicted: Ints, number: int) -> Curve:
    """Confidence to hits of the answers that predict one of two labels; where these are few, by
    the curve of all answers, which rises from one label to the other."""
    ours = predicted == number
    if int(ours.sum()) >= SIDE_ROWS_MIN:
        return fit(raw[ours, number], (truth[ours] == number).astype(np.float64))
    rising = fit(raw[:, 1], (truth == 1).astype(np.float64))
    return rising if number else rising.mirrored()


@dataclass(frozen=True, slots=True)
class Walk:
    """Every answer of one version with its calibrated chances, in the order given.

    chances: [n, k]. labels: [n] how many were behind them; 0 where the raw ones stand. covered: [n]
    whether the confidence lies within what labels were seen of. dispersion: variance of the hits
    over that of independent ones, 1 or more.
    """

    chances: Floats
    labels: Ints
    covered: Bools
    dispersion: float
    breaks: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Answers of one version, in the order in which they were scored; all [n], raw [n, k].

    truth: class number; what is not ready has any. ready_us: when its label could be used, NEVER_US
    where it has none or is not mature.
    """

    raw: Floats
    predicted: Ints
    truth: Ints
    scored_us: Ints
    ready_us: Ints

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def ready(self) -> Bools:
        """[n] whether its label is in."""
        found: Bools = self.ready_us < NEVER_US
        return found

    @property
    def hits(self) -> Floats:
        """[n] whether it was right; means something where it is ready."""
        found: Floats = (self.truth == self.predicted).astype(np.float64)
        return found


def walk(rows: Rows, classes: Classes, options: Options | None = None) -> Walk:
    """Calibrate in steps. A labelled row's chances come from labels that were ready when its step
    began, so its label never had a part in them; a waiting row's come from all that are ready."""
    options = options or Options()
    n = len(rows)
    chances, labels = rows.raw.copy(), np.zeros(n, np.int64)
    covered = np.ones(n, bool)
    breaks, known, made = 0, -1, None
    step = max(STEP_ROWS_MIN, -(-n // STEPS_MAX))
    for start in [*range(0, n, step), n]:
        last = start == n
        now = NEVER_US - 1 if last else rows.scored_us[start]
        usable = np.flatnonzero(rows.ready_us[:start] <= now)
        if len(usable) >= options.labels_min and len(usable) != known:
            known = len(usable)
            made, broke = _newest(rows, usable[-options.labels_max :], classes, options)
            breaks += broke
        if made is None:
            continue
        here = np.flatnonzero(~rows.ready) if last else np.arange(start, min(start + step, n))
        chances[here] = made.chances(rows.raw[here], rows.predicted[here])
        covered[here] = made.covers(rows.raw[here], rows.predicted[here])
        labels[here] = made.rows
    return Walk(chances, labels, covered, _dispersion(rows, chances), breaks)


def expected(
    raw: Floats, predicted: Ints, chances: Floats, classes: Classes, costs: Floats | None = None
) -> Measures:
    """What n answers' measures are expected to be, given calibrated chances [n, k]: every sum over
    answers with the unknown truth replaced by its chances. Arguments as in `classification`."""
    n = len(predicted)
    if not n:
        return Measures(0)
    here = np.arange(n)
    positive = classes.positive
    said = np.zeros((n, classes.count))
    said[here, predicted] = 1
    table = chances.T @ said
    rates = metrics.rates(np.vstack((table, np.zeros(classes.count))), classes)
    bound = float(np.finfo(np.float64).eps)
    loss = -(chances * np.log(np.clip(raw, bound, 1 - bound))).sum(axis=1)
    if positive is not None:
        p, q = raw[:, positive], chances[:, positive]
        brier, bets, hits = q * (1 - p) ** 2 + (1 - q) * p**2, p, q
    else:
        brier = (raw**2).sum(axis=1) - 2 * (raw * chances).sum(axis=1) + 1
        bets, hits = raw[here, predicted], chances[here, predicted]
    numbers = range(classes.count) if positive is None else (positive,)
    areas = [_expected_auc(raw[:, k], chances[:, k]) for k in numbers]
    found = [area for area in areas if area is not None]
    return Measures(
        n,
        accuracy=float(chances[here, predicted].mean()),
        log_loss=float(loss.mean()),
        auc=float(np.mean(found)) if found else None,
        brier=float(brier.mean()),
        calibration_error=metrics.calibration_error(bets, hits),
        precision=rates[0],
        recall=rates[1],
        f1=rates[2],
        cost=None if costs is None else float((table * costs).sum() / n),
    )


def error(chances: Floats, predicted: Ints, labels: Ints, dispersion: float) -> float | None:
    """Standard error of realised minus expected accuracy, in 0..1: the labels' own chance, and
    that of the labels behind the curve. None without rows, or where a row has no labels behind."""
    if not len(predicted) or not labels.min() > 0:
        return None
    q = chances[np.arange(len(predicted)), predicted]
    own = dispersion * float((q * (1 - q)).sum()) / len(q) ** 2
    level = float(q.mean() * (1 - q.mean())) * dispersion / float(labels.mean())
    return float(np.sqrt(own + level))


def gaps(
    rows: Rows, walked: Walk, before: int, options: Options | None = None
) -> list[tuple[int, float, float]]:
    """Realised minus expected hits of the newest matured labels among the first `before` rows:
    (labels, gap, bound) for each look whose gap is more than chance and matters."""
    options = options or Options()
    usable = np.flatnonzero(rows.ready[:before] & (walked.labels[:before] > 0))
    found = []
    for look in options.looks:
        newest = usable[-look:]
        if len(newest) < min(options.looks):
            continue
        judged = judge(rows, walked, newest, options)
        if judged is not None and abs(judged[0]) > judged[1]:
            found.append((len(newest), *judged))
    return found


def judge(
    rows: Rows, walked: Walk, which: Ints, options: Options | None = None
) -> tuple[float, float] | None:
    """Gap (realised minus expected accuracy) of these labelled rows, and what chance explains."""
    options = options or Options()
    predicted = rows.predicted[which]
    spread = error(walked.chances[which], predicted, walked.labels[which], walked.dispersion)
    if spread is None:
        return None
    q = walked.chances[which, predicted]
    gap = float((rows.hits[which] - q).mean())
    return gap, max(options.z * spread, options.gap_min)


def _newest(
    rows: Rows, usable: Ints, classes: Classes, options: Options
) -> tuple[Calibration, bool]:
    """A calibration on these rows, or on those after the last break among them."""
    truth, predicted, raw = rows.truth[usable], rows.predicted[usable], rows.raw[usable]
    made = calibrate(raw, truth, predicted, classes)
    broke = False
    while len(truth) >= 2 * options.labels_min:
        q = made.chances(raw, predicted)[np.arange(len(truth)), predicted]
        cut = _break((truth == predicted) - q, q)
        if cut is None:
            break
        broke = True
        cut = min(cut, len(truth) - options.labels_min)
        truth, predicted, raw = truth[cut:], predicted[cut:], raw[cut:]
        made = calibrate(raw, truth, predicted, classes)
    return made, broke


def _break(residuals: Floats, chances: Floats) -> int | None:
    """Where residuals of mean 0 change their level: the peak of their centred sum, if chance, as
    dispersed as neighbouring blocks say, does not make such a peak."""
    n = len(residuals)
    sums = np.cumsum(residuals - residuals.mean())
    peak = int(np.argmax(np.abs(sums)))
    spread = np.sqrt(float((chances * (1 - chances)).sum()) * _clumping(residuals, chances))
    if not spread > 0 or abs(sums[peak]) <= BREAK_Z * spread or peak + 1 >= n:
        return None
    return peak + 1


def _clumping(residuals: Floats, chances: Floats) -> float:
    """Variance of block sums, by the differences of neighbours, over that of independent hits; 1 or
    more. A step between two levels hardly shows in it."""
    blocks = len(residuals) // BLOCK_ROWS
    if blocks < 4:
        return 1.0
    cut = blocks * BLOCK_ROWS
    sums = residuals[:cut].reshape(blocks, BLOCK_ROWS).sum(axis=1)
    own = (chances[:cut] * (1 - chances[:cut])).reshape(blocks, BLOCK_ROWS).sum(axis=1).mean()
    return max(1.0, float((np.diff(sums) ** 2).mean() / 2 / own)) if own > 0 else 1.0


def _dispersion(rows: Rows, chances: Floats) -> float:
    """How much the hits of the newest labelled rows clump."""
    newest = np.flatnonzero(rows.ready)[-5_000:]
    q = chances[newest, rows.predicted[newest]]
    return _clumping(rows.hits[newest] - q, q)


def _expected_auc(scores: Floats, q: Floats) -> float | None:
    """AUC with q as the share of each row that is positive, without the row's pair with itself."""
    own = float((q * (1 - q)).sum())
    pairs = float(q.sum() * (1 - q).sum())
    area = metrics.auc(scores, q, 1 - q)
    if area is None or not pairs > own:
        return None
    return (area * pairs - own / 2) / (pairs - own)
