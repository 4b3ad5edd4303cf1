"""The paired test: what it decides, when, and what it leaves alone."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from millstream.judging.paired import BLOCK, PARTS, STAKES, Rule, Trace, paired
from ops.bench.judging import KINDS

RULE = Rule(rows_min=8)


def _signs(better: int, worse: int, same: int, seed: int = 0) -> np.ndarray:
    made = np.concatenate((np.ones(better), -np.ones(worse), np.zeros(same)))
    return np.random.default_rng(seed).permutation(made)


def test_nothing_is_found_of_nothing() -> None:
    """No rows: no evidence, the widest interval."""
    found = paired(np.zeros(0), Rule())
    assert (found.rows, found.better_at, found.worse_at) == (0, None, None)
    assert (found.e_better, found.e_worse, found.low, found.high) == (1.0, 1.0, -1.0, 1.0)


def test_evidence_is_the_mean_wealth_of_the_stakes() -> None:
    """Of rows without dependence: the products of 1 + stake * difference, mixed."""
    taken = _signs(12, 4, 32, seed=3)
    wealth = sum(
        part * float(np.prod(1 + stake * taken)) for stake, part in zip(STAKES, PARTS, strict=True)
    )
    trace = Trace(taken, 0.0)
    assert not trace.dependent
    assert trace.last == pytest.approx(log(wealth))


def test_a_fair_game_makes_no_money() -> None:
    """In the mean over every sequence of eight signs, wealth is what it was."""
    signs = ((np.arange(256)[:, None] >> np.arange(8)) & 1) * 2.0 - 1.0
    wealth = [np.exp(Trace(row, 0.0).last) for row in signs]
    assert np.mean(wealth) == pytest.approx(1.0)


def test_both_directions_are_found() -> None:
    """The better one is better, and turned round it is worse at the very same row."""
    taken = _signs(120, 40, 1_000)
    found, turned = paired(taken, RULE), paired(-taken, RULE)
    assert found.better_at is not None
    assert found.worse_at is None
    assert (turned.worse_at, turned.better_at) == (found.better_at, None)
    assert found.low > 0.0
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-3)


def test_nothing_is_decided_before_rows_min_or_learnt_after_rows_max() -> None:
    """However clear it is."""
    clear = np.ones(400)
    assert paired(clear[:96], Rule(rows_min=104)).better_at is None
    assert paired(clear, Rule(rows_min=104)).better_at == 104
    late = np.concatenate((np.zeros(200), clear))
    found = paired(late, Rule(rows_min=8, rows_max=200))
    assert (found.rows, found.better_at, found.exhausted) == (200, None, True)


def test_a_margin_is_no_difference() -> None:
    """A mean of 0.1 is above 0, and not above 0.1."""
    taken = _signs(1_500, 500, 8_000)
    assert paired(taken, Rule(rows_min=8)).better_at is not None
    assert paired(taken, Rule(rows_min=8, margin=0.1)).better_at is None


def test_what_was_proven_is_proven_by_the_rows_up_to_there() -> None:
    """Later rows do not move the row at which it was: a look that comes late finds the same."""
    taken = np.concatenate((_signs(160, 60, 800), _signs(100, 300, 800)))
    at = paired(taken, RULE).better_at
    assert at is not None
    assert at < 1_020
    assert paired(taken[:at], RULE).better_at == at
    assert paired(taken[: at - 1], RULE).better_at is None


def test_rows_that_repeat_themselves_count_less() -> None:
    """Each row 24 times over: the dispersion is at least that, and within three times."""
    taken = _signs(450, 450, 900, seed=1)
    assert not Trace(taken, 0.0).dependent
    repeated = Trace(np.repeat(taken, 24), 0.0)
    assert repeated.dependent
    assert 24 < repeated.dispersion < 72


def test_a_burst_is_no_proof() -> None:
    """One of two equal models fails for a while: rows alone would prove it worse, blocks do not."""
    random = np.random.default_rng(1)
    taken = KINDS["one fails 50 % for 100 rows"].differences(6_000, 0.0, random)
    stakes = Trace(taken, 0.0)
    naive = np.max(stakes._stakes())
    assert naive > log(1 / 0.05)
    found = paired(taken, Rule())
    assert (found.better_at, found.worse_at) == (None, None)


def test_models_that_seldom_differ_are_told_apart() -> None:
    """They say the same for hundreds of rows, then the second one is right where the first errs, in
    bunches, and never the other way round: most of 20 such streams prove it, however long the
    first 96 rows said nothing; where each bunch favours either by chance, none does."""

    def proven(chance: float) -> int:
        random, found = np.random.default_rng(3), 0
        for _ in range(20):
            taken = np.zeros(20_000)
            for at in np.cumsum(random.geometric(1 / 500, 100)):
                part = taken[at : at + random.geometric(1 / 20)]
                part[:] = (random.random(len(part)) < 0.5) * np.sign(chance - random.random())
            found += paired(taken, Rule()).better_at is not None
        return found

    assert proven(1.0) > 10
    assert proven(0.5) == 0


def test_hard_times_for_both_are_not_dependence() -> None:
    """Errors of both come in bursts, their differences favour nobody: nothing is lost."""
    random = np.random.default_rng(2)
    taken = KINDS["bursts of both"].differences(4_000, 0.0, random)
    assert Trace(taken, 0.0).dispersion == 1.0


def test_the_interval_holds_the_truth_at_every_look() -> None:
    """In all but 2 alpha of the runs, independent rows, ten looks."""
    random, missed = np.random.default_rng(4), 0
    for _ in range(60):
        taken = random.choice([-1.0, 0.0, 1.0], 2_000, p=[0.08, 0.81, 0.11])
        looks = [paired(taken[:rows], Rule()) for rows in range(500, 2_001, 500)]
        missed += any(not found.low <= 0.03 <= found.high for found in looks)
    assert missed <= 6


@pytest.mark.parametrize("odd", [1.5, -1.01, float("nan")])
def test_a_difference_beyond_one_is_refused(odd: float) -> None:
    """Losses are between 0 and 1."""
    with pytest.raises(ValueError, match="not in"):
        paired(np.array([0.0, odd]), RULE)


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 0.5}, {"margin": -0.1}, {"rows_min": 0}, {"rows_max": 10}]
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """Before any row is seen."""
    with pytest.raises(ValueError, match=r"rows_min|alpha"):
        Rule(**wrong)  # type: ignore[arg-type]


def test_looks_are_at_whole_blocks() -> None:
    """The rows behind the last whole block wait."""
    taken = _signs(60, 20, 200)
    cut = len(taken) // BLOCK * BLOCK
    assert Trace(taken, 0.0).last == Trace(taken[:cut], 0.0).last
