"""How far each program is behind on Kafka, and what it is doing: one question for the logs' ends,
one for each group's offsets. Nobody joins a group, nothing is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumers.kafka import KAFKA, ask, connection, kafka_error, require_broker, translate
from millstream.console.states import Look, Progress, Reads, as_row, programs, waiting_of
from millstream.errors import DependencyUnavailable, OperatorNeeded
from millstream.settings import KafkaSettings
from millstream.stream import Stream

ANSWER_S_MAX: Final = 5.0
RATE_LOOKS: Final = 8
Offsets = dict[str, dict[int, int]]


class Lag:
    """Looks again and again. clock: seconds. One thread at a time looks; any may close it."""

    def __init__(self, stream: Stream, settings: KafkaSettings, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._settings = settings
        self._clock = clock
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._groups: dict[str, Consumer] = {}
        self._programs = {reads: Progress() for reads in programs()}
        self._lows: Offsets = {}
        self._ends: list[tuple[float, int]] = []

    def look(self) -> dict[str, Any]:
        """Programs with their states, and events published a second.

        Raises SettingsInvalid where no broker answers, DependencyUnavailable, OperatorNeeded.
        """
        admin = self._admin = self._admin or require_broker(self._settings, ANSWER_S_MAX)
        there = self._topics(admin)
        if self._stream.topic("events") not in there:
            raise OperatorNeeded(
                f"the broker at {self._settings.bootstrap} has no topic "
                f"{self._stream.topic('events')}",
                f"Run `millstream topics {self._stream.path}`",
            )
        ends = self._offsets(admin, there, OffsetSpec.latest())
        if {t: set(p) for t, p in ends.items()} != {t: set(p) for t, p in self._lows.items()}:
            self._lows = self._offsets(admin, there, OffsetSpec.earliest())
        now = self._clock()
        return {
            "events_per_s": self._published(now, ends),
            "programs": [
                self._row(reads, progress, ends, now) for reads, progress in self._programs.items()
            ],
            "kept": sum(ends[self._stream.topic("events")].values()),
        }

    def close(self) -> None:
        """Let go of the clients, each once the question it is asked is answered. A look that runs
        on raises DependencyUnavailable and makes no further ones."""
        with self._lock:
            self._is_closed = True
            for consumer in self._groups.values():
                with suppress(KafkaException):
                    consumer.close()
            self._groups.clear()

    def _topics(self, admin: AdminClient) -> dict[str, list[int]]:
        """Those of the stream's topics that are there, with their partitions."""
        kinds = {kind for reads in self._programs for kind in reads.kinds}
        wanted = {self._stream.topic(kind) for kind in kinds}
        found = ask("reading metadata", lambda: admin.list_topics(timeout=ANSWER_S_MAX))
        return {
            name: sorted(about.partitions)
            for name, about in found.topics.items()
            if name in wanted and about.error is None
        }

    def _offsets(
        self, admin: AdminClient, topics: Mapping[str, list[int]], spec: OffsetSpec
    ) -> Offsets:
        asked = {TopicPartition(topic, p): spec for topic, parts in topics.items() for p in parts}
        futures: Mapping[TopicPartition, Any] = ask(
            "reading the topics' ends",
            lambda: admin.list_offsets(
                asked,
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=ANSWER_S_MAX,
            ),
        )
        made: Offsets = {topic: {} for topic in topics}
        for place, future in futures.items():
            try:
                made[place.topic][place.partition] = int(future.result(2 * ANSWER_S_MAX).offset)
            except KafkaException as why:
                raise translate(kafka_error(why), "reading the topics' ends") from why
        return made

    def _committed(self, group: str, topics: Mapping[str, Any]) -> dict[str, dict[int, int | None]]:
        asked = [TopicPartition(topic, p) for topic, parts in topics.items() for p in parts]
        doing = f"reading the offsets of {group}"
        with self._lock:
            consumer = self._reader(group)
            found = ask(doing, lambda: consumer.committed(asked, timeout=ANSWER_S_MAX))
        made: dict[str, dict[int, int | None]] = {topic: {} for topic in topics}
        for each in found:
            if each.error is not None:
                raise translate(each.error, doing)
            made[each.topic][each.partition] = each.offset if each.offset >= 0 else None
        return made

    def _reader(self, group: str) -> Consumer:
        """The group's; under the lock."""
        if self._is_closed:
            raise DependencyUnavailable(KAFKA, "the console has let go of it")
        if group not in self._groups:
            # read_uncommitted, or the answer waits while a transaction is open
            own = {"group.id": group, "isolation.level": "read_uncommitted"}
            self._groups[group] = Consumer(
                connection(self._settings) | own | {"enable.auto.commit": False}
            )
        return self._groups[group]

    def _row(self, reads: Reads, progress: Progress, ends: Offsets, now: float) -> dict[str, Any]:
        topics = {
            kind: self._stream.topic(kind)
            for kind in reads.kinds
            if self._stream.topic(kind) in ends
        }
        held = {topic: ends[topic] for topic in topics.values()}
        committed = self._committed(f"{self._stream.name}-{reads.group}", held) if held else {}
        waiting = {
            kind: waiting_of(
                ends[topic],
                committed[topic],
                self._lows[topic],
                in_transactions=self._in_transactions(kind),
            )
            for kind, topic in topics.items()
        }
        known = [o for parts in committed.values() for o in parts.values() if o is not None]
        done = sum(known) if known else None
        state = progress.add(Look(now, done, sum(waiting.values())))
        made: dict[str, Any] = as_row(reads, state, progress, waiting)
        return made

    def _in_transactions(self, kind: str) -> bool:
        """Whether what is in the topic came in transactions of ours."""
        exactly_once = self._stream.serving.guarantee == "exactly_once"
        return exactly_once and not self._settings.embedded and kind not in {"events", "outcomes"}

    def _published(self, now: float, ends: Offsets) -> float:
        """Events a second, over the newest looks."""
        self._ends.append((now, sum(ends[self._stream.topic("events")].values())))
        del self._ends[:-RATE_LOOKS]
        (first_s, first), (last_s, last) = self._ends[0], self._ends[-1]
        return round((last - first) / (last_s - first_s), 1) if last_s > first_s else 0.0
