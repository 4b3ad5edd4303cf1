"""At which record a partition goes over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.releases.release import Effective, Release, Switch
from millstream.releases.switching import Turn, turns
from millstream.releases.timeline import Timeline
from tests.millstream.releases.made import release


def decided(
    *releases: Release, first: int = 10, ready: tuple[int, ...] = (1, 2, 3), at: int | None = None
) -> list[Turn]:
    """Of records first..first+4 of partition 0, which happened at offset * 100; at: where release
    1 has switched before."""
    timeline = Timeline()
    for each in releases:
        timeline.add(each)
    if at is not None:
        timeline.add(Switch(releases[0], 0, at))
    offsets = np.arange(first, first + 5)
    return turns(timeline, 0, offsets, offsets * 100, ready)


def test_at_once_is_the_first_record_of_the_batch() -> None:
    """Nothing is waited for, nothing is cut."""
    assert decided(release(1)) == [Turn(release(1), 10, False)]


def test_nothing_switches_to_what_is_not_loaded() -> None:
    """What answers goes on meanwhile."""
    assert decided(release(1), ready=()) == []


@pytest.mark.parametrize(
    ("asked", "first", "late"), [(10, 10, False), (13, 13, False), (7, 10, True), (15, None, None)]
)
def test_a_given_offset_is_kept_unless_it_has_passed(
    asked: int, first: int | None, late: bool | None
) -> None:
    """Then it switches at once, and says that it is late."""
    given_one = release(1, effective=Effective(offsets=(asked, 99)))
    assert [(t.first_offset, t.late) for t in decided(given_one)] == (
        [] if first is None else [(first, late)]
    )


def test_a_time_is_the_first_event_of_then_or_later() -> None:
    """Behind it the release answers, whatever the events' times."""
    assert [t.first_offset for t in decided(release(1, effective=Effective(time_us=1_150)))] == [12]
    assert decided(release(1, effective=Effective(time_us=9_999))) == []


def test_a_time_that_has_passed_is_late() -> None:
    """Unless earlier records were looked at: then this is the first of its time."""
    waiting = release(1, effective=Effective(time_us=950))
    timeline, offsets = Timeline(), np.arange(10, 15)
    timeline.add(waiting)
    assert turns(timeline, 0, offsets, offsets * 100, [1])[0].late
    assert not turns(timeline, 0, offsets, offsets * 100, [1], looked=[1])[0].late


def test_the_newest_calls_off_what_has_not_begun() -> None:
    """A rollback at once, before a release that waits for an offset: that one never answers."""
    waiting = release(1, effective=Effective(offsets=(12,)))
    assert [t.release.number for t in decided(waiting, release(2))] == [2]


def test_two_releases_can_begin_in_one_batch() -> None:
    """Each at its own record."""
    second = release(2, effective=Effective(offsets=(12,)))
    assert [(t.release.number, t.first_offset) for t in decided(release(1), second)] == [
        (1, 10),
        (2, 12),
    ]


def test_records_that_are_read_again_keep_their_release() -> None:
    """A newer one begins where the last one did, not among what was answered before it."""
    assert decided(release(1), release(2), first=10, at=12) == [Turn(release(2), 12, False)]
    assert decided(release(1), release(2), first=10, at=40) == []


effects = st.one_of(
    st.just(Effective()),
    st.integers(0, 30).map(lambda offset: Effective(offsets=(offset,))),
    st.integers(0, 3_000).map(lambda time: Effective(time_us=time)),
)


@given(
    st.lists(effects, max_size=4),
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.sets(st.integers(1, 4)),
)
def test_however_records_are_cut_each_offset_has_one_release(
    asked: list[Effective], sizes: list[int], ready: set[int]
) -> None:
    """Batches of any size: the numbers ascend with the offsets, what was answered is never decided
    again, and a given offset or time is met exactly where it was known in time."""
    timeline = Timeline()
    for number, effective in enumerate(asked, 1):
        timeline.add(release(number, effective=effective))
    start, answered = 0, np.empty(0, np.int64)
    looked: set[int] = set()
    for size in sizes:
        offsets = np.arange(start, start + size)
        found = turns(timeline, 0, offsets, offsets * 100, ready, looked)
        for turn in found:
            timeline.add(Switch(turn.release, 0, turn.first_offset, turn.late))
        looked = {each.number for each in timeline.pending(0)} & ready
        answered = np.concatenate([answered, timeline.numbers(0, offsets)])
        start += size
        assert (timeline.numbers(0, np.arange(start)) == answered).all()
    assert (np.diff(answered) >= 0).all() and set(answered.tolist()) <= ready | {0}
    for switch in timeline.switches:
        effective = switch.release.effective
        if switch.late:
            continue
        if effective.offsets:
            assert switch.first_offset == effective.offsets[0]
        elif effective.time_us is not None:
            assert switch.first_offset * 100 >= effective.time_us
