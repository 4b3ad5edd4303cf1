"""Who answers which record: the scorer's view of releases, partition by partition.

Between batches it reads what is new in NAME.releases and has the models loaded. Before a batch it
says which release answers which rows; a partition that goes over to another one does so at a record
of this batch, and the switch is written in the batch's own transaction. So whoever reads it knows
for every offset who answered, a crash repeats the same or leaves no trace, and who takes a
partition over reads what its former owner did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from consumers.publishers import Extra
from consumers.releases.lineups import Loader, Problem
from consumers.releases.log import Clerk
from millstream.lineup import Lineup
from millstream.records import Records
from millstream.releases.release import Entry, Failure, Release, Switch
from millstream.releases.switching import turns
from millstream.releases.timeline import Timeline

Rows = npt.NDArray[np.int64]

_log = logging.getLogger(__name__)


class Log(Protocol):
    """Where releases are read; consumers/releases/log.py."""

    def news(self) -> list[Entry]: ...
    def catch_up(self) -> list[Entry]: ...


@dataclass(frozen=True, slots=True)
class Shift:
    """Who answers a batch: rows and models, in the order of the releases' numbers; rows None: all;
    models None: the plan's own.

    switches: those that fall into it.
    """

    parts: tuple[tuple[Rows | None, Lineup | None], ...]
    switches: tuple[Switch, ...] = ()


class Rota:
    """clerk: makes the records. times: when a batch's events happened."""

    def __init__(
        self, log: Log, loader: Loader, clerk: Clerk, times: Callable[[Records], Rows]
    ) -> None:
        self.timeline = Timeline()
        self._log = log
        self._loader = loader
        self._clerk = clerk
        self._times = times
        self._met: set[int] = set()  # partitions whose former owner's switches are known
        self._looked: dict[int, set[int]] = {}  # partition -> releases that wait for their time
        self._looking: dict[int, set[int]] = {}  # the same, of the batch that is not durable yet
        self._notes: list[Failure] = []
        self._ready = 0  # the newest release that can answer

    def begin(self, partitions: int) -> Lineup:
        """Read the log, load what is in force on these partitions; the newest of it."""
        self._learn(self._log.catch_up())
        current = {self._current(p) for p in range(partitions)}
        lineups = [self._need(number) for number in sorted(current)]
        self._order()
        return lineups[-1]

    def look(self) -> list[Extra]:
        """Between batches: what is new. What it gives is to be written, and then `noted`.

        Raises DependencyUnavailable where the schema registry does not answer.
        """
        news = self._log.news()
        problems = self._loader.collect()
        ready = max(self._loader.ready(), default=0)
        if news:
            self._learn(news)
        if news or problems or ready != self._ready:
            self._ready = ready
            self._report(problems)
        return [e for n in self._notes for e in self._clerk.failure(n, self._began_us(n))]

    def noted(self) -> None:
        """What `look` gave last is durable."""
        for note in self._notes:
            self.timeline.add(note)
        self._notes.clear()

    def assign(self, records: Records) -> Shift:
        """Who answers these. Raises DependencyUnavailable where that cannot be known now."""
        numbers = np.flatnonzero(np.bincount(records.partitions)).tolist()
        if not self._met.issuperset(numbers):
            self._learn(self._log.catch_up())
            self._met.update(numbers)
            self._order()
        if not self.timeline.releases:
            return Shift(((None, self._need(0)),))
        switches = self._switches(records, numbers)
        timeline = self.timeline.with_switches(switches) if switches else self.timeline
        rows = {number: np.flatnonzero(records.partitions == number) for number in numbers}
        # a partition's offsets ascend: its first and its last one tell whether it is cut
        ends = {p: timeline.numbers(p, records.offsets[at[[0, -1]]]) for p, at in rows.items()}
        first = int(ends[numbers[0]][0])
        if all((found == first).all() for found in ends.values()):
            return Shift(((None, self._need(first, timeline)),), switches)
        who = np.empty(len(records), np.int64)
        for number, at in rows.items():
            who[at] = timeline.numbers(number, records.offsets[at])
        several = np.unique(who).tolist()
        parts = ((np.flatnonzero(who == n), self._need(n, timeline)) for n in several)
        return Shift(tuple(parts), switches)

    def extras(self, switches: Iterable[Switch]) -> tuple[Extra, ...]:
        """The switches as records."""
        return tuple(self._clerk.record(switch) for switch in switches)

    def settle(self, switches: Iterable[Switch]) -> None:
        """The batch with these switches, or with none, is durable."""
        for partition, releases in self._looking.items():
            self._looked.setdefault(partition, set()).update(releases)
        self._looking = {}
        for switch in switches:
            self.timeline.add(switch)
            self._looked.pop(switch.partition, None)
            _log.info(
                "release %d (%s) answers partition %d from offset %d on%s",
                *(switch.release.number, switch.release.champion.label),
                *(switch.partition, switch.first_offset, ", late" if switch.late else ""),
            )
        if switches:
            self._order()

    def leave(self, partitions: Iterable[int]) -> None:
        """They are no longer ours: another one may switch them."""
        for number in partitions:
            self._met.discard(number)
            self._looked.pop(number, None)

    def _switches(self, records: Records, numbers: Iterable[int]) -> tuple[Switch, ...]:
        ready, found = self._loader.ready(), []
        self._looking = {}
        times: Rows | None = None
        for number in numbers:
            pending = [r for r in self.timeline.pending(number) if r.number in ready]
            if not pending:
                continue
            waiting = {r.number for r in pending if r.effective.time_us is not None}
            if waiting and times is None:
                times = self._times(records)
            mine = records.partitions == number
            offsets, looked = records.offsets[mine], self._looked.get(number, set())
            here = None if times is None else times[mine]
            for turn in turns(self.timeline, number, offsets, here, ready, looked):
                before = self._before(number, turn.first_offset)
                found.append(self._clerk.switch(turn, number, before))
            if waiting:
                self._looking[number] = waiting
        return tuple(found)

    def _before(self, partition: int, offset: int) -> tuple[str, str]:
        """Version and digest of the champion below this offset."""
        release = self.timeline.at(partition, offset - 1)
        if release is None:
            return self._loader.base()
        return release.champion.version, release.champion.digest

    def _learn(self, entries: Iterable[Entry]) -> None:
        known = self.timeline.newest
        for entry in entries:
            self.timeline.add(entry)
        newest = self.timeline.newest
        if newest is not None and newest is not known:
            _log.info("release %d is read: %s", newest.number, newest.champion.label)
        self._order()

    def _order(self) -> None:
        """Have what may switch soon loaded, and what no partition needs given back."""
        partitions = self._met or {0}
        wanted: dict[int, Release] = {}
        for partition in partitions:
            for release in reversed(self.timeline.pending(partition)):
                if release.number in self._loader.failed():
                    continue
                wanted[release.number] = release
                if not release.effective.offsets and release.effective.time_us is None:
                    break  # what is older never switches here, unless this one fails
        self._loader.want(wanted.values())
        if self._met:
            self._loader.keep({*wanted, *(self._current(p) for p in self._met)})

    def _current(self, partition: int) -> int:
        last = self.timeline.last(partition)
        return last.release.number if last else 0

    def _need(self, number: int, timeline: Timeline | None = None) -> Lineup:
        release = (timeline or self.timeline).release(number)
        return self._loader.need(release)

    def _report(self, problems: Collection[Problem]) -> None:
        """Failures to be written, and those that are over."""
        for failure in self.timeline.failures:
            if failure.scorer == self._clerk.scorer and failure.release.number <= self._ready:
                self._notes.append(self._clerk.failed(failure.release, failure.error, over=True))
        for release, error in problems:
            note = self._clerk.failed(release, error)
            self._notes.append(replace(note, at_us=self._began_us(note)))
        if problems:
            self._order()  # the next best

    def _began_us(self, failure: Failure) -> int:
        """When what this goes on with or ends was first noted; its own time where it is new."""
        known = (each for each in self.timeline.failures if each.key == failure.key)
        return next((each.at_us for each in known), failure.at_us)
