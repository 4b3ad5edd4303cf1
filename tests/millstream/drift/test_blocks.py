"""Rows cut into blocks of an exact length, whatever the batches."""

from __future__ import annotations

import numpy as np

from millstream.drift.blocks import Block, Cutter, Marks, Rows, units
from millstream.drift.findings import Position


def rows(start: int, stop: int) -> Rows:
    """Some of a thousand rows."""
    random = np.random.default_rng(4)
    values, times = units(random.random(1_000)), random.integers(0, 10**9, 1_000)
    part = slice(start, stop)
    places = np.arange(1_000)[part]
    bins = (places % 5).astype(np.int64)
    return Rows(values[part], times[part], np.zeros_like(places), places, bins)


def test_batches_do_not_change_a_block() -> None:
    """Sums, ends and histograms are the same to the bit, and so is the row that completes it."""
    whole = [(end, block.state()) for end, block in Cutter(32, 5).cut(rows(0, 1_000))]
    assert [end for end, _ in whole[:2]] == [31, 63]
    random = np.random.default_rng(5)
    cutter, found, at = Cutter(32, 5), [], 0
    while at < 1_000:
        stop = min(at + int(random.integers(1, 70)), 1_000)
        found += [(at + end, block.state()) for end, block in cutter.cut(rows(at, stop))]
        state, cutter = cutter.state(), Cutter(32, 5)
        cutter.restore(state)
        at = stop
    assert found == whole


def test_what_is_no_number_counts_as_nothing() -> None:
    """NaN is 0, and values stay between 0 and 1."""
    assert units(np.array([np.nan, -1.0, 2.0, 0.5])).tolist() == [0, 0, 1 << 30, 1 << 29]


def test_a_block_of_nothing_has_rate_zero() -> None:
    """No division by zero."""
    assert Block().rate == 0.0


def test_marks_find_where_a_time_was_and_stay_few() -> None:
    """Exactly while they are new; more coarsely, and never later, when they are thinned out."""
    marks = Marks(marks_max=8)
    for at in range(100):
        marks.add(at * 10, Position(at * 10, 0, at))
    assert len(marks.times) <= 9
    for at in range(100):
        found = marks.at(at * 10)
        assert found is not None and at - 2 * marks.stride <= found.offset <= at
    assert Marks().at(5) is None
