"""Who answers which record, and what is written when a partition goes over."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from consumers.releases.lineups import Problem
from consumers.releases.log import Clerk
from consumers.releases.rota import Rota, Shift
from millstream.alerts import wire
from millstream.alerts.alarm import Alarm
from millstream.contracts import contract
from millstream.lineup import Lineup
from millstream.records import Records
from millstream.releases.release import Effective, Entry, Failure, Release, Switch
from millstream.releases.wire import Reader, Writer
from millstream.stream import Stream
from tests.millstream.releases.made import release

NOW_US = 1_700_000_000_000_000


class Topic:
    """NAME.releases in memory: what was written is read once by `news` or `catch_up`."""

    def __init__(self) -> None:
        self.written: list[Entry] = []
        self.caught_up = 0
        self._read = 0

    def news(self) -> list[Entry]:
        found, self._read = self.written[self._read :], len(self.written)
        return found

    def catch_up(self) -> list[Entry]:
        self.caught_up += 1
        return self.news()


class Shelf:
    """Loads what it is told to."""

    def __init__(self) -> None:
        self.wanted: set[int] = set()
        self.kept: set[int] = set()
        self.loaded: set[int] = set()
        self.problems: list[Problem] = []
        self.refused: set[int] = set()

    def want(self, releases: Iterable[Release]) -> None:
        self.wanted = {each.number for each in releases}

    def collect(self) -> list[Problem]:
        found, self.problems = self.problems, []
        self.refused |= {each.number for each, _ in found}
        return found

    def ready(self) -> Collection[int]:
        return self.loaded

    def failed(self) -> Collection[int]:
        return self.refused

    def need(self, release: Release | None) -> Lineup:
        number = release.number if release else 0
        return Lineup(cast(Any, SimpleNamespace(bundle=None)), number=number)

    def keep(self, numbers: Collection[int]) -> None:
        self.kept = set(numbers)

    def base(self) -> tuple[str, str]:
        return "base", "sha256:base"


class Made:
    """A rota with its topic and its loader."""

    def __init__(self) -> None:
        self.topic, self.shelf, self.now_us = Topic(), Shelf(), NOW_US
        stream = cast(Stream, SimpleNamespace(topic=lambda kind: f"s.{kind}"))
        alarms = wire.Writer("alarm", 2)
        clerk = Clerk(stream, "s-scorer-0", Writer(1), 2, alarms, lambda: self.now_us)
        self.rota = Rota(self.topic, self.shelf, clerk, lambda records: records.offsets * 100)
        self.rota.begin(2)

    def decide(self, *releases: Release, loaded: bool = True) -> None:
        """They are decided, read, and loaded."""
        self.topic.written += releases
        self.rota.look()
        if loaded:
            self.shelf.loaded |= {each.number for each in releases}

    def alarm(self, *failing: Release) -> Alarm:
        """The one that is written, a second later, as these do not load."""
        self.now_us += 1_000_000
        self.shelf.problems = [(each, "BundleInvalid: damaged") for each in failing]
        _, extra = self.rota.look() or self.rota.look()
        self.rota.noted()
        return wire.Reader(lambda _: contract("alarm").text).alarm(extra.values[0])

    def answered(self, *places: tuple[int, int]) -> list[int]:
        """The release of each of these (partition, offset), which are one batch and durable."""
        shift = self.rota.assign(batch(*places))
        self.rota.settle(shift.switches)
        return numbers(shift, len(places))


def batch(*places: tuple[int, int]) -> Records:
    """Records at these partitions and offsets."""
    count = len(places)
    partitions, offsets = (np.array(each) for each in zip(*places, strict=True))
    nothing: list[bytes | None] = [b""] * count
    stamps = np.zeros(count, np.int64)
    return Records("s.events", nothing, nothing, partitions.astype(np.int32), offsets, stamps, {})


def numbers(shift: Shift, count: int) -> list[int]:
    """The release of each row."""
    found = np.full(count, -1)
    for rows, lineup in shift.parts:
        assert lineup is not None
        found[slice(None) if rows is None else rows] = lineup.number
    return found.tolist()


@pytest.fixture
def made() -> Made:
    """Without a release."""
    return Made()


def test_without_a_release_stream_toml_answers(made: Made) -> None:
    """All rows at once, uncut."""
    shift = made.rota.assign(batch((0, 5), (1, 7)))
    assert [rows for rows, _ in shift.parts] == [None] and shift.switches == ()
    assert numbers(shift, 2) == [0, 0]


def test_a_loaded_release_begins_with_the_batch_in_hand(made: Made) -> None:
    """Each partition at its own first record; the switch says who answered before."""
    made.answered((0, 5), (1, 7))
    made.decide(release(1))
    shift = made.rota.assign(batch((0, 6), (0, 7), (1, 8)))
    assert numbers(shift, 3) == [1, 1, 1]
    assert [(s.partition, s.first_offset, s.before) for s in shift.switches] == [
        (0, 6, ("base", "sha256:base")),
        (1, 8, ("base", "sha256:base")),
    ]


def test_what_was_not_published_has_not_switched(made: Made) -> None:
    """The batch comes again after an abort, and so does the switch."""
    made.decide(release(1))
    first = made.rota.assign(batch((0, 6)))
    again = made.rota.assign(batch((0, 6), (0, 7)))
    assert [s.first_offset for s in again.switches] == [s.first_offset for s in first.switches]
    made.rota.settle(again.switches)
    assert made.rota.assign(batch((0, 8))).switches == ()


def test_a_batch_that_is_not_durable_has_not_waited(made: Made) -> None:
    """A release by time that comes late is told as late by the batch's second try too."""
    made.decide(release(1, effective=Effective(time_us=650)))
    first = made.rota.assign(batch((0, 7)))
    again = made.rota.assign(batch((0, 7)))
    assert [s.late for s in first.switches] == [s.late for s in again.switches] == [True]


def test_a_batch_without_a_switch_has_waited(made: Made) -> None:
    """The release's time then lies between this batch and the next: it is not late."""
    made.decide(release(1, effective=Effective(time_us=650)))
    before = made.rota.assign(batch((0, 5)))
    made.rota.settle(before.switches)
    after = made.rota.assign(batch((0, 7)))
    assert (before.switches, [s.late for s in after.switches]) == ((), [False])


def test_a_failure_that_comes_again_is_a_new_alarm(made: Made) -> None:
    """While it lasts it is one, whatever is said of it; it ends as what it began as."""
    made.decide(release(1), loaded=False)
    alarms = [made.alarm(release(1)), made.alarm(release(1))]
    made.decide(release(2))
    alarms += [made.alarm(), made.alarm(release(1))]
    assert len({each.id for each in alarms[:3]}) == 1
    assert [(each.revision, each.firing) for each in alarms] == [
        (1, True),
        (1, True),
        (2, False),
        (1, True),
    ]
    assert alarms[3].id != alarms[0].id


def test_a_batch_is_cut_where_a_release_begins(made: Made) -> None:
    """Its rows go to two releases, the older one first."""
    made.decide(release(1, effective=Effective(offsets=(7, 0))))
    assert made.answered((0, 6), (1, 3), (0, 7), (0, 8)) == [0, 1, 1, 1]
    assert made.answered((0, 6), (0, 7)) == [0, 1]


def test_an_event_time_cuts_it_too(made: Made) -> None:
    """The events' own times, here their offsets times 100."""
    made.decide(release(1, effective=Effective(time_us=650)))
    assert made.answered((0, 5), (0, 6), (0, 7), (0, 8)) == [0, 0, 1, 1]


def test_a_new_partition_is_met_first(made: Made) -> None:
    """Its former owner's switches are read before its first batch, and once."""
    made.topic.written += [release(1), Switch(release(1), 1, 4)]
    before = made.topic.caught_up
    assert made.answered((1, 3), (1, 4)) == [0, 1]
    assert made.answered((1, 5)) == [1]
    assert made.topic.caught_up == before + 1
    made.rota.leave([1])
    made.answered((1, 6))
    assert made.topic.caught_up == before + 2


def test_only_what_may_still_switch_is_loaded(made: Made) -> None:
    """Of three at once the newest; if that one fails, the next. What nobody needs is given back."""
    made.answered((0, 1), (1, 1))
    made.decide(release(1), release(2), release(3), loaded=False)
    assert made.shelf.wanted == {3} and made.shelf.kept == {0, 3}
    made.shelf.problems = [(release(3), "it does not load")]
    made.rota.look()
    assert made.shelf.wanted == {2}
    made.shelf.loaded.add(2)
    assert made.answered((0, 2), (1, 2)) == [2, 2]
    assert made.shelf.kept == {2}


def test_a_failure_is_written_with_an_alarm_until_it_is_over(made: Made) -> None:
    """Both are repeated until they are durable; then the next release that loads ends them."""
    made.decide(release(1), loaded=False)
    made.shelf.problems = [(release(1), "BundleInvalid: damaged")]
    reader = Reader(lambda _: contract("release").text)
    for _ in range(2):
        record, alarm = made.rota.look()
        entry = reader.entry(record.values[0])
        assert isinstance(entry, Failure) and not entry.over and "damaged" in entry.error
        assert (record.topic, alarm.topic) == ("s.releases", "s.alarms")
    made.rota.noted()
    assert made.rota.look() == []
    made.decide(release(2))
    record, alarm = made.rota.look() or made.rota.look()
    entry = reader.entry(record.values[0])
    assert isinstance(entry, Failure) and entry.over and entry.release.number == 1
    told = wire.Reader(lambda _: contract("alarm").text).alarm(alarm.values[0])
    assert not told.firing
    made.rota.noted()
    assert made.rota.look() == []
