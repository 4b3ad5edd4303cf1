"""Letters redriven on a real broker: after a fix, killed at every step, twice at once, dry."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

import consumers.redrive
from consumers.kafka import TransactionAborted
from consumers.letters import Wanted
from consumers.redrive import Account, RedrivePublisher
from consumers.registry import Registry
from millstream.columnar import Encoder, frame
from millstream.contracts import topic_table
from millstream.errors import ClientLost
from millstream.letters import REPLAY_ORIGIN, Source, attempt_of, from_headers, replay_of
from millstream.settings import ScorerSettings
from ops.kafka.broker import Broker
from ops.process import Child
from ops.registry.process import EmbeddedRegistry
from tests.broker.letters import Rig, ends, place
from tests.crash.test_kills import wait_until_dead
from tests.streams import applications, make_loans

STEPS = (1, 2, 3, 4)
NAN = float("nan")


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loans stream with its bundle, trained once."""
    folder = tmp_path_factory.mktemp("loans")
    make_loans(folder)
    return folder


@pytest.fixture
def rig(
    loans: Path,
    kafka: Broker,
    embedded_registry: EmbeddedRegistry,
    tmp_path: Path,
    topic_name: str,
) -> Rig:
    """A stream of this test's own."""
    folder = tmp_path / f"letters_{topic_name[-8:]}"
    return Rig.make(loans, kafka.bootstrap, embedded_registry.url, folder)


@pytest.fixture
def refused(rig: Rig) -> list[Source]:
    """The places of 60 events that an earlier scorer refused and that ours would not."""
    values = rig.values(60)
    sources = rig.publish(values)
    rig.refuse(values, sources)
    return sources


def allow_nan(rig: Rig) -> None:
    """The fix: a bundle whose model takes a NaN salary."""
    card = rig.folder / "bundle" / "bundle.toml"
    text = card.read_text()
    assert text.count('missing = "refuse"') >= 1
    card.write_text(text.replace('missing = "refuse"', 'missing = "nan"'))


def test_after_a_fix_every_event_has_a_prediction_and_the_order_of_keys_is_kept(rig: Rig) -> None:
    """NaN refused, then a bundle that takes it; what the fix does not cover stays a letter."""
    good, nan, damaged = rig.values(300), rig.values(40, salary=NAN), rig.values(5)
    sources = rig.publish([*good, *nan, *(value[:-3] for value in damaged)])
    with rig.scorer() as scorer:
        rig.wait_until_answered(scorer, 345)
        dry = rig.redrive(dry_run=True)
        assert (dry.redriven, dry.refused) == (0, 45)
    allow_nan(rig)
    assert rig.redrive(dry_run=True).redriven == 40
    account = rig.redrive()
    assert (account.redriven, account.already) == (40, 0)
    assert set(account.again) == {("decode", "truncated")}
    rig.assert_each_redriven_once(sources[300:340])
    again = rig.redrive()
    assert (again.redriven, again.already, again.refused) == (0, 40, 5)
    with rig.scorer() as scorer:
        rig.wait_until_answered(scorer, 385)
    answers = rig.assert_each_answered_once()
    assert Counter(answers.values()) == {"prediction": 340, "letter": 45}
    replays = rig.replays()
    assert all(answers[place(record)] == "prediction" for (record,) in replays.values())
    by_key: dict[Any, list[tuple[int, int]]] = {}
    for source, (record,) in replays.items():
        by_key.setdefault(record.key(), []).append((record.offset() or 0, source.offset))
    for key, pairs in by_key.items():
        in_order = [source for _, source in sorted(pairs)]
        assert in_order == sorted(in_order), key


def test_events_of_a_schema_registered_later_are_answered_after_a_redrive(rig: Rig) -> None:
    """They keep bytes, key and headers, and say what they replay and which attempt they are."""
    client = Registry(rig.registry)
    text = rig.stream.schema_of_event.text
    coming = text.rstrip().removesuffix("}").rstrip().removesuffix("]") + (
        ', {"name": "channel", "type": "string", "default": "web"}]}'
    )
    with rig.scorer() as scorer:
        rig.publish(rig.values(20))
        rig.wait_until_answered(scorer, 20)
        unknown = client.register("millstream-letters-probe", _probe(rig.stream.name)) + 1
        values = [
            frame(unknown) + value[5:] + b"\x06web"
            for value in Encoder(text, frame(0)).encode(applications(10, first=500))
        ]
        sources = rig.publish(values)
        rig.wait_until_answered(scorer, 30)
        refusals = Counter(
            from_headers(r.headers() or []).error for r in rig.records("dead_letters")
        )
        assert refusals == {"unknown_schema_id": 10}
        assert client.register(f"{rig.stream.topic('events')}-value", coming) == unknown
        account = rig.redrive(Wanted(error="unknown_schema_id", schema_id=unknown))
        assert account.redriven == 10
        rig.wait_until_answered(scorer, 40)
    answers = rig.assert_each_answered_once()
    rig.assert_each_redriven_once(sources)
    for row, source in enumerate(sources):
        (replay,) = rig.replays()[source]
        assert replay.value() == values[row]
        assert answers[place(replay)] == "prediction"
        headers = replay.headers() or []
        assert attempt_of(headers) == 2
        assert dict(headers)[REPLAY_ORIGIN] == str(source).encode()
        assert replay.partition() == source.partition
    client.close()


def _probe(name: str) -> str:
    return f'{{"type": "record", "name": "P{name}", "fields": [{{"name": "x", "type": "int"}}]}}'


@pytest.mark.crash
@pytest.mark.parametrize("step", STEPS)
def test_redrive_killed_after_step_and_repeated_redrives_each_letter_once(
    step: int, rig: Rig, refused: list[Source]
) -> None:
    """Killed in its second transaction, after the numbered step of publishers.py."""
    child = rig.start(
        "doomed redrive",
        ["letters", "redrive", str(rig.stream.path)],
        MILLSTREAM_CRASH_AFTER=f"redrive:{step}:2",
    )
    wait_until_dead(child)
    before = rig.replays()
    per_partition = Counter(source.partition for source in refused)
    done = per_partition[0] + (per_partition[1] if step == 4 else 0)
    assert len(before) == done, child.tail()
    account = rig.redrive()
    assert (account.redriven, account.already) == (60 - done, done)
    rig.assert_each_redriven_once(refused)


def test_a_redrive_that_another_overtook_publishes_nothing_more(
    rig: Rig, refused: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fences the first between its marks and its transaction, and does all the work."""
    first: list[Account] = []
    genuine = RedrivePublisher.transact

    def overtaken(self: RedrivePublisher, *given: Any) -> float:
        monkeypatch.setattr(RedrivePublisher, "transact", genuine)
        first.append(rig.redrive())
        return genuine(self, *given)

    monkeypatch.setattr(RedrivePublisher, "transact", overtaken)
    with pytest.raises(ClientLost, match="another redrive"):
        rig.redrive()
    assert first[0].redriven == 60
    rig.assert_each_redriven_once(refused)


def test_a_redrive_knows_what_was_redriven_until_it_fenced(
    rig: Rig, refused: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does all the work while another is about to fence it leaves that other nothing."""
    genuine = RedrivePublisher.open

    def late(self: RedrivePublisher) -> None:
        monkeypatch.setattr(RedrivePublisher, "open", genuine)
        assert rig.redrive().redriven == 60
        genuine(self)

    monkeypatch.setattr(RedrivePublisher, "open", late)
    account = rig.redrive()
    assert (account.redriven, account.already) == (0, 60)
    rig.assert_each_redriven_once(refused)


def test_two_redrives_at_once_redrive_each_letter_once(
    rig: Rig, refused: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is fenced stops; together with a last run everything is redriven."""
    monkeypatch.setattr(consumers.redrive, "CHUNK_LETTERS_MAX", 2)
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def run() -> None:
        start.wait()
        try:
            rig.redrive()
        except (ClientLost, TransactionAborted) as why:
            failures.append(why)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) < 2, failures
    rig.redrive()
    rig.assert_each_redriven_once(refused)


def test_a_dry_run_changes_nothing(rig: Rig, refused: list[Source]) -> None:
    """No topic grows, no group or transactional id is written; a redrive at work is not fenced."""
    topics = [topic.name(rig.stream.name) for topic in topic_table().values()]
    publisher = RedrivePublisher(rig.stream, rig.kafka, ScorerSettings())
    publisher.open()
    watched = [*topics, "__transaction_state"]
    before = ends(rig.kafka.bootstrap, watched)
    command = [sys.executable, "-m", "millstream", "letters", "redrive", str(rig.stream.path)]
    parts = ["--kafka", rig.kafka.bootstrap, "--registry", rig.registry.url]
    done = subprocess.run(
        [*command, "--dry-run", *parts], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{len(refused)} letters would be redriven"
    assert ends(rig.kafka.bootstrap, watched) == before
    publisher.transact(lambda producer: producer.produce(topics[0], b"x", b"k", 0))
    publisher.close()


def test_a_limit_and_filters_leave_the_rest_for_later(rig: Rig, refused: list[Source]) -> None:
    """Chosen and left-out letters of one topic can be redriven in any order."""
    assert rig.redrive(Wanted(error="nan_feature")).redriven == 0
    assert rig.redrive(Wanted(stage="frame", limit=7)).redriven == 7
    assert len(rig.replays()) == 7
    account = rig.redrive(Wanted(schema_id=7))
    assert (account.redriven, account.already) == (53, 7)
    rig.assert_each_redriven_once(refused)


def test_a_replay_that_is_refused_again_can_be_redriven_in_its_first_order(rig: Rig) -> None:
    """Its letter names the replay, its header the first event: among letters of events that came
    between, it comes first."""
    values = rig.values(4, salary=NAN)
    sources = rig.publish(values, keys=1)
    with rig.scorer() as scorer:
        rig.wait_until_answered(scorer, 4)
        rig.refuse(values[:1], sources[:1])  # nothing new: the same source, another letter
        card = rig.folder / "bundle" / "bundle.toml"
        strict = card.read_text()
        allow_nan(rig)
        assert rig.redrive(Wanted(error="nan_feature", limit=1)).redriven == 1
        rig.wait_until_answered(scorer, 6)  # our scorer still has the old bundle
    assert rig.redrive(Wanted(error="nan_feature")).redriven == 4
    replayed = [r for r in rig.records("events") if replay_of(r.headers() or [])]
    last = sorted(replayed, key=lambda r: r.offset() or 0)[-4:]
    origins = [Source.parse(dict(r.headers() or [])[REPLAY_ORIGIN] or b"") for r in last]
    assert origins == sources
    assert [attempt_of(r.headers() or []) for r in last] == [3, 2, 2, 2]
    assert strict != card.read_text()


@pytest.fixture
def group_offsets(rig: Rig) -> Iterator[Any]:
    """What the scorer's group has committed, in events."""
    consumer = Consumer(
        {"bootstrap.servers": rig.kafka.bootstrap, "group.id": f"{rig.stream.name}-scorer"}
    )
    parts = [
        TopicPartition(rig.stream.topic("events"), number)
        for number in range(rig.stream.serving.partitions)
    ]

    def read() -> int:
        return sum(max(p.offset, 0) for p in consumer.committed(parts, timeout=10))

    yield read
    consumer.close()


def exit_code(child: Child) -> str:
    """The end of its log, once it has left by itself."""
    wait_until_dead(child)
    return child.tail(4)


def test_a_stream_that_turns_bad_stops_the_scorer_and_its_offsets(
    rig: Rig, group_offsets: Any
) -> None:
    """Nothing of the batch that opens it is diverted, also when it is started again."""
    with rig.scorer() as scorer:
        rig.publish(rig.values(200))
        rig.wait_until_answered(scorer, 200)
    assert group_offsets() == 200
    rig.publish(rig.values(400, salary=NAN))
    strict = {"BREAKER_EVENTS_MIN": "1", "BREAKER_WINDOW_EVENTS": "1"}
    for _ in range(2):
        with rig.scorer(**{f"MILLSTREAM_SCORER_{k}": v for k, v in strict.items()}) as scorer:
            said = exit_code(scorer)
        assert "are refused, breaker_ratio_max is 0.2" in said
        assert "because of validate: nan_feature" in said
        assert group_offsets() == 200
        assert rig.records("dead_letters") == []


def test_thirty_bad_events_in_a_hundred_stop_the_scorer_by_its_defaults(
    rig: Rig, group_offsets: Any
) -> None:
    """What was committed before it knew is answered, the rest waits."""
    good, bad = iter(rig.values(2_100)), iter(rig.values(900, salary=NAN))
    rig.publish([next(bad) if row % 10 < 3 else next(good) for row in range(3_000)])
    with rig.scorer() as scorer:
        assert "refused" in exit_code(scorer)
    answered = len(rig.records("predictions")) + len(rig.records("dead_letters"))
    assert group_offsets() == answered < ScorerSettings().breaker_events_min
