"""One partition's log: records, transactions' markers, and what read_committed sees of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from millstream.offsets import Partition
from millstream.records import Headers


def delivered(**attributes: Any) -> Message:
    """A record or an error as the real client's class; its published types lack the constructor."""
    made: Any = Message
    return made(**attributes)  # type: ignore[no-any-return]


@dataclass(eq=False, slots=True)
class Transaction:
    """What one producer writes together.

    outcome: None while it is open, then whether it was committed. began: seconds.
    offsets: group and partition -> next offset, applied by the commit.
    """

    began: float
    outcome: bool | None = None
    logs: dict[Partition, Log] = field(default_factory=dict)
    offsets: dict[tuple[str, Partition], int] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One offset: a record, or the marker that ends a transaction in this partition.

    stamp_ms: milliseconds since 1970.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    stamp_ms: int
    transaction: Transaction | None = None
    is_marker: bool = False

    @property
    def is_visible(self) -> bool:
        """Whether read_committed shows it."""
        if self.is_marker:
            return False
        return self.transaction is None or self.transaction.outcome is True


class Log:
    """The entries of a partition from offset `start` on."""

    def __init__(self) -> None:
        self.start = 0
        self._entries: list[Entry] = []
        self._open: dict[Transaction, int] = {}

    @property
    def end(self) -> int:
        """The next offset to be written."""
        return self.start + len(self._entries)

    @property
    def stable_end(self) -> int:
        """Where the oldest open transaction begins: read_committed goes no further."""
        return min(self._open.values()) if self._open else self.end

    def append(self, entry: Entry) -> int:
        """Write one record; its offset."""
        transaction = entry.transaction
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = self.end
        self._entries.append(entry)
        return self.end - 1

    def mark(self, transaction: Transaction, stamp_ms: int) -> None:
        """Write the marker of a transaction that has ended."""
        self._open.pop(transaction, None)
        self._entries.append(Entry(None, None, (), stamp_ms, transaction, is_marker=True))

    def expire(self, start: int) -> None:
        """Retention takes what lies below `start`."""
        assert self.start <= start <= self.stable_end, (self.start, start, self.stable_end)
        del self._entries[: start - self.start]
        self.start = start

    def read(self, offset: int, count_max: int) -> tuple[list[tuple[int, Entry]], int]:
        """Up to `count_max` visible records from `offset` on, and where to read next.

        An offset outside of the log is read from its beginning (auto.offset.reset=earliest).
        """
        if not self.start <= offset <= self.end:
            offset = self.start
        found: list[tuple[int, Entry]] = []
        end, start, entries = self.stable_end, self.start, self._entries
        while offset < end and len(found) < count_max:
            entry = entries[offset - start]
            if entry.is_visible:
                found.append((offset, entry))
            offset += 1
        return found, offset

    def visible(self) -> list[tuple[int, Entry]]:
        """Everything that read_committed shows."""
        return self.read(self.start, len(self._entries))[0]
