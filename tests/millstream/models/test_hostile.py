"""Hostile rows: every kind, one feature at a time, and rows on both sides of a decision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.models.card import Feature, Input
from millstream.models.hostile import (
    HOSTILE_ROWS_MAX,
    NEAR_PAIRS,
    NUMBERS,
    TEXTS,
    hostile_rows,
    near_rows,
    threshold_rows,
)
from tests.millstream.models.graphs import card, identity
from tests.millstream.models.passports import bundle_of, library, rows


def _card(*features: Feature) -> Any:
    return card(identity(), input=Input(layout="columns"), features=features)


def test_one_feature_is_spoilt_at_a_time() -> None:
    """Every value of every feature has its row, the last one has nothing in it."""
    of = _card(
        Feature(name="n"), Feature(name="s", type="category"), Feature(name="b", type="boolean")
    )
    like = pa.record_batch({"n": [1.5, 2.5], "s": ["u", "v"], "b": [True, False]})
    made, kinds = hostile_rows(like, of)
    assert made.num_rows == len(kinds) == len(NUMBERS) + len(TEXTS) + 1 + 1
    for row in made.to_pylist()[:-1]:
        spoilt = [row["n"] not in (1.5, 2.5), row["s"] not in ("u", "v"), row["b"] is None]
        assert sum(spoilt) == 1, row
    last = made.to_pylist()[-1]
    assert math.isnan(last["n"])
    assert (last["s"], last["b"]) == (None, None)
    assert {"nan", "infinite", "extreme", "unseen"} == set(kinds)


def test_many_features_share_a_bounded_number_of_rows() -> None:
    """Each kind still occurs, and the same rows come each time."""
    of = _card(*(Feature(name=f"f{i}") for i in range(200)))
    like = pa.record_batch({f"f{i}": [float(i)] for i in range(200)})
    made, kinds = hostile_rows(like, of)
    assert made.num_rows == HOSTILE_ROWS_MAX + 1
    assert {"nan", "infinite", "extreme"} == set(kinds)
    again, _ = hostile_rows(like, of)
    assert repr(again.to_pylist()) == repr(made.to_pylist())


def _decide(scores: Any) -> Any:
    return np.where(scores[:, 1] >= 0.5, "yes", "no")


def test_near_rows_lie_on_both_sides_of_the_threshold(tmp_path: Path) -> None:
    """Within `close` of it, or at neighbouring numbers."""
    of = bundle_of(tmp_path / "m").card
    made = near_rows(rows(), of, library, _decide, 1e-5)
    assert made is not None
    assert made.num_rows == 2 * NEAR_PAIRS
    chances = library(made)[:, 1]
    assert (np.abs(chances - 0.5) < 0.2).all()
    assert np.median(np.abs(chances - 0.5)) < 1e-4


def test_near_rows_meet_at_a_step(tmp_path: Path) -> None:
    """As a tree's score has it: the two rows are neighbours, with a label each."""
    of = bundle_of(tmp_path / "m").card

    def step(batch: pa.RecordBatch) -> Any:
        yes = np.where(batch.column("b").to_numpy() > 0.125, 0.9, 0.2)
        return np.column_stack([1 - yes, yes])

    made = near_rows(rows(), of, step, _decide, 1e-5)
    assert made is not None
    low, high = np.split(made.column("b").to_numpy(), 2)
    assert (np.abs(low - high) < 1e-9).all()
    assert (_decide(step(made))[: len(low)] != _decide(step(made))[len(low) :]).all()


def test_one_label_has_no_near_rows(tmp_path: Path) -> None:
    """Nor has a value."""
    of = bundle_of(tmp_path / "m").card
    assert near_rows(rows(), of, library, lambda s: np.full(len(s), "no"), 1e-5) is None
    regression = card(identity(), ("a",))
    assert near_rows(rows(), regression, library, _decide, 1e-5) is None


def test_a_model_without_trees_has_no_thresholds(tmp_path: Path) -> None:
    """Those of trees are tested in test_proof.py, on a real ensemble."""
    assert threshold_rows(bundle_of(tmp_path / "m")) is None
