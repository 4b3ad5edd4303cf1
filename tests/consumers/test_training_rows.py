"""Labelled rows with their events' features, as they are read from a real ClickHouse."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from consumers.training_rows import Wanted, ask, offsets_within, read, require_own_query, up_to
from consumers.warehouse import Warehouse, migrate
from millstream.errors import OperatorNeeded
from millstream.models.lineage import OffsetRange
from millstream.stream import Stream
from millstream.training.fingerprint import hash_of_rows
from millstream.training.rows import CannotTrain
from tests.consumers.answers import START_US, Made, label, make, store
from tests.consumers.warehouses import avro, insert, stream_in

CITY = {"name": "city", "type": ["null", "string"]}
EVERY = Wanted(mature_share=None)


@pytest.fixture
def warehouse(over_http: Warehouse) -> Warehouse:
    """Over HTTP alone."""
    return over_http


def stream_of(folder: Path, more: str = "") -> Stream:
    """A stream with the number n and the category city, whose database no other test has."""
    made = stream_in(folder, f"s{uuid.uuid4().hex[:12]}", CITY)
    text = made.path.read_text().replace(
        'order = ["n"]', 'order = ["city", "n"]\ncategories = ["city"]'
    )
    made.path.write_text(text + more)
    return Stream.load(made.path)


def store_events(warehouse: Warehouse, stream: Stream, count: int) -> Made:
    """Events whose n is ten times their offset and whose city is null for each third."""
    migrate(warehouse, stream)
    schema = stream.schema_of_event.text
    insert(
        warehouse,
        stream,
        [
            avro(
                schema,
                {"id": f"E-{i}", "at": i, "n": 10 * i, "city": f"c{i % 3}" if i % 3 else None},
            )
            for i in range(count)
        ],
    )
    return make(count)


@pytest.fixture
def ten(warehouse: Warehouse, tmp_path: Path) -> Stream:
    """A stream of ten events, each labelled."""
    stream = stream_of(tmp_path)
    made = store_events(warehouse, stream, 10)
    label(warehouse, stream, made, list(range(10)))
    return stream


def test_rows_are_the_newest_labels_with_their_events_features(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """Repeated and corrected records count once; what never got a label is no row."""
    stream = stream_of(tmp_path)
    made = store_events(warehouse, stream, 60)
    label(warehouse, stream, made, list(range(50)))
    label(warehouse, stream, made, list(range(20)), first=50)  # a repeated record
    wrong: list[str | None] = ["no" if t else "yes" for t in np.asarray(made.truth)[:10]]
    label(
        warehouse, stream, made, list(range(10)), first=70, version=2, status="corrected",
        truth=wrong, delay_s=500,
    )  # fmt: skip
    nothing: list[str | None] = [None] * 10
    label(
        warehouse, stream, made, list(range(50, 60)), first=80, status="never_labelled",
        truth=nothing,
    )  # fmt: skip
    loaded = read(stream, warehouse, EVERY)
    rows = loaded.rows
    assert rows.columns["n"].to_pylist() == [10 * i for i in range(50)]
    assert rows.columns["city"].to_pylist() == [f"c{i % 3}" if i % 3 else None for i in range(50)]
    truth = ["yes" if t else "no" for t in np.asarray(made.truth)[:50]]
    assert rows.labels.tolist() == wrong + truth[10:]
    assert ((rows.times_us - START_US) // 1_000_000).tolist() == list(range(50))
    assert rows.known_us is not None
    late = (rows.known_us - rows.times_us) // 1_000_000
    assert late.tolist() == [500] * 10 + [10] * 40
    assert [f.missing_value for f in rows.task.features] == ["(null)", None]
    assert loaded.query.rows == 50
    topics = stream.topic("labelled"), stream.topic("events")
    assert loaded.offsets == (
        OffsetRange(topic=topics[0], partition=0, first=10, last=79),
        OffsetRange(topic=topics[1], partition=0, first=0, last=49),
    )


def test_the_same_query_gives_the_same_rows_after_more_labels_came(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """Its text holds how far it looks, so later corrections are not seen."""
    stream = stream_of(tmp_path)
    made = store_events(warehouse, stream, 40)
    label(warehouse, stream, made, list(range(30)))
    first = read(stream, warehouse, EVERY)
    wrong: list[str | None] = ["no" if t else "yes" for t in np.asarray(made.truth)[:30]]
    label(
        warehouse, stream, made, list(range(30)), first=30, version=2, status="corrected",
        truth=wrong,
    )  # fmt: skip
    label(warehouse, stream, made, list(range(30, 40)), first=60)
    require_own_query(stream, first.query.text)
    again, offsets = ask(stream, warehouse, first.query.text, task=first.rows.task)
    assert hash_of_rows(again) == first.query.result_hash == hash_of_rows(first.rows)
    assert offsets == first.offsets
    now = read(stream, warehouse, EVERY)
    assert len(now.rows) == 40
    assert now.query.result_hash != first.query.result_hash


def test_an_event_that_was_stored_behind_its_label_is_not_seen_later(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """The sink writes topics side by side: the query's text holds how far events were there."""
    stream = stream_of(tmp_path)
    made = store_events(warehouse, stream, 30)
    label(warehouse, stream, made, list(range(30)))
    events, kept = f"{stream.name}.events", f"{stream.name}.kept"
    late = "WHERE kafka_offset >= 20"
    warehouse.command(f"CREATE TABLE {kept} AS {events}")
    warehouse.command(f"INSERT INTO {kept} SELECT * FROM {events} {late}")
    warehouse.command(f"ALTER TABLE {events} DELETE {late} SETTINGS mutations_sync = 1")
    first = read(stream, warehouse, EVERY)
    warehouse.command(f"INSERT INTO {events} SELECT * FROM {kept}")
    require_own_query(stream, first.query.text)
    again, _ = ask(stream, warehouse, first.query.text, task=first.rows.task)
    assert hash_of_rows(again) == first.query.result_hash
    assert (len(again), len(read(stream, warehouse, EVERY).rows)) == (20, 30)
    bound = up_to({0: 19})
    before = first.query.text.replace(f"'' AND {bound} AND (", "'' AND (")  # as it was written once
    assert before != first.query.text
    require_own_query(stream, before)


def test_a_range_and_a_number_of_rows_are_cut_out(warehouse: Warehouse, tmp_path: Path) -> None:
    """From its beginning up to but not including its end; the newest of them."""
    stream = stream_of(tmp_path)
    made = store_events(warehouse, stream, 50)
    label(warehouse, stream, made, list(range(50)))
    start = datetime.fromtimestamp(START_US / 1e6, UTC)
    which = Wanted(start + timedelta(seconds=10), start + timedelta(seconds=30), mature_share=None)
    found = read(stream, warehouse, which)
    assert found.rows.columns["n"].to_pylist() == [10 * i for i in range(10, 30)]
    require_own_query(stream, found.query.text)
    few = read(stream, warehouse, replace(which, rows_max=12))
    assert few.rows.columns["n"].to_pylist() == [10 * i for i in range(18, 30)]


def test_the_offsets_of_ranges_are_those_of_their_rows_alone(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """For each range of event times its own, without what lies between."""
    stream = stream_of(tmp_path)
    made = store_events(warehouse, stream, 50)
    label(warehouse, stream, made, list(range(50)), first=100)
    text = read(stream, warehouse, EVERY).query.text
    times = START_US + np.arange(51) * 1_000_000
    ranges = ((int(times[5]), int(times[10])), (int(times[40]), int(times[50])))
    found = offsets_within(warehouse, text, ((0, 5), *ranges))
    topics = stream.topic("labelled"), stream.topic("events")
    assert [(each.topic, each.first, each.last) for each in found] == [
        (topics[0], 105, 109), (topics[1], 5, 9), (topics[0], 140, 149), (topics[1], 40, 49),
    ]  # fmt: skip


def test_events_whose_labels_are_not_in_are_left_out(warehouse: Warehouse, tmp_path: Path) -> None:
    """The quick labels among the youngest are not like the rest: they wait until all are ripe."""
    more = "[privacy]\nprivate = []\n"
    stream = stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}", {"name": "region", "type": "string"})
    text = stream.path.read_text().replace("[label]\n", "[label]\noutcome_wait_s = 1000\n")
    stream.path.write_text(text + more)
    stream = Stream.load(stream.path)
    made = make(2_000)
    store(warehouse, stream, made)
    quick = [i for i in range(2_000) if i % 2]
    slow = [i for i in range(1_850) if not i % 2]
    label(warehouse, stream, made, quick, delay_s=1)
    label(warehouse, stream, made, slow, first=len(quick), delay_s=150)
    loaded = read(stream, warehouse, Wanted())
    times = (loaded.rows.times_us - START_US) // 1_000_000
    assert times.tolist() == list(range(1_850))
    assert any("95% of labels are in after 150 s" in note for note in loaded.notes)
    assert len(read(stream, warehouse, EVERY).rows) == len(quick) + len(slow)


def test_private_features_are_not_trained_on(warehouse: Warehouse, tmp_path: Path) -> None:
    """They are not in ClickHouse; the remedy names the ways that there are."""
    stream = stream_of(tmp_path, '[privacy]\nprivate = ["city"]\n')
    migrate(warehouse, stream)
    with pytest.raises(CannotTrain, match=r"feature city .* is private"):
        read(stream, warehouse, EVERY)


def test_a_private_time_is_the_time_of_publication(warehouse: Warehouse, tmp_path: Path) -> None:
    """As in the performance report."""
    stream = stream_of(tmp_path, '[privacy]\nprivate = ["at"]\n')
    made = store_events(warehouse, stream, 20)
    label(warehouse, stream, made, list(range(20)))
    assert "event_time" not in read(stream, warehouse, EVERY).query.text


def test_without_tables_or_labels_there_is_a_remedy(warehouse: Warehouse, tmp_path: Path) -> None:
    """Migrate; or publish outcomes."""
    stream = stream_of(tmp_path)
    with pytest.raises(OperatorNeeded, match="millstream migrate"):
        read(stream, warehouse, EVERY)
    made = store_events(warehouse, stream, 10)
    with pytest.raises(CannotTrain, match="no labelled rows"):
        read(stream, warehouse, EVERY)
    label(warehouse, stream, made, list(range(10)))
    late = Wanted(since=datetime(2030, 1, 1, tzinfo=UTC), mature_share=None)
    with pytest.raises(CannotTrain, match=r"no labelled row .* fits"):
        read(stream, warehouse, late)


def test_no_event_happened_behind_its_publication(warehouse: Warehouse, ten: Stream) -> None:
    """One whose clock is years ahead has its place among the others."""
    before = read(ten, warehouse, EVERY).rows
    warehouse.command(
        f"ALTER TABLE {ten.name}.labelled UPDATE event_time = '2099-01-01 00:00:00' "
        "WHERE source_offset = 4 SETTINGS mutations_sync = 1"
    )
    after = read(ten, warehouse, EVERY).rows
    assert list(after.ids) == list(before.ids)
    assert after.times_us.tolist() == before.times_us.tolist()


def test_a_query_of_before_clocks_were_kept_out_is_asked_still(
    warehouse: Warehouse, ten: Stream
) -> None:
    """A passport keeps its text."""
    text = read(ten, warehouse, EVERY).query.text
    former = text.replace("least(event_time, published_at)", "event_time")
    assert former != text
    require_own_query(ten, former)


@pytest.mark.parametrize("change", ["DROP TABLE x", "; SELECT 1", " LIMIT 1"])
def test_a_query_that_was_tampered_with_is_not_asked(
    change: str, warehouse: Warehouse, ten: Stream
) -> None:
    """A passport may come from anywhere."""
    text = read(ten, warehouse, EVERY).query.text
    for other in (change, text + change, text.replace(" LIMIT 1 BY", f"{change} LIMIT 1 BY")):
        with pytest.raises(CannotTrain, match="none that is asked"):
            require_own_query(ten, other)
