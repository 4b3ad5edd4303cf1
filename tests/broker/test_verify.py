"""`millstream verify` finds each planted damage by its offset, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from consumers.alerts.alert import read_alarms
from consumers.kafka import producer_config
from consumers.metrics.instruments import Live, installed
from consumers.registry import Registry
from consumers.verify.about import Options
from consumers.verify.watch import Watch
from consumers.warehouse import Warehouse
from millstream.alerts.alarm import Alarm
from millstream.alerts.wire import Reader
from millstream.audit.ledger import Kind
from millstream.audit.report import Report
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.stack import Parts, Stack
from tests.broker.planted import EVENTS, Answers, Planted, changed
from tests.broker.waiting import wait_for, wait_for_rows
from tests.streams import applications, framed, make_loans

LETTERS = 10
Spoil = Callable[[Planted, Answers], None]


@pytest.fixture(scope="module")
def stack(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stream `loans` with scorer and sink; registry and ClickHouse serve other streams too."""
    folder = tmp_path_factory.mktemp("verify")
    make_loans(folder / "loans")
    stream = Stream.load(folder / "loans" / "stream.toml")
    with Stack(stream, folder / "run", Parts(kafka=kafka.bootstrap)) as running:
        yield running


@contextmanager
def planted(stack: Stack, name: str) -> Iterator[Planted]:
    made = Planted(stack.stream.path.parent, stack, name)
    yield made
    made.close()


def found(report: Report) -> dict[tuple[str, str], tuple[int, ...]]:
    """(kind, topic or table) -> offsets."""
    return {(each.kind.value, each.subject): each.offsets for each in report.findings}


def without(answers: Answers, offset: int) -> Any:
    """Take the prediction of this event out."""
    place = next(i for i, each in enumerate(answers.predictions) if each[0] == offset)
    return answers.predictions.pop(place)


def drop(made: Planted, answers: Answers) -> None:
    without(answers, 123)
    made.answer(answers)


def double(made: Planted, answers: Answers) -> None:
    answers.predictions.append(next(p for p in answers.predictions if p[0] == 123))
    made.answer(answers)


def abort(made: Planted, answers: Answers) -> None:
    """The missing one is in a transaction that was aborted: read_uncommitted would count it."""
    only = Answers(predictions=[without(answers, 123)])
    made.answer(only, abort=True)
    made.answer(answers)


def strip(made: Planted, answers: Answers) -> None:
    offset, key, value, _ = answers.letters[3]
    answers.letters[3] = (offset, key, value, [("other", b"1")])
    made.answer(answers)


def commit_early(made: Planted, answers: Answers) -> None:
    made.answer(answers)
    made.publish(2)
    made.commit(EVENTS + 2)


def commit_late(made: Planted, answers: Answers) -> None:
    answers.commit = 390
    made.answer(answers)


def swap(made: Planted, answers: Answers) -> None:
    predictions = answers.predictions
    predictions[50], predictions[51] = predictions[51], predictions[50]
    made.answer(answers)


def invent(made: Planted, answers: Answers) -> None:
    offset, key, value, headers = answers.predictions[7]
    answers.predictions.append((offset, key, changed(value, source_offset=9_999), headers))
    made.answer(answers)


def letter_too(made: Planted, answers: Answers) -> None:
    """A letter for an event that has a prediction: the same letter, for its neighbour."""
    offset, key, value, headers = answers.letters[0]
    spoilt = [(n, b"1" if n.endswith(".offset") else v) for n, v in headers]
    answers.letters.append((offset, key, value, spoilt))
    made.answer(answers)


def misjudge(made: Planted, answers: Answers) -> None:
    """Every score is a little off, in Kafka and so in the table."""
    answers.predictions = [
        (o, k, changed(v, score=0.25, scores=[0.75, 0.25]), h) for o, k, v, h in answers.predictions
    ]
    made.answer(answers)


@pytest.mark.parametrize(
    ("spoil", "kind", "topic", "offsets"),
    [
        (drop, Kind.LOST, "events", (123,)),
        (double, Kind.DOUBLED, "events", (123,)),
        (abort, Kind.LOST, "events", (123,)),
        (letter_too, Kind.DOUBLED, "events", (1,)),
        (commit_early, Kind.LOST, "events", (400, 401)),
        (commit_late, Kind.OFFSET, "events", (390,)),
        (swap, Kind.ORDER, "events", (52,)),
        (invent, Kind.ALIEN, "events", (9_999,)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damage_on_kafka_is_found_by_its_offset_and_alone(
    spoil: Spoil, kind: Kind, topic: str, offsets: tuple[int, ...], stack: Stack
) -> None:
    """Each planted damage is one finding with exactly its offsets, and the exit code is 1."""
    with planted(stack, f"v_{spoil.__name__}") as made:
        spoil(made, made.publish())
        made.sink()
        report = made.audit()
        assert found(report) == {(kind.value, made.stream.topic(topic)): offsets}
        assert report.verdict.exit_code == 1


def test_a_letter_without_headers_is_unreadable_and_its_event_lost(stack: Stack) -> None:
    """A dead letter that does not say whose it is answers nothing."""
    with planted(stack, "v_strip") as made:
        strip(made, made.publish())
        made.sink()
        report = made.audit()
        assert found(report) == {
            ("lost", "v_strip.events"): (120,),
            ("unreadable", "v_strip.dead-letters"): (3,),
        }
        assert report.verdict.exit_code == 1


def test_scores_that_the_model_does_not_give_are_found(stack: Stack) -> None:
    """A sample of 1 % is scored again from the events' bytes."""
    with planted(stack, "v_misjudge") as made:
        misjudge(made, made.publish())
        made.sink()
        report = made.audit()
        ((kind, topic),) = found(report)
        assert (kind, topic) == ("score_differs", "v_misjudge.events")
        assert report.rescored == report.findings[0].total > 0
        assert report.verdict.exit_code == 1


def test_damage_in_clickhouse_is_found_by_its_offset_and_alone(stack: Stack) -> None:
    """Rows doubled, altered, deleted, or of no record; offset 390 is the transaction's marker."""
    with planted(stack, "v_rows") as made:
        made.answer(made.publish())
        made.sink()
        columns = "(kafka_topic, kafka_offset, kafka_block_time)"
        for statement in (
            "INSERT INTO {} SELECT * FROM v_rows.predictions WHERE kafka_offset = 77",
            "ALTER TABLE {} UPDATE score = score / 2 WHERE kafka_offset = 78",
            "ALTER TABLE {} DELETE WHERE kafka_offset = 79",
            f"INSERT INTO {{}} {columns} VALUES ('v_rows.predictions', 390, '2024-01-01')",
            f"INSERT INTO {{}} {columns} VALUES ('v_rows.predictions', 999, '2024-01-01')",
        ):
            made.sql(statement.format("v_rows.predictions"))
        made.sql("ALTER TABLE v_rows.dead_letters UPDATE error = 'x' WHERE kafka_offset = 4")
        made.sql("ALTER TABLE v_rows.dead_letters DELETE WHERE kafka_offset = 2")
        made.sql("ALTER TABLE v_rows.events UPDATE salary = 1 WHERE 1")
        report = made.audit()
        told = found(report)
        altered = told.pop(("row_differs", "events"))
        assert len(altered) == report.rescored > 0, "a sample of the events is compared"
        assert told == {
            ("row_doubled", "predictions"): (77,),
            ("row_differs", "predictions"): (78,),
            ("row_missing", "predictions"): (79,),
            ("row_extra", "predictions"): (390, 999),
            ("row_differs", "dead_letters"): (4,),
            ("row_missing", "dead_letters"): (2,),
        }
        assert report.verdict.exit_code == 1


def test_what_nobody_can_tell_is_said_and_never_passes(stack: Stack) -> None:
    """An open transaction, a scorer that stands still, a model that is not at hand: exit code 2."""
    with planted(stack, "v_unknown") as made:
        made.answer(made.publish())
        made.sink()
        assert made.audit().verdict.exit_code == 0
        assert made.audit(bundles=()).rescored == 0

        waiting = made.publish(5)
        report = made.audit()
        assert found(report) == {
            ("scorer_stalled", "v_unknown.events"): (),
            ("sink_stalled", "events"): (),
        }
        assert report.verdict.exit_code == 2

        made.answer(waiting, leave_open=True)
        report = made.audit()
        assert ("open_transaction", "v_unknown.predictions") in found(report)
        assert report.verdict.exit_code == 2


def test_another_model_is_not_scored_again(stack: Stack) -> None:
    """Predictions that name a bundle that is not at hand are not told: exit code 2."""
    with planted(stack, "v_model") as made:
        answers = made.publish()
        digest = "sha256:" + "0" * 64
        answers.predictions = [
            (o, k, changed(v, model_digest=digest), h) for o, k, v, h in answers.predictions
        ]
        made.answer(answers)
        made.sink()
        report = made.audit()
        assert [each.kind for each in report.findings] == [Kind.NOT_RESCORED]
        assert report.verdict.exit_code == 2
        assert made.audit(bundles=()).verdict.exit_code == 0


def test_what_retention_removed_is_told_from_clickhouse_or_not_at_all(stack: Stack) -> None:
    """With its rows an expired head is as good as there; without them it cannot be told."""
    with planted(stack, "v_expired") as made:
        made.answer(made.publish())
        made.sink()
        for kind, before in (("events", 100), ("predictions", 150), ("dead_letters", 2)):
            made.expire(made.stream.topic(kind), before)
        report = made.audit()
        assert found(report) == {}
        assert report.lines[0].events == EVENTS

        made.sql("ALTER TABLE v_expired.predictions DELETE WHERE source_offset = 60")
        made.sql("ALTER TABLE v_expired.events DELETE WHERE kafka_offset IN (7, 70)")
        report = made.audit()
        assert found(report) == {
            ("event_expired", "v_expired.events"): (7, 70),
            ("answer_expired", "v_expired.events"): (60,),
        }
        assert report.verdict.exit_code == 2


def publish(stack: Stack, count: int, first: int) -> None:
    """Events of `loans`, over its four partitions."""
    topic = stack.stream.topic("events")
    schema_id = Registry(stack.registry).register(
        f"{topic}-value", stack.stream.schema_of_event.text
    )
    producer = Producer(producer_config(stack.kafka, "test"))
    for row, value in enumerate(framed(applications(count, first=first), schema_id)):
        producer.produce(topic, value, f"k{first + row}".encode())
    assert producer.flush(30) == 0


def command(stack: Stack, *options: str) -> subprocess.CompletedProcess[str]:
    """`millstream verify` as a person runs it."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "millstream", "verify", str(stack.stream.path), *options),
            *("--kafka", stack.kafka.bootstrap, "--registry", stack.registry.url),
            *("--warehouse", stack.warehouse.url),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_live_topics_are_clean_until_rows_are_deleted_by_hand(stack: Stack) -> None:
    """Events flow while it looks: 0. Then three events' rows and one prediction's row are deleted:
    it names exactly these offsets and ends with 1."""
    warehouse = Warehouse.connect(stack.warehouse)
    publish(stack, 6_000, 0)
    stop = threading.Event()

    def flow() -> None:
        first = 6_000
        while not stop.wait(0.2):
            publish(stack, 200, first)
            first += 200

    producing = threading.Thread(target=flow)
    producing.start()
    try:
        live = command(stack, "--json")
    finally:
        stop.set()
        producing.join()
    report = json.loads(live.stdout)
    assert (live.returncode, report["findings"]) == (0, [])
    assert report["events"] >= 6_000

    total = events_total(stack)
    wait_for_rows(stack, warehouse, {"loans.events": total, "loans.predictions": total})
    gone = {"events": ((0, 11), (0, 700), (2, 5)), "predictions": ((1, 33),)}
    for table, places in gone.items():
        for partition, offset in places:
            warehouse.command(
                f"ALTER TABLE loans.{table} DELETE WHERE kafka_partition = {partition} AND "
                f"kafka_offset = {offset} SETTINGS mutations_sync = 1"
            )
    warehouse.close()
    after = command(stack)
    assert after.returncode == 1, after.stderr
    assert [line for line in after.stdout.splitlines() if "WRONG" in line] == [
        f"WRONG  {place} records have no row, though the sink has passed them; offsets {offsets}"
        for place, offsets in (
            ("events-0: 2", "11, 700"),
            ("events-2: 1", "5"),
            ("predictions-1: 1", "33"),
        )
    ]


def events_total(stack: Stack) -> int:
    """Events of `loans` on Kafka."""
    consumer = Consumer({"bootstrap.servers": stack.kafka.bootstrap, "group.id": "total"})
    topic = stack.stream.topic("events")
    marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in range(4)]
    consumer.close()
    return sum(high for _, high in marks)


def test_a_watch_tells_damage_once_and_goes_on(stack: Stack, tmp_path: Path) -> None:
    """New offsets only; the alarm is a record of NAME.alarms, the metrics file says how many.
    Once the event is answered, the next watch resolves it."""
    with planted(stack, "v_watch") as made:
        made.answer(made.publish())
        made.sink()
        stop, reports = threading.Event(), []
        metrics = tmp_path / "audit.prom"
        options = Options(wait_s=0.5, bundles=(made.stream.bundle_path,))
        parts = (stack.kafka, stack.registry, stack.warehouse)
        live = Live(Store("verify"), Health(lambda: 0.0, 60.0, needs_partitions=False))
        with installed(live):
            watch = Watch(made.stream, *parts, options, metrics)
        watching = threading.Thread(target=lambda: reports.append(watch.run(0.2, stop)))
        watching.start()
        wait_for(stack, metrics.exists, "the first look")
        assert 'millstream_audit_verdict{stream="v_watch"} 0' in metrics.read_text()
        later = made.publish(100)
        lacking = without(later, 450)
        made.answer(later)
        lost = 'millstream_audit_findings{stream="v_watch",kind="lost"} 1'
        wait_for(stack, lambda: lost in metrics.read_text(), "the finding")
        stop.set()
        watching.join()
        assert live.health.why_not_ready() == []
        assert live.store.value("millstream_audit_findings", kind="lost") == 1
        assert found(reports[0])[("lost", "v_watch.events")] == (450,)
        assert reports[0].verdict.exit_code == 1
        reader = Reader(Registry(stack.registry).schema)
        (alarm,) = read_alarms(stack.kafka, made.stream, reader)
        assert (alarm.rule, alarm.source, alarm.firing) == ("verify_lost", "verify", True)
        assert (alarm.labels["subject"], alarm.evidence["offsets"]) == ("v_watch.events", [450])
        made.answer(Answers([lacking], commit=500))
        made.sink()
        watch = Watch(made.stream, *parts, options, metrics)
        stop.clear()
        watching = threading.Thread(target=lambda: reports.append(watch.run(0.2, stop)))
        watching.start()

        def ended() -> list[Alarm]:
            known = read_alarms(stack.kafka, made.stream, reader)
            return [each for each in known if each.id == alarm.id and not each.firing]

        wait_for(stack, lambda: bool(ended()), "the alarm's end")
        stop.set()
        watching.join()
