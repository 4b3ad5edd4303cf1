"""A passport is measured: what differs from the training library is found, wherever it hides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle, digest_of, write_bundle
from millstream.models.golden import GOLDEN_FILE, HOSTILE, read_golden
from millstream.models.hostile import threshold_rows
from millstream.models.package import About, issue_passport, make_bundle
from millstream.models.passport import read_passport, require_passport
from millstream.models.proof import Facts, Limits, attest, prove, repeat
from tests.millstream.models.graphs import CREATED, bundle, card, lookup, one_node
from tests.millstream.models.passports import (
    FACTS,
    NAMES,
    NAN_FIRST,
    bundle_of,
    library,
    logistic,
    rows,
    with_passport,
)


def _found(folder: Path, proto: Any = None, predict: Any = library, **changes: Any) -> Any:
    made = bundle_of(folder, proto, **changes)
    return prove(made, rows(), predict, FACTS).passport


def test_the_same_model_passes_every_check(tmp_path: Path) -> None:
    """And the passport says what it compared: ordinary rows, near ones and hostile ones."""
    passport = _found(tmp_path / "m")
    assert passport.passed
    assert passport.check("parity_ordinary").rows == 300 + 48
    assert passport.check("parity_hostile").rows == 3 * 15 + 1
    assert "refused by the card" in passport.check("parity_hostile").note
    assert passport.check("batch_independence").rows == 2_048
    assert [place.column for place in passport.places] == [0, 1, 2]
    assert {place.element for place in passport.places} == {"DOUBLE"}
    assert passport.reference == "by hand 0"


def test_another_answer_to_nan_is_found(tmp_path: Path) -> None:
    """Though all ordinary rows agree: as skl2onnx's forest did, off by 0.235 on NaN."""
    passport = _found(tmp_path / "m", logistic(fill=2.0))
    assert passport.check("parity_ordinary").passed
    assert passport.check("parity_hostile").found > 0.1
    assert not passport.passed


def test_columns_in_another_order_are_found(tmp_path: Path) -> None:
    """The card lists the features otherwise than training did."""
    mixed = (NAN_FIRST[1], NAN_FIRST[0], NAN_FIRST[2])
    passport = _found(tmp_path / "m", features=mixed)
    assert passport.check("parity_ordinary").found > 0.1


def test_a_score_that_tips_a_label_is_found(tmp_path: Path) -> None:
    """A difference of 1e-4 within a lax limit flips rows beside the threshold, and only those."""

    def other(batch: pa.RecordBatch) -> Any:
        scores = library(batch)
        return np.column_stack([1 - scores[:, 1] - 1e-4, scores[:, 1] + 1e-4])

    made = bundle_of(tmp_path / "m")
    limits = Limits(parity=1e-5, hostile=1.0)
    lax = replace(limits, parity=2e-4)
    strict = prove(made, rows(), other, FACTS, limits).passport
    assert not strict.check("parity_ordinary").passed
    assert strict.check("flips").found > 0
    assert prove(made, rows(), library, FACTS, lax).passport.check("flips").found == 0
    allowed = prove(made, rows(), other, FACTS, replace(lax, flips=0.5)).passport
    assert allowed.passed


def test_a_library_that_refuses_what_the_bundle_answers_is_found(tmp_path: Path) -> None:
    """Someone wrote missing = 'nan' for a model that was never asked about a NaN."""

    def strict(batch: pa.RecordBatch) -> Any:
        if np.isnan(batch.column("a").fill_null(np.nan).to_numpy(zero_copy_only=False)).any():
            raise ValueError("Input X contains NaN")
        return library(batch)

    check = _found(tmp_path / "m", predict=strict).check("parity_hostile")
    assert not check.passed
    assert "2 answered by one side only" in check.note


def test_a_library_may_refuse_extremes(tmp_path: Path) -> None:
    """As scikit-learn's trees refuse what their float32 cannot hold: a note, no failure."""

    def narrow(batch: pa.RecordBatch) -> Any:
        x = np.column_stack([batch.column(n).fill_null(0.0) for n in NAMES])
        if (np.abs(np.nan_to_num(x, posinf=0, neginf=0)) > 1e38).any():
            raise OverflowError("too large")
        return library(batch)

    passport = _found(tmp_path / "m", predict=narrow)
    assert passport.passed
    assert "12 extremes only one side answers" in passport.check("parity_hostile").note


def test_a_model_that_fails_on_ordinary_rows_does_not_pass(tmp_path: Path) -> None:
    """It raises where the library answers."""
    made = write_bundle(tmp_path / "m", lookup().SerializeToString(), card(lookup()))
    table = pa.table({"a": np.resize([0.0, 1.0, 2.0, 7.0], 40)})

    def predict(batch: pa.RecordBatch) -> Any:
        return np.array(batch.column("a").fill_null(0.0)) * 10

    passport = prove(made, table, predict, FACTS).passport
    assert not passport.check("parity_ordinary").passed


@pytest.mark.parametrize(
    ("predict", "table", "says"),
    [
        (library, rows(0), "there are no rows"),
        (lambda _: 1 / 0, rows(), "answers none of the rows"),
        (lambda batch: np.zeros((batch.num_rows, 3)), rows(), r"answers \[\d+, 3\] in place of"),
        (library, pa.table({"a": [1.0]}), "no column 'b'"),
    ],
)
def test_what_cannot_be_compared_gets_no_passport(
    tmp_path: Path, predict: Any, table: Any, says: str
) -> None:
    """No rows, no answers, answers of another shape, no columns."""
    with pytest.raises(BundleInvalid, match=says):
        prove(bundle_of(tmp_path / "m"), table, predict, FACTS)


def test_an_old_opset_is_out_of_range() -> None:
    """Softmax meant something else before 13."""
    proto = one_node("Identity")()
    proto.opset_import[0].version = 11
    made = bundle(proto)
    table = pa.table({"a": np.arange(9.0)})
    passport = prove(made, table, lambda b: np.array(b.column("a")), FACTS).passport
    assert not passport.check("opset").passed
    assert "ai.onnx 11 of 13 to" in passport.check("opset").note


def test_a_model_may_be_too_large(tmp_path: Path) -> None:
    """Of a limit that is the caller's."""
    found = prove(bundle_of(tmp_path / "m"), rows(), library, FACTS, Limits(size_bytes=100))
    assert not found.passport.check("size").passed


def test_check_repeats_it_without_the_library(tmp_path: Path) -> None:
    """From the golden rows alone, with the same verdicts."""
    made, passport = with_passport(tmp_path / "m")
    again = repeat(Bundle.load(made.folder), passport)
    assert [check.name for check in again] == [check.name for check in passport.checks]
    assert all(check.passed for check in again)


def test_check_allows_as_many_flips_as_the_passport(tmp_path: Path) -> None:
    """Its count, not its share: of fewer rows that would be fewer, and the doubtful ones stay."""

    def other(batch: pa.RecordBatch) -> Any:
        scores = library(batch)
        return np.column_stack([1 - scores[:, 1] - 0.04, scores[:, 1] + 0.04])

    made, limits = bundle_of(tmp_path / "m"), Limits(parity=0.05, hostile=1.0, flips=1.0)
    tried = prove(made, rows(), other, FACTS, limits).passport.check("flips")
    just = replace(limits, flips=(tried.found + 0.5) / tried.rows)
    passport = prove(made, rows(), other, FACTS, just).save(made.folder)
    (flips,) = [check for check in repeat(made, passport) if check.name == "flips"]
    assert 0 < flips.found < tried.found
    assert flips.rows < tried.rows
    assert flips.limit == passport.check("flips").limit == tried.found


def test_check_finds_a_model_that_answers_otherwise_here(tmp_path: Path) -> None:
    """As a runtime with a fault would; here another model stands for it."""
    made, passport = with_passport(tmp_path / "m")
    other = bundle_of(tmp_path / "o", logistic(fill=3.0))
    wrong = replace(made, model_bytes=other.model_bytes)
    checks = {check.name: check for check in repeat(wrong, passport)}
    assert checks["parity_ordinary"].passed
    assert not checks["parity_hostile"].passed


def test_check_finds_rows_that_are_refused_otherwise(tmp_path: Path) -> None:
    """A row that was scored at export must be scored here."""
    made, passport = with_passport(tmp_path / "m")
    golden, _ = read_golden(made.folder, made.card)
    other = replace(golden, refused=("null_feature", *golden.refused[1:]))
    other.save(made.folder)
    forged = passport.model_copy(update={"golden_digest": digest_of(other.encoded())})
    found = next(c for c in repeat(made, forged) if c.name == "parity_hostile")
    assert not found.passed
    assert "refused where they were scored" in found.note


def test_golden_rows_of_another_passport_are_refused(tmp_path: Path) -> None:
    """Nobody swaps the rows for kinder ones."""
    made, passport = with_passport(tmp_path / "m")
    golden, _ = read_golden(made.folder, made.card)
    golden.take(golden.rows_of("ordinary")).save(made.folder)
    with pytest.raises(BundleInvalid, match=r"golden\.json is not that of the passport"):
        repeat(made, passport)
    (made.folder / GOLDEN_FILE).unlink()
    with pytest.raises(BundleInvalid, match=r"golden\.json is missing"):
        repeat(made, passport)


def test_rows_that_were_scored_elsewhere_are_attested(tmp_path: Path) -> None:
    """Without hostile rows among them the check of those fails."""
    made, _ = with_passport(tmp_path / "m")
    golden, _ = read_golden(made.folder, made.card)
    assert attest(made, golden, FACTS).passport.passed
    friendly = golden.take(golden.rows_of("ordinary"))
    passport = attest(made, friendly, FACTS).passport
    assert passport.check("parity_hostile").note == "no such row was tried"
    assert not passport.passed


def test_the_curve_is_measured_where_there_is_a_clock(tmp_path: Path) -> None:
    """And belongs to this machine."""
    ticks = iter(np.arange(0, 1e6, 0.5))
    facts = Facts(CREATED, clock=lambda: float(next(ticks)))
    passport = prove(bundle_of(tmp_path / "m"), rows(), library, facts).passport
    assert passport.tuning is not None
    assert {point.rows for point in passport.tuning.points} == {1, 8, 64, 256, 1_024}


lgb = pytest.importorskip("lightgbm", reason="install the extra train")


def test_a_trained_model_gets_its_passport_and_keeps_it(tmp_path: Path) -> None:
    """LightGBM: its own thresholds are among the hostile rows; the bundle loads and is released."""
    x = np.random.default_rng(0).normal(size=(400, 3))
    model = lgb.LGBMClassifier(n_estimators=9, verbose=-1, n_jobs=1)
    model.fit(x, (x[:, 0] > x[:, 1]).astype(int))
    made = make_bundle(tmp_path / "m", model, list(NAN_FIRST), x, About("m", "1", CREATED))
    passport = issue_passport(made, model, x, FACTS)
    assert passport.passed
    assert passport.reference.startswith("lightgbm ")
    loaded = Bundle.load(tmp_path / "m")
    assert require_passport(loaded) == passport == read_passport(loaded)
    golden, _ = read_golden(loaded.folder, loaded.card)
    assert set(golden.kinds) == {"ordinary", "near", *HOSTILE} - {"unseen"}
    trees = threshold_rows(loaded)
    assert trees is not None
    splits = {
        tree["tree_structure"]["threshold"] for tree in model.booster_.dump_model()["tree_info"]
    }
    assert splits & set(np.concatenate([column.to_numpy() for column in trees.columns]).tolist())
    assert "How fast it is" not in (tmp_path / "m" / "MODEL_CARD.md").read_text()
