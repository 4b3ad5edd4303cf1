"""Performance before labels: right under input shift, distrusted under concept change."""

from __future__ import annotations

import numpy as np
import pytest

from millstream.performance.estimate import NEVER_US, Options, Rows, expected, gaps, judge, walk
from millstream.performance.metrics import Bools, Classes, Floats, Ints, classification, cost_table

BINARY = Classes(("0", "1"), 1)
STEP_US = 1_000


def rows_of(chances: Floats, truth: Ints, delay: int | None = 500) -> Rows:
    """Scored a step apart; each label is ready `delay` events later, or never."""
    at = np.arange(len(truth), dtype=np.int64) * STEP_US
    ready = np.full(len(at), NEVER_US) if delay is None else at + delay * STEP_US
    return Rows(chances, chances.argmax(axis=1), truth, at, ready)


def drawn(scores: Floats, seed: int = 0, *, bent: float = 1.0) -> tuple[Floats, Ints]:
    """A model that says these scores of the positive label, where scores ** bent is the truth."""
    truth = np.random.default_rng(seed).random(len(scores)) < scores**bent
    return np.column_stack((1 - scores, scores)), truth.astype(np.int64)


def test_a_calibrated_models_measures_are_foreseen() -> None:
    """Every one of them, within sampling."""
    rng = np.random.default_rng(0)
    chances, truth = drawn(rng.beta(0.6, 0.6, 20_000))
    costs = cost_table(BINARY, 1.0, 3.0, {})
    said = chances.argmax(axis=1)
    wanted = classification(truth, said, chances, BINARY, costs)
    found = expected(chances, said, chances, BINARY, costs)
    for name in ("accuracy", "log_loss", "auc", "brier", "f1", "precision", "recall", "cost"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=0.015), name


def test_several_labels_are_foreseen_too() -> None:
    """Means over the labels."""
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(4, 0.4), 20_000)
    truth = (rng.random((20_000, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    four, said = Classes(("a", "b", "c", "d")), chances.argmax(axis=1)
    wanted = classification(truth, said, chances, four)
    found = expected(chances, said, chances, four)
    for name in ("accuracy", "log_loss", "auc", "brier", "f1"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=0.015), name
    assert expected(chances[:0], said[:0], chances[:0], four).rows == 0


def test_an_overconfident_model_is_seen_through_under_input_shift() -> None:
    """The inputs move to where it is worse; no label of the new ones is needed."""
    rng = np.random.default_rng(1)
    scores = np.concatenate((rng.beta(5, 1, 6_000), rng.beta(2, 1, 4_000)))
    chances, truth = drawn(scores, bent=2.0)
    rows = rows_of(chances, truth, delay=4_000)
    walked = walk(rows, BINARY)
    late = slice(6_000, 10_000)
    realised = float(rows.hits[late].mean())
    raw = float(chances[late].max(axis=1).mean())
    found = expected(chances[late], rows.predicted[late], walked.chances[late], BINARY).accuracy
    assert abs(raw - realised) > 0.05
    assert found == pytest.approx(realised, abs=0.02)
    assert gaps(rows, walked, len(rows)) == []


def test_no_label_has_a_part_in_its_own_estimate() -> None:
    """Changing the labels from some row on changes no chances of rows scored before they came."""
    rng = np.random.default_rng(2)
    chances, truth = drawn(rng.random(3_000))
    other = truth.copy()
    other[2_000:] = 1 - other[2_000:]
    one, two = (walk(rows_of(chances, t), BINARY) for t in (truth, other))
    np.testing.assert_array_equal(one.chances[:2_500], two.chances[:2_500])
    assert not np.array_equal(one.chances[2_700:], two.chances[2_700:])


@pytest.mark.parametrize("delay", [500, 2_000])
def test_under_concept_change_it_is_not_trusted_and_learns(delay: int) -> None:
    """Once labels show it: distrust, then a calibration on what came after the change."""
    rng = np.random.default_rng(3)
    chances, truth = drawn(rng.beta(0.4, 0.4, 16_000))
    truth[6_000:] = rng.random(10_000) < 0.5
    rows = rows_of(chances, truth, delay)
    walked = walk(rows, BINARY)
    assert gaps(rows, walked, 6_000) == []
    hidden = 6_000 + delay + 600
    assert gaps(rows, walked, hidden)
    assert all(gap < -0.1 for _, gap, _ in gaps(rows, walked, hidden))
    newest = np.arange(12_000, 16_000)
    judged = judge(rows, walked, newest)
    assert judged is not None
    assert abs(judged[0]) < min(judged[1], 0.03)
    assert walked.breaks > 0


def test_without_labels_the_raw_confidence_stands_and_has_no_labels_behind() -> None:
    """What is shown of it is not trusted."""
    chances, truth = drawn(np.random.default_rng(4).random(1_000))
    walked = walk(rows_of(chances, truth, delay=None), BINARY)
    np.testing.assert_array_equal(walked.chances, chances)
    assert not walked.labels.any()


def test_waiting_rows_are_estimated_by_all_labels_that_are_in() -> None:
    """Those that came after they were scored too."""
    chances, truth = drawn(np.random.default_rng(5).random(2_000), bent=3.0)
    rows = rows_of(chances, truth, delay=0)
    waiting = np.arange(2_000) % 2 == 0
    rows = Rows(
        rows.raw, rows.predicted, truth, rows.scored_us, np.where(waiting, NEVER_US, rows.ready_us)
    )
    walked = walk(rows, BINARY)
    assert set(walked.labels[waiting].tolist()) == {1_000}
    assert walked.labels[~waiting].min() == 0


def test_confidence_of_a_kind_never_seen_is_not_covered() -> None:
    """Scores move beyond those that labels were seen of."""
    rng = np.random.default_rng(6)
    scores = np.concatenate((rng.uniform(0.3, 0.7, 2_000), rng.uniform(0.9, 1.0, 500)))
    chances, truth = drawn(scores)
    walked = walk(rows_of(chances, truth, delay=1_000), BINARY)
    assert walked.covered[1_500:2_000].mean() > 0.98
    assert not walked.covered[2_100:].any()


def test_bursts_widen_what_chance_explains() -> None:
    """Errors that come in runs of 25 are no more news than one."""
    rng = np.random.default_rng(7)
    chances, truth = drawn(np.full(6_000, 0.8), seed=7)
    truth = np.repeat(rng.random(240) < 0.8, 25).astype(np.int64)
    walked = walk(rows_of(chances, truth), BINARY)
    assert walked.dispersion > 10
    calm: Bools = rng.random(6_000) < 0.8
    assert walk(rows_of(chances, calm.astype(np.int64)), BINARY).dispersion < 1.5


def test_false_distrust_is_rare() -> None:
    """Of 16 stationary streams with an overconfident model, at most one is distrusted."""
    found = 0
    for seed in range(16):
        scores = np.random.default_rng(seed).beta(1, 1, 4_000)
        chances, truth = drawn(scores, seed, bent=1.5)
        rows = rows_of(chances, truth)
        found += bool(gaps(rows, walk(rows, BINARY, Options()), len(rows)))
    assert found <= 1
