"""Rates and percentiles of the newest minutes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from millstream.console.window import SPAN_S, STEPS, Window, percentiles_ms


def _bucket(us: float) -> int:
    return int(np.floor(np.log2(max(us, 1.0)) * STEPS))


def test_percentiles_are_those_of_the_values_to_within_a_bucket() -> None:
    """numpy's, of 10,000 latencies; off by less than 2.3 %."""
    rng = np.random.default_rng(1)
    waits_us = rng.lognormal(9, 1, 10_000)
    found = percentiles_ms(Counter(_bucket(us) for us in waits_us))
    wanted = np.quantile(waits_us, [0.5, 0.95, 0.99], method="inverted_cdf") / 1_000
    assert np.array(found, float) == pytest.approx(wanted, rel=0.023)


def test_a_rate_leaves_out_the_seconds_whose_rows_are_on_the_way() -> None:
    """100 a second until now: the newest three count for nothing yet."""
    window = Window()
    for second in range(1_000, 1_061):
        window.scored(second, _bucket(5_000), 100, 99)
        window.refused(second, 2)
    now = window.now(1_060.5)
    assert now["predictions_per_s"] == 100.0
    assert now["refused_per_s"] == 2.0
    assert now["in_budget"] == pytest.approx(0.99)
    assert now["newest_s"] == 1_060


def test_nothing_is_said_of_a_stream_that_is_silent() -> None:
    """No latency and no share in budget are made up; the rate is 0."""
    window = Window()
    window.scored(1_000, _bucket(5_000), 100, 100)
    now = window.now(2_000.0)
    assert now["predictions_per_s"] == 0.0
    assert now["latency_ms"] == [None, None, None]
    assert now["in_budget"] is None


def test_the_curves_have_a_point_for_every_step_and_end_where_rows_are_whole() -> None:
    """Also where nothing was scored: a gap is a gap."""
    window = Window()
    for second in range(4_700, 4_998):
        if not 4_800 <= second < 4_850:
            window.scored(second, _bucket(8_000), 10, 10)
    points = window.series(5_000.0)
    assert [p[0] for p in points] == [1_000 * s for s in range(4_695, 4_995, 5)]
    silent = [p for p in points if 4_800_000 <= (p[0] or 0) < 4_850_000]
    assert [(p[1], p[3]) for p in silent] == [(0.0, None)] * 10
    assert points[-1][1] == 10.0
    assert points[-1][3] == pytest.approx(8.0, rel=0.023)


def test_what_is_old_is_forgotten() -> None:
    """A console that runs for weeks holds five minutes."""
    window = Window()
    for second in range(10_000):
        window.scored(second, 1, 1, 1)
        window.trim(second)
    assert len(window._seconds) == SPAN_S + 1
