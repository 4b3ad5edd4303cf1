"""Losses: bounded, paired, of every kind of label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from millstream.judging.pairs import Pairs, differences, rows_needed
from tests.millstream.judging.answered import answers, values


def _pair(seed: int = 0, rows: int = 500) -> Pairs:
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=rows)
    one, two = random.uniform(0.05, 0.95, (2, rows))
    return Pairs(answers(one, truth), answers(two, truth))


def test_an_error_is_one_or_none() -> None:
    """The difference is in {-1, 0, 1}; its mean is that of the accuracies."""
    made = _pair()
    found = differences(made, "error")
    assert set(found.tolist()) == {-1.0, 0.0, 1.0}
    hits = [np.mean(side.truth == side.predicted) for side in (made.champion, made.challenger)]
    assert found.mean() == pytest.approx(hits[1] - hits[0])


def test_chances_lose_as_scikit_learn_has_it() -> None:
    """Brier, and log loss in units of its bound."""
    made = _pair()
    truth, one, two = made.champion.truth, made.champion.raw[:, 1], made.challenger.raw[:, 1]
    brier = brier_score_loss(truth, one) - brier_score_loss(truth, two)
    assert differences(made, "squared_error").mean() == pytest.approx(brier)
    logs = (log_loss(truth, one) - log_loss(truth, two)) / -np.log(0.01)
    assert differences(made, "log_loss").mean() == pytest.approx(logs)


@pytest.mark.parametrize("loss", ["error", "log_loss", "squared_error"])
def test_an_unknown_label_is_lost_by_both(loss: str) -> None:
    """Nobody gains, and sure answers that are wrong lose no more than one."""
    truth = np.array([2, 0, 1])
    made = Pairs(
        answers(np.array([0.9, 1.0, 0.0]), truth), answers(np.array([0.1, 0.0, 1.0]), truth)
    )
    found = differences(made, loss)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx([0.0, 1.0, 1.0])


@pytest.mark.parametrize(("loss", "power"), [("error", 1), ("squared_error", 2)])
def test_a_regressions_errors_are_bounded(loss: str, power: int) -> None:
    """In the declared scale, or in four median errors of the first 100 rows, left out then."""
    truth = np.zeros(300)
    one, two = np.full(300, 1.0), np.full(300, 0.5)
    one[250] = 1e9
    made = Pairs(values(one, truth), values(two, truth))
    found = differences(made, loss, 2.0)  # type: ignore[arg-type]
    assert len(found) == 300
    assert found[0] == pytest.approx(0.5**power - 0.25**power)
    assert found[250] == pytest.approx(1.0 - 0.25**power)
    learnt = differences(made, loss)  # type: ignore[arg-type]
    assert len(learnt) == 200
    assert learnt[0] == pytest.approx((1 / 3) ** power - (0.5 / 3) ** power)  # 4 * 0.75


def test_models_without_any_error_differ_by_nothing() -> None:
    """A scale of nothing is no division by it."""
    truth = np.zeros(150)
    assert differences(Pairs(values(truth, truth), values(truth, truth)), "error").max() == 0.0


def test_sides_are_of_the_same_rows() -> None:
    """Anything else is a mistake of the program."""
    made = _pair()
    with pytest.raises(AssertionError):
        replace(made, champion=_pair(rows=10).champion)


@pytest.mark.parametrize(("scale", "needed"), [(None, 140), (2.0, 40)])
def test_so_many_pairs_give_so_many_differences(scale: float | None, needed: int) -> None:
    """A regression without a scale spends its first 100 rows on one."""
    assert rows_needed(40, True, scale) == needed
    assert rows_needed(40, False, None) == 40
    random = np.random.default_rng(3)
    said, truth = random.normal(size=(2, 300))
    made = Pairs(values(said, truth), values(said + 0.5, truth))
    found = differences(made, "error", scale)
    cut = differences(made.first(needed), "error", scale)
    assert cut.tolist() == found[:40].tolist()


def test_the_first_rows_are_cut_from_every_column() -> None:
    """Slices too; what was refused stays."""
    regions = {"region": np.array(["north", "south"] * 10, object)}
    truth = np.arange(20) % 2
    champion, challenger = (answers(np.full(20, p), truth, slices=regions) for p in (0.2, 0.8))
    made = Pairs(champion, challenger, refused=3)
    cut = made.first(5)
    assert (len(cut), len(cut.challenger), cut.refused) == (5, 5, 3)
    assert cut.champion.slices["region"].tolist() == ["north", "south"] * 2 + ["north"]
    assert cut.challenger.raw.tolist() == made.challenger.raw[:5].tolist()
