"""Which release answers which offset."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millstream.releases.release import Entry, Failure, Switch
from millstream.releases.timeline import Timeline
from tests.millstream.releases.made import release

RELEASES = [release(number) for number in range(1, 6)]


def timeline(*entries: Entry) -> Timeline:
    """What these records make."""
    made = Timeline()
    for entry in entries:
        made.add(entry)
    return made


def test_before_the_first_switch_stream_toml_answers() -> None:
    """A release that was decided answers nothing before its switch."""
    known = timeline(RELEASES[0], Switch(RELEASES[0], 0, 10))
    assert known.at(0, 9) is None and known.at(1, 99) is None
    assert known.at(0, 10) == RELEASES[0]
    assert [(s.first, s.end, s.number) for s in known.spans(0)] == [(0, 10, 0), (10, None, 1)]


def test_of_two_releases_of_one_number_the_first_answers() -> None:
    """A scorer switched to it: the second, which did not know of it, takes nothing back."""
    second = replace(RELEASES[0], id="too late")
    known = timeline(RELEASES[0], Switch(RELEASES[0], 0, 10), second)
    assert known.at(0, 10) == RELEASES[0]
    assert known.pending(1) == [RELEASES[0]]
    assert (known.has(RELEASES[0]), known.has(second)) == (True, False)


def test_a_release_that_was_overtaken_stays_pending_nowhere() -> None:
    """A rollback that has switched calls off what waits with a lower number."""
    known = timeline(*RELEASES[:3], Switch(RELEASES[1], 0, 10))
    assert known.pending(0) == [RELEASES[2]]
    assert known.pending(1) == RELEASES[:3]


def test_a_switch_tells_of_its_release() -> None:
    """Whoever reads the partitions in another order knows as much."""
    assert timeline(Switch(RELEASES[0], 0, 10)).releases == (RELEASES[0],)


def test_a_failure_is_over_when_its_record_says_so() -> None:
    """The last record of a key counts."""
    failed = Failure(RELEASES[0], "s-0", "why")
    assert timeline(failed).failures == (failed,)
    assert timeline(failed, Failure(RELEASES[0], "s-0", "why", over=True)).failures == ()


switches = st.lists(
    st.builds(
        lambda number, partition, first: Switch(RELEASES[number - 1], partition, first),
        st.integers(1, 5),
        st.integers(0, 1),
        st.integers(0, 12),
    ),
    max_size=10,
    unique_by=lambda switch: switch.key,
)


@given(switches, st.randoms())
def test_the_order_of_the_records_does_not_matter(found: list[Switch], dice: object) -> None:
    """And every offset belongs to the highest number that began at or below it."""
    shuffled = list(found)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    known = timeline(*found)
    assert known.switches == timeline(*shuffled).switches
    for partition in (0, 1):
        begun = [(s.first_offset, s.release.number) for s in found if s.partition == partition]
        wanted = [max([0, *(n for first, n in begun if first <= o)]) for o in range(15)]
        assert known.numbers(partition, np.arange(15)).tolist() == wanted
        spans = known.spans(partition)
        assert spans[0].first == 0 and spans[-1].end is None
        assert all(a.end == b.first for a, b in pairwise(spans))
