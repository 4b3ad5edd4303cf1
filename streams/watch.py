"""The watch as a Faust app: the same `Watch` object as `millstream watch`, at least once.

    python -m streams.watch STREAM.TOML

State and offsets are one value of a Faust table, sealed. What was found is delivered first, then
that value, and only then are the records acknowledged, so that the group's offsets are never ahead
of the state: after kill -9 the records behind the state come again, those below it are passed over,
and drift records and incidents that repeat have the ids that they had. One worker watches all
partitions; a worker that has only some of them waits. Take `millstream watch` for exactly once.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import faust
import numpy as np
from confluent_kafka import Consumer, TopicPartition
from faust.types import TP

from consumers.kafka import ask, consumer_config
from consumers.metrics.instruments import LOOK_S, current
from consumers.metrics.observed import observed
from consumers.registry import Registry, subject_of
from consumers.topics import kinds_there
from consumers.watch import Tally, show
from millstream.contracts import contract
from millstream.drift.emitted import Emitter
from millstream.drift.snapshot import load_key, seal, unseal
from millstream.drift.watch import Findings, Watch, profile_beside
from millstream.metrics.store import Store
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import KafkaSettings, RegistrySettings, WatchSettings, from_environment
from millstream.stream import Stream
from streams.places import show_places
from streams.seeking import read_from_places

KEY_FILE = ".watch.key"
STATE = "watch"
ROUND_S = 0.2
SILENCE_S = 1.0
"""What the client has read reaches us within so long."""

_log = logging.getLogger(__name__)


class FaustWatch:
    """One stream's watch: `app` is its Faust app, not yet started."""

    def __init__(
        self,
        stream: Stream,
        kafka: KafkaSettings,
        registry: Registry,
        settings: WatchSettings,
        folder: Path,
    ) -> None:
        self._stream = stream
        self._settings = settings
        self._kafka = kafka
        self._schema_of = registry.schema
        secret = settings.key.get_secret_value() if settings.key else None
        self._key = load_key(Path(settings.key_file or stream.beside(KEY_FILE)), secret)
        self._profile = profile_beside(stream) if stream.watch.inputs else None
        self._emitter = Emitter(
            *(
                registry.register(subject_of(stream.topic(kind)), contract(subject).text)
                for kind, subject in (("drift", "drift"), ("incidents", "incident"))
            )
        )
        self._releases = "releases" in kinds_there(stream, kafka)
        self._sealed: bytes | None = None
        self._seen = current()
        self._looked_s = 0.0
        self.tally = Tally()
        self._forget()
        self._watch = self._begun()
        self.app = self._make_app(kafka, folder)

    def _make_app(self, kafka: KafkaSettings, folder: Path) -> Any:
        app: Any = faust.App(
            group_of(self._stream),
            broker=f"kafka://{kafka.bootstrap}",
            processing_guarantee="at_least_once",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=10.0,
            broker_heartbeat_interval=2.0,
            producer_max_request_size=10_485_760,
            topic_partitions=self._stream.serving.partitions,
            table_standby_replicas=0,
            web_enabled=False,
            datadir=str(folder),
        )
        read_from_places(app)
        raw = {"value_serializer": "raw", "key_serializer": "raw", "value_type": bytes}
        source = app.topic(*self._watch.topics, **raw)
        self._drift = app.topic(self._stream.topic("drift"), **raw)
        self._incidents = app.topic(self._stream.topic("incidents"), **raw)
        # no value_type: with one, a recovery goes on with half of the table
        self._table = app.Table(
            f"{self._stream.name}-watch",
            partitions=self._stream.serving.partitions,
            use_partitioner=True,
        )
        self._table.on_recover(self._recovered)
        app.agent(source)(self._take)
        app.timer(ROUND_S)(self._round)
        app.on_partitions_revoked.connect(self._revoked)
        return app

    def _forget(self) -> None:
        """Nothing is in hand."""
        self._fresh: list[Any] = []
        self._unacked: list[Any] = []
        self._found = Findings()
        self._heard: dict[Partition, float] = {}
        self._due_s = 0.0
        self._is_ready = False
        self._is_told = False

    def _begun(self) -> Watch:
        watch = Watch(self._stream, self._schema_of, self._profile, releases=self._releases)
        if self._sealed is not None:
            for note in watch.restore(unseal(self._key, self._sealed, self._stream.name)):
                _log.warning("%s", note)
        return watch

    async def _recovered(self, *_: Any) -> None:
        """The table was read back: go on from its value."""
        text = self._table.get(STATE)
        if text is not None:
            self._sealed = self._newer(base64.b64decode(text))
        if self._sealed is None and await asyncio.to_thread(self._has_acknowledged):
            _log.error("%s lost its state: the watch begins at the topics' beginning", STATE)
        _log.info("the state was %s", "read" if self._sealed is not None else "not there")
        self._forget()
        self._watch = self._begun()
        offsets = self._watch.offsets()
        self.app.consumer.begin_at(
            {TP(*lane): offsets.get(lane, 0) for lane in self._watch.partitions}
        )
        self._is_ready = True
        self._seen.assigned()
        self._seen.up()

    def _newer(self, recovered: bytes) -> bytes:
        """What was recovered, unless what this worker wrote itself is of later: another may have
        gone on since."""
        if self._sealed is None:
            return recovered
        both = (self._sealed, recovered)
        return max(both, key=lambda sealed: sum(self._offsets_of(sealed).values()))

    def _offsets_of(self, sealed: bytes) -> dict[Partition, int]:
        return unseal(self._key, sealed, self._stream.name).offsets

    def _has_acknowledged(self) -> bool:
        """Whether the group has offsets: then there was a state."""
        wanted = [TopicPartition(*lane) for lane in self._watch.partitions]
        group = group_of(self._stream)
        with closing(Consumer(consumer_config(self._kafka, group, "w"))) as asked:
            found = ask("reading offsets", lambda: asked.committed(wanted, timeout=15))
        return any(place.offset > 0 for place in found)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """What is in hand comes again, once the table was read anew."""
        self._forget()
        self._watch = self._begun()

    async def _take(self, stream: Any) -> AsyncIterator[None]:
        """Collect events; they are acknowledged when the state has them."""
        async for event in stream.noack().events():
            self._fresh.append(event)
            yield

    async def _round(self) -> None:
        """Feed what came, and make durable what is due."""
        if not self._is_ready:
            return
        now = asyncio.get_running_loop().time()
        if now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._seen.looked(self._show)
        if not self._owns_all():
            return
        most = self._settings.batch_records_max
        current = self.app.consumer.is_current
        self._fresh = [event for event in self._fresh if current(event.message)]
        fresh, self._fresh = self._fresh[:most], self._fresh[most:]
        self._feed(fresh, now, await self._silent(now))
        self._unacked += fresh
        if self._unacked and (now >= self._due_s or self._found.incidents):
            self._due_s = now + self._settings.commit_s
            await self._commit()

    def _owns_all(self) -> bool:
        owned = {(tp.topic, tp.partition) for tp in self.app.consumer.assignment()}
        missing = [lane for lane in self._watch.partitions if lane not in owned]
        if missing and owned and not self._is_told:
            _log.error("another worker has %d partitions: run one watch a stream", len(missing))
            self._is_told = True
        return not missing

    async def _silent(self, now: float) -> set[Partition]:
        """Partitions read to their end: the client has everything, and we have had it for long."""
        found, consumer = set(), self.app.consumer
        for lane in self._watch.partitions:
            tp = TP(*lane)
            end = consumer.highwater(tp)
            quiet_s = now - self._heard.setdefault(lane, now)
            if end is not None and quiet_s > SILENCE_S and not self._fresh:
                at = await consumer.position(tp)
                if at is not None and at >= end:
                    found.add(lane)
        return found

    def _feed(self, events: list[Any], now: float, silent: set[Partition]) -> None:
        lanes: dict[Partition, list[Any]] = {}
        known = self._watch.read_to()
        for event in events:
            lane = (event.message.topic, event.message.partition)
            self._heard[lane] = now
            if event.message.offset >= known.get(lane, 0):
                lanes.setdefault(lane, []).append(event.message)
        by_topic: dict[str, list[Any]] = {}
        for (topic, _), mine in sorted(lanes.items()):
            by_topic.setdefault(topic, []).extend(mine)
        batches = [_records(topic, mine) for topic, mine in by_topic.items()]
        began = time.monotonic()
        found = self._watch.take(batches, silent, settled=True)  # silent for SILENCE_S
        self._found.drift += found.drift
        self._found.incidents += found.incidents
        if batches:
            self._seen.took(batches, time.monotonic() - began)

    def _show(self, store: Store) -> None:
        """What was finished, what is open, what is held and what waits, as numbers."""
        show(store, self.tally, self._watch)
        owned = {(tp.topic, tp.partition) for tp in self.app.consumer.assignment()}
        ends = self._watch.read_to()
        at = {lane: ends.get(lane, 0) for lane in self._watch.partitions if lane in owned}
        show_places(store, self.app.consumer, self._watch.topics, at)

    async def _commit(self) -> None:
        """What was found, then the state, each delivered; then the acknowledgements."""
        found, self._found = self._found, Findings()
        offsets = self._watch.offsets()
        sealed = seal(self._key, self._watch.snapshot())
        sent = []
        for topic, written in (
            (self._drift, self._emitter.drift(found.drift)),
            (self._incidents, self._emitter.incidents(found.incidents)),
        ):
            for each in written:
                partition = each.partition if each.partition >= 0 else None
                sent.append(await topic.send(key=each.key, value=each.value, partition=partition))
        for delivered in sent:
            await delivered
        text = base64.b64encode(sealed).decode("ascii")
        await self._table.send_changelog(None, STATE, text)
        self._sealed = sealed
        self.tally.add(found.drift, len(found.incidents))
        left = []
        for event in self._unacked:
            message = event.message
            if message.offset < offsets.get((message.topic, message.partition), 0):
                event.ack()
            else:
                left.append(event)
        self._unacked = left


def group_of(stream: Stream) -> str:
    """Faust's application and group."""
    return f"{stream.name}-watch-faust"


def changelog_of(stream: Stream) -> str:
    """The topic that Faust keeps the state in."""
    return f"{group_of(stream)}-{stream.name}-watch-changelog"


def _records(topic: str, found: list[Any]) -> Records:
    """Faust's consumed records as columns; its timestamps are seconds."""
    return Records(
        topic,
        [message.value for message in found],
        [message.key for message in found],
        np.array([message.partition for message in found], np.int32),
        np.array([message.offset for message in found], np.int64),
        np.array([round(message.timestamp * 1_000) * 1_000 for message in found], np.int64),
        {},
    )


def main() -> None:
    """The command line: settings come from the environment, as for `millstream watch`."""
    stream = Stream.load(Path(sys.argv[1]))
    with observed("watch-faust", stream, os.environ):
        made = FaustWatch(
            stream,
            from_environment(KafkaSettings, os.environ),
            Registry(from_environment(RegistrySettings, os.environ)),
            from_environment(WatchSettings, os.environ),
            stream.beside(".faust"),
        )
        faust.Worker(made.app, loglevel="info").execute_from_commandline()


if __name__ == "__main__":
    main()
