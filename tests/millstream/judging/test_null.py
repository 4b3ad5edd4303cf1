"""The null experiment: how often an equal challenger is promoted, how soon a better one is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from millstream.judging.evidence import Role, Verdict
from millstream.judging.judge import verdict
from millstream.judging.paired import Rule, Trace, paired
from ops.bench.judging import (
    KINDS,
    Null,
    better,
    main,
    mcnemar_finds,
    mcnemar_rows,
    null,
    upper_bound,
)

RULE = Rule()
RUNS = 200


@cache
def _null(name: str) -> Null:
    return null(name, RULE, RUNS, seed=1_000)


@pytest.mark.parametrize("name", KINDS)
def test_equal_models_are_seldom_swapped(name: str) -> None:
    """200 runs of 6,000 rows, looked at after every 8: wrong promotions within the set rate, on
    independent errors and on every kind of burst."""
    assert _null(name).wrong <= RULE.alpha * RUNS


def test_the_rate_of_wrong_promotions_is_below_alpha() -> None:
    """Not by luck: over all kinds, 200 runs each, its 95 % upper bound is below alpha too."""
    wrong = sum(_null(name).wrong for name in KINDS)
    assert upper_bound(wrong, RUNS * len(KINDS)) < RULE.alpha


@pytest.mark.parametrize("name", ["independent", "short bursts of one"])
def test_a_champion_as_good_as_the_one_before_is_seldom_rolled_back(name: str) -> None:
    """200 runs of 3,000 rows, by the verdict itself, which stands from the first row on at which it
    was proven: at most alpha of them end in a roll back. One that is five points worse is taken
    back nearly always, under bursts of one model in a quarter of the runs at least."""

    def taken_back(better: float, seed: int) -> int:
        random, found = np.random.default_rng(seed), 0
        for _ in range(RUNS):
            rows = KINDS[name].differences(3_000, better, random)
            found += verdict(Role.PREDECESSOR, paired(rows, RULE), ())[0] is Verdict.ROLL_BACK
        return found

    assert taken_back(0.0, 5_000) <= RULE.alpha * RUNS
    assert taken_back(0.05, 6_000) > (0.97 if name == "independent" else 0.25) * RUNS


def test_bursts_would_fool_the_test_without_its_correction() -> None:
    """The same runs by the wealth of rows alone: most are decided wrongly. So the streams are such
    that the correction is needed."""
    kind, random, wrong = KINDS["one fails 50 % for 100 rows"], np.random.default_rng(1_000), 0
    for _ in range(50):
        rows = Trace(kind.differences(6_000, 0.0, random), 0.0)
        wrong += bool(rows._stakes().max() > np.log(len(rows._stakes()) / RULE.alpha))
    assert wrong > 25


@pytest.mark.parametrize("name", ["independent", "independent, models much alike"])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_three_points_are_seen_before_a_fixed_test_would_end(name: str, alpha: float) -> None:
    """A challenger 3 points better: the median run needs fewer labels than McNemar's test at the
    same alpha with 80 % power, more than half the runs end before it, and nearly all end."""
    found = better(name, 0.03, Rule(alpha), 300, seed=3_000, rows_max=12_000)
    assert found.median < found.fixed
    assert found.earlier > 0.5
    assert found.found > 0.99
    assert 0.75 < found.fixed_power < 0.85  # the size that it is compared with is the right one


def test_it_is_found_under_bursts_too() -> None:
    """Five points, short bursts of one model: nearly every run ends in a promotion."""
    assert better("short bursts of one", 0.05, RULE, 40, seed=4_000).found > 0.9


def test_mcnemars_rows_are_the_textbooks() -> None:
    """Fewer for larger differences and for models more alike."""
    assert mcnemar_rows(0.2, 0.03, 0.05) == 1_742
    assert mcnemar_rows(0.1, 0.03, 0.05) < mcnemar_rows(0.2, 0.03, 0.05)
    assert mcnemar_finds(np.array([1.0] * 10), 0.05)
    assert not mcnemar_finds(np.array([1.0, -1.0] * 10), 0.05)


def test_an_upper_bound_is_clopper_and_pearsons() -> None:
    """Of no hits: 1 - 0.05^(1/n)."""
    assert upper_bound(0, 200) == pytest.approx(1 - 0.05 ** (1 / 200), abs=1e-9)
    assert upper_bound(10, 200) == pytest.approx(0.0836, abs=5e-4)


def test_the_bench_writes_a_file_of_its_own(tmp_path: Path) -> None:
    """Markdown with a row for each stream, JSON beside it."""
    assert main(["--null-runs", "2", "--better-runs", "2", "--results", str(tmp_path)]) == 0
    (markdown,) = tmp_path.glob("judging-*.md")
    assert all(f"| {name} |" in markdown.read_text() for name in KINDS)
    assert markdown.with_suffix(".json").exists()
