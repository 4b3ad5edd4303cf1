"""Rules A0 to A5 for one partition: what was seen goes in, findings come out.

A1 cover: every event has one prediction or one dead letter. A2 alien: and nothing else has one.
A4 order: predictions follow their events' order. A5 table: one row for every record.

What is judged once stays judged: a later answer to a judged event is a second one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from millstream.audit.ledger import Kind, Ledger
from millstream.audit.offsets import PAGE, Mask, OffsetCounts, Offsets, OffsetSet, pages

Run = tuple[int, int, int]
"""First offset, last offset, rows of each of them."""
NOT_RETAINED = 1 << 62


@dataclass(frozen=True, slots=True)
class Names:
    """The topics of the partition that is judged."""

    events: str
    predictions: str
    dead_letters: str


class Coverage:
    """Events of one partition and their answers.

    low: the first offset that Kafka still has. compacted: whether absent events prove nothing.
    judged_to: events below are judged. counts: answers by topic.
    """

    def __init__(
        self, names: Names, partition: int, ledger: Ledger, low: int, *, compacted: bool = False
    ) -> None:
        self._names = names
        self._partition = partition
        self._ledger = ledger
        self._compacted = compacted
        self._events = OffsetSet()
        self._answers = OffsetCounts()
        self._blind_below: dict[str, int] = {}
        self._last_predicted = -1
        self.low = low
        self.judged_to = 0
        self.events = 0
        self.answered_to = 0
        self.counts = {names.predictions: 0, names.dead_letters: 0}

    def saw_events(self, offsets: Offsets) -> None:
        """Events of Kafka, each once."""
        self._events.add(offsets)
        self.events += len(offsets)

    def saw_expired_events(self, runs: Iterable[Run]) -> None:
        """Rows of events that Kafka no longer has."""
        for first, last, _ in runs:
            self._events.add_run(first, last)
            self.events += last - first + 1

    def saw_answers(self, topic: str, sources: Offsets, *, retained: bool = True) -> None:
        """Records of predictions or dead letters, in their order, by the offsets that they name.

        retained: False where Kafka no longer has them, only their rows.
        """
        if not len(sources):
            return
        if retained:
            self._blind_below.setdefault(topic, int(sources[0]))
            self.answered_to = max(self.answered_to, int(sources.max()) + 1)
        new, doubled = self._answers.add(sources)
        self.counts[topic] += len(sources)
        self._note(Kind.DOUBLED, doubled)
        late = new[new < self.judged_to]
        if len(late):
            self._judge_strangers(late[~self._events.has(late)])
        if topic == self._names.predictions and retained:
            self._judge_order(sources, np.setdiff1d(new, doubled))

    def lost_answers(self, topic: str) -> None:
        """Retention has removed records of the topic that nobody had read."""
        self._blind_below.pop(topic, None)

    def judge(self, committed: int, end: int, blind: dict[str, int]) -> None:
        """Events below `committed` and `end` must have their answer by now.

        blind: topic -> its first offset, for the topics of answers that have lost their heads.
        """
        limit = min(committed, end)
        hidden = max(
            (self._blind_below.get(topic, NOT_RETAINED) for topic, low in blind.items() if low),
            default=0,
        )
        for base, events, answered in self._between(self.judged_to, limit):
            offsets = base + np.arange(len(events))
            gone = (offsets < self.low) & ~events
            self._note(Kind.EVENT_EXPIRED, offsets[gone])
            lost = offsets[events & ~answered]
            self._note(Kind.ANSWER_EXPIRED, lost[lost < hidden])
            lost = lost[lost >= hidden]
            self._note(Kind.ANSWER_EXPIRED if self._compacted else Kind.LOST, lost)
            self._judge_strangers(offsets[answered & ~events & ~gone])
        self.judged_to = max(self.judged_to, limit)

    def judge_rest(self, end: int) -> None:
        """At the last look: answers between judged_to and `end` that no event asked for."""
        for base, events, answered in self._between(self.judged_to, end):
            strangers = base + np.flatnonzero(answered & ~events)
            self._judge_strangers(strangers[strangers >= self.low])

    def waiting(self, end: int) -> int:
        """Events below `end`, above what was judged, that have no answer yet."""
        return sum(
            int((events & ~answered).sum())
            for _, events, answered in self._between(self.judged_to, end)
        )

    def forget_judged(self) -> None:
        """Give back the memory of what is judged; a later answer to it counts as a second one."""
        self._events.forget_below(self.judged_to)
        self._answers.once.forget_below(self.judged_to)

    def _between(self, first: int, end: int) -> Iterator[tuple[int, Mask, Mask]]:
        for number, within in pages(first, end):
            events = self._events.page(number)[within]
            yield number * PAGE + within.start, events, self._answers.once.page(number)[within]

    def _judge_strangers(self, offsets: Offsets) -> None:
        if self._compacted:
            self._note(Kind.EVENT_EXPIRED, offsets)
        else:
            self._note(Kind.ALIEN, offsets)

    def _judge_order(self, sources: Offsets, new: Offsets) -> None:
        highest = np.maximum.accumulate(np.concatenate(([self._last_predicted], sources)))
        self._last_predicted = int(highest[-1])
        late = sources[sources < highest[:-1]]
        if len(late):
            self._note(Kind.ORDER, late[np.isin(late, new)])

    def _note(self, kind: Kind, offsets: Offsets) -> None:
        self._ledger.add(kind, self._names.events, self._partition, offsets)


class TableRows:
    """Records of one topic partition and their rows in one table.

    low: the first offset that Kafka still has. compared_to: rows below are compared.
    records: seen on Kafka. rows: counted in the table.
    """

    def __init__(
        self, table: str, topic: str, partition: int, ledger: Ledger, low: int, *, compacted: bool
    ) -> None:
        self.table = table
        self.topic = topic
        self.partition = partition
        self.low = low
        self.compared_to = 0
        self.records = 0
        self.rows = 0
        self._compacted = compacted
        self._ledger = ledger
        self._there = OffsetSet()

    def saw_records(self, offsets: Offsets) -> None:
        """Committed records, each once."""
        self._there.add(offsets)
        self.records += len(offsets)

    def compare(self, runs: Iterable[Run], end: int) -> None:
        """All rows from compared_to to end - 1, against the records there."""
        given = np.array(sorted(runs), np.int64).reshape(-1, 3)
        first, last, count = given.T
        for number, within in pages(self.compared_to, end):
            base = number * PAGE
            here = slice(np.searchsorted(last, base), np.searchsorted(first, base + PAGE))
            steps = np.zeros(PAGE + 1, np.int64)
            np.add.at(steps, np.maximum(first[here] - base, 0), count[here])
            np.add.at(steps, np.minimum(last[here] - base + 1, PAGE), -count[here])
            copies = steps[:-1].cumsum()
            offsets = base + np.arange(PAGE)[within]
            self._judge(offsets, copies[within], self._there.page(number)[within])
        self.compared_to = max(self.compared_to, end)

    def behind(self, end: int) -> int:
        """Records below `end` whose rows are not compared yet."""
        return self._there.between(self.compared_to, end)

    def forget_compared(self) -> None:
        """Give back the memory of what is compared."""
        self._there.forget_below(self.compared_to)

    def _judge(self, offsets: Offsets, copies: Offsets, there: Mask) -> None:
        self.rows += int(copies.sum())
        note = self._ledger.add
        note(Kind.ROW_MISSING, self.table, self.partition, offsets[there & (copies == 0)])
        note(Kind.ROW_DOUBLED, self.table, self.partition, offsets[copies > 1])
        if not self._compacted:
            extra = (copies > 0) & ~there & (offsets >= self.low)
            note(Kind.ROW_EXTRA, self.table, self.partition, offsets[extra])
