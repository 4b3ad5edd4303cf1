"""A variant beside its model: what is measured, and what the gate refuses."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from millstream.models.bundle import Bundle
from millstream.optimise.compare import Gate, Judged, Measured, compare
from tests.millstream.models.graphs import BINARY, DOUBLE, batch, bundle, model, value
from tests.millstream.optimise.models import bench

ROWS = 900


def _odds(shift: float = 0.0, per_batch: bool = False) -> Bundle:
    """The probability of `yes` is sigmoid(a + shift), or of a less the batch's mean."""
    moved = [helper.make_node("Add", ["x", "shift"], ["moved"])]
    if per_batch:
        moved = [
            helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["moved"]),
        ]
    nodes = [
        *moved,
        helper.make_node("Sigmoid", ["moved"], ["yes"]),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["scores"], axis=1),
    ]
    proto = model(
        nodes,
        [value("x", DOUBLE, "n", 1)],
        [value("scores", DOUBLE, "n", 2)],
        {"shift": np.array(shift), "one": np.array(1.0), "axis": np.array([0])},
    )
    return bundle(proto, **BINARY)


def _judged() -> Judged:
    rng = np.random.default_rng(1)
    a = rng.normal(size=ROWS)
    truth = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-a)), "yes", "no")
    return Judged(batch(a=a), truth)


def _compared(own: Bundle, variant: Bundle, **limits: float) -> Measured:
    gate = Gate(**{"faster_min": 0.0, **limits})
    return compare(own, variant, "form", _judged(), bench(), gate)


def test_a_model_beside_itself_loses_nothing() -> None:
    """No difference, no flips, the same loss; without a gain the gate keeps it out all the same."""
    found = _compared(_odds(), _odds())
    assert (found.difference, found.flips, found.moved) == (0.0, 0, 0)
    assert found.losses[0] == found.losses[1]
    assert found.increase == (0.0, 0.0, 0.0)
    assert found.passed
    kept_out = _compared(_odds(), _odds(), faster_min=1.2)
    assert kept_out.against == ("no gain: 1.00 times as fast at 1,024 rows, 100% of the size",)


def test_flips_and_losses_are_those_of_the_rows() -> None:
    """Counted by hand from the two sigmoids."""
    judged = _judged()
    a = judged.batch.column("a").to_numpy()
    yes = np.asarray(judged.truth) == "yes"
    chances = [1 / (1 + np.exp(-(a + shift))) for shift in (0.0, 0.5)]
    losses = [-np.log(np.where(yes, p, 1 - p)).mean() for p in chances]
    found = _compared(_odds(), _odds(0.5), flips_max=1.0, loss_max=1.0)
    assert found.flips == ((chances[0] >= 0.5) != (chances[1] >= 0.5)).sum()
    assert found.losses == pytest.approx(tuple(losses))
    low, mean, high = found.increase
    assert mean == pytest.approx((losses[1] - losses[0]) / losses[0])
    assert low < mean < high
    assert found.passed


def test_the_gate_names_each_reason() -> None:
    """Flipped decisions and a loss that may be higher."""
    found = _compared(_odds(), _odds(0.5))
    assert len(found.against) == 2
    assert "of the decisions flip" in found.against[0]
    assert "higher" in found.against[1]
    assert found.as_json()["passed"] is False


def test_a_score_that_depends_on_its_batch_mates_is_never_let_in() -> None:
    """However good it is."""
    found = _compared(_odds(), _odds(per_batch=True), flips_max=1.0, loss_max=9.0)
    assert found.moved > 0
    assert "batch mates" in found.against[0]


def test_rows_without_an_answer_or_a_known_label_are_left_out() -> None:
    """And none at all is an error, not a pass."""
    judged = _judged()
    a = judged.batch.column("a").to_numpy().copy()
    truth = np.asarray(judged.truth, dtype=object)
    a[:10], truth[10:30] = np.nan, "perhaps"
    found = compare(_odds(), _odds(), "form", Judged(batch(a=a), truth), bench())
    assert found.rows == ROWS - 30
    with pytest.raises(ValueError, match="no row"):
        compare(_odds(), _odds(), "form", Judged(batch(a=a), ["perhaps"] * ROWS), bench())
