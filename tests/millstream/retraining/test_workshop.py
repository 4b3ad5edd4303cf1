"""What models of an attempt lose, and the bundle of the one that wins."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from millstream.models.bundle import Bundle, digest_of
from millstream.models.card import Kind
from millstream.models.session import Session
from millstream.retraining.challenge import Candidate
from millstream.retraining.workshop import Workshop
from millstream.training.repeat import Source, lineage_of
from millstream.training.rows import CannotTrain, Rows
from millstream.training.train import Recipe, make
from tests.millstream.training.tables import labelled_rows

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
RECIPE = Recipe("lightgbm", {"n_estimators": 8})


def of(rows: Rows, name: str, *places: tuple[int, int]) -> Candidate:
    """Fitted on the rows of these places."""
    times = [*rows.times_us.tolist(), int(rows.times_us[-1]) + 1]
    return Candidate(name, "new", tuple((times[a], times[b]) for a, b in places))


def shop_of(rows: Rows, champion: Candidate, threshold: float = 0.5) -> Workshop:
    """In which no model comes from a registry."""
    return Workshop(rows, RECIPE, lambda _: None, champion, threshold)


def everything(rows: Rows) -> tuple[int, int]:
    """From the first row to behind the last."""
    return int(rows.times_us[0]), int(rows.times_us[-1]) + 1


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_what_wins_is_written_with_the_recipe_that_makes_it_again(
    kind: Kind, tmp_path: Path
) -> None:
    """Its rows lie in two ranges; the lineage's recipe gives the digest of all rows."""
    rows = labelled_rows(kind, 500)
    champion, winner = of(rows, "old", (0, 100)), of(rows, "new", (150, 250), (300, 420))
    shop = shop_of(rows, champion)
    lineage = lineage_of(rows, shop.recipe(winner), Source(), tmp_path)
    bundle, passport = shop.write(winner, tmp_path / "b", ("loans", "7"), CREATED, lineage)
    assert passport.lineage == lineage
    assert bundle.card.window is not None and bundle.card.window.rows == 220
    again = make(rows, Recipe.of(lineage)).export().model
    assert digest_of(again) == bundle.digest


def test_candidates_decide_by_the_champions_threshold(tmp_path: Path) -> None:
    """As the bundle will: what it loses here is what it loses there."""
    rows = labelled_rows("binary", 500)
    winner = of(rows, "new", (100, 300))
    lost = {}
    for threshold in (0.5, 0.9):
        shop = shop_of(rows, of(rows, "old", (0, 100)), threshold)
        lost[threshold] = shop.losses(winner, *everything(rows))
        lineage = lineage_of(rows, shop.recipe(winner), Source(), tmp_path)
        folder = tmp_path / f"{threshold}"
        bundle, _ = shop.write(winner, folder, ("loans", "7"), CREATED, lineage)
        assert bundle.card.threshold == threshold
        session = Session(Bundle.load(folder))
        scored = session.score(rows.columns.combine_chunks().to_batches()[0])
        session.close()
        wrong = np.array(scored.label.to_pylist(), object) != rows.labels[scored.rows]
        assert (lost[threshold][scored.rows] == wrong).all()
    assert (lost[0.5] != lost[0.9]).any()


def test_a_regressions_errors_are_in_the_champions_measure() -> None:
    """Whoever is asked for first, so that another process comes to the same."""
    rows = labelled_rows("regression", 500)
    champion, other = of(rows, "old", (0, 200)), of(rows, "new", (0, 60))
    one, two = shop_of(rows, champion), shop_of(rows, champion)
    first = one.losses(champion, *everything(rows)), one.losses(other, *everything(rows))
    second = two.losses(other, *everything(rows)), two.losses(champion, *everything(rows))
    assert (first[0] == second[1]).all() and (first[1] == second[0]).all()
    assert np.median(first[0]) == pytest.approx(0.25)


def test_what_has_no_rows_left_loses_everywhere_and_cannot_be_fitted() -> None:
    """A former champion on paper, whose rows are gone."""
    rows = labelled_rows("binary", 200)
    gone = Candidate("gone", "former", ((5, 9),))
    shop = shop_of(rows, of(rows, "old", (0, 100)))
    assert shop.losses(gone, *everything(rows)).all()
    with pytest.raises(CannotTrain, match="no labelled row of gone is left"):
        shop.fitted(gone)
