"""The watch: events, predictions and labelled records in, drift records and incidents out.

consume -> Watch (millstream/drift/watch.py) -> one transaction of what it found, its state, offsets

One process owns all partitions of a stream's watch, because an incident is the stream's: its member
name and its transactional id have no slot, so that a second one ends the first and goes on in its
place. What it follows a second: docs/WATCH.md, measured by ops/bench/watch.py.
State and offsets are one sealed record of a compacted topic, NAME.watch-state. Whoever starts reads
it and goes on there; what was taken since is taken again, and nothing of it had been seen.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from consumers.kafka import RECORD_BYTES_MAX, ask, consumer_config
from consumers.loop import Assignment, Loop
from consumers.metrics.instruments import current
from consumers.registry import Registry, subject_of
from consumers.topics import kinds_there
from consumers.watch_publishers import (
    Said,
    WatchAtLeastOnce,
    WatchExactlyOnce,
    WatchPublisher,
    newest_state,
)
from millstream.contracts import contract
from millstream.drift.emitted import Emitter
from millstream.drift.incident import Incident
from millstream.drift.records import DriftRecord
from millstream.drift.slices import Slices
from millstream.drift.snapshot import load_key, seal, unseal
from millstream.drift.watch import Watch, profile_beside
from millstream.errors import OperatorNeeded
from millstream.metrics.store import Store as Numbers
from millstream.metrics.vocabulary import VERDICTS
from millstream.offsets import Partition
from millstream.records import Records
from millstream.settings import KafkaSettings, RegistrySettings, WatchSettings
from millstream.stream import Stream

KEY_FILE = ".watch.key"
SETTLED_S = 1.0
"""Labels wait for those of other partitions until nothing came for so long."""
STATE_READS_MAX = 20
"""Readings of a state that is behind the committed offsets, over ten seconds: the broker ends a
dead watch's transaction partition by partition."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What a watch has finished since it started. open: the incidents that are open now."""

    drift: int = 0
    alarms: int = 0
    incidents: int = 0
    commits: int = 0
    open: tuple[Incident, ...] = ()

    def add(self, drift: Sequence[DriftRecord], incidents: int) -> None:
        """One commit with these drift records and so many revisions of incidents."""
        self.drift += len(drift)
        self.alarms += sum(record.status == "alarm" for record in drift)
        self.incidents += incidents
        self.commits += 1


def show(store: Numbers, tally: Tally, watch: Watch) -> None:
    """What was finished, what is open and what is held, as numbers."""
    store.total("millstream_watch_records_total", tally.drift)
    store.total("millstream_watch_alarms_total", tally.alarms)
    store.total("millstream_watch_incidents_total", tally.incidents)
    store.total("millstream_watch_commits_total", tally.commits)
    verdicts = [incident.verdict.value for incident in watch.open]
    for verdict in VERDICTS:
        store.set("millstream_watch_open_incidents", verdicts.count(verdict), verdict=verdict)
    store.set("millstream_watch_held_records", sum(watch.held().values()))


@dataclass(slots=True)
class _Pending:
    """What was found and is not yet durable."""

    drift: list[DriftRecord] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    since: float | None = None


@dataclass(slots=True)
class Store:
    """The newest snapshot that is durable, sealed; None before the first."""

    stream: str
    key: bytes
    newest: bytes | None


class Watcher:
    """The loop's program: take batches, and commit what came of them from time to time.

    make: a watch that has taken nothing. clock: seconds.
    """

    def __init__(
        self,
        make: Callable[[], Watch],
        store: Store,
        publisher: WatchPublisher,
        emitter: Emitter,
        assignment: Assignment,
        settings: WatchSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._store = store
        self._publisher = publisher
        self._emitter = emitter
        self._assignment = assignment
        self._settings = settings
        self._clock = clock
        self._paused: set[Partition] = set()
        self._begin()
        self.topics = self._watch.topics
        self.guarded: frozenset[str] = frozenset()
        self.records_max = settings.batch_records_max
        self.tally = Tally()

    def _begin(self) -> None:
        """Go on from what was durable; the partitions must be sought to it."""
        self._watch, self._pending, self._is_astray = self._make(), _Pending(), False
        self._heard = self._clock()
        self._saved: dict[Partition, int] = {}
        store = self._store
        if store.newest is not None:
            snapshot = unseal(store.key, store.newest, store.stream)
            for note in self._watch.restore(snapshot):
                _log.warning("%s", note)
            self._saved = snapshot.offsets

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """Where the snapshot says."""
        self._paused -= set(partitions)
        return {lane: self._saved.get(lane, OFFSET_BEGINNING) for lane in partitions}

    def leave(self, partitions: list[Partition]) -> None:
        """Nobody else watches them: they come back. What is in hand of all is forgotten."""
        self._is_astray = True

    def rewind(self) -> None:
        """Everything anew from the snapshot."""
        self._begin()
        for lane in sorted(self._assignment.positions.owned):
            self._assignment.seek(lane, self._saved.get(lane, OFFSET_BEGINNING))

    def take(self, batch: list[Records]) -> None:
        """Take it; what was found waits for the next commit."""
        if self._is_astray:
            self.rewind()
            return
        self._feed(batch)
        self._throttle()

    def idle(self) -> None:
        """Say what the end of a topic makes known, and commit what is due."""
        if self._is_astray:
            return
        if self._watch.is_waiting:
            self._feed([])
            self._throttle()
        since = self._pending.since
        waited_s = 0.0 if since is None else self._clock() - since
        if self._pending.incidents or waited_s >= self._settings.commit_s:
            self._commit()

    def drain(self) -> None:
        """Commit what is in hand."""
        if self._pending.since is not None and not self._is_astray:
            self._commit()

    def show(self, store: Numbers) -> None:
        """What was finished, what is open and what is held, as numbers."""
        show(store, self.tally, self._watch)

    def _feed(self, batch: list[Records]) -> None:
        at_end = self._assignment.is_at_end
        silent = {lane for lane in self._watch.partitions if at_end(lane)}
        if batch:
            self._heard = self._clock()
        settled = self._clock() - self._heard >= SETTLED_S
        found = self._watch.take(batch, silent, settled=settled)
        self._pending.drift += found.drift
        self._pending.incidents += found.incidents
        if self._pending.since is None and (batch or self._watch.offsets() != self._saved):
            self._pending.since = self._clock()

    def _throttle(self) -> None:
        """Fetch nothing more of partitions that are far ahead of the others."""
        consumer = self._assignment.consumer
        most = self._settings.held_max
        for lane, held in self._watch.held().items():
            if held > most and lane not in self._paused:
                self._paused.add(lane)
                part = TopicPartition(*lane)
                ask("pausing", partial(consumer.pause, [part]))
            elif held <= most // 2 and lane in self._paused:
                self._paused.discard(lane)
                part = TopicPartition(*lane)
                ask("resuming", partial(consumer.resume, [part]))
                expected = self._assignment.positions.expected(lane)
                if expected is not None:
                    self._assignment.read_on(lane, expected)

    def _commit(self) -> None:
        sealed = seal(self._store.key, self._watch.snapshot())
        if len(sealed) >= RECORD_BYTES_MAX:
            raise OperatorNeeded(
                f"the watch's state is of {len(sealed)} bytes, a record holds {RECORD_BYTES_MAX}",
                "Watch fewer features or detectors, or fewer partitions",
            )
        pending, offsets = self._pending, self._watch.offsets()
        said = Said(
            self._emitter.drift(pending.drift),
            self._emitter.incidents(pending.incidents),
            sealed,
            offsets,
        )
        self._publisher.say(said, self._assignment.consumer)
        self._store.newest, self._saved, self._pending = sealed, offsets, _Pending()
        for lane in self._assignment.positions.owned & offsets.keys():
            self._assignment.positions.finish(lane, offsets[lane])
        for incident in pending.incidents:
            _log.info("incident %s %s: %s", incident.id[:8], incident.status, incident.verdict)
        self.tally.add(pending.drift, len(said.incidents))
        self.tally.open = self._watch.open


def run_watch(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    settings: WatchSettings,
    stop: threading.Event,
    watch: Callable[[Tally], None] | None = None,
    *,
    rebuild: bool = False,
) -> Tally:
    """Watch the stream until `stop` is set; returns what was finished.

    watch: called with the tally once it is ready. rebuild: begin at the topics' beginning, whatever
    the state says; what is found again has the ids that it had.
    Raises OperatorNeeded before anything is read where a part does not fit another, InvariantBroken
    where the state was damaged, ClientLost where the process must be started again.
    """
    registry = Registry(registry_settings)
    profile = profile_beside(stream) if stream.watch.inputs else None
    emitter = Emitter(
        *(
            registry.register(subject_of(stream.topic(kind)), contract(subject).text)
            for kind, subject in (("drift", "drift"), ("incidents", "incident"))
        )
    )
    releases = "releases" in kinds_there(stream, kafka)
    secret = settings.key.get_secret_value() if settings.key else None
    key = load_key(Path(settings.key_file or stream.beside(KEY_FILE)), secret)
    made = WatchAtLeastOnce if _at_least_once(stream, kafka) else WatchExactlyOnce
    publisher: WatchPublisher = made(stream, kafka, settings)
    publisher.open()  # fences whoever watched before: the state that is read now is the last
    group = f"{stream.name}-watch"
    config = consumer_config(kafka, group, group) | {"enable.partition.eof": True}
    assignment = Assignment(Consumer(config))
    state = None if rebuild else _state(stream, kafka, key, assignment.consumer)
    watcher = Watcher(
        lambda: Watch(stream, registry.schema, profile, releases=releases),
        Store(stream.name, key, state),
        publisher,
        emitter,
        assignment,
        settings,
    )
    _say(stream, publisher, state is not None, profile is not None)
    if watch:
        watch(watcher.tally)
    try:
        Loop(assignment, current().around(watcher, assignment, watcher.show), stop).run()
    finally:
        publisher.close()
    return watcher.tally


def _say(stream: Stream, publisher: WatchPublisher, goes_on: bool, has_profile: bool) -> None:
    detectors = ", ".join(each.id for each in stream.watch.detectors)
    begins = "from its state" if goes_on else "from the topics' beginning"
    _log.info("watching %s %s, %s", stream.name, begins, publisher.guarantee)
    _log.info("the monitor%s", f", and River's {detectors}" if detectors else " alone")
    if stream.watch.inputs and not has_profile:
        _log.info("the bundle has no profile.json: the first events are the inputs' reference")
    for name in Slices(stream).left_out:
        _log.warning(
            "watch.slices: %s is left out, with inputs = false no events are read; "
            "`millstream performance` tells it apart",
            name,
        )


def _state(stream: Stream, kafka: KafkaSettings, key: bytes, consumer: Consumer) -> bytes | None:
    """The newest snapshot, once it is not behind what was committed with it."""
    topic = stream.topic("watch_state")
    for attempt in range(STATE_READS_MAX):
        state = newest_state(kafka, topic)
        known = {} if state is None else unseal(key, state, stream.name).offsets
        lanes = [
            TopicPartition(stream.topic(kind), number)
            for kind in ("events", "predictions", "labelled")
            for number in range(stream.serving.partitions)
        ]
        committed = ask("reading offsets", partial(consumer.committed, lanes, 15))
        if all(known.get((p.topic, p.partition), -1) >= p.offset for p in committed):
            return state
        if kafka.embedded:
            break  # it keeps offsets, and not always what was written with them
        _log.warning("%s is behind the committed offsets; reading it again", topic)
        time.sleep(0.5 if attempt else 0.1)
    _log.error("%s lost its state: the watch begins at the topics' beginning", topic)
    return None


def _at_least_once(stream: Stream, kafka: KafkaSettings) -> bool:
    if kafka.embedded and stream.serving.guarantee == "exactly_once":
        _log.warning(
            "the embedded broker keeps no transactions: a watch that is killed can repeat drift "
            "records and incidents, with their ids; exactly once needs a real broker"
        )
    return kafka.embedded or stream.serving.guarantee == "at_least_once"
