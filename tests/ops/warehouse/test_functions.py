"""millstream_score in the embedded ClickHouse, which starts it as a server would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.warehouse import Warehouse, migrate
from millstream.cli import app
from millstream.contracts import topic_table
from millstream.errors import OperatorNeeded
from millstream.models.session import Session
from millstream.records import Records
from millstream.scoring import ScoringPlan
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.rows import contract_rows, event_rows
from ops.warehouse.engine import Warehouse as Engine
from tests.consumers.warehouses import records_of
from tests.ops.warehouse.conftest import Served
from tests.streams import FEATURES, Loans, applications, bundle_of, framed, make_loans

ROW = f"({', '.join(FEATURES)})"
BITS = "reinterpretAsUInt64(assumeNotNull({}))"


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """The example's stream with a bundle, in a folder whose name needs quotes."""
    return make_loans(tmp_path_factory.mktemp("it's sql") / "loans")


@pytest.fixture(scope="module")
def server(loans: Loans, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with its functions."""
    folder = tmp_path_factory.mktemp("functions")
    words = ["sql-functions", str(loans.stream.path), "--into", str(folder / "f")]
    run = CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    assert run.exception is None, run.exception
    assert f"millstream_score('loans', {ROW})" in run.output
    served = Served(folder / "db", folder / "ready", ["--functions", str(folder / "f")])
    yield served.start()
    assert served.stop() == 0


def events() -> list[bytes | None]:
    """2,000 applications: salaries of all sizes, none and infinite; and what is no event."""
    batch = applications(2_000)
    salary = np.array(batch.column("salary")) * np.logspace(-300, 300, 2_000)
    salary[::100] = np.resize([np.nan, np.inf, -np.inf, 5e-324, -0.0], 20)
    column = batch.schema.get_field_index("salary")
    values: list[bytes | None] = [*framed(batch.set_column(column, "salary", pa.array(salary)), 1)]
    values[7], values[8] = b"no event", None
    return values


def answered(stream: Stream, values: list[bytes | None], session: Session) -> Records:
    """The predictions of these events, as the scorer publishes them."""
    text, bundle = stream.schema_of_event.text, session.bundle
    plan = ScoringPlan(stream, bundle, session, lambda _: text, 9, lambda: 1_700_000_000_000_000)
    found = plan.run(records_of(stream.topic("events"), values))
    return records_of(stream.topic("predictions"), list(found.predictions))


@pytest.fixture(scope="module")
def filled(loans: Loans, server: Served) -> Served:
    """With events and predictions, as the sink stores them."""
    stream, values, session = loans.stream, events(), Session(bundle_of(loans))
    warehouse = Warehouse.connect(WarehouseSettings(url=server.url.rstrip("/")))
    migrate(warehouse, stream)
    rows = event_rows(stream, lambda _: stream.schema_of_event.text)
    topic = topic_table()["predictions"]
    from millstream.contracts import contract

    said = contract_rows(stream, topic, lambda _: contract("prediction").text)
    stored = {
        "events": rows.rows(records_of(stream.topic("events"), values)),
        "predictions": said.rows(answered(stream, values, session)),
    }
    for table, made in stored.items():
        warehouse.insert("loans", table, made, table)
    warehouse.close()
    session.close()
    return server


def test_scores_in_sql_are_the_predictions_to_the_bit(filled: Served) -> None:
    """Of all events; those that the stream refused have none, and the reason."""
    joined = (
        "loans.events AS e LEFT JOIN (SELECT *, 1 AS there FROM loans.predictions) AS p "
        "ON e.kafka_offset = p.source_offset"
    )
    ours = f"millstream_score('loans', {ROW}) AS ours"
    same = f"{BITS.format('ours')} = {BITS.format('said')}"
    text = (
        f"SELECT count(), countIf(there), countIf(ours IS NOT NULL), countIf(there AND {same}) "
        f"FROM (SELECT {ours}, there, p.score AS said FROM {joined})"
    )
    total, there, scored, equal = map(int, filled.read(text).split("\t"))
    assert total == 2_000
    assert there == scored == equal == 2_000 - 12 - 2
    answer = f"millstream_answer('loans', {ROW}) AS a"
    text = (
        f"SELECT countIf(a.scores = p.scores AND a.label = p.label AND a.confidence = p.confidence "
        f"AND a.refused = ''), countIf(a.refused != '') FROM (SELECT {answer}, there, p.* "
        f"FROM {joined}) AS p"
    )
    assert filled.read(text) == f"{scored}\t14"
    refused = filled.read(
        f"SELECT DISTINCT {answer.replace(' AS a', '.refused')} AS why FROM loans.events "
        "WHERE millstream_score('loans', " + ROW + ") IS NULL ORDER BY why"
    )
    assert refused.splitlines() == [
        "decode: unfit_value: field salary: it is missing or null, and the field may not be null",
        "validate: infinite_feature: feature \\'salary\\' is infinite",
        "validate: nan_feature: feature \\'salary\\' is not a number",
    ]


def test_a_what_if_is_a_query(filled: Served) -> None:
    """A feature is changed, the others stay; literals are cast as the event schema says."""
    changed = ROW.replace("age", "age + 30")
    before, after = (f"millstream_score('loans', {row})" for row in (ROW, changed))
    assert int(filled.read(f"SELECT countIf({after} != {before}) FROM loans.events")) > 10
    by_hand = "millstream_score('loans', (60000, 0, 45, 2, 3, 4, 250000., 10, '90000'))"
    assert 0 <= float(filled.read(f"SELECT {by_hand}")) <= 1


def test_many_rows_at_once_are_many_chunks(filled: Served) -> None:
    """And two queries at once do not mix."""
    text = f"SELECT uniqExact(ours) FROM (SELECT millstream_score('loans', {ROW}) AS ours FROM "
    text += "loans.events CROSS JOIN numbers(60) AS n WHERE kafka_offset < 1000)"
    one = filled.read(text)
    assert one == filled.read("SELECT uniqExact(score) FROM loans.predictions WHERE "
                              "source_offset < 1000")  # fmt: skip


def test_a_stream_that_is_not_there_ends_the_query(filled: Served) -> None:
    """With the scripts' own words; the next query is answered."""
    answer = filled.ask("SELECT millstream_score('loanz', (1, 2))")
    assert answer.status_code == 500
    assert "there is no stream 'loanz' here" in answer.text
    assert filled.read("SELECT millstream_score('loans', (1, 2)) IS NULL") == "1"


def test_a_folder_without_functions_is_refused(tmp_path: Path) -> None:
    """Before the database is opened."""
    with pytest.raises(OperatorNeeded, match="holds no functions"):
        Engine(tmp_path / "db", tmp_path)
    assert not (tmp_path / "db").exists()
