"""Trees written by hand, so that the right answer can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from millstream.models.trees import Forest, Link, Tree
from tests.millstream.models.graphs import DOUBLE, value

T = 0.1  # no float32 equals it


def split(
    left: list[float], right: list[float], missing_left: bool = False, **changes: Any
) -> Tree:
    """Feature 0 <= T goes left."""
    entries: dict[str, Any] = {
        "leaf": np.array([False, True, True]),
        "feature": np.zeros(3, np.int64),
        "threshold": np.array([T, 0.0, 0.0]),
        "left": np.array([1, 0, 0]),
        "right": np.array([2, 0, 0]),
        "missing_left": np.array([missing_left, False, False]),
        "value": np.array([[0.0] * len(left), left, right]),
    }
    return Tree(**{**entries, **changes})


def leaf(weight: float) -> Tree:
    """A tree that is one leaf."""
    nothing = np.zeros(1, np.int64)
    return Tree(
        leaf=np.array([True]),
        feature=nothing,
        threshold=np.zeros(1),
        left=nothing,
        right=nothing,
        missing_left=np.array([False]),
        value=np.array([[weight]]),
    )


def answers(forest: Forest, rows: list[float]) -> list[list[float]]:
    """Scores of rows with one feature."""
    graph = helper.make_graph([], "g", [value("x", DOUBLE, "n", 1)], [])
    forest.add_to(graph, "x", "scores")
    graph.output.append(value("scores", DOUBLE, "n", None))
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", forest.ml_opset)]
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    scores: list[list[float]] = session.run(None, {"x": np.array(rows).reshape(-1, 1)})[0].tolist()
    return scores


def test_a_threshold_is_met_exactly() -> None:
    """The threshold goes left, the next double goes right, NaN as the tree says."""
    forest = Forest((split([1.0], [2.0]),), 1, Link.IDENTITY)
    assert answers(forest, [T, np.nextafter(T, 1), np.nan]) == [[1.0], [2.0], [2.0]]
    forest = Forest((split([1.0], [2.0], missing_left=True),), 1, Link.IDENTITY)
    assert answers(forest, [np.nan]) == [[1.0]]


def test_a_library_that_rounds_its_input_is_followed() -> None:
    """The float32 next to 0.1 lies above it: a forest of scikit-learn sends 0.1 right."""
    forest = Forest((split([1.0], [2.0]),), 1, Link.IDENTITY, float32_first=True)
    assert answers(forest, [T]) == [[2.0]]


def test_trees_take_turns_over_the_outputs() -> None:
    """Tree i adds to output i % outputs; a lone leaf is a tree too."""
    forest = Forest((split([1.0], [2.0]), leaf(10.0), leaf(0.5)), 2, Link.IDENTITY)
    assert answers(forest, [0.0, 1.0]) == [[1.5, 10.0], [2.5, 10.0]]


@pytest.mark.parametrize(
    ("link", "weight", "expected"),
    [
        (Link.IDENTITY, -2.0, [-2.0]),
        (Link.SIGMOID, 0.0, [0.5, 0.5]),
        (Link.POSITIVE, 0.25, [0.75, 0.25]),
        (Link.SIGMOID_EACH, 0.0, [0.5]),
        (Link.SOFTMAX, 3.0, [1.0]),
        (Link.EXP, 0.0, [1.0]),
        (Link.SIGNED_SQUARE, -3.0, [-9.0]),
    ],
)
def test_each_link(link: Link, weight: float, expected: list[float]) -> None:
    """From the sum of leaves to scores."""
    assert answers(Forest((leaf(weight),), 1, link), [0.0]) == [expected]


def test_the_scale_comes_before_the_sigmoid() -> None:
    """LightGBM's parameter sigmoid."""
    (scores,) = answers(Forest((leaf(1.0),), 1, Link.SIGMOID, scale=2.0), [0.0])
    assert scores[1] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-15)


def test_leaves_with_several_values() -> None:
    """Each leaf adds to every output."""
    forest = Forest((split([1.0, 0.0], [0.25, 0.75]),) * 2, 2, Link.IDENTITY)
    assert answers(forest, [T, 1.0]) == [[2.0, 0.0], [0.5, 1.5]]


def test_members_go_left_and_fractions_are_cut() -> None:
    """Categories are whole numbers; anything else, and NaN, goes right."""
    forest = Forest((split([1.0], [2.0], members={0: [0, 3, 40]}),), 1, Link.IDENTITY)
    rows = [0.0, 3.0, 3.9, 40.0, 4.0, -1.0, -3.0, 1e9, np.nan]
    lefts = [True, True, True, True, False, False, False, False, False]
    assert answers(forest, rows) == [[1.0 if left else 2.0] for left in lefts]
