"""How what the watch says becomes durable, with its state and offsets: two guarantees, two classes.

The steps, with publishers.py's numbers:
  1. begin                (WatchExactlyOnce only)
  2. produce drift records, incidents and the sealed snapshot
  3. send the offsets of all three topics, with the group's metadata
  4. commit
  5. only then are the records finished
The snapshot has the offsets too, and only those count at a restart: the group's show lag.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Consumer, Producer, TopicPartition

from consumers.kafka import ask
from consumers.letters import TopicReader
from consumers.publishers import SLOW_COMMIT_S, AtLeastOnce, ExactlyOnce, Route, send
from millstream.drift.emitted import Written
from millstream.settings import KafkaSettings, ScorerSettings, WatchSettings
from millstream.stream import Stream

STATE_PARTITION = 0
STATE_KEY = b"watch"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """What one commit makes durable. offsets: next ones, of every partition that was read."""

    drift: Sequence[Written]
    incidents: Sequence[Written]
    snapshot: bytes
    offsets: dict[tuple[str, int], int]

    @property
    def parts(self) -> list[TopicPartition]:
        """The offsets, as the client wants them."""
        return [TopicPartition(*lane, at) for lane, at in sorted(self.offsets.items())]


class WatchPublisher(Protocol):
    """Makes it durable, or raises: see publishers.Publisher."""

    guarantee: str

    def open(self) -> None: ...
    def say(self, said: Said, consumer: Consumer) -> None: ...
    def close(self) -> None: ...


class _Topics:
    def __init__(self, stream: Stream) -> None:
        self.drift = stream.topic("drift")
        self.incidents = stream.topic("incidents")
        self.state = stream.topic("watch_state")

    def produce(self, producer: Producer, said: Said) -> None:
        """Step 2 but for the state."""
        headers: list[Any] = []
        for topic, written in ((self.drift, said.drift), (self.incidents, said.incidents)):
            for each in written:
                send(producer, topic, each.value, each.key, each.partition, headers)

    def produce_state(self, producer: Producer, said: Said) -> None:
        send(producer, self.state, said.snapshot, STATE_KEY, STATE_PARTITION, [])


class WatchExactlyOnce(ExactlyOnce):
    """One Kafka transaction a commit. Its transactional id is the stream's: a second watch fences
    the first."""

    program = "watch"

    def __init__(self, stream: Stream, kafka: KafkaSettings, settings: WatchSettings) -> None:
        self._topics = _Topics(stream)
        route = Route("", self._topics.drift, self._topics.state)
        super().__init__(kafka, _as_scorer(settings), f"{stream.name}-watch", route)

    def say(self, said: Said, consumer: Consumer) -> None:
        """Steps 1 to 4."""

        def fill(producer: Producer) -> None:
            self._topics.produce(producer, said)
            self._topics.produce_state(producer, said)

        def send_offsets() -> None:
            group = ask("reading the group", consumer.consumer_group_metadata)
            self._call(
                "send_offsets_to_transaction",
                lambda p: p.send_offsets_to_transaction(said.parts, group, self._wait_s),
            )

        took_s = self.transact(fill, send_offsets)
        if took_s > SLOW_COMMIT_S:
            _log.warning("a commit took %.1f s: the producer is replaced", took_s)
            self.open()


class WatchAtLeastOnce(AtLeastOnce):
    """What was found first, then the state, each delivered before the next: a crash repeats drift
    records and incidents, with the ids that they had."""

    program = "watch"

    def __init__(self, stream: Stream, kafka: KafkaSettings, settings: WatchSettings) -> None:
        self._topics = _Topics(stream)
        route = Route("", self._topics.drift, self._topics.state)
        super().__init__(kafka, _as_scorer(settings), f"{stream.name}-watch", route)

    def say(self, said: Said, consumer: Consumer) -> None:
        """Steps 2 to 4."""
        self._topics.produce(self._producer, said)
        self.deliver()
        self._crash.after(2)
        self._topics.produce_state(self._producer, said)
        self.deliver()
        self._crash.after(3)
        ask("committing", lambda: consumer.commit(offsets=said.parts, asynchronous=False))
        self._crash.after(4)


def _as_scorer(settings: WatchSettings) -> ScorerSettings:
    """What a transaction needs to know."""
    return ScorerSettings(
        transaction_timeout_ms=settings.transaction_timeout_ms, call_s_max=settings.call_s_max
    )


def newest_state(kafka: KafkaSettings, topic: str) -> bytes | None:
    """The newest sealed snapshot that was committed; None where there is none."""
    newest = None
    with closing(TopicReader(kafka, topic)) as reader:
        for records in reader.to_end([STATE_PARTITION]):
            for record in records:
                newest = record.value() or newest
    return newest
