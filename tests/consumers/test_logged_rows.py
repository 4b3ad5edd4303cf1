"""What a model answered, read back from a real ClickHouse, and a student that learned it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.logged_rows import read_logged
from consumers.training_rows import Wanted
from consumers.warehouse import Warehouse
from millstream.cli import app
from millstream.columnar.block import block_of
from millstream.errors import SettingsInvalid
from millstream.models.bundle import Bundle
from millstream.models.card import Feature
from millstream.models.passport import read_passport
from millstream.models.session import Session
from millstream.performance.metrics import Floats
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.training.candidate import fit
from millstream.training.rows import CannotTrain, Rows, Task
from tests.consumers.answers import START_US, Made, label
from tests.consumers.test_training_rows import store_events, stream_of
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve

EVERY = Wanted(mature_share=None)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
COUNT = 600


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server over HTTP, for this file."""
    process, found = serve(tmp_path_factory.mktemp("logged"))
    yield found
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


@pytest.fixture
def warehouse(url: str) -> Iterator[Warehouse]:
    """A client of it."""
    password = SecretStr(PASSWORD)
    made = Warehouse.connect(WarehouseSettings(url=url, username="default", password=password))
    yield made
    made.close()


def events_of(count: int = COUNT) -> pa.Table:
    """The features that `store_events` stores."""
    city = [f"c{i % 3}" if i % 3 else None for i in range(count)]
    return pa.table({"city": city, "n": pa.array(range(0, 10 * count, 10), pa.int32())})


def trained(stream: Stream) -> Bundle:
    """The stream's own bundle: trees that know n and the city."""
    features = Feature(name="city", type="category", missing_value="(null)"), Feature(name="n")
    columns = events_of()
    rng = np.random.default_rng(3)
    n = np.asarray(columns.column("n")) % 1_000
    truth = np.where(n + rng.normal(size=COUNT) * 100 > 500, "yes", "no").astype(object)
    rows = Rows(Task("binary", features, ("no", "yes"), "yes"), columns, truth, np.arange(COUNT))
    model = fit(rows, "lightgbm", {"n_estimators": 40})
    return model.bundle(stream.bundle_path, rows, name="m", version="1", created=NOW)


def scores_of(bundle: Bundle) -> Floats:
    """[n, 2]: what it says of every event."""
    session = Session(bundle)
    try:
        return session.score(block_of(events_of())).whole(COUNT)
    finally:
        session.close()


def publish(
    warehouse: Warehouse,
    stream: Stream,
    bundle: Bundle,
    scores: Floats,
    offsets: list[int],
    first: int = 0,
    mark: str = "full",
) -> None:
    """Insert predictions of the events at these offsets, at their topic's offsets from `first`."""
    count, at = len(offsets), START_US + np.array(offsets) * 1_000_000
    times = pa.array(at).cast(pa.timestamp("us", "UTC"))
    said = scores[offsets]
    table = {
        "event_id": [f"E-{offset}" for offset in offsets],
        "key": ["k"] * count,
        **dict.fromkeys(("event_time", "published_at", "scored_at", "kafka_time"), times),
        "in_budget": [True] * count,
        "score": said[:, 1],
        "scores": said.tolist(),
        "label": [("no", "yes")[int(p >= 0.5)] for p in said[:, 1]],
        "model": [bundle.name] * count,
        "model_version": [bundle.version] * count,
        "model_digest": [bundle.digest] * count,
        "answered_by": [mark] * count,
        "source_topic": [stream.topic("events")] * count,
        "source_partition": np.zeros(count, np.int32),
        "source_offset": np.array(offsets, np.int64),
        "kafka_topic": [stream.topic("predictions")] * count,
        "kafka_partition": np.zeros(count, np.int32),
        "kafka_offset": np.arange(first, first + count, dtype=np.int64),
        "kafka_unreadable": [""] * count,
    }
    warehouse.insert(stream.name, "predictions", pa.table(table), f"p{first}")


def test_the_rows_are_the_events_with_the_scores_that_were_published(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """To the bit, by event time. Others' answers, cheaper ones and second ones are none of them."""
    stream = stream_of(tmp_path)
    store_events(warehouse, stream, COUNT)
    own = trained(stream)
    scores = scores_of(own)
    publish(warehouse, stream, own, scores, list(range(300)))
    publish(warehouse, stream, own, scores, list(range(300, 320)), 300, "cached")
    publish(warehouse, stream, own, scores * 0, list(range(320, 340)), 320, "cheaper")
    publish(warehouse, stream, own, scores * 0, list(range(40)), 340)
    other = replace(own, card=own.card.model_copy(update={"digest": "sha256:" + "1" * 64}))
    publish(warehouse, stream, other, scores * 0, list(range(340, 380)), 380)
    later = replace(own, card=own.card.model_copy(update={"version": "2"}))
    publish(warehouse, stream, later, scores * 0, list(range(380, 420)), 420)
    found = read_logged(stream, warehouse, own, EVERY)
    assert found.scores.tobytes() == scores[:320].tobytes()
    assert found.rows.columns.to_pydict() == events_of().slice(0, 320).to_pydict()
    assert ((found.rows.times_us - START_US) // 1_000_000).tolist() == list(range(320))
    assert found.rows.ids[:2] == ["E-0", "E-1"]
    assert found.rows.task == Task.of_card(own.card)
    session = Session(own)
    again = session.score(block_of(found.rows.columns)).whole(320)
    session.close()
    assert again.tobytes() == scores[:320].tobytes(), "the model says the same of them now"


def test_the_query_gives_the_same_answers_after_more_came(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """Its text holds how far it looks; a range and a number of rows are cut out."""
    stream = stream_of(tmp_path)
    store_events(warehouse, stream, COUNT)
    own = trained(stream)
    scores = scores_of(own)
    publish(warehouse, stream, own, scores, list(range(200)))
    first = read_logged(stream, warehouse, own, EVERY)
    publish(warehouse, stream, own, scores, list(range(200, 300)), 200)
    assert first.lineage is not None and first.lineage.query is not None
    assert warehouse.table(first.lineage.query.text).num_rows == first.lineage.query.rows == 200
    spans = [(span.topic, span.first, span.last) for span in first.lineage.offsets]
    assert spans == [(stream.topic("predictions"), 0, 199), (stream.topic("events"), 0, 199)]
    start = datetime.fromtimestamp(START_US / 1e6, UTC)
    some = Wanted(start + timedelta(seconds=10), start + timedelta(seconds=250), 100)
    cut = read_logged(stream, warehouse, own, some)
    assert cut.scores.tobytes() == scores[150:250].tobytes()
    assert cut.lineage is not None and cut.lineage.query is not None
    assert cut.lineage.query.result_hash != first.lineage.query.result_hash


def test_a_model_that_never_answered_teaches_nobody(warehouse: Warehouse, tmp_path: Path) -> None:
    """It says whose answers are missing."""
    stream = stream_of(tmp_path)
    store_events(warehouse, stream, 10)
    with pytest.raises(CannotTrain, match="no answers of m 1"):
        read_logged(stream, warehouse, trained(stream), EVERY)


def test_a_student_is_made_of_the_log_as_it_is_typed(
    warehouse: Warehouse, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few labels, many answers: it learned from those that no label came for."""
    stream = stream_of(tmp_path)
    store_events(warehouse, stream, COUNT)
    own = trained(stream)
    scores = scores_of(own)
    publish(warehouse, stream, own, scores, list(range(COUNT)))
    truth = np.asarray(scores[:, 1] > np.random.default_rng(5).random(COUNT))
    label(warehouse, stream, Made(scores[:, 1], truth, []), list(range(400, COUNT, 2)))
    for name, text in (("URL", url), ("USERNAME", "default"), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"MILLSTREAM_WAREHOUSE_{name}", text)

    def typed(*words: str) -> str:
        line = ["bundle", "optimise", str(stream.path), *words, "--into", str(tmp_path / "out")]
        run = CliRunner().invoke(app, line, catch_exceptions=False, standalone_mode=False)
        assert run.exception is None, run.exception
        return run.stdout

    quick = ("--seconds", "0.001", "--form", "student_lightgbm", "--json")
    lax = ("--flips-max", "1", "--loss-max", "100")
    (found,) = json.loads(typed("--logged", *quick, *lax))
    assert found["measured"]["rows"] == 30, "the newest 30 % of the labelled rows judge"
    student = Bundle.load(Path(found["folder"]))
    passport = read_passport(student)
    assert passport is not None and passport.lineage is not None
    assert passport.lineage.query is not None
    assert passport.lineage.query.rows == COUNT
    # the newest labelled event is not ripe, so 99 are left: the first that judges is at 538
    assert passport.lineage.recipe["rows"] == 538
    taught = scores[:538]
    off = np.abs(scores_of(student)[:538] - taught).mean()
    assert off < 0.5 * np.abs(taught.mean(axis=0) - taught).mean(), "no better than their mean"
    with pytest.raises(SettingsInvalid, match="either ROWS or --logged"):
        typed(*quick)
