"""What happens to the broker and on the way to it: one named outcome each, the audit after all."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka import consumer_config, translate
from consumers.topics import create_topics
from millstream.errors import ClientLost
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from ops.faults.bed import frozen
from ops.faults.load import Load
from ops.kafka.broker import Broker
from ops.process import Child
from tests.crash.audit import committed
from tests.faults.trial import Trial, wait_for_exit, wait_until_stopped
from tests.streams import make_loans

OPERATOR_EXIT, LOST_EXIT = 2, 3
WATCHDOG = "has not returned for"


def test_a_broker_that_is_killed_and_started_again_costs_a_restart_at_most(trial: Trial) -> None:
    """Whoever was in a transaction may leave with exit code 3; the others go on by themselves."""
    with trial.under_load():
        trial.tend_for(1)
        trial.bed.broker.kill()
        trial.bed.broker.restart()
        trial.tend_for(2)
    trial.audit()
    assert WATCHDOG not in trial.since("scorer-0")


def test_a_broker_that_hangs_is_waited_for(trial: Trial) -> None:
    """SIGSTOP for 8 s, longer than a session: nobody is lost, since its clock stood still too."""
    with trial.under_load():
        trial.tend_for(1)
        with frozen(trial.bed.broker.pid):
            trial.tend_for(8)
        trial.tend_for(1)
    trial.audit()
    assert WATCHDOG not in trial.since("scorer-0")


def test_every_consumer_finds_a_broker_again_that_hung(kafka_jars: Path, tmp_path: Path) -> None:
    """After a hang longer than its lease a broker may answer that there is no broker at all. Each
    of twelve consumers has its partitions back, or says that it is lost; none waits for ever."""
    with Broker(tmp_path / "kafka") as broker:
        settings = KafkaSettings(bootstrap=broker.bootstrap, session_timeout_ms=6_000)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for created in admin.create_topics([NewTopic("t", 4)]).values():
            created.result(30)
        members = [Member(settings, number) for number in range(12)]
        try:
            settle(members, lambda each: each.owned == 4)
            with frozen(broker.pid):
                poll(members, 8.0)
            poll(members, 10.0)  # what was owned before the hang is not owned now
            settle(members, lambda each: each.owned == 4 or each.is_lost)
        finally:
            for each in members:
                each.consumer.close()


class Member:
    """A consumer in a group of its own; how many partitions it has, and whether it is lost."""

    def __init__(self, settings: KafkaSettings, number: int) -> None:
        self.owned = 0
        self.is_lost = False
        self.consumer = Consumer(consumer_config(settings, f"g{number}", f"g{number}-0"))
        self.consumer.subscribe(
            ["t"], on_assign=self._gain, on_revoke=self._lose, on_lost=self._lose
        )

    def _gain(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        self.owned += len(given)
        consumer.incremental_assign(given)

    def _lose(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        self.owned -= len(taken)
        consumer.incremental_unassign(taken)

    def poll(self) -> None:
        record = self.consumer.poll(0.02)
        error = None if record is None else record.error()
        self.is_lost = self.is_lost or (
            error is not None and isinstance(translate(error, ""), ClientLost)
        )


def poll(members: list[Member], seconds: float) -> None:
    """Each of them in turn, so that none leaves its group for want of polls."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for each in members:
            each.poll()


def settle(members: list[Member], done: Callable[[Member], bool]) -> None:
    """Poll until it is true of all; fails after a minute with those of which it is not."""
    deadline = time.monotonic() + 60
    while not all(done(each) for each in members):
        poll(members, 0.5)
        left = [number for number, each in enumerate(members) if not done(each)]
        assert time.monotonic() < deadline, f"consumers {left} wait for ever"


def test_resets_of_all_connections_hang_nothing(trial: Trial) -> None:
    """No transaction call hangs (librdkafka #5511), no program leaves."""
    starts = {name: p.starts for name, p in trial.bed.stack.programs.items()}
    reset = 0
    with trial.under_load():
        for _ in range(6):
            trial.tend_for(0.7)
            reset += trial.bed.kafka.reset()
    trial.audit()
    assert reset >= 12, "the programs were not connected through the proxy"
    assert WATCHDOG not in trial.since("scorer-0")
    assert {name: p.starts for name, p in trial.bed.stack.programs.items()} == starts


def test_a_lost_answer_to_a_commit_makes_the_scorer_replace_its_producer(
    trial: Trial, tmp_path: Path
) -> None:
    """A late EndTxn could hit the next transaction (KIP-890): after a slow commit the producer is
    not used again; there is a new one, or a new process."""
    child = trial.doomed_scorer("scorer:3:2:stop", tmp_path)
    trial.publish(2_000)
    wait_until_stopped(child)
    trial.bed.kafka.swallow()
    os.kill(child.pid, signal.SIGCONT)
    trial.tend_for(5)
    trial.bed.mend()
    trial.audit()
    said = child.tail(50)
    assert "the producer is replaced" in said or "must be started again" in said, said
    assert WATCHDOG not in said


def test_slow_lines_slow_everything_and_fail_nothing(trial: Trial) -> None:
    """150 +- 50 ms in each direction: no warning, no restart."""
    starts = {name: p.starts for name, p in trial.bed.stack.programs.items()}
    trial.bed.kafka.slow(0.150, 0.050)
    with trial.under_load(300):
        trial.tend_for(4)
    trial.audit()
    assert {name: p.starts for name, p in trial.bed.stack.programs.items()} == starts
    assert "WARNING" not in trial.since("scorer-0") + trial.since("sink")


def test_a_broker_that_is_away_ends_programs_until_it_is_back(trial: Trial) -> None:
    """Away for longer than a transaction may last: the scorer leaves, each new one says that no
    broker answers, and the first that finds one goes on where the last was."""
    with trial.under_load():
        trial.tend_for(1)
        trial.bed.kafka.cut()
        trial.wait_for("no Kafka broker answers at", "scorer-0")
        trial.bed.mend()
    trial.audit()
    assert trial.bed.stack.programs["scorer-0"].starts > 1


def test_a_deleted_output_topic_stops_the_scorer_with_its_name(
    trial: Trial, tmp_path: Path
) -> None:
    """What it sent is not taken: the client is lost (exit code 3). Each new one leaves at its start
    with exit code 2, the topic's name and what to do. The offsets do not move, so that a topic that
    is made again gets every prediction."""
    bed = trial.bed
    stream = other_stream(tmp_path / "deleted")
    topic = stream.topic("predictions")
    settings = KafkaSettings(bootstrap=bed.bootstrap)
    create_topics(stream, settings)
    load = Load(stream, bed.bootstrap, bed.registry_server.url)
    scorer = a_scorer(trial, stream, tmp_path)
    try:
        load.publish(500)
        trial.tend(lambda: len(committed(bed.bootstrap, topic)) == 500, "500 predictions")
        admin = AdminClient({"bootstrap.servers": bed.bootstrap})
        admin.delete_topics([topic])[topic].result(30)
        events = load.publish(1_000)
        assert wait_for_exit(scorer) in {LOST_EXIT, OPERATOR_EXIT}, scorer.tail()
        scorer = a_scorer(trial, stream, tmp_path)
        assert wait_for_exit(scorer) == OPERATOR_EXIT, scorer.tail()
        assert topic in scorer.tail(2), scorer.tail()
        create_topics(stream, settings)
        scorer = a_scorer(trial, stream, tmp_path)
        trial.tend(lambda: len(committed(bed.bootstrap, topic)) >= 1_000, "1,000 predictions")
        keys = sorted(
            str(key, "ascii") for key, _ in committed(bed.bootstrap, topic).values() if key
        )
        assert keys == sorted(f"L-{n}" for n in range(500, events))
    finally:
        scorer.stop()


def other_stream(folder: Path) -> Stream:
    """A stream of its own on the same broker, named after its folder."""
    make_loans(folder)
    toml = folder / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', f'name = "{folder.name}"'))
    return Stream.load(toml)


def a_scorer(trial: Trial, stream: Stream, folder: Path) -> Child:
    """Its scorer, which nobody starts again."""
    return Child(
        "other scorer",
        [sys.executable, "-m", "millstream", "score", str(stream.path)],
        log=folder / "other.log",
        env=trial.bed.stack.environment,
    )
