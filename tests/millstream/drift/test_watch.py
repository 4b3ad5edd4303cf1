"""The watch: from the records of three topics to drift records and incidents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.drift.profile import make_profile
from millstream.drift.slices import Slices
from millstream.drift.snapshot import seal, unseal
from millstream.drift.watch import Findings, Watch
from millstream.stream import Stream
from tests.millstream.drift.watchlogs import PARTITIONS, Logs, make_logs, schema_of, stream_in
from tests.streams import FEATURES, applications

KEY = b"k" * 32
RIVER = """
profile_events = 2000
window_s = 0.0
[[watch.detectors]]
type = "ADWIN"
[[watch.detectors]]
type = "ADWIN"
on = "confidence"
[[watch.detectors]]
type = "HDDM_W"
[[watch.detectors]]
type = "PageHinkley"
on = "loss"
threshold = 20.0
"""
PROFILE = make_profile("loans", FEATURES, applications(4_000, seed=9))


def run(logs: Logs, seed: int, *, kills: float = 0.0, learn: bool = True) -> tuple[Any, Watch]:
    """Everything that the watch says, batches cut at random; after each it dies with the chance
    `kills`, and what was said since the last snapshot is lost with it."""
    random = np.random.default_rng(seed)

    def fresh() -> Watch:
        return Watch(logs.stream, schema_of, None if learn else PROFILE, PARTITIONS)

    watch, said, pending = fresh(), Findings(), Findings()
    sealed = seal(KEY, watch.snapshot())
    batches = logs.batches(random, {})
    died = 0
    while True:
        step = next(batches, None)
        if step is None:
            break
        found = watch.take(*step)
        pending.drift += found.drift
        pending.incidents += found.incidents
        if random.random() < kills:
            died += 1
            watch, pending = fresh(), Findings()
            notes = watch.restore(unseal(KEY, sealed, logs.stream.name))
            assert notes == []
            batches = logs.batches(random, watch.offsets())
        elif random.random() < 0.5:
            said.drift += pending.drift
            said.incidents += pending.incidents
            pending = Findings()
            sealed = seal(KEY, watch.snapshot())
    last = watch.take([], logs.lanes, settled=True)
    said.drift += pending.drift + last.drift
    said.incidents += pending.incidents + last.incidents
    assert died or not kills
    return said, watch


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """The loans stream with four of River's detectors, its profile to be learned."""
    return stream_in(tmp_path_factory.mktemp("loans"), RIVER)


@pytest.fixture(scope="module")
def logs(stream: Stream) -> Logs:
    """12,000 events whose rule changes at event 8,000; labels 500 events late."""
    return make_logs(stream, releases=(6_000,))


@pytest.fixture(scope="module")
def unbroken(logs: Logs) -> tuple[Any, Watch]:
    """The run that nothing interrupts."""
    return run(logs, seed=0)


def test_a_changed_rule_opens_one_incident_of_that_verdict(unbroken: tuple[Any, Watch]) -> None:
    """Loss rose, inputs did not move: one concept change, near the event where it happened."""
    said, watch = unbroken
    opened = [each for each in said.incidents if each.status == "opened"]
    assert [each.verdict.value for each in opened] == ["concept_change"]
    assert len({each.id for each in said.incidents}) == 1
    assert abs(opened[0].first.offset * PARTITIONS - 8_000) < 400
    assert [each.id for each in watch.open] == [opened[0].id]


def test_every_detector_of_the_stream_speaks(unbroken: tuple[Any, Watch]) -> None:
    """The monitor, the input watch and those of River's that raised something."""
    said, _ = unbroken
    names = {each.detector for each in said.drift}
    assert {"monitor", "inputs", "ADWIN_error", "HDDM_W_error", "PageHinkley_loss"} <= names
    alarms = [e for e in said.drift if e.detector == "monitor" and e.status == "alarm"]
    assert {each.model_version for each in alarms} == {"2"}
    assert len({each.id for each in said.drift}) == len(said.drift)


@pytest.mark.parametrize("seed", range(1, 3))
def test_kills_at_random_offsets_change_nothing(
    seed: int, logs: Logs, unbroken: tuple[Any, Watch]
) -> None:
    """Killed again and again and restored from sealed snapshots, over other batches: the same
    records in the same order, and the same state to the bit."""
    said, watch = run(logs, seed, kills=0.25)
    assert said.incidents == unbroken[0].incidents
    assert said.drift == unbroken[0].drift
    assert seal(KEY, watch.snapshot()) == seal(KEY, unbroken[1].snapshot())


def test_labels_that_a_killed_join_repeats_count_once(stream: Stream) -> None:
    """Each source counts once, whatever is written again."""
    plain, _ = run(make_logs(stream, 4_000, None), seed=1)
    repeated, watch = run(make_logs(stream, 4_000, None, repeats=300), seed=1)
    assert repeated.drift == plain.drift
    assert watch.tally.uncounted == 300 * PARTITIONS


def test_a_change_within_a_batch_of_the_join_raises_one_alarm(tmp_path: Path) -> None:
    """The labels of 4,000 events are written partition by partition, the rule changes in the
    middle of them: it changed once, not once a partition."""
    logs = make_logs(stream_in(tmp_path), 16_000, 9_900, delay=100, runs=4_000)
    said, _ = run(logs, seed=7, learn=False)
    alarms = [e for e in said.drift if e.measure == "evidence"]
    assert len(alarms) == 1
    assert [each.status for each in said.incidents] == ["opened"]


def test_a_release_is_judged_by_its_own_labels(stream: Stream) -> None:
    """Labels delayed by 2,000 events: a new version that is as good raises no alarm, and each
    version's readings are of its own rate."""
    said, _ = run(
        make_logs(stream, 10_000, 5_000, rates=(0.1, 0.3), delay=2_000, releases=(5_000,)), seed=2
    )
    rates: dict[str, list[float]] = {}
    for each in said.drift:
        if each.detector == "monitor" and each.measure == "rate":
            rates.setdefault(each.model_version, []).append(each.value)
    assert abs(np.mean(rates["1"]) - 0.1) < 0.03
    assert abs(np.mean(rates["2"]) - 0.3) < 0.04
    assert said.incidents == []


def test_a_stationary_stream_opens_nothing(stream: Stream) -> None:
    """No change, no incident."""
    said, _ = run(make_logs(stream, 12_000, None), seed=3)
    assert said.incidents == []


def test_a_broken_pipe_is_named(tmp_path: Path) -> None:
    """A number that changes its unit by a factor of a thousand, in the events alone."""
    made = stream_in(tmp_path, "window_s = 0.0")
    table = applications(8_000, seed=5)
    salary = np.array(table.column("salary"))
    salary[4_000:] *= 1_000
    place = table.schema.get_field_index("salary")
    table = table.set_column(place, table.schema.field("salary"), pa.array(salary))
    said, _ = run(make_logs(made, 8_000, None, events=table), seed=4, learn=False)
    opened = [each for each in said.incidents if each.status == "opened"]
    assert [each.verdict.value for each in opened] == ["broken_pipe"]
    assert opened[0].features == ("salary",)


SLICED = 'slices = ["zipcode", "applicant"]\nwindow_s = 0.0'


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """12,000 events whose rule changes in one of nine places at event 6,000."""
    table = applications(12_000, seed=5)
    where = np.array(table.column("zipcode")) == 3
    made = stream_in(tmp_path_factory.mktemp("sliced"), SLICED)
    return make_logs(made, 12_000, 6_000, rates=(0.1, 0.9), events=table, where=where)


def test_the_slice_that_changed_is_named(sliced: Logs) -> None:
    """By a field that only the event has, while its label comes 500 events later; other values of
    it, and slices by the key, are not named."""
    said, _ = run(sliced, seed=8, learn=False)
    assert {name for each in said.incidents for name in each.slices} == {"zipcode=3"}
    assert Slices(sliced.stream).left_out == ()


def test_kills_change_no_slice(sliced: Logs) -> None:
    """What the newest events are of is part of the state."""
    wanted, watch = run(sliced, seed=8, learn=False)
    said, again = run(sliced, seed=9, learn=False, kills=0.25)
    assert said.incidents == wanted.incidents
    assert seal(KEY, again.snapshot()) == seal(KEY, watch.snapshot())


def test_slices_are_named_as_left_out_where_events_are_not_read(tmp_path: Path) -> None:
    """Labelled records carry the event's key and no other field."""
    made = stream_in(tmp_path, 'slices = ["applicant", "age"]\ninputs = false')
    watch = Watch(made, schema_of, None, PARTITIONS)
    assert Slices(made).left_out == ("age",)
    assert watch.topics == ("loans.predictions", "loans.labelled")


def test_other_settings_of_a_part_are_said_and_it_begins_anew(
    logs: Logs, unbroken: tuple[Any, Watch], tmp_path: Path
) -> None:
    """A detector with another parameter, and one that is gone, do not go on from the old state."""
    sealed = unseal(KEY, seal(KEY, unbroken[1].snapshot()), "loans")
    text = RIVER.replace('type = "HDDM_W"', 'type = "DDM"').replace("20.0", "30.0")
    changed = Watch(stream_in(tmp_path, text), schema_of, None, PARTITIONS)
    notes = changed.restore(sealed)
    assert any("HDDM_W_error is no longer named" in note for note in notes)
    assert any("PageHinkley_loss begins anew" in note for note in notes)
    assert changed.offsets() == unbroken[1].offsets()


def test_regression_is_watched_by_its_absolute_error(tmp_path: Path) -> None:
    """Errors three times as large, in a unit that nobody told the watch, open an incident."""
    made = stream_in(tmp_path, "inputs = false", kind="regression")
    logs = regression_logs(made)
    said, _ = run(logs, seed=6)
    assert [each.verdict.value for each in said.incidents] == ["concept_change"]


def regression_logs(made: Stream) -> Logs:
    """8,000 labelled numbers whose errors are three times as large from event 5,000 on."""
    from tests.millstream.drift.watchlogs import LABELLED, START_US, encoded, records

    random = np.random.default_rng(3)
    lanes = {}
    for number in range(PARTITIONS):
        count = 2_000
        error = random.normal(0, 1, count) * np.where(np.arange(count) < 1_250, 2_000, 6_000)
        times = START_US + np.arange(count) * 4_000_000
        columns: dict[str, Any] = dict.fromkeys(("event_id", "key", "model", "model_digest"), "x")
        columns |= {
            "id": [f"{number}/{at}/1" for at in range(count)],
            "version": 1,
            "status": "labelled",
            "value": 50_000 + error,
            "score": 50_000.0,
            "scores": [[50_000.0]] * count,
            "model_version": "1",
            "event_time": times,
            "published_at": times,
            "scored_at": times,
            "source_topic": made.topic("events"),
            "source_partition": number,
            "source_offset": np.arange(count),
        }
        topic = made.topic("labelled")
        lanes[topic, number] = records(topic, number, encoded(LABELLED, columns, count), times)
        empty = made.topic("predictions")
        lanes[empty, number] = records(empty, number, [], [])
    return Logs(made, lanes)


def test_the_state_is_plain_json(unbroken: tuple[Any, Watch]) -> None:
    """A snapshot of four partitions and four detectors fits a Kafka record with room to spare."""
    snapshot = unbroken[1].snapshot()
    assert json.loads(json.dumps(snapshot.parts["versions"].state))
    assert len(seal(KEY, snapshot)) < 400_000
