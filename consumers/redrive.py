"""The redrive: dead letters whose cause was mended are published again, each once.

A letter's event goes back to NAME.events, to its partition, with `millstream.replay.of`: a new
event, which the running scorer answers as any other. (Answering in place, with a prediction for the
old coordinates, would give these a letter and a prediction, and a topic of predictions that is no
longer in its events' order: every audit and every reader would need an exception.) Only letters
that would now succeed are published; the others stay letters, and can be redriven later.

The steps, with the numbers of publishers.py:
  0. fence: init_transactions aborts what an earlier redrive left open and ends it if it still runs;
     then NAME.redrives, read to its end, holds every mark but those of our own
  1. begin
  2. produce the replays of one chunk of letters, and a mark for each to NAME.redrives
  3. (no offsets: which letters are done is what the marks say, so any choice of letters can follow)
  4. commit: replays and marks are seen together, or none of them
A crash before 4 leaves nothing, after 4 the marks: whoever comes next passes these letters over.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer

from consumers.answering import open_session
from consumers.kafka import kafka_error
from consumers.letters import Filed, Marks, TopicReader, Wanted, filed, read_letters, read_marks
from consumers.metrics.instruments import current
from consumers.publishers import SLOW_COMMIT_S, ExactlyOnce, Route, send
from consumers.registry import Registry, subject_of
from consumers.releases.lineups import releasable
from consumers.releases.log import read_timeline
from consumers.topics import kinds_there
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.errors import ClientLost, Refusal
from millstream.fit import require_fit
from millstream.letters import ATTEMPT_MAX, origin_of, replay_headers
from millstream.metrics.store import Store
from millstream.models.bundle import Bundle
from millstream.records import Records
from millstream.scoring import ScoringPlan
from millstream.settings import KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream

CHUNK_LETTERS_MAX = 1_000
CHUNK_BYTES_MAX = 32_000_000
"""Of one transaction: what is held in memory, and what is done again after a kill."""
_COLUMNS = 4  # of the queue: letter offset, source offset, origin offset, bytes

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Again:
    """Letters that would be refused again for one cause: how many, and what is said of one."""

    count: int
    reason: str


@dataclass(slots=True)
class Account:
    """What a redrive did, or would do.

    already: redriven before. incomplete: their events were too large for a letter; only their
    producer can publish them again. gone: expired while we read. again: by (stage, error).
    """

    redriven: int = 0
    already: int = 0
    incomplete: int = 0
    gone: int = 0
    again: dict[tuple[str, str], Again] = field(default_factory=dict)

    @property
    def refused(self) -> int:
        return sum(each.count for each in self.again.values())

    def show(self, store: Store) -> None:
        """As numbers."""
        results = {"redriven": self.redriven, "refused": self.refused, "already": self.already}
        results |= {"incomplete": self.incomplete, "gone": self.gone}
        for result, count in results.items():
            store.total("millstream_redrive_letters_total", count, result=result)

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            cause = (refusal.stage.value, refusal.name)
            self.again.setdefault(cause, Again(0, refusal.reason)).count += 1


class Queue:
    """Where the chosen letters stand, 32 bytes each, to be taken in their events' order."""

    def __init__(self) -> None:
        self._places: dict[int, array[int]] = {}

    def add(self, letter: Filed) -> None:
        """A letter of partition p is of an event of partition p."""
        headers, record = letter.record.headers() or [], letter.record
        said = letter.letter
        size = len(record.value() or b"") + len(record.key() or b"")
        self._places.setdefault(letter.partition, array("q")).extend(
            (letter.offset, said.source_offset, origin_of(said, headers).offset, size)
        )

    def chunks(self, marks: Marks, account: Account) -> Iterator[tuple[int, list[int]]]:
        """(partition, letter offsets) of the letters that have no mark, each event once, in the
        order in which the events were first written.
        """
        for partition in sorted(self._places):
            places = np.array(self._places[partition], np.int64).reshape(-1, _COLUMNS)
            _, first = np.unique(places[:, 1], return_index=True)
            places = places[np.sort(first)]
            done = marks.have(partition, places[:, 1])
            account.already += int(done.sum())
            places = places[~done]
            places = places[np.lexsort((places[:, 1], places[:, 2]))]
            for part in _cut(places[:, 3]):
                yield partition, places[part, 0].tolist()


def _cut(sizes: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Runs of at most CHUNK_LETTERS_MAX letters and CHUNK_BYTES_MAX bytes, or one letter."""
    start, total = 0, 0
    for place, size in enumerate(sizes.tolist()):
        full = place - start >= CHUNK_LETTERS_MAX or total + size > CHUNK_BYTES_MAX
        if place > start and full:
            yield slice(start, place)
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


class RedrivePublisher(ExactlyOnce):
    """One transactional id for all redrives of a stream, so that they fence each other."""

    program = "redrive"

    def __init__(self, stream: Stream, kafka: KafkaSettings, settings: ScorerSettings) -> None:
        events, predictions = stream.topic("events"), stream.topic("predictions")
        route = Route(events, predictions, stream.topic("dead_letters"))
        alone = settings.model_copy(update={"slot": 0})
        super().__init__(kafka, alone, f"{stream.name}-redrive", route)


class Redrive:
    """Judges chunks of letters, and publishes the good ones of each in one transaction.

    plan: what would be said of the events now. publisher: opened; None for a dry run.
    """

    def __init__(
        self,
        stream: Stream,
        plan: ScoringPlan,
        publisher: ExactlyOnce | None,
        mark_schema_id: int,
    ) -> None:
        self._events = stream.topic("events")
        self._redrives = stream.topic("redrives")
        self._plan = plan
        self._publisher = publisher
        text = contract("redrive").text
        self._mark_schema = arrow_schema(text)
        self._encoder = Encoder(text, frame(mark_schema_id))

    def take(self, letters: list[Filed], account: Account, limit: int | None) -> None:
        """Steps 1 to 4 for those of a chunk that would succeed, at most `limit` of them.

        Raises TransactionAborted or ClientLost: nothing of the chunk is published, or all of it is
        and marked; run the redrive again.
        """
        answers = self._plan.run(_records(self._events, letters))
        account.refuse(answers.refusals)
        good = [letters[row] for row in answers.rows[:limit]]
        took_s = 0.0
        if good and self._publisher is not None:
            marks = self._marks(good)
            took_s = self._publisher.transact(lambda p: self._produce(p, good, marks))
        account.redriven += len(good)
        if took_s > SLOW_COMMIT_S:
            raise ClientLost(
                "Kafka",
                f"a commit took {took_s:.1f} s, so the producer is given up; run the redrive "
                "again: it goes on behind what is marked",
            )

    def _produce(self, producer: Producer, letters: list[Filed], marks: list[bytes]) -> None:
        """Step 2."""
        for letter, mark in zip(letters, marks, strict=True):
            said, record = letter.letter, letter.record
            headers: list[Any] = replay_headers(said, record.headers() or [])
            key, value, partition = _bytes(record.key()), record.value(), letter.partition
            send(producer, self._events, value, key, partition, headers)
            send(producer, self._redrives, mark, str(said.source).encode(), partition, [])

    def _marks(self, letters: list[Filed]) -> list[bytes]:
        now_us = time.time_ns() // 1000
        said = [each.letter for each in letters]
        columns: dict[str, list[Any]] = {
            "source_topic": [each.source_topic for each in said],
            "source_partition": [each.source_partition for each in said],
            "source_offset": [each.source_offset for each in said],
            "letter_offset": [each.offset for each in letters],
            "attempt": [min(each.attempt + 1, ATTEMPT_MAX) for each in said],
            "redriven_at": [now_us] * len(said),
        }
        arrays = [pa.array(columns[f.name], f.type) for f in self._mark_schema]
        return self._encoder.encode(pa.RecordBatch.from_arrays(arrays, schema=self._mark_schema))


def run_redrive(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    settings: ScorerSettings,
    wanted: Wanted,
    *,
    dry_run: bool = False,
    watch: Callable[[Account], None] = lambda _: None,
) -> Account:
    """Redrive the letters that `wanted` admits and that would now succeed, at most `wanted.limit`.

    dry_run: only say what would happen; nothing is written, nobody is fenced. watch: called with
    the account after each chunk.
    Raises OperatorNeeded where a part does not fit another, DependencyUnavailable where it must be
    run again: what was published is marked, and is not published twice.
    """
    registry, seen = Registry(registry_settings), current()
    plan = _plan(stream, kafka, registry, settings)
    publisher = None if dry_run else RedrivePublisher(stream, kafka, settings)
    mark_schema_id = 0  # of a dry run: nothing is encoded
    try:
        if publisher is not None:
            if kafka.embedded:
                _log.warning(
                    "the embedded broker keeps no transactions: a redrive that is killed can "
                    "publish letters twice; exactly once needs a real broker"
                )
            subject = subject_of(stream.topic("redrives"))
            mark_schema_id = registry.register(subject, contract("redrive").text)
            publisher.open()
        redrive = Redrive(stream, plan, publisher, mark_schema_id)
        seen.up()

        def told(account: Account) -> None:
            seen.looked(account.show)
            watch(account)

        account = _run(stream, kafka, redrive, wanted, told)
        seen.looked(account.show)
        return account
    except ClientLost as why:
        if _is_fenced(why):
            raise ClientLost(
                "Kafka", f"another redrive of {stream.name} was started and goes on with the rest"
            ) from why
        raise
    finally:
        if publisher is not None:
            publisher.close()
        registry.close()


def _run(
    stream: Stream,
    kafka: KafkaSettings,
    redrive: Redrive,
    wanted: Wanted,
    watch: Callable[[Account], None],
) -> Account:
    account, queue, topic, seen = Account(), Queue(), stream.topic("dead_letters"), current()
    marks = read_marks(kafka, stream.topic("redrives"), stream.topic("events"))
    for letter in filter(wanted.admits, read_letters(kafka, topic)):
        seen.turned()
        source = letter.letter.source
        if (source.topic, source.partition) != (stream.topic("events"), letter.partition):
            _log.warning("%s-%d:%d is of %s", topic, letter.partition, letter.offset, source)
        elif not letter.letter.is_whole:
            account.incomplete += 1
        else:
            queue.add(letter)
    with closing(TopicReader(kafka, topic)) as reader:
        for partition, offsets in queue.chunks(marks, account):
            left = None if wanted.limit is None else wanted.limit - account.redriven
            if left is not None and left <= 0:
                break
            found = reader.at(partition, offsets)
            letters = [filed(found[offset]) for offset in offsets if offset in found]
            account.gone += len(offsets) - len(letters)
            redrive.take([letter for letter in letters if letter], account, left)
            watch(account)
    return account


def _plan(
    stream: Stream, kafka: KafkaSettings, registry: Registry, settings: ScorerSettings
) -> ScoringPlan:
    """As the scorer's, with the champion that was released last. Its predictions are thrown away,
    so their schema needs no id."""
    released = None
    if "releases" in kinds_there(stream, kafka):
        released = read_timeline(stream, kafka, registry.schema).newest
    bundle = releasable(stream, released.champion) if released else Bundle.load(stream.bundle_path)
    require_fit(stream, bundle)
    session = open_session(stream, bundle, settings)
    return ScoringPlan(stream, bundle, session, registry.schema, 0, lambda: time.time_ns() // 1000)


def _records(topic: str, letters: list[Filed]) -> Records:
    """The letters' events, with the coordinates that they were refused at."""
    count = len(letters)
    return Records(
        topic,
        [each.record.value() for each in letters],
        [_bytes(each.record.key()) for each in letters],
        np.fromiter((each.letter.source_partition for each in letters), np.int32, count),
        np.fromiter((each.letter.source_offset for each in letters), np.int64, count),
        np.full(count, -1, np.int64),
        {},
    )


def _bytes(key: Any) -> bytes | None:
    """A consumed record's key: bytes or None, whatever its type says."""
    assert key is None or isinstance(key, bytes), type(key)
    return key


def _is_fenced(why: BaseException | None) -> bool:
    """Whether the broker has given our transactional id to another, somewhere in the chain."""
    while why is not None:
        if isinstance(why, KafkaException) and kafka_error(why).code() in _FENCED:
            return True
        why = why.__cause__
    return False


_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
