"""A candidate gives the scores of its training library, in process and as a bundle's session."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from millstream.models.card import Feature, Kind
from millstream.models.session import Session
from millstream.training.candidate import Candidate, fit
from millstream.training.families import FAMILIES, Family
from millstream.training.rows import CannotTrain, Rows
from tests.millstream.training.tables import LABELS, hostile, labelled_rows

KINDS: list[Kind] = ["binary", "multiclass", "regression"]
SMALL: dict[Family, dict[str, int]] = {
    "lightgbm": {"n_estimators": 12},
    "hist_gradient_boosting": {"max_iter": 12},
    "logistic_regression": {},
    "mlp": {"max_iter": 8},
}


def session_of(candidate: Candidate, folder: Path, rows: Rows) -> Session:
    """The candidate's bundle, opened."""
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return Session(candidate.bundle(folder, rows, name="t", version="1", created=created))


def apart(candidate: Candidate, session: Session, table: pa.Table) -> tuple[float, int]:
    """The largest difference of the two on a table, relative above 1; rows that were scored."""
    scored = session.score(table.combine_chunks().to_batches()[0])
    own = candidate.predict_proba(table)[scored.rows]
    return float((abs(scored.scores - own) / np.maximum(1, abs(own))).max()), len(scored.rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("categories", [True, False])
def test_its_session_gives_the_same_scores_on_hostile_rows(
    family: Family, kind: Kind, categories: bool, tmp_path: Path
) -> None:
    """Extremes, subnormals, nulls, unseen and empty categories; calibrated where there is one."""
    rows = labelled_rows(kind, 1_500, categories=categories)
    candidate = fit(rows.take(slice(0, 1_000)), family, SMALL[family])
    candidate = candidate.calibrated(rows.take(slice(1_000, None)))
    session = session_of(candidate, tmp_path / "b", rows)
    for table in (rows.columns, hostile(rows)):
        difference, scored = apart(candidate, session, table)
        assert difference < 1e-9
        assert scored == table.num_rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rows_score_has_the_same_bits_in_every_batch(
    family: Family, kind: Kind, tmp_path: Path
) -> None:
    """Whoever its batch mates are: verify compares bits."""
    rows = labelled_rows(kind, 1_500)
    if kind == "multiclass":  # an odd number of score columns
        kept = np.flatnonzero(rows.labels != "d")
        rows = replace(rows.take(kept), task=replace(rows.task, labels=("a", "b", "c")))
    candidate = fit(rows.take(slice(0, 700)), family, SMALL[family])
    session = session_of(candidate.calibrated(rows.take(slice(700, None))), tmp_path / "b", rows)
    batch = rows.columns.combine_chunks().to_batches()[0]
    together = session.score(batch).scores
    for count in (1, 2, 3, 7, 64, 257, 1_000):
        for first in (0, 5, 90):
            alone = session.score(batch.slice(first, count)).scores
            assert np.array_equal(alone, together[first : first + len(alone)])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_rows_and_seed_give_the_same_digest(family: Family, tmp_path: Path) -> None:
    """And other rows another."""
    rows = labelled_rows("binary", 500)
    models = [fit(rows, family, SMALL[family], seed=3).export().model for _ in range(2)]
    other = fit(rows.take(slice(0, 400)), family, SMALL[family], seed=3).export().model
    assert models[0] == models[1] != other


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_that_training_did_not_see_keep_a_column_and_a_small_chance(
    family: Family, tmp_path: Path
) -> None:
    """A window after a change may lack some; the release's labels stay what they were."""
    rows = labelled_rows("multiclass", 900)
    some = rows.take(np.flatnonzero(np.isin(rows.labels, ["b", "d"])))
    candidate = fit(some, family, SMALL[family])
    scores = candidate.predict_proba(rows.columns)
    unseen = 1 / (len(some) + 4)
    assert np.allclose(scores[:, [0, 2]], unseen)
    assert np.allclose(scores.sum(axis=1), 1)
    assert apart(candidate, session_of(candidate, tmp_path / "b", rows), hostile(rows))[0] < 1e-9


@pytest.mark.parametrize("categories", [True, False])
def test_rows_of_one_label_give_a_constant_that_is_not_certain(
    categories: bool, tmp_path: Path
) -> None:
    """No family can be fitted then, and a stream must not stop for it."""
    rows = labelled_rows("binary", 300, categories=categories)
    one = rows.take(np.flatnonzero(rows.labels == "yes"))
    candidate = fit(one, "lightgbm")
    scores = candidate.predict_proba(rows.columns)
    assert np.allclose(scores, [1 / (len(one) + 2), 1 - 1 / (len(one) + 2)])
    assert apart(candidate, session_of(candidate, tmp_path / "b", rows), hostile(rows))[0] == 0


def test_rows_that_a_session_would_refuse_are_not_learnt_from() -> None:
    """Infinite numbers, holes that the task refuses, labels that it does not know."""
    rows = labelled_rows("binary", 400, holes=False)
    spoilt = rows.columns.slice(0, 3).to_pydict()
    spoilt["x"] = [np.inf, None, 0.5]
    spoilt["colour"][2] = None
    columns = pa.concat_tables([pa.table(spoilt, rows.columns.schema), rows.columns.slice(3)])
    labels = rows.labels.copy()
    labels[3] = "maybe"
    candidate = fit(replace(rows, columns=columns, labels=labels), "lightgbm", SMALL["lightgbm"])
    assert candidate.window.rows == 396


def test_weights_count() -> None:
    """A model of rows that weigh differently is another one."""
    rows = labelled_rows("binary", 400, holes=False)
    weights = (np.arange(400) < 300).astype(np.float64)
    weighed = fit(replace(rows, weights=weights), "logistic_regression")
    scale = fit(rows, "logistic_regression")
    assert not np.allclose(
        weighed.predict_proba(rows.columns), scale.predict_proba(rows.columns), atol=1e-3
    )


def test_a_category_has_columns_for_its_most_frequent_values_only(tmp_path: Path) -> None:
    """The rest are none of them, as what was never seen."""
    rows = labelled_rows("binary", 600)
    rng = np.random.default_rng(4)
    names = [f"v{n}" for n in rng.zipf(1.3, 600)]
    task = replace(rows.task, features=(Feature(name="v", type="category"),))
    rows = replace(rows, task=task, columns=pa.table({"v": names}))
    candidate = fit(rows, "logistic_regression")
    assert len(candidate.encoder.values["v"]) == 100
    scores = candidate.predict_proba({"v": ["never", "seen"]})
    assert np.array_equal(scores[0], scores[1])
    assert apart(candidate, session_of(candidate, tmp_path / "b", rows), rows.columns)[0] < 1e-9


def test_a_parameter_that_the_library_does_not_know_is_an_error_with_its_words() -> None:
    """A typing error of the operator."""
    with pytest.raises(CannotTrain, match="hist_gradient_boosting cannot be fitted"):
        fit(labelled_rows("binary", 100), "hist_gradient_boosting", {"trees": 3})


def test_what_lightgbm_refuses_is_an_error_with_its_words() -> None:
    """Its own exception is none of Python's."""
    with pytest.raises(CannotTrain, match="num_leaves"):
        fit(labelled_rows("binary", 100), "lightgbm", {"num_leaves": 1})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_extremes_in_training_do_no_harm(family: Family, kind: Kind, tmp_path: Path) -> None:
    """Numbers whose sums overflow, a column without a number, one that never varies."""
    rows = labelled_rows(kind, 500)
    y = np.asarray(rows.columns["y"]).copy()
    y[::7], y[1::7] = 1.7e308, -1.7e308
    nothing = pa.array([None] * 500, pa.float64())
    columns = pa.table(
        {"x": np.full(500, 3.0), "y": y, "z": nothing, "colour": rows.columns["colour"]}
    )
    rows = replace(rows, columns=columns)
    candidate = fit(rows, family, SMALL[family])
    assert np.isfinite(candidate.predict_proba(columns)).all()
    assert apart(candidate, session_of(candidate, tmp_path / "b", rows), hostile(rows))[0] < 1e-9


def test_no_rows_are_an_error() -> None:
    """Not a model."""
    with pytest.raises(CannotTrain, match="no row is left"):
        fit(labelled_rows("binary", 100).take(slice(0, 0)), "mlp")


def test_a_calibration_is_kept_only_where_it_helps() -> None:
    """Probabilities that are right already stay as they are."""
    rng = np.random.default_rng(0)
    rows = labelled_rows("binary", 2_000, holes=False, categories=False)
    chance = 1 / (1 + np.exp(-np.asarray(rows.columns["x"])))
    labels = np.where(rng.random(2_000) < chance, "yes", "no").astype(object)
    rows = replace(rows, labels=labels)
    first, last = rows.take(slice(0, 1_000)), rows.take(slice(1_000, None))
    sure = fit(first, "lightgbm", {"n_estimators": 200})
    mended = sure.calibrated(last)
    assert mended.calibration is not None
    assert loss(mended, last) < loss(sure, last) - 0.1
    assert sure.calibrated(last.take(slice(0, 50))).calibration is None


def loss(candidate: Candidate, rows: Rows) -> float:
    """Mean log loss."""
    scores = candidate.predict_proba(rows.columns)
    return float(-np.log(scores[np.arange(len(rows)), rows.codes]).mean())


def test_all_labels_are_used() -> None:
    """The tables' own check: every kind has rows of each label."""
    for kind, labels in LABELS.items():
        assert kind == "regression" or set(labelled_rows(kind).labels) == set(labels)
