"""Which segments drifted."""

from __future__ import annotations

import json

import numpy as np

from millstream.drift.segments import SEGMENTS_MAX, Segments, e_bh


def played(seed: int, moved: int, total: int = 40) -> Segments:
    """So many of all segments go from 10 % to 40 % errors after 1,000 of their 1,500 events."""
    random, segments = np.random.default_rng(seed), Segments()
    for batch in range(60):
        for number in range(total):
            rate = 0.4 if number < moved and batch >= 40 else 0.1
            segments.take(f"region={number}", float(random.binomial(25, rate)), 25, batch)
    return segments


def test_those_that_moved_are_named() -> None:
    """With their errors before and after, and hardly another: at most a tenth is wrong."""
    wrong = named = 0
    for seed in range(4):
        found = played(seed, 5).drifted(0.1)
        names = {each.segment for each in found}
        assert {f"region={number}" for number in range(5)} <= names
        wrong += len(names) - 5
        named += len(names)
        strongest = found[0]
        assert 0.05 < strongest.before < 0.15
        assert 0.3 < strongest.after < 0.5
        assert 400 <= strongest.since_events <= 600
    assert wrong <= 0.1 * named


def test_nothing_is_named_where_nothing_moved() -> None:
    """Of 40 segments."""
    assert played(9, 0).drifted(0.1) == []


def test_more_names_need_less_each() -> None:
    """e-BH: the k strongest are named if each has at least total / (rate * k)."""
    assert e_bh({"a": 19.0, "b": 9.0}, 0.1) == []
    assert e_bh({"a": 20.0, "b": 9.0}, 0.1) == ["a"]
    assert e_bh({"a": 10.0, "b": 11.0}, 0.1) == ["b", "a"]
    assert e_bh({}, 0.1) == []


def test_segments_are_bounded() -> None:
    """Events of those beyond are counted."""
    segments = Segments()
    for number in range(SEGMENTS_MAX + 3):
        segments.take(str(number), 0, 2)
    assert segments.unknown == 6


def test_it_goes_on_from_its_state_and_can_begin_anew() -> None:
    """Through JSON, to the bit."""
    one = played(2, 1, 3)
    other = Segments.from_state(json.loads(json.dumps(one.state())))
    for segments in (one, other):
        segments.take("region=0", 20, 25, 99)
    assert other.state() == one.state()
    one.restart()
    assert one.drifted() == []


def test_all_that_may_be_followed_fit_a_record() -> None:
    """A state of a thousand segments, of 8,000 events each, beside all else that a record holds."""
    segments, random = Segments(), np.random.default_rng(3)
    for number in range(4):
        for errors in random.binomial(8, 0.1, 1_000).tolist():
            segments.take(str(number), errors, 8, 10**15)
    size = len(json.dumps(segments.state())) / 4
    assert size * SEGMENTS_MAX < 4_000_000
