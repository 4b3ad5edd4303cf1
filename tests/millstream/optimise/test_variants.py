"""Every variant of a bundle, made, measured and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.passport import read_passport
from millstream.optimise.compare import Gate
from millstream.optimise.variants import ALL, Order, optimise
from tests.millstream.optimise.models import NOW, bench, fresh, network, trained

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
    assert len({outcome.folder for outcome in outcomes}) == len(ALL)


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
