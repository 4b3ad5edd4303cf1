"""Gaps between groups, with intervals; alarms only where an interval is beyond the limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats.contingency import relative_risk

from millstream.performance.fairness import Gap, Share, difference, fairness, ratio, wilson
from millstream.stream import FairnessTable

TABLE = FairnessTable(groups=("sex",))


def _gaps(
    shares: dict[str, float], rows: int, table: FairnessTable = TABLE, seed: int = 0
) -> list[Gap]:
    """Of groups of `rows` each, that get the good label with these chances."""
    rng = np.random.default_rng(seed)
    names = np.repeat(np.array(list(shares), dtype=object), rows)
    favoured = rng.random(len(names)) < np.repeat(list(shares.values()), rows)
    deserved = rng.random(len(names)) < 0.5
    return fairness({"sex": names}, favoured, deserved, np.ones(len(names), bool), table)


def test_intervals_are_the_published_ones() -> None:
    """Newcombe 1998, table II, (a): 56/70 - 48/80 is 0.0524 to 0.3339; Wilson's as scipy's."""
    found = difference(Share(56, 70), Share(48, 80), 1.959964)
    assert found == pytest.approx((0.0524, 0.3339), abs=1e-4)
    wanted = binomtest(7, 20).proportion_ci(method="wilson")
    assert wilson(Share(7, 20), 1.959964) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    theirs = relative_risk(300, 1000, 500, 1000).confidence_interval(0.95)
    ours = ratio(Share(300, 1000), Share(500, 1000), 1.959964)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=2e-3)


def test_equal_groups_raise_no_alarm() -> None:
    """In 100 streams, not one more often than the limits' margin allows: none."""
    assert not any(
        g.alarm for seed in range(100) for g in _gaps({"f": 0.5, "m": 0.5}, 200, seed=seed)
    )


def test_a_large_gap_in_many_rows_is_an_alarm() -> None:
    """Of two groups the one that is favoured less is named."""
    gaps = {gap.kind: gap for gap in _gaps({"f": 0.3, "m": 0.6}, 2_000)}
    assert {kind for kind, gap in gaps.items() if gap.alarm} == {
        "parity", "impact", "true_positive",
    }  # fmt: skip
    parity = gaps["parity"]
    assert (parity.group, parity.against) == ("f", "m")
    assert parity.low is not None
    assert parity.high is not None
    assert parity.low < -0.3 < parity.high


def test_the_same_gap_in_few_rows_is_none() -> None:
    """The interval holds the limit; with fewer rows than rows_min nothing is said."""
    assert not any(gap.alarm for gap in _gaps({"f": 0.4, "m": 0.6}, 40))
    assert all(gap.value is None for gap in _gaps({"f": 0.0, "m": 1.0}, 10))


def test_groups_are_compared_with_the_reference() -> None:
    """Or each with all others, where there are more than two and none is named."""
    shares = {"a": 0.5, "b": 0.5, "c": 0.2}
    table = FairnessTable(groups=("sex",), reference={"sex": "a"})
    named = _gaps(shares, 1_000, table)
    assert {(gap.group, gap.against) for gap in named} == {("b", "a"), ("c", "a")}
    assert {gap.group for gap in named if gap.alarm} == {"c"}
    assert {gap.against for gap in _gaps(shares, 1_000)} == {"all others"}


def test_a_reference_that_does_not_occur_decides_nothing() -> None:
    """No value, no alarm."""
    table = FairnessTable(groups=("sex",), reference={"sex": "x"})
    assert all(gap.value is None for gap in _gaps({"f": 0.1, "m": 0.9}, 500, table))


def test_true_positives_count_known_outcomes_only() -> None:
    """Others have no part in them."""
    names = np.repeat(np.array(["f", "m"], dtype=object), 100)
    favoured = np.ones(200, bool)
    gaps = fairness({"sex": names}, favoured, favoured, np.zeros(200, bool), TABLE)
    (gap,) = [gap for gap in gaps if gap.kind == "true_positive"]
    assert (gap.rows, gap.value) == (0, None)


def test_without_groups_there_are_no_gaps() -> None:
    """Nor with one group alone."""
    none = np.zeros(0, bool)
    assert fairness({}, none, none, none, TABLE) == []
    assert _gaps({"f": 0.5}, 100) == []
