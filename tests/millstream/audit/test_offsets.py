"""Bitmaps of offsets against Python's own sets and counters."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.audit.offsets import PAGE, OffsetCounts, OffsetSet, pages

NEAR_PAGES = st.integers(0, 6).flatmap(
    lambda page: st.integers(-3, 3).map(lambda step: max(0, page * PAGE + step))
)


@settings(deadline=None)
@given(st.lists(st.lists(NEAR_PAGES, max_size=8), max_size=5))
def test_counts_are_those_of_a_counter(groups: list[list[int]]) -> None:
    """New and doubled offsets of each group are what a Counter says, each told once."""
    counts, model = OffsetCounts(), Counter[int]()
    for group in groups:
        before = model.copy()
        model.update(group)
        new, doubled = counts.add(np.array(group, np.int64))
        assert new.tolist() == sorted(o for o in model if not before[o])
        assert doubled.tolist() == sorted(o for o in model if model[o] > 1 and before[o] < 2)


@settings(deadline=None)
@given(NEAR_PAGES, NEAR_PAGES, st.lists(NEAR_PAGES, min_size=1))
def test_runs_and_single_offsets_are_found_again(one: int, two: int, singles: list[int]) -> None:
    """Membership and counts between two offsets are those of a set."""
    first, last = sorted((one, two))
    found = OffsetSet()
    found.add_run(first, last)
    found.add(np.array(singles, np.int64))
    model = set(range(first, last + 1)) | set(singles)
    asked = [first, last, last + 1, *singles, 7 * PAGE]
    assert found.has(np.array(asked, np.int64)).tolist() == [o in model for o in asked]
    assert found.between(2, 3 * PAGE) == sum(2 <= o < 3 * PAGE for o in model)


def test_forgotten_pages_count_as_all_in() -> None:
    """What is given back cannot be missing later; pages that are still open keep their offsets."""
    found = OffsetSet()
    found.add(np.array([5, PAGE + 5], np.int64))
    found.forget_below(PAGE + 9)
    assert found.has(np.array([6, PAGE + 5, PAGE + 6], np.int64)).tolist() == [True, True, False]


def test_pages_cover_a_range_exactly() -> None:
    """Every offset of the range once, and none of an empty one."""
    covered = [
        number * PAGE + place
        for number, within in pages(PAGE - 2, PAGE + 3)
        for place in range(within.start, within.stop)
    ]
    assert covered == list(range(PAGE - 2, PAGE + 3))
    assert list(pages(9, 9)) == []
