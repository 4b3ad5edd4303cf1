"""Rows scored for SQL: the stream's own scores, to the bit, or its own refusals."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.models.registry import open_registry
from consumers.sql.scoring import LOOK_S, MODELS_MAX, SqlScoring
from millstream.columnar import make_decoder
from millstream.contracts import contract
from millstream.errors import OperatorNeeded, SettingsInvalid
from millstream.functions import wire
from millstream.functions.answers import answers, scores
from millstream.models.session import Session
from millstream.scoring import ScoringPlan
from millstream.settings import ScorerSettings
from tests.consumers.warehouses import records_of
from tests.streams import FEATURES, Loans, applications, bundle_of, framed, make_loans


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """The example's stream with a bundle."""
    return make_loans(tmp_path_factory.mktemp("sql") / "loans")


@pytest.fixture
def scoring(loans: Loans, tmp_path: Path) -> SqlScoring:
    """Of that stream, with a clock that stands still."""
    streams = {"loans": loans.stream}
    return SqlScoring(streams, ScorerSettings(), tmp_path, clock=lambda: 0.0)


def tuples(batch: pa.RecordBatch) -> list[bytes]:
    """The features of these events as ClickHouse prints a tuple of them."""
    rows = zip(*(batch.column(name).to_pylist() for name in FEATURES), strict=True)
    return [f"({','.join(str(cell) for cell in row)})".encode() for row in rows]


def with_extremes(count: int = 400) -> pa.RecordBatch:
    """Applications; some of their salaries are none, infinite, tiny or huge."""
    batch = applications(count)
    salary = np.array(batch.column("salary"))
    salary[::50] = [np.nan, np.inf, -np.inf, 1e308, 5e-324, -0.0, 2.0**53 + 2, 0.1]
    return batch.set_column(batch.schema.get_field_index("salary"), "salary", pa.array(salary))


def test_scores_are_the_streams_own_to_the_bit(loans: Loans, scoring: SqlScoring) -> None:
    """What the stream refuses has no score, and its reason."""
    batch, bundle = with_extremes(), bundle_of(loans)
    session = Session(bundle)
    text = loans.stream.schema_of_event.text
    plan = ScoringPlan(loans.stream, bundle, session, lambda _: text, 9, lambda: 0)
    found = plan.run(records_of(loans.stream.topic("events"), list(framed(batch, 1))))
    session.close()
    decoder = make_decoder(contract("prediction").text)
    said = decoder.decode(found.predictions, skip=5).columns
    made = scoring.answer([(b"loans", row) for row in tuples(batch)], scores)
    ours = {row: entry[1:] for row, entry in enumerate(made) if entry != wire.NULL}
    assert list(ours) == found.rows.tolist()
    theirs = [struct.pack("<d", score) for score in said.column("score").to_pylist()]
    assert list(ours.values()) == theirs
    whole = scoring.answer([(b"loans", row) for row in tuples(batch)], answers)
    assert len(found.refusals) >= 3
    for refusal in found.refusals:
        reason = f"{refusal.stage}: {refusal.name}: {refusal.reason}".encode()
        assert whole[refusal.row].endswith(reason + wire.text(b"loans@1"))
    scoring.close()


def test_chunks_are_answered_one_by_one(scoring: SqlScoring) -> None:
    """As many results as rows; models may be mixed in a chunk."""
    rows = tuples(applications(6))
    head = wire.text(b"loans")
    chunks = [b"4\n" + b"".join(head + wire.text(row) for row in rows[:4]), b"0\n"]
    chunks.append(b"2\n" + b"".join(head + wire.text(row) for row in rows[4:]))
    written = io.BytesIO()
    scoring.serve(io.BytesIO(b"".join(chunks)), written, scores)
    assert written.getvalue() == b"".join(scoring.answer([(b"loans", row) for row in rows], scores))
    assert len(written.getvalue()) == 6 * 9
    scoring.close()


def test_a_version_or_an_alias_of_the_registry_answers(tmp_path: Path) -> None:
    """An alias that was moved is found again after a while."""
    first, second = make_loans(tmp_path / "loans"), make_loans(tmp_path / "other", 5, "2")
    registry = open_registry(first.stream)
    for loans in (first, second):
        registry.add(bundle_of(loans).folder, {})
    registry.set_alias("loans", "champion", "1")
    now = [0.0]
    scoring = SqlScoring(
        {"loans": first.stream}, ScorerSettings(), tmp_path / "cache", lambda: now[0]
    )
    (row,) = tuples(applications(1))

    def said(model: bytes) -> bytes:
        return scoring.answer([(model, row)], scores)[0]

    own, other = said(b"loans"), said(b"loans@2")
    assert own != other
    assert said(b"loans@1") == own == said(b"loans@champion")
    mixed = scoring.answer([(b"loans@2", row), (b"loans", row), (b"loans@2", row)], scores)
    assert mixed == [other, own, other]
    registry.set_alias("loans", "champion", "2")
    assert said(b"loans@champion") == own
    now[0] = LOOK_S
    assert said(b"loans@champion") == other
    for number in range(MODELS_MAX):
        registry.set_alias("loans", f"a{number}", "1")
        assert said(f"loans@a{number}".encode()) == own
    assert said(b"loans@2") == other
    with pytest.raises(OperatorNeeded, match="no model loans@9"):
        said(b"loans@9")
    scoring.close()


def test_a_stream_that_is_not_there_is_named(scoring: SqlScoring) -> None:
    """With the ones that are."""
    with pytest.raises(SettingsInvalid, match=r"'loan' .*loans"):
        scoring.answer([(b"loan", b"(1)")], scores)


def test_a_stream_is_answered_by_its_champion_of_the_moment(tmp_path: Path) -> None:
    """By the bundle of stream.toml while nothing was released; the version that answers is told."""
    first, second = make_loans(tmp_path / "loans"), make_loans(tmp_path / "other", 5, "2")
    champion = [None, open_registry(first.stream).add(bundle_of(second).folder, {})]
    now = [0.0]
    scoring = SqlScoring(
        {"loans": first.stream},
        ScorerSettings(),
        tmp_path / "cache",
        lambda: now[0],
        champions={"loans": lambda: champion[now[0] >= LOOK_S]},
    )
    (row,) = tuples(applications(1))
    before = scoring.answer([(b"loans", row)], answers)[0]
    assert before.endswith(wire.text(b"loans@1"))
    now[0] = LOOK_S
    after = scoring.answer([(b"loans", row)], answers)[0]
    assert after == scoring.answer([(b"loans@2", row)], answers)[0]
    assert after.endswith(wire.text(b"loans@2"))
    shutil.rmtree(first.stream.beside("models"))
    shutil.rmtree(tmp_path / "cache")
    now[0] = 2 * LOOK_S
    with pytest.raises(OperatorNeeded, match="no model loans@2"):
        scoring.answer([(b"loans", row)], answers)
    scoring.close()
