"""Each event's label counts once."""

from __future__ import annotations

import numpy as np

from millstream.drift.counted import Counted


def test_each_offset_is_fresh_once() -> None:
    """Against a set, over batches in any order with repeats; also after a restart."""
    random = np.random.default_rng(2)
    counted, known = Counted(), set[int]()
    for _ in range(200):
        batch = random.integers(0, 3_000, random.integers(0, 60))
        fresh = counted.take(batch)
        for offset, is_fresh in zip(batch.tolist(), fresh.tolist(), strict=True):
            assert is_fresh == (offset not in known)
            known.add(offset)
        if random.random() < 0.2:
            state = counted.state()
            counted = Counted()
            counted.restore(state)


def test_gaps_are_bounded() -> None:
    """Beyond the bound the oldest gap is given up: a label that fills it later does not count."""
    counted = Counted(ranges_max=3)
    assert counted.take(np.array([0, 2, 4, 6])).all()
    assert counted.take(np.array([1])).tolist() == [False]
    assert counted.late == 1
    assert counted.take(np.array([3, 5, 8])).all()
