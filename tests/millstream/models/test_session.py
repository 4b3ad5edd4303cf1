"""Sessions: every row is scored or refused, for the right reason, whatever its neighbours."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from millstream.errors import BundleInvalid, Stage
from millstream.models.card import Feature, Input
from millstream.models.pieces import STOPS_MAX
from millstream.models.session import COMPILED_ROWS_MIN, Scored, Session
from tests.millstream.models.graphs import (
    BINARY,
    DOUBLE,
    FLOAT,
    STRING,
    batch,
    bundle,
    endless,
    identity,
    lookup,
    model,
    one_node,
    value,
)

THREE: dict[str, Any] = {"kind": "multiclass", "labels": ("u", "v", "w")}


def refused(scored: Scored) -> list[tuple[int, Stage, str]]:
    """(row, stage, name) of each refusal."""
    return [(refusal.row, refusal.stage, refusal.name) for refusal in scored.refusals]


def test_binary_from_two_columns() -> None:
    """Score is the positive label's probability; the threshold itself is positive."""
    scored = Session(bundle(identity(width=2), ("a", "b"), **BINARY)).score(
        batch(a=[0.9, 0.5, 0.2], b=[0.1, 0.5, 0.8])
    )
    assert scored.rows.tolist() == [0, 1, 2]
    assert scored.score.tolist() == [0.1, 0.5, 0.8]
    assert scored.label.to_pylist() == ["no", "yes", "yes"]
    assert scored.confidence.tolist() == [0.9, 0.5, 0.8]
    assert scored.scores.tolist() == [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]


def test_binary_with_the_first_label_positive_and_its_own_threshold() -> None:
    """The columns stay in the order of the labels; confidence is the predicted label's."""
    changes = BINARY | {"positive": "no", "threshold": 0.3}
    scored = Session(bundle(identity(width=2), ("a", "b"), **changes)).score(
        batch(a=[0.4, 0.2], b=[0.6, 0.8])
    )
    assert scored.score.tolist() == [0.4, 0.2]
    assert scored.label.to_pylist() == ["no", "yes"]
    assert scored.confidence.tolist() == [0.4, 0.8]


@pytest.mark.parametrize(("positive", "columns"), [("yes", [0.75, 0.25]), ("no", [0.25, 0.75])])
def test_binary_from_one_column(positive: str, columns: list[float]) -> None:
    """One column is the positive label's probability."""
    changes = BINARY | {"positive": positive}
    scored = Session(bundle(identity(), **changes)).score(batch(a=[0.25]))
    assert scored.score.tolist() == [0.25]
    assert scored.scores.tolist() == [columns]


def test_multiclass() -> None:
    """The highest probability decides; of equal ones the first."""
    scored = Session(bundle(identity(width=3), ("a", "b", "c"), **THREE)).score(
        batch(a=[0.2, 0.4], b=[0.5, 0.4], c=[0.3, 0.2])
    )
    assert scored.label.to_pylist() == ["v", "u"]
    assert scored.score.tolist() == scored.confidence.tolist() == [0.5, 0.4]


def test_regression() -> None:
    """The value as it is; no label, no confidence."""
    scored = Session(bundle(identity())).score(batch(a=[-1e300, 7.0]))
    assert scored.score.tolist() == [-1e300, 7.0]
    assert scored.scores.shape == (2, 1)
    assert scored.label.to_pylist() == [None, None]
    assert np.isnan(scored.confidence).all()


def test_columns_of_strings_and_numbers() -> None:
    """One input per feature, each with its own type."""
    proto = model(
        [
            helper.make_node(
                "LabelEncoder",
                ["s"],
                ["code"],
                domain="ai.onnx.ml",
                keys_strings=["u", "v"],
                values_floats=[10.0, 20.0],
                default_float=-1.0,
            ),
            helper.make_node("Add", ["code", "a"], ["scores"]),
        ],
        [value("s", STRING, "n", 1), value("a", FLOAT, "n", 1)],
        [value("scores", FLOAT, "n", 1)],
    )
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    features = (Feature(name="a"), Feature(name="s", type="category"))
    session = Session(bundle(proto, features=features, input=Input(layout="columns")))
    session.warm_up()
    scored = session.score(batch(a=[1, 2, 3, 4], s=["u", "v", "other", None]))
    assert scored.score.tolist() == [11.0, 22.0, 2.0]
    assert refused(scored) == [(3, Stage.VALIDATE, "null_feature")]


def test_a_row_that_the_model_raises_on_fails_alone() -> None:
    """Its neighbours are scored; the reason names the operator and quotes no value."""
    values = [float(i % 3) for i in range(50)]
    values[7] = values[31] = 12345.0
    scored = Session(bundle(lookup())).score(batch(a=values))
    assert refused(scored) == [(row, Stage.SCORE, "model_failed") for row in (7, 31)]
    assert scored.rows.tolist() == [row for row in range(50) if row not in {7, 31}]
    assert scored.score.tolist() == [10 * values[row] for row in scored.rows]
    assert "Gather 'look_up'" in scored.refusals[0].reason
    assert "12345" not in scored.refusals[0].reason


def test_a_model_that_raises_on_every_row_is_itself_suspect() -> None:
    """All rows are refused, and the reason says that it was all of them."""
    scored = Session(bundle(lookup())).score(batch(a=[9.0, 9.0, 9.0]))
    assert len(scored.rows) == 0
    assert [refusal.row for refusal in scored.refusals] == [0, 1, 2]
    assert "all 3 rows of its batch: suspect the model" in scored.refusals[0].reason


def test_an_answer_that_is_not_a_number_refuses_its_row() -> None:
    """The square root of -1 is NaN, 1/0 is infinite."""
    scored = Session(bundle(one_node("Sqrt")())).score(batch(a=[4.0, -1.0, 9.0]))
    assert scored.score.tolist() == [2.0, 3.0]
    assert refused(scored) == [(1, Stage.SCORE, "non_finite_score")]
    scored = Session(bundle(one_node("Reciprocal")())).score(batch(a=[0.0, 4.0]))
    assert refused(scored) == [(0, Stage.SCORE, "non_finite_score")]


def test_scores_of_the_whole_batch_are_nan_where_a_row_was_refused() -> None:
    """[n, k] in the batch's order."""
    scored = Session(bundle(identity())).score(batch(a=[1.0, None, 3.0]))
    assert scored.whole(3)[[0, 2]].tolist() == [[1.0], [3.0]]
    assert np.isnan(scored.whole(3)[1]).all()


def test_an_answer_that_is_no_probability_refuses_its_row() -> None:
    """A margin such as 3.7 must not pass for a confidence; NaN keeps its own name."""
    session = Session(bundle(one_node("Sqrt", width=2)(), ("a", "b"), **BINARY))
    scored = session.score(batch(a=[1.0, 16.0, -1.0], b=[0.0, 0.0, 0.0]))
    assert scored.rows.tolist() == [0]
    assert refused(scored) == [
        (1, Stage.SCORE, "not_a_probability"),
        (2, Stage.SCORE, "non_finite_score"),
    ]


def test_refusals_of_all_stages_come_in_the_order_of_rows() -> None:
    """Every row of the batch is either scored or refused, once."""
    scored = Session(bundle(lookup())).score(batch(a=[9.0, None, 1.0, 8.0, np.inf, 0.0]))
    assert scored.rows.tolist() == [2, 5]
    assert refused(scored) == [
        (0, Stage.SCORE, "model_failed"),
        (1, Stage.VALIDATE, "null_feature"),
        (3, Stage.SCORE, "model_failed"),
        (4, Stage.VALIDATE, "infinite_feature"),
    ]


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 25])
def test_large_batches_are_scored_in_pieces(rows: int) -> None:
    """The pieces come back together in order, at every size around the bound."""
    values = np.arange(float(rows))
    scored = Session(bundle(identity()), batch_rows_max=10).score(batch(a=values))
    assert scored.score.tolist() == values.tolist()
    assert scored.scores.shape == (rows, 1)
    assert scored.rows.tolist() == list(range(rows))


def test_a_batch_of_refused_rows_only_is_no_trouble() -> None:
    """Nothing reaches the model."""
    scored = Session(bundle(identity(width=2), ("a", "b"), **BINARY)).score(
        batch(a=[None, None], b=[1.0, 2.0])
    )
    assert scored.scores.shape == (0, 2)
    assert scored.label.to_pylist() == []
    assert len(scored.refusals) == 2


def _sums_the_batch() -> onnx.ModelProto:
    return model(
        [helper.make_node("ReduceSum", ["x", "axis"], ["scores"], keepdims=1)],
        [value("x", DOUBLE, "n", 1)],
        [value("scores", DOUBLE, "m", 1)],
        {"axis": np.array([0])},
    )


def test_an_answer_of_the_wrong_shape_is_not_spread_over_rows() -> None:
    """A model that folds its batch into one row is refused for every row."""
    scored = Session(bundle(_sums_the_batch())).score(batch(a=[1.0, 2.0, 3.0]))
    assert refused(scored) == [(row, Stage.SCORE, "wrong_shape") for row in range(3)]


def test_warm_up_refuses_a_model_that_cannot_answer() -> None:
    """The wrong shape shows before the first record."""
    with pytest.raises(BundleInvalid, match=r"1 rows of zeros: .*\[1, 1\] in place of \[2, 1\]"):
        Session(bundle(_sums_the_batch())).warm_up()
    Session(bundle(lookup())).warm_up()


def test_a_model_that_onnxruntime_cannot_build_is_refused() -> None:
    """An operator that does not exist passes the card and fails here, in one line."""
    checked = bundle(one_node("NoSuchOperator")())
    with pytest.raises(BundleInvalid, match="cannot build the model") as caught:
        Session(checked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"batch_rows_max": 0}, {"score_s_max": 0.0}])
def test_bounds_must_be_positive(settings: dict[str, Any]) -> None:
    """Zero is no bound."""
    with pytest.raises(ValueError, match="must be positive"):
        Session(bundle(identity()), **settings)


def test_a_missing_cuda_provider_is_said_and_the_cpu_answers() -> None:
    """One line for the log; the scores are the same."""
    session = Session(bundle(identity()), provider="cuda")
    assert session.score(batch(a=[3.0])).score.tolist() == [3.0]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        assert session.provider == "cpu"
        assert session.provider_note is not None
        assert "CUDA" in session.provider_note
        assert "\n" not in session.provider_note
    assert Session(bundle(identity())).provider_note is None


def test_a_row_that_never_ends_is_stopped_and_fails_alone() -> None:
    """The watchdog stops the run, the halves go on, and the session works afterwards."""
    session = Session(bundle(endless()), score_s_max=0.1)
    scored = session.score(batch(a=[1.0, 2.0, 101.0, 4.0]))
    assert refused(scored) == [(2, Stage.SCORE, "score_timeout")]
    assert scored.score.tolist() == [1.0, 2.0, 4.0]
    assert session.score(batch(a=[5.0])).score.tolist() == [5.0]
    session.close()


def test_many_endless_rows_stop_costing_time() -> None:
    """After STOPS_MAX stopped runs the rest of a stuck range is refused unsplit."""
    session = Session(bundle(endless()), score_s_max=0.05)
    scored = session.score(batch(a=[101.0] * 64))
    assert len(scored.refusals) == 64
    assert {refusal.name for refusal in scored.refusals} == {"score_timeout"}
    assert STOPS_MAX < 64
    session.close()


def test_the_watchdog_thread_ends_with_its_session() -> None:
    """Closed or dropped, no thread stays behind."""

    def watchdogs() -> int:
        return sum(thread.name == "model-watchdog" for thread in threading.enumerate())

    before = watchdogs()
    session = Session(bundle(identity()))
    session.score(batch(a=[1.0]))
    assert watchdogs() == before + 1
    session.close()
    assert watchdogs() == before
    dropped = Session(bundle(identity()))
    dropped.score(batch(a=[1.0]))
    del dropped
    assert watchdogs() == before


HEAVY = ("sklearn", "lightgbm", "mlflow", "skl2onnx", "onnxmltools", "pandas", "scipy", "river")


@pytest.mark.parametrize("module", ["bundle", "session", "contract"])
def test_scoring_imports_no_training_library(module: str) -> None:
    """What a scorer imports stays light; asked of a fresh interpreter."""
    script = f"import sys, millstream.models.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "millstream" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_trees_are_compiled_unless_told_otherwise() -> None:
    """A session scores trees by the kernel, with the bits that ONNX Runtime gives."""
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[0.1, 0.7],
    )
    proto = model([node], [value("x", FLOAT, "n", 1)], [value("scores", FLOAT, "n", 1)])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    trees = bundle(proto)
    compiled, plain = Session(trees), Session(trees, engine="onnxruntime")
    assert (compiled.engine, plain.engine) == ("compiled", "onnxruntime")
    for count in (COMPILED_ROWS_MIN - 1, COMPILED_ROWS_MIN, 100):
        rows = batch(a=np.linspace(0.4, 0.6, count))
        assert compiled.score(rows).score.tolist() == plain.score(rows).score.tolist()
    assert Session(bundle(identity())).engine == "onnxruntime"
