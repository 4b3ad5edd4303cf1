"""The join as a Faust app: the same `Matcher` as `millstream join`, at least once.

    python -m streams.join STREAM.TOML

The state is a Faust table, its values the matcher's chunks, on the partition of what they hold.
Steps of a batch, with the numbers of consumers/join.py:
  2. produce the labelled records, and wait for the broker to have them
  3. produce the chunks (and deletions of old ones) to the table's changelog, and wait
  5. only then acknowledge the events: Faust commits their offsets when it comes to it
Killed between 2 and 3, labelled records come again with the ids and bytes that they had; records
that Faust reads again are below the offsets that the chunks tell, and are passed over. A worker
that was taken for dead writes chunks of an older epoch; they are left out. Read docs/JOIN.md for
which of the two to take when.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import faust
import numpy as np
from confluent_kafka import Consumer, TopicPartition
from faust.types import TP

from consumers.join import produce_labelled, produce_state, show
from consumers.kafka import ask, consumer_config
from consumers.metrics.instruments import current
from consumers.metrics.observed import observed
from consumers.publishers import AtLeastOnce, Route
from consumers.registry import Registry, subject_of
from consumers.topics import require_topics
from millstream.contracts import contract
from millstream.errors import InvariantBroken, MillstreamError, OperatorNeeded, SettingsInvalid
from millstream.matching import Counts, Joined, Matcher
from millstream.metrics.store import Store
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import (
    JoinSettings,
    KafkaSettings,
    RegistrySettings,
    ScorerSettings,
    from_environment,
)
from millstream.stream import Stream
from streams.changelog import Chunks, changelog_of, create_changelog, delete_state, group_of
from streams.places import show_places
from streams.seeking import read_from_places

SESSION_MS_MAX = 10_000
"""Above it a restart after a crash waits too long for the dead worker."""
ROUND_S = 0.1
"""A batch waits for its last record at most so long."""
SILENCE_S = 1.0
"""What the client has read reaches us within so long."""
_COMMAND = "python -m streams.join"

_log = logging.getLogger(__name__)


class Writer(AtLeastOnce):
    """Labelled records, then the state, each delivered before it goes on."""

    program = "join-faust"

    def __init__(self, kafka: KafkaSettings, settings: JoinSettings, stream: Stream) -> None:
        scorer = ScorerSettings(slot=settings.slot, call_s_max=settings.call_s_max)
        self._topics = (stream.topic("labelled"), changelog_of(stream))
        super().__init__(kafka, scorer, group_of(stream), Route("", *self._topics))

    def write(self, joined: Joined) -> None:
        """Steps 2 and 3; raises ClientLost where one is not known to be delivered."""
        produce_labelled(self._producer, joined, self._topics[0])
        self.deliver()
        self._crash.after(2)
        produce_state(self._producer, joined, self._topics[1])
        self.deliver()
        self._crash.after(3)


class FaustJoin:
    """One stream's join: `app` is its Faust app, not yet started.

    failed: called with what ends this worker; it does not return.
    """

    def __init__(
        self,
        stream: Stream,
        kafka: KafkaSettings,
        registry: Registry,
        settings: JoinSettings,
        failed: Callable[[BaseException], NoReturn],
    ) -> None:
        self._stream = stream
        self._kafka = kafka
        self._failed = failed
        self._records_max = settings.transaction_records_max
        self._topics = (stream.topic("predictions"), stream.topic("outcomes"))
        self._matcher = Matcher(
            stream.label.kind,
            stream.label.outcome_wait_s * 1_000_000,
            registry.schema,
            registry.register(subject_of(stream.topic("labelled")), contract("labelled").text),
            registry.register(subject_of(changelog_of(stream)), contract("join_chunk").text),
            settings.held_max,
        )
        self._writer = Writer(kafka, settings, stream)
        self._chunks = Chunks()
        self._lock = asyncio.Lock()
        self._fresh: list[Any] = []
        self._heard: dict[Partition, float] = {}
        self._looked = 0.0
        self._lost: InvariantBroken | None = None
        self._seen = current()
        self.counts = Counts()
        self.app = self._make_app()

    def _make_app(self) -> Any:
        session_s = min(self._kafka.session_timeout_ms, SESSION_MS_MAX) / 1_000
        app: Any = faust.App(
            group_of(self._stream),
            broker=f"kafka://{self._kafka.bootstrap}",
            processing_guarantee="at_least_once",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=session_s,
            broker_heartbeat_interval=session_s / 5,
            broker_commit_every=1_000_000,  # the fetcher stands still while Faust commits
            broker_commit_interval=2.0,
            topic_partitions=self._stream.serving.partitions,
            table_standby_replicas=0,
            store="memory://",
            web_enabled=False,
            datadir=str(self._stream.beside(".faust")),
        )
        read_from_places(app)
        raw = {"key_serializer": "raw", "value_serializer": "raw"}
        partitions = self._stream.serving.partitions
        # no value_type: with one, a recovery goes on with half of the table
        self._table = app.Table(
            "join-state",
            partitions=partitions,
            changelog_topic=app.topic(changelog_of(self._stream), partitions=partitions, **raw),
        )
        self._table.key_serializer = self._table.value_serializer = "raw"
        self._table.on_recover(self._recovered)
        app.agent(app.topic(*self._topics, value_type=bytes, **raw))(self._take)
        app.timer(ROUND_S)(self._round)
        app.on_partitions_revoked.connect(self._revoked)
        return app

    async def _recovered(self, *_: Any) -> None:
        """The table was read: take on the partitions that are ours. Faust drops what is raised."""
        try:
            async with self._lock:
                owned = {(tp.topic, tp.partition) for tp in self.app.consumer.assignment()}
                await asyncio.to_thread(self._restore, owned)
                self._fresh = []
                self._heard.clear()
                self.app.consumer.begin_at(
                    {
                        TP(topic, number): max(at, 0)
                        for number in self._matcher.partitions
                        for topic, at in zip(
                            self._topics, self._matcher.offsets(number), strict=True
                        )
                    }
                )
            self._seen.assigned()
            self._seen.up()
        except Exception as why:  # noqa: BLE001
            self._failed(why)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """What is in hand comes again. The batch being written is waited for: so long, no other
        worker takes its partitions."""
        async with self._lock:
            self._fresh = []
            self._heard.clear()
            for number in self._matcher.partitions:
                self._matcher.forget(number)

    def _restore(self, owned: set[Partition]) -> None:
        self._lost = None
        halves = [{n for topic, n in owned if topic == mine} for mine in self._topics]
        if halves[0] != halves[1]:
            raise OperatorNeeded(
                "Faust gave this worker predictions and outcomes of different partitions",
                "Give both topics the same number of partitions, and start one worker only",
            )
        found = self._chunks.of_table(self._table.items(), time.time_ns() // 1_000_000)
        for number in sorted(halves[0]):
            chunks = found.get(number, [])
            try:
                self._matcher.restore(number, chunks)
                self._require_whole(number, bool(chunks))
            except InvariantBroken as why:
                # told in _step: a rebalance that is under way may yet bring the rest
                self._lost = InvariantBroken(why.problem, _remedy(self._stream))
                return
            _log.info("partition %d: the state was read, %d chunks of it", number, len(chunks))

    def _require_whole(self, number: int, is_there: bool) -> None:
        """Raise InvariantBroken where recovery brought nothing, or less than was acknowledged."""
        topic = changelog_of(self._stream)
        with closing(Consumer(consumer_config(self._kafka, group_of(self._stream), "w"))) as asked:
            wanted = [TopicPartition(mine, number) for mine in self._topics]
            places = ask("reading offsets", lambda: asked.committed(wanted, timeout=15))
            low, high = ask(
                "reading offsets",
                lambda: asked.get_watermark_offsets(TopicPartition(topic, number), timeout=15),
            )
        if high > low and not is_there:
            raise InvariantBroken(f"{topic}-{number} has records, but none was recovered", "")
        known = self._matcher.offsets(number)
        if any(place.offset > at for place, at in zip(places, known, strict=True)):
            raise InvariantBroken(
                f"{topic}-{number} ends before the offsets that the join has acknowledged: its "
                "records were deleted",
                "",
            )

    async def _take(self, stream: Any) -> None:
        """Collect events; a full batch is joined before the next is read."""
        async for event in stream.noack().events():
            self._fresh.append(event)
            if len(self._fresh) >= self._records_max:
                await self._step(silent=(set(), set()))

    async def _round(self) -> None:
        """Join what came, and move the clocks of silent topics on from time to time."""
        if self.app.rebalancing:
            return
        now = time.monotonic()
        silent: tuple[set[int], set[int]] = (set(), set())
        if now - self._looked >= SILENCE_S:
            self._looked = now
            silent = await self._silent(now)
            async with self._lock:
                self._seen.looked(self._show)
        if self._fresh or any(silent) or self._lost:
            await self._step(silent)

    async def _step(self, silent: tuple[set[int], set[int]]) -> None:
        """Steps 2 to 5 of what is in hand."""
        try:
            async with self._lock:
                if self._lost is not None:
                    raise self._lost
                fresh, self._fresh = self._fresh, []
                began = time.monotonic()
                current, ours = self.app.consumer.is_current, self._matcher.partitions
                events = [
                    event
                    for event in fresh
                    if current(event.message) and event.message.partition in ours
                ]
                await asyncio.to_thread(self._join, events, silent)
                for event in events:
                    event.ack()
                if time.monotonic() - began > SILENCE_S / 2:
                    self._heard.clear()  # nobody listened: begin to wait anew
        except Exception as why:  # noqa: BLE001
            self._failed(why)

    def _join(self, events: list[Any], silent: tuple[set[int], set[int]]) -> None:
        """Meet, and make durable."""
        messages: dict[str, list[Any]] = {topic: [] for topic in self._topics}
        now = time.monotonic()
        for event in events:
            messages[event.message.topic].append(event.message)
        predictions, outcomes = (_records(topic, found) for topic, found in messages.items())
        for batch in (predictions, outcomes):
            if batch is not None:
                for number in np.unique(batch.partitions).tolist():
                    self._heard[(batch.topic, number)] = now
        ours = self._matcher.partitions
        joined = self._matcher.take(predictions, outcomes, silent[0] & ours, silent[1] & ours)
        if joined.state:
            joined.state = self._chunks.to_table(joined.state)
            self._writer.write(joined)
            self.counts.add(joined.counts)
        taken = [batch for batch in (predictions, outcomes) if batch is not None]
        if taken:
            self._seen.took(taken, time.monotonic() - now)

    def _show(self, store: Store) -> None:
        """What was finished, what is held and what waits, as numbers."""
        show(store, self.counts, self._matcher.held)
        at = {
            (topic, number): offset
            for number in self._matcher.partitions
            for topic, offset in zip(self._topics, self._matcher.offsets(number), strict=True)
        }
        show_places(store, self.app.consumer, self._topics, at)

    async def _silent(self, now: float) -> tuple[set[int], set[int]]:
        """Partitions of each topic that were read to their end a while ago."""
        found: tuple[set[int], set[int]] = (set(), set())
        for topic, numbers in zip(self._topics, found, strict=True):
            for number in self._matcher.partitions:
                tp = TP(topic, number)
                end = self.app.consumer.highwater(tp)
                if end is None or now - self._heard.setdefault((topic, number), now) < SILENCE_S:
                    continue
                at = await self.app.consumer.position(tp)
                if at is not None and at >= end:
                    numbers.add(number)
        return found


def _records(topic: str, found: list[Any]) -> Records | None:
    """Faust's consumed records as columns; its timestamps are seconds."""
    if not found:
        return None
    return Records(
        topic,
        [message.value for message in found],
        [message.key for message in found],
        np.array([message.partition for message in found], np.int32),
        np.array([message.offset for message in found], np.int64),
        np.array([round(message.timestamp * 1_000) * 1_000 for message in found], np.int64),
        {},
    )


def _remedy(stream: Stream) -> str:
    return (
        f"Stop every worker of this join, then `{_COMMAND} {stream.path} --rebuild`: it reads both "
        "topics again and repeats labelled records, with the ids that they had"
    )


def _leave(why: BaseException) -> NoReturn:
    """End the process at once: Faust would go on without its agent, or hang. Nothing is lost."""
    out = sys.__stderr__ or sys.stderr
    if isinstance(why, OperatorNeeded):
        out.write(f"millstream: {why.problem}\n  {why.remedy}\n")
    elif isinstance(why, MillstreamError):
        out.write(f"millstream: {why}\n")
    else:
        out.write("".join(traceback.format_exception(why)))
    out.flush()
    os._exit(why.exit_code if isinstance(why, MillstreamError) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        description="Join a stream's predictions with their outcomes as a Faust worker, at least "
        "once; `millstream join` is exactly once and faster. Settings come from the environment "
        "(`millstream settings`): MILLSTREAM_KAFKA_*, MILLSTREAM_REGISTRY_*, MILLSTREAM_JOIN_*.",
        epilog=f"Example: MILLSTREAM_KAFKA_BOOTSTRAP=127.0.0.1:9092 {_COMMAND} "
        "examples/loans/stream.toml",
    )
    parser.add_argument("stream", type=Path, help="the stream.toml")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="first delete the table and the group's offsets: both topics are read again",
    )
    return parser.parse_args()


def main() -> None:
    """The command line."""
    arguments = _arguments()
    try:
        stream = Stream.load(arguments.stream)
        kafka = from_environment(KafkaSettings, os.environ)
        if kafka.embedded:
            raise SettingsInvalid(
                "the Faust join needs a real broker", "Take `millstream join` on the embedded one"
            )
        require_topics(stream, kafka, ["labelled"])
        if arguments.rebuild:
            delete_state(stream, kafka)
        create_changelog(stream, kafka)
        registry = Registry(from_environment(RegistrySettings, os.environ))
        settings = from_environment(JoinSettings, os.environ)
        with observed("join-faust", stream, os.environ, settings.slot):
            made = FaustJoin(stream, kafka, registry, settings, _leave)
            faust.Worker(made.app, loglevel="info").execute_from_commandline()
    except MillstreamError as why:
        _leave(why)


if __name__ == "__main__":
    main()
