"""The offset rule, with no Kafka in it.

A partition is placed when it is assigned and fenced when it leaves. In between, records are
admitted in order, each once; what is finished never goes back. A fenced partition admits nothing
and finishes nothing, whatever is still in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Partition = tuple[str, int]
"""(topic, partition number)."""


class Verdict(Enum):
    """What to do with a run of records."""

    ADMIT = "admit"
    FENCED = "fenced"  # the partition is not ours: drop the records
    REPEATED = "repeated"  # below what was admitted: drop the records
    GAP = "gap"  # above what was expected: some are missing


@dataclass(slots=True)
class _Place:
    expected: int | None = None  # next offset to admit; None until the first record
    finished: int | None = None  # next offset to commit


class Positions:
    """Where each owned partition stands."""

    def __init__(self) -> None:
        self._places: dict[Partition, _Place] = {}

    def place(self, partition: Partition, next_offset: int | None = None) -> None:
        """The partition is ours from `next_offset` on; None: from wherever it begins."""
        self._places[partition] = _Place(expected=next_offset, finished=next_offset)

    def fence(self, partition: Partition) -> None:
        """The partition is no longer ours."""
        self._places.pop(partition, None)

    @property
    def owned(self) -> frozenset[Partition]:
        return frozenset(self._places)

    def expected(self, partition: Partition) -> int | None:
        """The next offset to admit, None if it is not known or the partition is not ours."""
        place = self._places.get(partition)
        return place.expected if place else None

    def judge(self, partition: Partition, first: int, last: int, count: int) -> Verdict:
        """What to do with `count` records from offset `first` to `last`; changes nothing."""
        assert count >= 1 and last - first + 1 >= count, (partition, first, last, count)
        place = self._places.get(partition)
        if place is None:
            return Verdict.FENCED
        if place.expected is not None and first < place.expected:
            return Verdict.REPEATED
        if last - first + 1 != count or (place.expected is not None and first > place.expected):
            return Verdict.GAP
        return Verdict.ADMIT

    def admit(self, partition: Partition, last: int) -> None:
        """The records up to offset `last` are in our hands."""
        place = self._places[partition]
        assert place.expected is None or last >= place.expected, (partition, last, place)
        place.expected = last + 1

    def finish(self, partition: Partition, next_offset: int) -> bool:
        """What lies below `next_offset` is durable. False where the partition was fenced."""
        place = self._places.get(partition)
        if place is None:
            return False
        assert place.finished is None or next_offset >= place.finished, (partition, next_offset)
        assert place.expected is not None and next_offset <= place.expected, (partition, place)
        place.finished = next_offset
        return True
