"""Every variant of a bundle, made, measured and written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from millstream.columnar.block import block_of
from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.lineage import Lineage, Query
from millstream.models.passport import read_passport
from millstream.models.session import Session
from millstream.optimise.compare import Gate
from millstream.optimise.variants import ALL, Logged, Order, optimise
from millstream.training.rows import CannotTrain
from tests.millstream.optimise.models import NOW, bench, fresh, network, trained
from tests.millstream.training.tables import labelled_rows

OPEN = Gate(flips_max=1.0, loss_max=100.0, faster_min=0.0)


def test_all_variants_of_a_network_are_made_and_written(tmp_path: Path) -> None:
    """Each is a bundle with a passport whose reference is the model; versions say what they are."""
    own = network(tmp_path / "own")
    told: list[str] = []
    outcomes = optimise(
        own, fresh(), Order(tmp_path / "into", NOW, gate=OPEN), bench(), told.append
    )
    assert [outcome.form for outcome in outcomes] == told == list(ALL)
    for outcome in outcomes:
        assert outcome.folder is not None, outcome
        written = Bundle.load(outcome.folder)
        assert written.card.features == own.card.features
        assert written.version.startswith("1-")
        assert written.card.threshold == own.card.threshold
        assert written.card.parity_max_diff is None, "nobody measured it"
        passport = read_passport(written)
        assert passport is not None
        assert passport.reference == f"bundle test@1 {own.digest}"
        assert outcome.measured is not None
        assert outcome.measured.rows == 300
        failure = passport.first_failure
        said = "" if failure is None else f"no release takes it: {failure}"
        assert outcome.note == said
    assert any("parity_ordinary" in outcome.note for outcome in outcomes), "a student is far off"
    assert len({outcome.folder for outcome in outcomes}) == len(ALL)


def test_students_learn_what_was_logged(tmp_path: Path) -> None:
    """Not what the model says now: here the log says the opposite. Rows that judge teach nobody."""
    own, rows = network(tmp_path / "own"), fresh()
    session = Session(own)
    said = session.score(block_of(rows.columns)).whole(len(rows))
    session.close()
    lineage = Lineage(query=Query(text="SELECT 1", result_hash="sha256:" + "0" * 64, rows=1_000))
    logged = Logged(rows, said[:, ::-1].copy(), lineage)
    order = Order(tmp_path / "into", NOW, ["student_lightgbm", "fp32"], OPEN)
    student, narrow = optimise(own, rows, order, bench(), logged=logged)
    assert student.measured is not None and student.folder is not None
    assert student.measured.flips > 0.8 * student.measured.rows
    made = Bundle.load(student.folder)
    assert made.card.window is not None and made.card.window.rows == 700, "each learnt twice"
    assert own.card.window is not None and made.card.window.end == own.card.window.end
    passport = read_passport(made)
    assert passport is not None and passport.lineage is not None
    assert passport.lineage.query == lineage.query
    assert passport.lineage.recipe["teacher"] == f"test@1 {own.digest}"
    assert passport.lineage.recipe["rows"] == 700
    assert narrow.folder is not None
    other = read_passport(Bundle.load(narrow.folder))
    assert other is not None and other.lineage is None


def test_a_student_has_seen_what_its_teacher_has(tmp_path: Path) -> None:
    """Its window ends with the later of its lesson and its teacher's own rows."""
    own, rows = network(tmp_path / "own"), fresh()
    newer = replace(rows, times_us=rows.times_us + 10**10)
    order = Order(tmp_path / "into", NOW, ["student_logistic_regression"], OPEN)
    for each, last in ((rows, rows.times_us[-1]), (newer, newer.times_us[699])):
        (found,) = optimise(own, each, replace(order, into=tmp_path / str(last)), bench())
        assert found.folder is not None
        window = Bundle.load(found.folder).card.window
        assert window is not None and window.rows == 700
        assert window.end == datetime.fromtimestamp(last / 1e6, UTC)


def test_rows_that_the_model_was_trained_on_are_counted_among_those_that_judge(
    tmp_path: Path,
) -> None:
    """Its own loss is too low there, and a variant looks worse than it is."""
    own = trained(tmp_path / "own", "lightgbm", n_estimators=200, min_child_samples=2)
    known = labelled_rows("binary", 1_000, seed=1)
    newer = replace(fresh(), times_us=known.times_us + 10**10)
    order = Order(tmp_path / "into", NOW, ["student_logistic_regression"])
    on_its_own, on_new = (optimise(own, rows, order, bench())[0] for rows in (known, newer))
    assert on_its_own.measured is not None and on_new.measured is not None
    assert (on_its_own.measured.seen, on_new.measured.seen) == (300, 0)
    assert on_its_own.measured.increase[1] > 10
    assert on_new.measured.increase[1] < 0


def test_a_log_that_is_newer_than_the_judging_rows_teaches_nobody(tmp_path: Path) -> None:
    """It would have seen them."""
    own, rows = network(tmp_path / "own"), fresh()
    late = rows.take(slice(900, None))
    order = Order(tmp_path / "into", NOW, ["student_mlp"], OPEN)
    with pytest.raises(CannotTrain, match="older than the newest labelled rows"):
        optimise(own, rows, order, bench(), logged=Logged(late, np.full((100, 2), 0.5)))


def test_what_the_gate_refuses_is_not_written(tmp_path: Path) -> None:
    """But its measures are told."""
    order = Order(tmp_path / "into", NOW, ["fp16"], Gate(flips_max=0.0, loss_max=-1.0))
    (outcome,) = optimise(network(tmp_path / "own"), fresh(), order, bench())
    assert outcome.measured is not None
    assert not outcome.measured.passed
    assert outcome.folder is None
    assert not (tmp_path / "into").exists()


def test_of_trees_only_students_are_made(tmp_path: Path) -> None:
    """The note says why."""
    own = trained(tmp_path / "own", "lightgbm", n_estimators=20)
    order = Order(tmp_path / "into", NOW, ["int8", "student_lightgbm"], OPEN)
    none, student = optimise(own, fresh(), order, bench())
    assert "trees have no" in none.note
    assert none.measured is None
    assert student.folder is not None


def test_rows_that_the_model_refuses_leave_nothing_to_do(tmp_path: Path) -> None:
    """It says so."""
    own = network(tmp_path / "own")
    with pytest.raises(BundleInvalid, match="none of the rows"):
        optimise(own, fresh(rows=2).take(slice(0, 0)), Order(tmp_path, NOW), bench())
