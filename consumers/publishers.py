"""How a scored batch becomes durable: two guarantees, two classes, one interface.

The steps, numbered as in ARCHITECTURE.md and in the tests' names:
  1. begin                (ExactlyOnce only)
  2. produce the batch's predictions and dead letters
  3. send the offsets, taken from the records, with the group's metadata
  4. commit
  5. only then does the caller count the records finished
A redrive (redrive.py) takes the same steps; its step 3 is empty, its marks are produced in step 2.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import length_hint
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from consumers.kafka import TransactionAborted, ask, kafka_error, producer_config, translate
from consumers.watchdog import Watchdog
from millstream.crash import CrashPoint
from millstream.errors import ClientLost, DependencyUnavailable
from millstream.records import Headers
from millstream.settings import KafkaSettings, ScorerSettings

SLOW_COMMIT_S = 3.0
"""librdkafka repeats a lost EndTxn inside the call, and a late one can hit the next transaction
(KIP-890 part 2 is missing): after a slow commit the producer is replaced."""
COMMIT_ASKED_S = 5.0
"""At least once. Too low adds the broker's 6 ms to many batches; too high tells late of a refused
commit, after which a restart repeats so much more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, ready to be produced."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Extra:
    """Records of another topic, in parallel sequences."""

    topic: str
    partitions: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Output:
    """What one batch becomes: predictions (parallel sequences), letters, and offsets to commit.

    offsets: partition of the events topic -> next offset. headers: of each prediction; None: the
    route's. before: what must be durable before the predictions are. beside: what goes with them.
    """

    partitions: Sequence[int]
    keys: Sequence[bytes | None]
    predictions: Sequence[bytes]
    letters: Sequence[Letter]
    offsets: dict[int, int]
    headers: Sequence[Headers] | None = None
    before: Sequence[Extra] = ()
    beside: Sequence[Extra] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """The topics of one scorer. headers: of every prediction that has none of its own."""

    events: str
    predictions: str
    dead_letters: str
    headers: Headers = ()
    shadows: str = ""


class Publisher(Protocol):
    """Makes an Output durable, or raises and leaves nothing visible of it.

    TransactionAborted: nothing of the batch is visible; read it again.
    ClientLost: unknown; leave the process and start again.
    """

    guarantee: str

    def open(self) -> None: ...
    def publish(self, output: Output, consumer: Consumer) -> None: ...
    def note(self, extras: Sequence[Extra]) -> None: ...
    def close(self) -> None: ...


class _Failures:
    """on_delivery for the whole producer: remembers the first failure; never raises.

    A purge after an abort is no failure.
    """

    def __init__(self) -> None:
        self.first: KafkaError | None = None
        self.topic = ""

    def __call__(self, error: KafkaError | None, record: Message) -> None:
        purged = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
        if error is not None and self.first is None and error.code() not in purged:
            self.first, self.topic = error, record.topic() or ""


class ExactlyOnce:
    """One Kafka transaction a batch.

    `transactional.id` is group and slot, stable: a restart aborts what its predecessor left open.
    program: whose crash points these are.
    """

    guarantee = "exactly_once"
    program = "scorer"

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: ScorerSettings,
        group: str,
        route: Route,
        client: Callable[[dict[str, Any]], Producer] = Producer,
        watchdog: Watchdog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._route = route
        self._failures = _Failures()
        self._id = f"{group}-{settings.slot}"
        self._config: dict[str, Any] = producer_config(kafka, self._id) | {
            "transactional.id": self._id,
            "transaction.timeout.ms": settings.transaction_timeout_ms,
            "message.timeout.ms": settings.transaction_timeout_ms,
            "delivery.report.only.error": True,
            "on_delivery": self._failures,
        }
        self._wait_s = settings.call_s_max / 2
        self._client = client
        self._watchdog = watchdog or Watchdog(settings.call_s_max)
        self._clock = clock
        self._crash = CrashPoint(self.program, os.environ)
        self._producer: Producer | None = None

    def open(self) -> None:
        """A producer of our own epoch: whoever held this id before is fenced."""
        self._producer = self._client(self._config)
        self._failures.first = None
        self._call("init_transactions", lambda p: p.init_transactions(self._wait_s))

    def publish(self, output: Output, consumer: Consumer) -> None:
        """Steps 1 to 4."""
        took_s = self.transact(
            lambda producer: produce(producer, output, self._route),
            lambda: self._send_offsets(output, consumer),
        )
        self._replace_if_slow(took_s)

    def note(self, extras: Sequence[Extra]) -> None:
        """Records that belong to no batch, in a transaction of their own."""

        def fill(producer: Producer) -> None:
            for extra in extras:
                _produce_all(producer, extra)

        self._replace_if_slow(self.transact(fill))

    def _replace_if_slow(self, took_s: float) -> None:
        if took_s > SLOW_COMMIT_S:
            _log.warning("a commit took %.1f s: the producer is replaced", took_s)
            self.open()

    def transact(
        self, fill: Callable[[Producer], None], send_offsets: Callable[[], None] = lambda: None
    ) -> float:
        """Steps 1 to 4 with what `fill` produces; the seconds that the commit took."""
        producer = self._producer
        assert producer is not None, "open comes first"
        self._call("begin_transaction", lambda p: p.begin_transaction())
        self._crash.after(1)
        try:
            fill(producer)
            self._crash.after(2)
            send_offsets()
            self._crash.after(3)
            began = self._clock()
            self._call("commit_transaction", lambda p: p.commit_transaction(self._wait_s))
            took_s = self._clock() - began
            self._crash.after(4)
        except ClientLost:
            raise
        except DependencyUnavailable as why:
            # whoever is not lost goes on polling, perhaps for long without a record: a transaction
            # left open would keep every reader from what comes behind it
            self._abort()
            cause = self._failures.first
            self._failures.first = None
            if cause is not None:
                raise _undelivered(cause, self._failures.topic) from why
            raise
        return took_s

    def _send_offsets(self, output: Output, consumer: Consumer) -> None:
        offsets = _topic_offsets(self._route, output)
        group = ask("reading the group", consumer.consumer_group_metadata)
        self._call(
            "send_offsets_to_transaction",
            lambda p: p.send_offsets_to_transaction(offsets, group, self._wait_s),
        )

    def close(self) -> None:
        self._watchdog.close()
        self._producer = None

    def _abort(self) -> None:
        """A client that cannot even abort is lost; asking it again can spin for ever."""
        try:
            self._call("abort_transaction", lambda p: p.abort_transaction(self._wait_s))
        except DependencyUnavailable as why:
            raise ClientLost("Kafka", f"abort failed: {why.reason}") from why

    def _call(self, name: str, call: Any) -> None:
        """A transaction call under the watchdog. What is neither abortable nor the operator's
        leaves the producer in an unknown state, so it is lost."""
        try:
            with self._watchdog.watch(name):
                call(self._producer)
        except KafkaException as why:
            error = translate(kafka_error(why), name)
            if type(error) is DependencyUnavailable:
                raise ClientLost("Kafka", error.reason) from why
            raise error from why


class AtLeastOnce:
    """Produce, wait until delivered, then commit the offsets: repeats after a crash, loses nothing.

    The only choice on the embedded broker, which does not keep transactions. The client commits
    what is stored here ten times a second (`consumer_config`, commits_itself) and when it leaves;
    every COMMIT_ASKED_S a batch waits for the answer, so that a commit that is refused is told.
    """

    guarantee = "at_least_once"
    program = "scorer"

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: ScorerSettings,
        group: str,
        route: Route,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._route = route
        self._clock = clock
        self._asked_at = -COMMIT_ASKED_S
        self._failures = _Failures()
        self._producer = Producer(
            producer_config(kafka, f"{group}-{settings.slot}")
            | {"delivery.report.only.error": True, "on_delivery": self._failures, "linger.ms": 2}
        )
        self._wait_s = settings.call_s_max / 2
        self._crash = CrashPoint(self.program, os.environ)

    def open(self) -> None:
        pass

    def publish(self, output: Output, consumer: Consumer) -> None:
        """Steps 2 to 4, without a transaction around them."""
        if output.before:
            self.note(output.before)
        produce(self._producer, replace(output, before=()), self._route)
        self._crash.after(2)
        self.deliver()
        self._crash.after(3)
        offsets = _topic_offsets(self._route, output)
        now = self._clock()
        waits = now - self._asked_at >= COMMIT_ASKED_S
        if waits:
            ask("committing", lambda: consumer.commit(offsets=offsets, asynchronous=False))
            self._asked_at = now
        else:
            ask("storing offsets", lambda: consumer.store_offsets(offsets=offsets))
        self._crash.after(4)

    def note(self, extras: Sequence[Extra]) -> None:
        """Records that must be durable before anything else is."""
        for extra in extras:
            _produce_all(self._producer, extra)
        self.deliver()

    def deliver(self) -> None:
        """Return when the broker has everything; raise where it has not."""
        left = self._producer.flush(self._wait_s)
        cause, self._failures.first = self._failures.first, None
        if cause is not None:
            raise _undelivered(cause, self._failures.topic)
        if left:
            raise ClientLost("Kafka", f"{left} records were not delivered in {self._wait_s:.0f} s")

    def close(self) -> None:
        self._producer.flush(self._wait_s)


def produce(producer: Producer, output: Output, route: Route) -> None:
    """Step 2: everything that the batch became, into the client's queue."""
    for extra in output.before:
        _produce_all(producer, extra)
    made = Extra(route.predictions, output.partitions, output.keys, output.predictions)
    _produce_all(producer, made, route.headers, output.headers)
    for letter in output.letters:
        given = (letter.value, letter.key, letter.partition, list(letter.headers))
        send(producer, route.dead_letters, *given)
    for extra in output.beside:
        _produce_all(producer, extra)


def _produce_all(
    producer: Producer,
    made: Extra,
    headers: Headers = (),
    each: Sequence[Headers] | None = None,
) -> None:
    """Every record, to its partition. headers: of all of them, unless `each` has its own.

    The calls go by position, with no Python between them: by name, in a loop, each costs a quarter
    more. A record that was not taken is sent again, by itself.
    """
    values, keys, partitions = made.values, made.keys, made.partitions
    assert len(values) == len(keys) == len(partitions), (len(values), len(keys), len(partitions))
    topic, rest, same = made.topic, iter(values), list(headers)
    given: Iterable[Any] = repeat(same) if each is None else each
    # topic, value, key, partition, callback, on_delivery, timestamp (0: now), headers
    constants = (repeat(None), repeat(None), repeat(0), given)
    calls = map(producer.produce, repeat(topic), rest, keys, partitions, *constants)
    while True:
        try:
            deque(calls, maxlen=0)
            break
        except (BufferError, KafkaException):
            row = len(values) - length_hint(rest) - 1
            own = same if each is None else list(each[row])
            send(producer, topic, values[row], keys[row], partitions[row], own)


def send(
    producer: Producer,
    topic: str,
    value: bytes | None,
    key: bytes | None,
    partition: int,
    headers: list[Any],
) -> None:
    """produce(); where the queue is full, wait until the broker took some of it.

    Raises TransactionAborted or ClientLost where the client does not take the record.
    """
    while True:
        try:
            producer.produce(topic, value, key, partition, headers=headers)
            return
        except BufferError:
            producer.poll(0.05)
        except KafkaException as why:
            raise _local(kafka_error(why)) from why


def _local(error: KafkaError) -> DependencyUnavailable:
    """A record that the client did not take: without an abort the rest would commit without it."""
    translated = translate(error, "producing")
    if isinstance(translated, ClientLost):
        return translated
    return TransactionAborted("Kafka", str(translated))


def _undelivered(cause: KafkaError, topic: str) -> Exception:
    """What the broker said of a record; the transaction's own error only counts them."""
    translated = translate(cause, f"delivering a record to {topic}")
    if isinstance(translated, DependencyUnavailable) and not isinstance(translated, ClientLost):
        return TransactionAborted("Kafka", translated.reason)
    return translated


def _topic_offsets(route: Route, output: Output) -> list[TopicPartition]:
    return [TopicPartition(route.events, p, offset) for p, offset in output.offsets.items()]
