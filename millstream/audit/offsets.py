"""Sets of offsets as bitmaps: one bit an offset, in pages that are made when they are touched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PAGE = 1 << 16
"""Offsets a page: 8 KB. Too small makes many pages; too large wastes memory on scattered ones."""


class OffsetSet:
    """Offsets of one partition. 100 million of them without holes take 12.5 MB."""

    def __init__(self) -> None:
        self._pages: dict[int, npt.NDArray[np.uint8]] = {}
        self._forgotten = 0

    def page(self, number: int) -> Mask:
        """bool [PAGE]: which offsets of the page are in. A forgotten page is all in."""
        if number < self._forgotten:
            return np.ones(PAGE, np.bool_)
        bits = self._pages.get(number)
        if bits is None:
            return np.zeros(PAGE, np.bool_)
        return np.unpackbits(bits).view(np.bool_)

    def put(self, number: int, mask: Mask) -> None:
        """Replace a page by bool [PAGE]; a forgotten one stays as it is."""
        if number >= self._forgotten:
            self._pages[number] = np.packbits(mask)

    def add(self, offsets: Offsets) -> None:
        """Put these in."""
        for number, places in by_page(offsets):
            mask = self.page(number)
            mask[places] = True
            self.put(number, mask)

    def add_run(self, first: int, last: int) -> None:
        """Put every offset from first to last in."""
        for number, within in pages(first, last + 1):
            mask = self.page(number)
            mask[within] = True
            self.put(number, mask)

    def between(self, first: int, end: int) -> int:
        """How many of first..end-1 are in."""
        return sum(int(self.page(number)[within].sum()) for number, within in pages(first, end))

    def has(self, offsets: Offsets) -> Mask:
        """bool [n]: which of these are in."""
        found = np.zeros(len(offsets), np.bool_)
        for number in np.unique(offsets // PAGE):
            here = offsets // PAGE == number
            found[here] = self.page(int(number))[offsets[here] % PAGE]
        return found

    def forget_below(self, end: int) -> None:
        """Give the whole pages below `end` back; from now on they count as all in."""
        self._forgotten = max(self._forgotten, end // PAGE)
        for number in [n for n in self._pages if n < self._forgotten]:
            del self._pages[number]


class OffsetCounts:
    """How often each offset was seen: never, once, or more; two bits an offset."""

    def __init__(self) -> None:
        self.once = OffsetSet()
        self.twice = OffsetSet()

    def add(self, offsets: Offsets) -> tuple[Offsets, Offsets]:
        """Count these; the ones never seen before, and the ones now seen for the second time."""
        new, doubled = [], []
        for number, places in by_page(offsets):
            count = np.bincount(places, minlength=PAGE)
            once, twice = self.once.page(number), self.twice.page(number)
            fresh = (count > 0) & ~once
            again = ((count > 1) | ((count > 0) & once)) & ~twice
            self.once.put(number, once | fresh)
            new.append(number * PAGE + np.flatnonzero(fresh))
            if again.any():
                self.twice.put(number, twice | again)
                doubled.append(number * PAGE + np.flatnonzero(again))
        return _joined(new), _joined(doubled)


def by_page(offsets: Offsets) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Page by page: its number, and the places of these offsets in it."""
    if not len(offsets):
        return
    numbers = offsets // PAGE
    if numbers.min() == numbers.max():
        yield int(numbers[0]), offsets % PAGE
        return
    for number in np.unique(numbers):
        yield int(number), offsets[numbers == number] % PAGE


def pages(first: int, end: int) -> Iterator[tuple[int, slice]]:
    """The pages that first..end-1 touches, each with the part of it that lies between."""
    for number in range(first // PAGE, -(-end // PAGE) if end > first else 0):
        base = number * PAGE
        yield number, slice(max(first - base, 0), min(end - base, PAGE))


def _joined(parts: list[Offsets]) -> Offsets:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
