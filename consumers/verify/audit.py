"""The audit: reads topics and tables, lets millstream/audit judge. No part of scorer or sink.

One look, in this order, so that nothing that moves can be taken for a loss:
  1. fix how far the events are judged, and read them
  2. read what the groups have committed
  3. fix how far the answers are read, wait for open transactions below, and read them: whatever
     was committed at 2 was produced before, so its answers are below
  4. read marks and rows: whatever the sink had passed has its rows by then
  5. judge what lies below the committed offsets and the marks; what lies above is waiting
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from consumers.registry import Registry
from consumers.verify.about import Options, config_digests, versions
from consumers.verify.answers import LetterSources, PredictionSources, SourceReader, Sources
from consumers.verify.content import Contents, Sample
from consumers.verify.log import Chunk, End, Log, Progress, Removed
from consumers.verify.releases import ReleaseView
from consumers.verify.rows import Rows
from millstream.audit.ledger import Finding, Kind, Ledger
from millstream.audit.partition import Coverage, Names, TableRows
from millstream.audit.report import Line, Report
from millstream.audit.rescore import Rescorer
from millstream.stream import Stream

TABLES = ("events", "predictions", "dead_letters")
Positions = dict[tuple[Kind, str, int], int]
"""Of a kind of waiting, topic or table, partition: how many, or how far."""


class Audit:
    """What is known of one stream; each look adds to it.

    Raises OperatorNeeded where topics or tables are missing, DependencyUnavailable where Kafka,
    ClickHouse or the registry does not answer.
    """

    def __init__(
        self,
        stream: Stream,
        log: Log,
        rows: Rows,
        registry: Registry,
        options: Options,
        releases: ReleaseView | None = None,
    ) -> None:
        self.progress: Progress = lambda topic, count: None
        self._stream = stream
        self._log = log
        self._rows = rows
        self._topics = {table: stream.topic(table) for table in TABLES}
        self._ledger = Ledger()
        self._passing: list[Finding] = []
        self._partitions = log.partitions(self._topics["events"])
        rescorers = [Rescorer(folder, options.threads) for folder in options.bundles]
        self._sample = Sample()
        self._rescoring = bool(rescorers)
        parts = (stream, rows, registry.schema, rescorers, self._ledger)
        self._contents = Contents(*parts, releases)
        self._sources: dict[str, SourceReader] = {
            "predictions": PredictionSources(registry.schema, self._topics["events"]),
            "dead_letters": LetterSources(self._topics["events"]),
        }
        self._config = config_digests(stream, rescorers)
        self._started = time.time()
        self._run = str(uuid.uuid4())
        self._ends: dict[str, dict[int, End]] = {}
        self._reach: dict[str, dict[int, End]] = {}
        self._read_to: dict[tuple[str, int], int] = {}
        self._content_to: dict[tuple[str, int], int] = {}
        self._lows: dict[tuple[str, int], int] = {}
        self._ceiling: dict[int, int] = {}
        self._committed: dict[int, int | None] = {}
        self._short: dict[int, int] = {}
        self._coverage: dict[int, Coverage] = {}
        self._tables: dict[tuple[str, int], TableRows] = {}
        self._begin()

    def expected(self) -> tuple[int, int]:
        """Offsets that the first look will read, and those read again for their contents."""
        spans = {
            table: sum(
                max(0, high - self._read_to[(topic, p)])
                for p, high in self._log.high(topic, self._numbers(table)).items()
            )
            for table, topic in self._topics.items()
        }
        return sum(spans.values()), spans["predictions"] + spans["dead_letters"]

    def look(self, *, further: bool, patience_s: float) -> None:
        """One look. further: fix new ends first; else only what was late is looked for."""
        events = self._topics["events"]
        if further:
            self._ends["events"] = self._log.ends(events, self._partitions, patience_s)
            self._ceiling |= {p: e.end for p, e in self._ends["events"].items()}
        self._read_events()
        committed = self._log.committed(f"{self._stream.name}-scorer", events, self._partitions)
        group = f"{self._stream.name}-sink"
        passed = {
            table: self._log.committed(group, topic, self._numbers(table))
            for table, topic in self._topics.items()
        }
        for table in ("predictions", "dead_letters"):
            topic = self._topics[table]
            self._reach[table] = self._log.ends(topic, self._numbers(table), patience_s)
            if further:
                self._ends[table] = self._reach[table]
            self._read_answers(table)
        for table in TABLES:
            self._compare_rows(table, passed[table])
        self._judge(committed)

    def waiting(self) -> Positions:
        """What is not settled: how many, by kind and place."""
        found: Positions = {}
        events = self._topics["events"]
        for p, coverage in self._coverage.items():
            found[(Kind.SCORER_STALLED, events, p)] = coverage.waiting(self._end("events", p))
            found[(Kind.OFFSET, events, p)] = int(p in self._short)
        for (table, p), each in self._tables.items():
            found[(Kind.SINK_STALLED, table, p)] = each.behind(self._end(table, p))
            found[(Kind.OPEN_TRANSACTION, self._topics[table], p)] = int(self._hidden(table, p))
        return {place: count for place, count in found.items() if count}

    def positions(self) -> Positions:
        """How far scorer and sink have come, in the keys of `waiting`."""
        events = self._topics["events"]
        scorer = {(Kind.SCORER_STALLED, events, p): c.judged_to for p, c in self._coverage.items()}
        return scorer | {
            (Kind.SINK_STALLED, table, p): each.compared_to
            for (table, p), each in self._tables.items()
        }

    def settle(self, before: Positions) -> None:
        """Decide about what waits. before: earlier `positions`; who has moved since is late only,
        and who has none there is given time."""
        ledger, now = Ledger(), self.positions()
        for (kind, subject, p), count in self.waiting().items():
            if kind is Kind.OFFSET:
                ledger.add(kind, subject, p, [self._short[p]], self._short_why(p))
            elif kind is Kind.OPEN_TRANSACTION:
                table = next(t for t, topic in self._topics.items() if topic == subject)
                ends = self._reach.get(table, self._ends[table])
                ledger.add(kind, subject, p, [ends[p].end])
            elif now[(kind, subject, p)] == before.get((kind, subject, p)):
                hidden = kind is Kind.SCORER_STALLED and any(
                    self._hidden(table, p) for table in TABLES
                )
                if not hidden:
                    ledger.count(kind, subject, p, count, f"from {now[(kind, subject, p)]} on")
        for topic in sorted(self._log.compacted(self._topics.values())):
            ledger.count(Kind.COMPACTED, topic, None, 1)
        self._passing = ledger.findings()

    def contents(self) -> None:
        """Rule A6 for what has its rows."""
        for p in self._partitions:
            done = min(self._tables[("events", p)].compared_to, self._end("events", p))
            self._contents.events(p, self._sample, done)
        sample = self._sample if self._rescoring else None
        self._contents.predictions(self._again("predictions"), sample)
        self._contents.letters(self._again("dead_letters"))
        for p, coverage in self._coverage.items():
            if not self._tables[("predictions", p)].behind(self._end("predictions", p)):
                self._sample.done(p, coverage.judged_to)

    def close(self) -> None:
        """The last judgements of an audit that will not look again."""
        for p, coverage in self._coverage.items():
            coverage.judge_rest(self._end("events", p))
        for table in TABLES:
            self._strangers(table)

    def forget(self) -> None:
        """Give back what will not be looked at again, for an audit that goes on for ever."""
        for coverage in self._coverage.values():
            coverage.forget_judged()
        for each in self._tables.values():
            each.forget_compared()

    def report(self) -> Report:
        """What is known now."""
        names = self._topics
        waiting = self.waiting()
        lines = [
            Line(
                p,
                coverage.low,
                self._end("events", p),
                coverage.events,
                coverage.counts[names["predictions"]],
                coverage.counts[names["dead_letters"]],
                self._committed.get(p),
                waiting.get((Kind.SCORER_STALLED, names["events"], p), 0),
                {t: self._tables[(t, p)].rows for t in TABLES if (t, p) in self._tables},
                {t: waiting.get((Kind.SINK_STALLED, t, p), 0) for t in TABLES},
            )
            for p, coverage in self._coverage.items()
        ]
        return Report(
            run=self._run,
            stream=self._stream.name,
            started=datetime.fromtimestamp(self._started, UTC).isoformat(timespec="milliseconds"),
            seconds=time.time() - self._started,
            versions=versions(),
            config=self._config,
            lines=tuple(lines),
            findings=(*self._ledger.findings(), *self._passing),
            compared=self._contents.compared,
            rescored=self._contents.rescored,
        )

    def _begin(self) -> None:
        """What Kafka has already removed comes from ClickHouse, as far as it has it."""
        compacted = self._log.compacted(self._topics.values())
        names = Names(
            self._topics["events"], self._topics["predictions"], self._topics["dead_letters"]
        )
        ends = {
            table: self._log.ends(topic, self._log.partitions(topic), 0.0)
            for table, topic in self._topics.items()
        }
        for p in self._partitions:
            self._coverage[p] = Coverage(
                names, p, self._ledger, ends["events"][p].low, compacted=bool(compacted)
            )
        for table, topic in self._topics.items():
            for p, end in ends[table].items():
                self._tables[(table, p)] = TableRows(
                    table, topic, p, self._ledger, end.low, compacted=topic in compacted
                )
                self._lows[(topic, p)] = end.low
        total = sum(end.end - end.low for end in ends["events"].values())
        self._sample.every = max(100, total // 15_000)
        for table in TABLES:
            spans = self._rows.spans(table, self._topics[table])
            for p, end in ends[table].items():
                first = min(spans.get(p, (end.low, 0))[0], end.low)
                self._removed(table, p, first, end.low)
                self._tables[(table, p)].compared_to = first

    def _removed(self, table: str, p: int, first: int, end: int) -> None:
        """Kafka no longer has offsets first..end-1 of this topic."""
        topic = self._topics[table]
        self._lows[(topic, p)] = end
        self._tables[(table, p)].low = end
        self._read_to[(topic, p)] = end
        if table == "events":
            self._coverage[p].low = end
            for _, runs in self._rows.runs(table, topic, p, first, end):
                self._coverage[p].saw_expired_events(runs)
            return
        self._coverage[p].lost_answers(topic)
        for topics, partitions, offsets in self._rows.sources(table, topic, p, first, end):
            ours = np.array([t == self._topics["events"] for t in topics])
            for number in np.unique(partitions[ours]).tolist():
                if number in self._coverage:
                    sources = offsets[ours & (partitions == number)]
                    self._coverage[number].saw_answers(topic, sources, retained=False)

    def _read_events(self) -> None:
        for chunk in self._read("events", self._ends["events"]):
            self._coverage[chunk.partition].saw_events(chunk.offsets)
            self._sample.see(chunk)

    def _read_answers(self, table: str) -> None:
        topic = self._topics[table]
        for chunk in self._read(table, self._reach[table]):
            answers = self._sources[table].read(chunk)
            self._ledger.add(Kind.UNREADABLE, topic, chunk.partition, answers.unreadable)
            self._answers(topic, chunk, answers)

    def _answers(self, topic: str, chunk: Chunk, answers: Sources) -> None:
        """Answers of one chunk, by the partition that they name."""
        own, partitions, sources = answers.own, answers.partitions, answers.offsets
        for number in np.unique(partitions).tolist():
            here = partitions == number
            if number not in self._coverage:
                why = "they name another topic, or a partition that it has not"
                self._ledger.add(Kind.ALIEN, topic, chunk.partition, own[here], why)
                continue
            if number != chunk.partition:
                why = f"their events are on partition {number}"
                self._ledger.add(Kind.MISPLACED, topic, chunk.partition, own[here], why)
            offsets = sources[here]
            if offsets.max() >= self._ceiling.get(number, 0):
                self._ceiling |= self._log.high(self._topics["events"], [number])
            real = (offsets >= 0) & (offsets < self._ceiling[number])
            why = f"beyond the end {self._ceiling[number]} of the topic"
            self._ledger.add(Kind.ALIEN, self._topics["events"], number, offsets[~real], why)
            self._coverage[number].saw_answers(topic, offsets[real])

    def _read(self, table: str, ends: dict[int, End]) -> Iterator[Chunk]:
        """Records from where the last read ended; what was removed meanwhile comes from rows."""
        topic = self._topics[table]
        spans = {p: (self._read_to[(topic, p)], end.end) for p, end in ends.items()}
        for chunk in self._log.read(topic, spans):
            if isinstance(chunk, Removed):
                self._removed(table, chunk.partition, chunk.first, chunk.end)
                continue
            self._tables[(table, chunk.partition)].saw_records(chunk.offsets)
            yield chunk
            last = int(chunk.offsets[-1]) + 1
            place = (topic, chunk.partition)
            self.progress(topic, last - self._read_to[place])
            self._read_to[place] = last
        for p, (_, end) in spans.items():
            self._read_to[(topic, p)] = max(end, self._read_to[(topic, p)])

    def _again(self, table: str) -> Iterator[Chunk | Removed]:
        """Records that have their rows, once more, for their contents."""
        topic, spans = self._topics[table], {}
        for p in self._numbers(table):
            rows = self._tables[(table, p)]
            first = max(self._content_to.get((topic, p), 0), rows.low)
            spans[p] = (first, rows.compared_to)
        for chunk in self._log.read(topic, spans):
            if isinstance(chunk, Chunk):
                self.progress(topic, len(chunk.offsets))
            yield chunk
        self._content_to |= {(topic, p): end for p, (_, end) in spans.items()}

    def _compare_rows(self, table: str, passed: dict[int, int | None]) -> None:
        """Rows below the mark, or below what the sink says it has passed, must be whole."""
        topic = self._topics[table]
        spans = self._rows.spans(table, topic)
        for p, end in self._ends[table].items():
            mark = max(spans.get(p, (0, -1))[1] + 1, passed.get(p) or 0)
            rows = self._tables[(table, p)]
            limit = min(end.end, mark)
            if limit > rows.compared_to:
                for stop, runs in self._rows.runs(table, topic, p, rows.compared_to, limit):
                    rows.compare(runs, stop)

    def _judge(self, committed: dict[int, int | None]) -> None:
        events = self._topics["events"]
        again = self._log.committed(f"{self._stream.name}-scorer", events, self._partitions)
        for p, coverage in self._coverage.items():
            self._committed[p] = committed[p]
            blind = {
                topic: self._lows[(topic, p)]
                for topic in (self._topics["predictions"], self._topics["dead_letters"])
            }
            hidden = any(self._hidden(table, p) for table in ("predictions", "dead_letters"))
            if not hidden:
                coverage.judge(committed[p] or 0, self._end("events", p), blind)
            self._short.pop(p, None)
            end = again[p] or 0
            if end < coverage.answered_to:
                self._short[p] = end
            elif end > self._ceiling[p]:
                self._ceiling |= self._log.high(events, [p])
                if end > self._ceiling[p]:
                    self._short[p] = end

    def _short_why(self, p: int) -> str:
        if self._short[p] > self._ceiling[p]:
            return f"it is beyond the topic's end {self._ceiling[p]}: was the topic made anew?"
        to = self._coverage[p].answered_to
        return f"events below {to} are answered: a scorer that starts now answers them again"

    def _strangers(self, table: str) -> None:
        topic = self._topics[table]
        numbers = self._numbers(table)
        for name, p, count in self._rows.strangers(table, topic, numbers):
            self._ledger.count(Kind.ROW_EXTRA, table, None, count, f"of {name}-{p}")
        beyond = {p: self._rows.from_offset(table, topic, p, self._end(table, p)) for p in numbers}
        high = self._log.high(topic, numbers)
        for p, offsets in beyond.items():
            extra = [offset for offset in offsets if offset >= high[p]]
            self._ledger.add(Kind.ROW_EXTRA, table, p, extra)

    def _numbers(self, table: str) -> list[int]:
        return [p for t, p in self._tables if t == table]

    def _end(self, table: str, p: int) -> int:
        return self._ends[table][p].end

    def _hidden(self, table: str, p: int) -> bool:
        ends = self._reach.get(table, self._ends[table])
        return p in ends and ends[p].hidden
