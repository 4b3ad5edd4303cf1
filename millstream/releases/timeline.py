"""Which release answers which offset: a fold of NAME.releases that does not depend on its order.

Of one key the last record counts, as in a compacted topic. Of the switches of a partition that lie
at or below an offset, the one of the highest number answers it; where there is none, the bundle of
stream.toml does: release 0. Of two releases of one number, which only brokers that fence nobody let
in, the one that was read first is the release; releases are in one partition, so that all agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from millstream.releases.release import Entry, Failure, Release, Switch

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets first..end-1 of a partition; end None: it goes on. switch None: stream.toml's."""

    first: int
    end: int | None
    switch: Switch | None

    @property
    def number(self) -> int:
        """Of the release; 0 is stream.toml's."""
        return 0 if self.switch is None else self.switch.release.number


class Timeline:
    """Everything that was read so far."""

    def __init__(self) -> None:
        self._releases: dict[int, Release] = {}
        self._switches: dict[int, dict[int, Switch]] = {}
        self._failures: dict[str, Failure] = {}
        self._spans: dict[int, tuple[Span, ...]] = {}

    def add(self, entry: Entry) -> None:
        """One record; a repeat changes nothing."""
        if isinstance(entry, Release):
            first = self._releases.get(entry.number)
            if first is None or first.id == entry.id:
                self._releases[entry.number] = entry
            return
        self._releases.setdefault(entry.release.number, entry.release)
        if isinstance(entry, Failure):
            self._failures[entry.key] = entry
            return
        self._switches.setdefault(entry.partition, {})[entry.release.number] = entry
        self._spans.pop(entry.partition, None)

    def with_switches(self, switches: Iterable[Switch]) -> Timeline:
        """What it will be once these are durable."""
        made = Timeline()
        made._releases = dict(self._releases)
        made._switches = {p: dict(found) for p, found in self._switches.items()}
        for switch in switches:
            made.add(switch)
        return made

    @property
    def releases(self) -> tuple[Release, ...]:
        """In the order of their numbers."""
        return tuple(self._releases[number] for number in sorted(self._releases))

    @property
    def newest(self) -> Release | None:
        """The one that was decided last."""
        return self._releases[max(self._releases)] if self._releases else None

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Those that are not over."""
        return tuple(each for each in self._failures.values() if not each.over)

    @property
    def switches(self) -> tuple[Switch, ...]:
        """By partition, then number."""
        by_partition = sorted(self._switches.items())
        return tuple(found[number] for _, found in by_partition for number in sorted(found))

    def release(self, number: int) -> Release | None:
        """The release of that number, if it is known."""
        return self._releases.get(number)

    def has(self, release: Release) -> bool:
        """Whether its number is its own, not another's that came first."""
        known = self._releases.get(release.number)
        return known is not None and known.id == release.id

    def last(self, partition: int) -> Switch | None:
        """The switch of the highest number on this partition."""
        found = self._switches.get(partition)
        return found[max(found)] if found else None

    def pending(self, partition: int) -> list[Release]:
        """Those that have not switched here and still may, in the order of their numbers."""
        found = self._switches.get(partition)
        done = max(found) if found else 0
        return [self._releases[number] for number in sorted(self._releases) if number > done]

    def at(self, partition: int, offset: int) -> Release | None:
        """What answers this offset; None: the bundle of stream.toml."""
        number = int(self.numbers(partition, np.array([offset]))[0])
        return self._releases[number] if number else None

    def spans(self, partition: int) -> tuple[Span, ...]:
        """The whole partition, cut where another release begins."""
        known = self._spans.get(partition)
        if known is not None:
            return known
        kept: list[Switch] = []
        found = self._switches.get(partition, {})
        for number in sorted(found):
            while kept and kept[-1].first_offset >= found[number].first_offset:
                kept.pop()  # it answers nothing: a higher number begins there, or before
            kept.append(found[number])
        ends = [*(switch.first_offset for switch in kept), None]
        spans = [Span(0, ends[0], None)]
        for switch, end in zip(kept, ends[1:], strict=True):
            spans.append(Span(switch.first_offset, end, switch))
        made = tuple(span for span in spans if span.end is None or span.end > span.first)
        self._spans[partition] = made
        return made

    def numbers(self, partition: int, offsets: Offsets) -> Offsets:
        """[n]: the number of the release that answers each offset."""
        spans = self.spans(partition)
        firsts = np.array([span.first for span in spans], np.int64)
        numbers = np.array([span.number for span in spans], np.int64)
        places = np.searchsorted(firsts, offsets, side="right") - 1
        return np.asarray(numbers[np.maximum(places, 0)])
