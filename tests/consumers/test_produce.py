"""Events reach the topic with the right key, partition and pace, or it is said which did not."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import RECORD_BYTES_MAX
from consumers.produce import (
    CATCH_UP_S,
    AtRate,
    ByEventTime,
    EventProducer,
    FlatOut,
    Pace,
    Published,
    interrupt_noticed,
    key_bytes,
    publish_events,
)
from millstream.columnar import Encoder, arrow_schema, frame, make_decoder
from millstream.errors import ContractMismatch, DependencyUnavailable
from millstream.settings import KafkaSettings
from ops.kafka.broker import Broker
from ops.kafka.console import console_consume
from ops.kafka.embedded import EmbeddedBroker
from ops.kafka.fetch import fetch_kafka, java

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Event",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        ],
    }
)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def settings(embedded: EmbeddedBroker) -> KafkaSettings:
    return KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)


def batch(ids: list[str], seconds: list[float] | None = None) -> Any:
    times = [int(s * 1e6) for s in (seconds or [1.0] * len(ids))]
    schema = arrow_schema(SCHEMA)
    arrays = [pa.array(ids), pa.array(times).cast(schema.field("at").type)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def publish(
    settings: KafkaSettings,
    topic: str,
    batches: Any,
    pace: Pace | None = None,
    **options: Any,
) -> Published:
    producer = EventProducer(settings, delivery_ms_max=options.pop("delivery_ms_max", 30_000))
    encoder = Encoder(SCHEMA, frame(7))
    return publish_events(producer, topic, batches, encoder, "id", pace or FlatOut(), **options)


def read(bootstrap: str, topic: str, count: int) -> list[Message]:
    """`count` records, and proof that there are no more."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p)) for p in partitions]
        assert sum(high - low for low, high in ends) == count
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        found: list[Message] = []
        while len(found) < count:
            found += consumer.consume(count - len(found), 10)
        return found
    finally:
        consumer.close()


def values_of(records: list[Message]) -> list[bytes]:
    return [record.value() or b"" for record in records]


def test_a_rate_is_never_exceeded(settings: KafkaSettings, topic_name: str) -> None:
    """At 100 events a second no more than 100 t + 1 are out after t seconds, and all come out."""
    fake = FakeTime()
    out: list[tuple[float, int]] = []
    batches = [batch([f"{b}-{n}" for n in range(150)]) for b in range(2)]
    published = publish(
        settings,
        topic_name,
        batches,
        AtRate(100),
        progress=lambda count: out.append((fake.now - 1000.0, count)),
        clock=fake.clock,
        sleep=fake.sleep,
    )
    assert published.count == sum(count for _, count in out) == 300
    sent = itertools.accumulate(count for _, count in out)
    assert all(total <= 100 * at + 1.001 for (at, _), total in zip(out, sent, strict=True))
    assert published.seconds == pytest.approx(2.99, abs=0.01)


def test_a_stall_is_caught_up_for_a_second_at_most() -> None:
    """After 100 s without a call, a rate allows one second's events and goes on from there."""
    pace = AtRate(50)
    assert pace.ready(0, 10_000, 0.0)[0] == 1
    count, wait_s = pace.ready(1, 10_000, 100.0)
    assert count == 50 * CATCH_UP_S + 1
    assert wait_s == pytest.approx(1 / 50)
    assert pace.ready(52, 10_000, 100.0)[0] == 0
    assert pace.ready(52, 10_000, 100.02)[0] == 1


def test_event_times_space_the_events(settings: KafkaSettings, topic_name: str) -> None:
    """Events go out as far apart as their times are, over the speedup; a late one goes at once."""
    fake = FakeTime()
    out: list[tuple[float, int]] = []
    batches = [batch(["a", "b", "c", "d"], [10, 12, 12, 20]), batch(["e", "f"], [14, 30])]
    publish(
        settings,
        topic_name,
        batches,
        ByEventTime("at", speedup=2),
        progress=lambda count: out.append((round(fake.now - 1000.0, 2), count)),
        clock=fake.clock,
        sleep=fake.sleep,
    )
    assert out == [(0.0, 1), (1.0, 2), (5.0, 1), (5.0, 1), (10.0, 1)]


def test_keys_values_and_times(settings: KafkaSettings, topic_name: str) -> None:
    """The key is the field's UTF-8 text, the value is framed, the timestamp may be the event's."""
    ids = ["a", "Zoë", "", "x" * 300]
    events = batch(ids, [1.5, 2, 3, 4])
    published = publish(settings, topic_name, [events], time_column="at")
    records = read(settings.bootstrap, topic_name, 4)
    assert {record.key() for record in records} == {i.encode() for i in ids}
    assert {record.timestamp()[1] for record in records} == {1500, 2000, 3000, 4000}
    decoded = make_decoder(SCHEMA).decode(values_of(records), 5).columns.to_pylist()
    assert sorted(decoded, key=str) == sorted(events.to_pylist(), key=str)
    assert all(value[:5] == b"\0\0\0\0\7" for value in values_of(records))
    assert published.count == 4
    assert published.bytes == sum(map(len, values_of(records))) + sum(
        len(r.key() or b"") for r in records
    )


def test_number_keys_are_their_digits() -> None:
    """An int key field becomes its decimal text."""
    assert key_bytes(pa.array([0, -5, 2**40])) == [b"0", b"-5", b"1099511627776"]


def test_times_before_1970_are_no_kafka_timestamps(
    settings: KafkaSettings, topic_name: str
) -> None:
    """An event of 1969 cannot be published with its own time; the remedy says how it can."""
    with pytest.raises(ContractMismatch, match="--timestamps now"):
        publish(settings, topic_name, [batch(["a"], [-1.0])], time_column="at")


def test_a_dead_broker_fails_every_event() -> None:
    """Events that no broker took are counted and the reason is told, with exit code 3."""
    settings = KafkaSettings(bootstrap="127.0.0.1:1")
    with pytest.raises(DependencyUnavailable) as caught:
        publish(settings, "t", [batch(["a"] * 10)], delivery_ms_max=1_000)
    assert "10 of 10 events were not delivered to t" in caught.value.reason
    assert "_MSG_TIMED_OUT" in caught.value.reason
    assert caught.value.exit_code == 3


def test_a_full_queue_waits_and_a_dead_broker_ends_it() -> None:
    """More events than the local queue holds wait for room; once delivery fails it stops early."""
    settings = KafkaSettings(bootstrap="127.0.0.1:1")
    endless = itertools.repeat(batch(["a"] * 10_000))
    with pytest.raises(DependencyUnavailable, match="publishing stopped there"):
        publish(settings, "t", endless, delivery_ms_max=2_000)


def test_one_event_too_large_costs_no_other(settings: KafkaSettings, topic_name: str) -> None:
    """An event above the limit is counted as failed, and the ones around it are delivered."""
    events = batch(["a", "x" * RECORD_BYTES_MAX, "b"])
    with pytest.raises(DependencyUnavailable) as caught:
        publish(settings, topic_name, [events, batch(["c"])])
    assert "1 of 4 events were not delivered" in caught.value.reason
    assert "MSG_SIZE_TOO_LARGE" in caught.value.reason
    assert {r.key() for r in read(settings.bootstrap, topic_name, 3)} == {b"a", b"b", b"c"}


def test_a_bad_row_is_raised_after_what_was_queued_is_out(
    settings: KafkaSettings, topic_name: str
) -> None:
    """When the file turns bad, the events before it are delivered and counted in the error."""

    def batches() -> Iterator[Any]:
        yield batch(["a", "b"])
        raise ContractMismatch("f.csv, row 2: it is bad", "Mend it")

    with pytest.raises(ContractMismatch, match=r"row 2: it is bad \(2 events before it are out\)"):
        publish(settings, topic_name, batches())
    assert len(read(settings.bootstrap, topic_name, 2)) == 2


def test_stopping_delivers_what_was_queued(settings: KafkaSettings, topic_name: str) -> None:
    """When told to stop it queues no more, delivers what is queued and says so."""
    fake = FakeTime()
    published = publish(
        settings,
        topic_name,
        itertools.repeat(batch(["a"] * 1_000)),
        AtRate(1_000),
        stopped=lambda: fake.now >= 1002.5,
        clock=fake.clock,
        sleep=fake.sleep,
    )
    assert published.interrupted
    assert 2_400 <= published.count <= 2_600
    assert len(read(settings.bootstrap, topic_name, published.count)) == published.count


def test_the_first_interrupt_is_noticed_and_the_second_interrupts() -> None:
    """Ctrl-C asks once, then insists; afterwards it is as it was."""
    before = signal.getsignal(signal.SIGINT)
    with interrupt_noticed() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def topic_on(kafka: Broker, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)


def test_another_client_reads_what_was_published(kafka: Broker, topic_name: str) -> None:
    """Kafka's own consumer finds each event once, and equal keys in one partition, in order."""
    topic_on(kafka, topic_name, 4)
    ids = [f"k-{n % 50}" for n in range(3_000)]
    seconds = [float(n) for n in range(3_000)]
    published = publish(KafkaSettings(bootstrap=kafka.bootstrap), topic_name, [batch(ids, seconds)])
    assert published.count == 3_000
    records = console_consume(kafka.bootstrap, topic_name, records_max=3_000)
    values = [record.value for record in records if record.value is not None]
    decoded = make_decoder(SCHEMA).decode(values, 5).columns.to_pylist()
    assert sorted(row["at"].timestamp() for row in decoded) == seconds
    assert [record.key for record in records] == [row["id"].encode() for row in decoded]
    homes: dict[bytes | None, set[int]] = {}
    last: dict[str, float] = {}
    for record, row in zip(records, decoded, strict=True):
        homes.setdefault(record.key, set()).add(record.partition)
        assert row["at"].timestamp() > last.get(row["id"], -1.0)
        last[row["id"]] = row["at"].timestamp()
    assert all(len(home) == 1 for home in homes.values())
    assert set().union(*homes.values()) == {0, 1, 2, 3}


def test_keys_are_partitioned_as_java_does(kafka: Broker, topic_name: str) -> None:
    """Every key goes to the partition to which Kafka's own producer sends it."""
    keys = [f"A-{n}" for n in range(400)] + [f"Zoë {n} ünïcödé" for n in range(100)]
    java_topic = f"{topic_name}-java"
    topic_on(kafka, topic_name, 7)
    topic_on(kafka, java_topic, 7)
    publish(KafkaSettings(bootstrap=kafka.bootstrap), topic_name, [batch(keys)])
    argv = [
        java(), "-Xmx256m", "-Dfile.encoding=UTF-8", "-cp", f"{fetch_kafka()}/*",
        "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", kafka.bootstrap,
        "--topic", java_topic, "--property", "parse.key=true", "--property", "key.separator=|",
    ]  # fmt: skip
    text = "".join(f"{key}|v\n" for key in keys).encode()
    subprocess.run(argv, input=text, check=True, capture_output=True, timeout=120)
    ours = {r.key(): r.partition() for r in read(kafka.bootstrap, topic_name, len(keys))}
    theirs = {r.key(): r.partition() for r in read(kafka.bootstrap, java_topic, len(keys))}
    assert ours == theirs
    assert set(ours.values()) == set(range(7))
