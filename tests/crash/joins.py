"""A stream's predictions and outcomes on a real broker, and what a join must make of them."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.registry import Registry, subject_of
from consumers.topics import create_topics
from millstream.columnar import FRAME_BYTES, frame
from millstream.contracts import contract, topic_table
from millstream.matching import Matcher
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.process import Child
from tests.crash.audit import committed
from tests.millstream.matching.logs import (
    CHUNK,
    outcome_values,
    prediction_values,
    records,
    schema_of,
)

WAIT_S = 60.0
PARTITIONS = 2
OUTCOME_WAIT_S = 100
START_MS = int(time.time() * 1_000)  # or retention deletes the records as old ones
END_MS = START_MS + 1_000_000
Log = dict[int, list[tuple[bytes, int]]]
"""Partition -> value and timestamp in milliseconds."""


class JoinBed:
    """A stream `name` of two partitions; what is published to it, and who joins it.

    embedded: the mock cluster, where it is one; nothing is aborted then.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        kafka: str,
        registry: str,
        embedded: EmbeddedBroker | None = None,
    ) -> None:
        self.folder = folder
        self.stream = _stream(folder, name)
        self.kafka = KafkaSettings(
            bootstrap=kafka, embedded=embedded is not None, session_timeout_ms=6_000
        )
        self.environment = {
            "MILLSTREAM_KAFKA_BOOTSTRAP": kafka,
            "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
            "MILLSTREAM_REGISTRY_URL": registry,
            "MILLSTREAM_JOIN_TRANSACTION_RECORDS_MAX": "300",
        }
        if embedded is None:
            create_topics(self.stream, self.kafka)
        else:
            for topic in topic_table().values():
                embedded.create_topic(topic.name(name), PARTITIONS)
        client = Registry(RegistrySettings(url=registry))
        self._ids = {
            kind: client.register(subject_of(self.stream.topic(kind)), contract(subject, 1).text)
            for kind, subject in (
                ("predictions", "prediction"),
                ("outcomes", "outcome"),
                ("labelled", "labelled"),
            )
        }
        self._logs: dict[str, Log] = {
            topic: {n: [] for n in range(PARTITIONS)} for topic in ("predictions", "outcomes")
        }
        self._dice = random.Random(name)
        self._events = 0
        self.children: dict[str, Child] = {}

    def publish(self, count: int) -> None:
        """So many predictions, outcomes of most of them, half of those before their prediction;
        some of them twice, some corrected; and predictions that are aborted, with outcomes."""
        dice, first = self._dice, self._events
        self._events += count
        left: list[tuple[str, int, bytes, int]] = []
        for n in range(first, first + count):
            partition, at = n % PARTITIONS, START_MS + dice.randrange(50_000)
            (value,) = prediction_values([f"E-{n}"], partition, n)
            left.append(("predictions", partition, value, at))
            if dice.random() < 0.2:
                continue
            labels = ["1", "1", "0"][: dice.choice([1, 1, 1, 2, 3])]
            known = [START_MS * 1_000 + place for place in range(len(labels))]
            for outcome in outcome_values([f"E-{n}"] * len(labels), labels, known):
                left.append(("outcomes", partition, outcome, at))
        order = sorted(left, key=lambda _: dice.random())
        self._send(order)
        if not self.kafka.embedded:
            self._abort([f"X-{first}-{n}" for n in range(50)])

    def end(self) -> None:
        """Both topics go on beyond the wait: what has no outcome gets none any more."""
        ended = []
        for partition in range(PARTITIONS):
            name = f"end-{partition}"
            (value,) = prediction_values([name], partition, 10_000_000)
            ended.append(("predictions", partition, value, END_MS))
            ended.append(("outcomes", partition, outcome_values([name], ["0"], [1])[0], END_MS))
        self._send(ended)

    def expected(self) -> dict[str, bytes]:
        """Labelled records by id, as an unbroken run over both logs makes them."""
        matcher = Matcher(
            "binary", OUTCOME_WAIT_S * 1_000_000, schema_of, self._ids["labelled"], CHUNK
        )
        found: dict[str, bytes] = {}
        for partition in range(PARTITIONS):
            matcher.restore(partition, [])
            both = []
            for topic, schema_id in (("predictions", 1), ("outcomes", 2)):
                log = self._logs[topic][partition]
                values = [frame(schema_id) + value[FRAME_BYTES:] for value, _ in log]
                times = [at * 1_000 for _, at in log]
                both.append(records(topic, values, times, partition=partition))
            joined = matcher.take(both[0], both[1])
            for value in joined.values:
                found[_id_of(value)] = value
        return found

    def labelled(self) -> list[bytes]:
        """Every committed labelled record."""
        there = committed(self.kafka.bootstrap, self.stream.topic("labelled"))
        return [value or b"" for _, value in there.values()]

    def start(self, name: str, *arguments: str, **environment: str) -> Child:
        """`python -m ARGUMENTS`, as a program of this stream."""
        child = Child(
            name,
            [sys.executable, "-m", *arguments],
            log=self.folder / f"{name}.log",
            env=self.environment | environment,
        )
        self.children[name] = child
        return child

    def join(self, slot: int = 0, *options: str, **environment: str) -> Child:
        """`millstream join` in a slot."""
        path = str(self.stream.path)
        command = ("millstream", "join", path, "--slot", str(slot), *options)
        return self.start(f"join-{slot}", *command, **environment)

    def wait_for(self, done: Callable[[], bool], what: str) -> None:
        """Fails with the programs' last lines where it does not come to be."""
        deadline = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > deadline:
                tails = {name: child.tail(20) for name, child in self.children.items()}
                raise AssertionError(f"{what} did not come to be in {WAIT_S:.0f} s: {tails}")
            time.sleep(0.2)

    def wait_for_all(self) -> None:
        """Until every labelled record that is expected is there, perhaps more than once."""
        wanted = set(self.expected().values())
        self.wait_for(lambda: wanted <= set(self.labelled()), f"{len(wanted)} labelled records")

    def assert_exact(self) -> None:
        """Each of them once, to the byte, and no other."""
        self.assert_by_id()
        doubled = [each for each, count in Counter(self.labelled()).items() if count > 1]
        assert doubled == []

    def assert_by_id(self) -> None:
        """By their ids, exactly what is expected."""
        found: dict[str, set[bytes]] = {}
        for value in self.labelled():
            found.setdefault(_id_of(value), set()).add(value)
        assert found == {name: {value} for name, value in self.expected().items()}

    def stop(self) -> None:
        for child in self.children.values():
            child.stop()

    def _send(self, given: list[tuple[str, int, bytes, int]]) -> None:
        """In this order; so that no clock passes what is not there yet, all before any is read."""
        producer = Producer(producer_config(self.kafka, "bed"))
        for topic, partition, value, at in given:
            self._logs[topic][partition].append((value, at))
            self._produce(producer, topic, partition, value, at)
        assert producer.flush(30) == 0

    def _abort(self, ids: list[str]) -> None:
        """Predictions in a transaction that is aborted; their outcomes are there."""
        config = producer_config(self.kafka, "aborts") | {"transactional.id": f"{ids[0]}-aborts"}
        producer = Producer(config)
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in prediction_values(ids, 0, 20_000_000):
            self._produce(producer, "predictions", 0, value, START_MS)
        assert producer.flush(30) == 0
        producer.abort_transaction(30)
        labels, known = ["1"] * len(ids), [1] * len(ids)
        self._send(
            [("outcomes", 0, value, START_MS) for value in outcome_values(ids, labels, known)]
        )

    def _produce(
        self, producer: Producer, topic: str, partition: int, value: bytes, at: int
    ) -> None:
        framed = frame(self._ids[topic]) + value[FRAME_BYTES:]
        producer.produce(self.stream.topic(topic), framed, b"k", partition=partition, timestamp=at)


def _id_of(labelled: bytes) -> str:
    length = labelled[FRAME_BYTES] >> 1
    return labelled[FRAME_BYTES + 1 : FRAME_BYTES + 1 + length].decode()


def _stream(folder: Path, name: str) -> Stream:
    (folder / "e.avsc").write_text(
        '{"type":"record","name":"E","fields":[{"name":"id","type":"string"},{"name":"n","type":'
        '"int"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}'
    )
    (folder / "stream.toml").write_text(
        f'name = "{name}"\n[event]\nschema = "e.avsc"\nkey = "id"\nid = "id"\ntime = "at"\n'
        f'[features]\norder = ["n"]\n[label]\nkind = "binary"\noutcome_wait_s = {OUTCOME_WAIT_S}\n'
        f'[model]\nbundle = "b"\n[serving]\npartitions = {PARTITIONS}\n'
    )
    return Stream.load(folder / "stream.toml")
