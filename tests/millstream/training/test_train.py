"""From rows to a candidate that was chosen, measured and compared."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from millstream.models.bundle import Bundle, digest_of
from millstream.training.candidate import Candidate, fit
from millstream.training.families import FAMILIES, Family
from millstream.training.rows import CannotTrain, Rows
from millstream.training.search import Budget, Progress, search
from millstream.training.split import Shares, split
from millstream.training.train import Recipe, Trained, TrainRequest, compare, make, train
from tests.millstream.training.tables import labelled_rows

QUICK = Budget(0, ("logistic_regression", "lightgbm"))
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


class Ticks:
    """A clock that goes on by the same step whenever it is looked at."""

    def __init__(self, step: float) -> None:
        self.now, self._step = 0.0, step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def bundle_of(rows: Rows, folder: Path, family: str = "lightgbm") -> Bundle:
    """A champion trained on these rows."""
    candidate = fit(rows, family, {})  # type: ignore[arg-type]
    return candidate.bundle(folder, rows, name="t", version="1", created=CREATED)


def trained_on(rows: Rows, champion: Bundle | None = None) -> Trained:
    """By the two quick families' defaults."""
    return train(TrainRequest(QUICK, champion=champion), rows, Ticks(0.0))


def test_parts_follow_each_other_and_hold_back_what_was_not_known() -> None:
    """A row whose label came after a border is on neither side before it; the embargo is free."""
    rows = labelled_rows("binary", 500)  # a second apart, labels known 5 s later
    parts = split(rows, Shares(choose=0.2, test=0.2))
    border, start = int(parts.test.times_us[0]), int(rows.times_us[0])
    assert len(parts.test) == 100
    assert border == start + 400_000_000
    assert parts.known.known_us is not None and parts.known.known_us.max() <= border
    assert parts.left_out == 4
    assert len(parts.fit) == 296 and len(parts.choose) == 96
    assert parts.fit.times_us.max() < parts.choose.times_us.min()
    apart = split(rows, Shares(0.2, 0.2, embargo_s=20))
    assert border - apart.known.times_us.max() > 20_000_000


def test_labels_that_come_later_than_the_rows_span_cannot_be_cut() -> None:
    """Nothing would be left to learn from that was known in time."""
    rows = labelled_rows("binary", 500)
    late = replace(rows, known_us=rows.times_us + 10**9)
    with pytest.raises(CannotTrain, match="labels come too late"):
        split(late, Shares())
    with pytest.raises(CannotTrain, match="too few"):
        split(rows.take(slice(0, 50)), Shares())


def test_the_search_ends_with_its_budget_and_tells_how_far_it_is() -> None:
    """Each family's defaults are tried in any case; no trial begins that would not end."""
    rows = labelled_rows("binary", 400, categories=False)
    seen: list[Progress] = []
    families: tuple[Family, ...] = ("logistic_regression", "lightgbm")
    found = search(rows, rows, Budget(40.0, families), Ticks(1.0), seen.append)
    assert {trial.family for trial in found[:]} == set(families)
    assert [trial.loss for trial in found] == sorted(trial.loss for trial in found)
    assert 6 <= len(found) <= 20
    assert seen[-1].elapsed_s <= 42
    assert seen[-1].best == found[0]
    none = search(rows, rows, Budget(0.0, families), Ticks(1.0))
    assert sorted(trial.family for trial in none) == ["lightgbm", "logistic_regression"]
    assert all(not trial.parameters for trial in none)


@pytest.mark.parametrize("seed", range(4))
def test_a_large_model_is_not_begun_that_a_small_ones_time_does_not_foretell(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws differ twelvefold in trees times leaves, and so does their time."""
    rows = labelled_rows("binary", 200, categories=False)
    quick, clock = fit(rows, "logistic_regression"), Ticks(0.0)

    def fitted(_: Rows, __: str, parameters: dict[str, int], ___: int) -> Candidate:
        size = parameters.get("n_estimators", 100) * parameters.get("num_leaves", 31)
        clock.now += 10 * size / 3_100
        return quick

    monkeypatch.setattr("millstream.training.search.fit", fitted)
    found = search(rows, rows, Budget(200.0, ("lightgbm",), seed), clock)
    assert clock.now <= 200.0
    assert len(found) >= 3


def test_the_best_trial_is_made_again_from_its_recipe() -> None:
    """Parameters that were drawn, the split and the calibration among it."""
    rows = labelled_rows("binary", 1_200)
    request = TrainRequest(Budget(30.0, ("lightgbm",), seed=2))
    found = train(request, rows, Ticks(0.4))
    assert found.recipe.parameters or len(found.trials) > 1
    first, second = found.candidate.export().model, make(rows, found.recipe).export().model
    assert digest_of(first) == digest_of(second)
    other = make(rows, replace(found.recipe, seed=3)).export().model
    assert digest_of(other) != digest_of(first)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_survives_the_lineage(family: str) -> None:
    """Which holds plain values only."""
    from millstream.models.lineage import Lineage

    recipe = Recipe(family, {"alpha": 0.1, "hidden_layer_sizes": [3, 4]}, 7, Shares(0.1, 0.3, 5))  # type: ignore[arg-type]
    assert Recipe.of(Lineage(recipe=recipe.as_lineage())) == recipe
    ranges = ((5, 1_700_000_000_000_000), (1_700_000_000_000_100, 1_700_000_000_000_200))
    retrained = Recipe(family, seed=3, calibrate=False, ranges=ranges)  # type: ignore[arg-type]
    assert Recipe.of(Lineage(recipe=retrained.as_lineage())) == retrained
    with pytest.raises(CannotTrain, match="no recipe"):
        Recipe.of(Lineage(recipe={"family": "oracle"}))


def test_a_recipe_with_ranges_is_one_fit_on_exactly_their_rows() -> None:
    """All rows from each beginning up to its end, and no others; nothing is held back."""
    rows = labelled_rows("binary", 600)
    time = rows.times_us.tolist()
    ranges = ((time[10], time[110]), (time[300], time[500]))
    assert rows.within(ranges).times_us.tolist() == [*time[10:110], *time[300:500]]
    made = make(rows, Recipe("lightgbm", {"n_estimators": 5}, calibrate=False, ranges=ranges))
    assert (made.window.rows, made.calibration) == (300, None)
    alone = fit(rows.within(ranges), "lightgbm", {"n_estimators": 5})
    assert digest_of(made.export().model) == digest_of(alone.export().model)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_measures_are_of_rows_that_nothing_learnt_from(kind: str) -> None:
    """And tell a model from a guess."""
    rows = labelled_rows(kind, 1_000)  # type: ignore[arg-type]
    found = trained_on(rows)
    assert found.measures.rows == 200
    assert found.parts.known.times_us.max() < found.parts.test.times_us.min()
    if kind == "regression":
        spread = float(np.std(found.parts.test.values))
        assert found.measures.rmse is not None and found.measures.rmse < 0.6 * spread
    else:
        assert found.measures.accuracy is not None
        assert found.measures.accuracy > (0.8 if kind == "binary" else 0.6)


def test_a_champion_is_compared_on_the_same_rows(tmp_path: Path) -> None:
    """A worse one comes out worse, surely; its twin does not."""
    rows = labelled_rows("binary", 2_000)
    old = rows.take(slice(0, 100))
    weak = bundle_of(old, tmp_path / "weak", "logistic_regression")
    comparison = trained_on(rows, weak).comparison
    assert comparison is not None
    assert comparison.rows == 400
    assert comparison.better
    gaps = {metric.name: metric for metric in comparison.differences}
    assert gaps["log_loss"].high < 0 < gaps["accuracy"].low
    found = trained_on(rows)
    twin = found.candidate.bundle(tmp_path / "twin", rows, name="t", version="2", created=CREATED)
    same, _ = compare(twin, found.parts.test, found.scores)
    assert same is not None and not same.better
    assert all(abs(metric.value) < 1e-9 for metric in same.differences)
    theirs = fit(old, "logistic_regression").predict_proba(found.parts.test.columns)
    worse, _ = compare(twin, found.parts.test, theirs)
    assert worse is not None and worse.worse and not worse.better


def test_rows_that_the_champion_was_trained_on_are_not_compared(tmp_path: Path) -> None:
    """It would have seen their labels; where nothing is left, that is said."""
    rows = labelled_rows("binary", 1_000)
    part = bundle_of(rows.take(slice(0, 900)), tmp_path / "part")
    found = trained_on(rows, part)
    assert found.comparison is not None
    assert (found.comparison.rows, found.comparison.left_out) == (100, 100)
    assert any("was trained on events until" in note for note in found.notes)
    whole = bundle_of(rows, tmp_path / "whole")
    nothing = trained_on(rows, whole)
    assert nothing.comparison is None
    assert any("was not compared: 0 test rows" in note for note in nothing.notes)


def test_the_last_moment_that_the_champion_learnt_from_is_its_own(tmp_path: Path) -> None:
    """To the microsecond, though many rows have it and a double of seconds lies below it."""
    rows = labelled_rows("binary", 1_000)
    last = 1_009
    moments = last - 900 + np.arange(1_000)
    rows = replace(rows, times_us=np.where(moments > last, moments, moments // 100 * 100 + 9))
    rows = replace(rows, known_us=rows.times_us)
    learnt = np.flatnonzero(rows.times_us <= last)
    found = trained_on(rows, bundle_of(rows.take(learnt), tmp_path / "b"))
    assert found.comparison is not None
    assert found.comparison.rows == 1_000 - len(learnt)


def test_a_champion_that_cannot_be_compared_is_named_with_the_reason(tmp_path: Path) -> None:
    """Another kind of model, or one of a feature that the rows have not, would only look bad."""
    rows = {kind: labelled_rows(kind, 400) for kind in ("binary", "multiclass", "regression")}
    old = {k: bundle_of(each.take(slice(0, 100)), tmp_path / k) for k, each in rows.items()}
    for kind, other in (("binary", "regression"), ("regression", "binary")):
        found = trained_on(rows[kind], old[other])
        assert found.comparison is None
        assert f"t 1 was not compared: it is a {other} model, the rows are {kind}" in found.notes
    few = rows["binary"]
    task = replace(few.task, features=few.task.features[:-1])
    found = trained_on(replace(few, task=task, columns=few.columns.drop(["z"])), old["binary"])
    assert found.comparison is None
    assert "t 1 was not compared: the rows lack its feature z" in found.notes


def test_a_champion_that_does_not_say_what_it_learnt_is_compared_with_a_warning(
    tmp_path: Path,
) -> None:
    """Nobody knows then whether it has seen the labels that judge."""
    rows = labelled_rows("binary", 400)
    bundle = bundle_of(rows, tmp_path / "b")
    silent = Bundle.check(
        tmp_path, bundle.card.model_copy(update={"window": None}), bundle.model_bytes
    )
    found = trained_on(rows, silent)
    assert found.comparison is not None and found.comparison.rows == 80
    assert any("does not say what it was trained on" in note for note in found.notes)


def test_rows_that_no_model_answers_are_not_measured() -> None:
    """A session refuses an infinite number: no score of it is ever published."""
    rows = labelled_rows("binary", 500, holes=False)
    numbers = np.asarray(rows.columns["y"]).copy()
    numbers[[10, 490, 495]] = np.inf
    place = rows.columns.column_names.index("y")
    rows = replace(rows, columns=rows.columns.set_column(place, "y", pa.array(numbers)))
    found = trained_on(rows)
    assert np.isfinite(np.asarray(found.parts.test.columns["y"])).all()
    assert "3 rows were left out that a model would refuse" in found.notes
    again = make(rows, found.recipe).export().model
    assert digest_of(again) == digest_of(found.candidate.export().model)


def test_a_champion_with_other_labels_has_no_chance_for_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    """A new label is its error, not a crash."""
    rows = labelled_rows("multiclass", 1_200)
    some = rows.take(np.flatnonzero(rows.labels != "d"))
    three = replace(some, task=replace(some.task, labels=("c", "b", "a")))
    champion = bundle_of(three.take(slice(0, 300)), tmp_path / "b")
    comparison = trained_on(rows, champion).comparison
    assert comparison is not None and comparison.better
