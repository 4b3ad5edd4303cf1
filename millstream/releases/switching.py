"""At which record a partition goes over to another release, decided by whoever owns it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from millstream.releases.release import Release
from millstream.releases.timeline import Offsets, Timeline


@dataclass(frozen=True, slots=True)
class Turn:
    """The release answers from this offset on. late: it was asked for earlier."""

    release: Release
    first_offset: int
    late: bool


def turns(
    timeline: Timeline,
    partition: int,
    offsets: Offsets,
    times_us: Offsets | None,
    ready: Collection[int],
    looked: Collection[int] = (),
) -> list[Turn]:
    """The switches that fall into these records of one partition, in ascending order of both.

    offsets: [n], ascending, n >= 1. times_us: [n], when the events happened,
    TIME_US_MIN where nobody knows; needed where a release waits for a time. ready: numbers whose
    models can answer now. looked: those that waited for their time in the partition's records
    before these.
    """
    last = timeline.last(partition)
    floor = max(int(offsets[0]), last.first_offset if last else 0)
    found: list[Turn] = []
    for release in timeline.pending(partition):
        if release.number not in ready:
            continue
        turn = _turn(release, partition, offsets, times_us, floor)
        if turn is None:
            continue
        if turn.late and release.number in looked:
            turn = replace(turn, late=False)
        # a release that is there from the same record on, or from an earlier one, and is newer
        while found and found[-1].first_offset >= turn.first_offset:
            found.pop()
        found.append(turn)
    return found


def _turn(
    release: Release, partition: int, offsets: Offsets, times_us: Offsets | None, floor: int
) -> Turn | None:
    """Where in these records it begins to answer; None: behind them."""
    effective = release.effective
    first, late = floor, False
    if partition < len(effective.offsets):
        first = max(floor, effective.offsets[partition])
        late = first > effective.offsets[partition]
    elif effective.time_us is not None:
        assert times_us is not None, release.number
        due = np.flatnonzero((times_us >= effective.time_us) & (offsets >= floor))
        if not len(due):
            return None
        first = int(offsets[due[0]])
        late = int(due[0]) == 0 and int(times_us[0]) > effective.time_us
    return Turn(release, first, late) if first <= int(offsets[-1]) else None
