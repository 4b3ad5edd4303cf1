"""Compiled trees answer what ONNX Runtime answers, or say why they are not compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from millstream.models.compiled import CompiledTrees, compile_trees, difference
from millstream.models.ensemble import NotCompiled
from tests.millstream.models.graphs import DOUBLE, FLOAT, model, value

WIDTH = 4
ML = "ai.onnx.ml"
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 5e-324, -5e-324, 1e300, np.inf, -np.inf, np.nan)
MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """ONNX Runtime with one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(proto.SerializeToString(), options)


def graph_of(node: onnx.NodeProto, element: int, out: int, targets: int) -> onnx.ModelProto:
    """A model of one tree operator."""
    outputs = [value("scores", out, "n", targets)]
    proto = model([node], [value("x", element, "n", WIDTH)], outputs)
    version = 5 if node.op_type == "TreeEnsemble" else 3
    proto.opset_import.append(helper.make_opsetid(ML, version))
    return proto


class Grown:
    """Random trees, as lists: nodes with two children each, and leaves."""

    def __init__(self, draw: Any, modes: tuple[str, ...], trees: int, single: bool) -> None:
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        self.modes, self.single = modes, single
        self.nodes: list[tuple[str, int, float, int, int, int]] = []
        self.leaves = 0
        self.roots = [self.grow(draw(st.integers(1, 8))) for _ in range(trees)]

    def number(self) -> float:
        """A threshold: special, or short enough to meet others."""
        if self.rng.random() < 0.3:
            found = float(self.rng.choice(SPECIAL[:9]))
        else:
            found = round(float(self.rng.normal()), 1)
        return float(np.float32(np.clip(found, -1e30, 1e30))) if self.single else found

    def grow(self, depth: int) -> int:
        """The number of a node, or -1 - that of a leaf."""
        if depth == 0 or self.rng.random() < 0.15:
            self.leaves += 1
            return -self.leaves
        at = len(self.nodes)
        self.nodes.append(("", 0, 0.0, 0, 0, 0))
        left, right = self.grow(depth - 1), self.grow(depth - 1)
        mode = str(self.rng.choice(self.modes))
        feature, missing = int(self.rng.integers(WIDTH)), int(self.rng.integers(2))
        self.nodes[at] = (mode, feature, self.number(), left, right, missing)
        return at

    def rows(self, count: int) -> np.ndarray[Any, Any]:
        """Rows on the thresholds, beside them, and at the special numbers."""
        met = [node[2] for node in self.nodes] or [0.0]
        x = self.rng.choice([*met, *SPECIAL], (count, WIDTH))
        beside = np.nextafter(x, self.rng.choice([-np.inf, np.inf], x.shape))
        return np.where(self.rng.random(x.shape) < 0.2, beside, x)


def operator_5(grown: Grown, element: int, targets: int, average: bool) -> onnx.NodeProto:
    """The trees as TreeEnsemble; a tree that is one leaf gets a node with it on both sides."""
    kind = np.float64 if element == DOUBLE else np.float32
    nodes, roots, members = list(grown.nodes), [], []
    for root in grown.roots:
        if root < 0:
            nodes.append(("LEQ", 0, 0.0, root, root, 0))
        roots.append(len(nodes) - 1 if root < 0 else root)
    for mode, *_ in nodes:
        if mode == "MEMBER":
            members += [*grown.rng.choice([0.0, 1.0, 2.0, 3.0, 40.0, 70.0], 3), np.nan]
    columns = list(zip(*nodes, strict=True))
    sides = {"true": columns[3], "false": columns[4]}
    children: dict[str, Any] = {}
    for side, found in sides.items():
        children[f"nodes_{side}nodeids"] = [c if c >= 0 else -1 - c for c in found]
        children[f"nodes_{side}leafs"] = [int(c < 0) for c in found]
    if members:
        children["membership_values"] = numpy_helper.from_array(np.array(members, kind), "m")
    modes = np.array([MODES.index(mode) for mode in columns[0]], np.uint8)
    weights = grown.rng.normal(size=grown.leaves).astype(kind)
    return helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["scores"],
        domain=ML,
        n_targets=targets,
        aggregate_function=0 if average else 1,
        nodes_featureids=list(columns[1]),
        nodes_modes=numpy_helper.from_array(modes, "modes"),
        nodes_splits=numpy_helper.from_array(np.array(columns[2], kind), "splits"),
        nodes_missing_value_tracks_true=list(columns[5]),
        tree_roots=roots,
        leaf_targetids=[int(t) for t in grown.rng.integers(targets, size=grown.leaves)],
        leaf_weights=numpy_helper.from_array(weights, "weights"),
        **children,
    )


def operator_3(
    grown: Grown,
    targets: int,
    classifier: bool,
    one_class: bool = False,
    every: bool = False,
    **more: Any,
) -> onnx.NodeProto:
    """The trees as TreeEnsembleRegressor or -Classifier; each leaf has some of the targets."""
    lists: dict[str, list[Any]] = {
        name: []
        for name in (
            *("treeids", "nodeids", "modes", "featureids", "values"),
            *("truenodeids", "falsenodeids", "missing_value_tracks_true"),
        )
    }
    weights: dict[str, list[Any]] = {n: [] for n in ("treeids", "nodeids", "ids", "weights")}
    for tree, root in enumerate(grown.roots):
        queue = [root]
        for at, child in enumerate(queue):
            mode, feature, threshold, left, right, missing = (
                grown.nodes[child] if child >= 0 else ("LEAF", 0, 0.0, 0, 0, 0)
            )
            below = len(queue)
            if child >= 0:
                queue += [left, right]
            found = (
                *(tree, at, mode if child < 0 else f"BRANCH_{mode}", feature, threshold),
                *((below, below + 1) if child >= 0 else (0, 0)),
                missing,
            )
            for name, item in zip(lists, found, strict=True):
                lists[name].append(item)
            if child < 0:
                count = targets if every else int(grown.rng.integers(1, targets + 1))
                for target in [0] if one_class else range(count):
                    item = (tree, at, target, float(np.float32(grown.rng.normal())))
                    for name, one in zip(weights, item, strict=True):
                        weights[name].append(one)
    kind = "class" if classifier else "target"
    if classifier:
        more["classlabels_int64s"] = list(range(targets))
    else:
        more["n_targets"] = targets
    attributes: dict[str, Any] = {f"nodes_{name}": found for name, found in lists.items()}
    attributes |= {f"{kind}_{name}": found for name, found in weights.items()} | more
    return helper.make_node(
        "TreeEnsembleClassifier" if classifier else "TreeEnsembleRegressor",
        ["x"],
        ["label", "scores"] if classifier else ["scores"],
        domain=ML,
        **attributes,
    )


def compared(proto: onnx.ModelProto, rows: np.ndarray[Any, Any], threads: int = 1) -> float:
    """The largest difference from ONNX Runtime on these rows."""
    own = session(proto)
    trees = CompiledTrees(proto.SerializeToString(), "scores", threads)
    try:
        ours = trees.run({"x": rows})
    finally:
        trees.close()
    theirs = own.run(["scores"], {"x": rows})[0]
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    return difference(ours, theirs)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_tree_ensembles_give_the_same_bits(data: st.DataObject) -> None:
    """TreeEnsemble with any mode, NaN, infinities, zeros of both signs, in float and double."""
    draw = data.draw
    element = draw(st.sampled_from([DOUBLE, FLOAT]))
    some = [("LEQ",), ("LEQ", "LT"), MODES[:4], MODES[:6], ("LEQ", "MEMBER")]
    modes = draw(st.sampled_from(some))
    grown = Grown(draw, modes, draw(st.integers(1, 6)), element == FLOAT)
    targets = draw(st.integers(1, 3))
    node = operator_5(grown, element, targets, draw(st.booleans()))
    rows = grown.rows(draw(st.sampled_from([1, 7, 8, 9, 65, 130])))
    if "MEMBER" in modes:  # of fractions ONNX Runtime thinks differently from set to set
        whole = np.isnan(rows) | (np.abs(rows) > 2**40)
        rows = np.where(whole, rows, grown.rng.integers(-1, 75, rows.shape))
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32 if element == FLOAT else np.float64)
    assert compared(graph_of(node, element, element, targets), rows) == 0.0


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_regressors_and_classifiers_give_the_same_scores(data: st.DataObject) -> None:
    """Operators of version 3: leaves with several targets, base values, both post-transforms."""
    draw = data.draw
    element, classifier = draw(st.sampled_from([DOUBLE, FLOAT])), draw(st.booleans())
    targets = draw(st.integers(3 if classifier else 1, 4))
    grown = Grown(draw, MODES[:6], draw(st.integers(1, 5)), True)
    more: dict[str, Any] = {"every": draw(st.booleans())}
    if more["every"] and draw(st.booleans()):
        more["base_values"] = [float(b) for b in grown.rng.normal(size=targets)]
    if classifier:
        more["post_transform"] = draw(st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC"]))
    node = operator_3(grown, targets, classifier, **more)
    with np.errstate(over="ignore"):
        rows = grown.rows(67).astype(np.float32 if element == FLOAT else np.float64)
    assert compared(graph_of(node, element, FLOAT, targets), rows) == 0.0


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("base", [None, [0.25]])
def test_two_classes_of_one_weight(transform: str, base: list[float] | None) -> None:
    """A classifier with weights for one of two classes makes both scores of one sum."""

    class Draw:
        def __call__(self, _: Any) -> int:
            return 5

    grown = Grown(Draw(), ("LEQ",), 3, True)
    more: dict[str, Any] = {"base_values": base} if base else {}
    node = operator_3(grown, 2, True, one_class=True, post_transform=transform, **more)
    if transform == "NONE":
        for attribute in node.attribute:
            if attribute.name == "class_weights":
                attribute.floats[:] = [abs(weight) / 8 for weight in attribute.floats]
    rows = np.nan_to_num(grown.rows(40)).clip(-9, 9).astype(np.float32)
    assert compared(graph_of(node, FLOAT, FLOAT, 2), rows) == 0.0


def test_deep_trees_and_threads_give_the_same_bits() -> None:
    """Trees of more than 64 leaves are walked; two threads change nothing."""

    class Draw:
        def __call__(self, _: Any) -> int:
            return 11

    grown = Grown(Draw(), ("LEQ", "LT"), 4, False)
    assert grown.leaves > 4 * 64
    proto = graph_of(operator_5(grown, DOUBLE, 1, False), DOUBLE, DOUBLE, 1)
    assert compared(proto, grown.rows(1_000)) == 0.0
    assert compared(proto, grown.rows(1_000), threads=2) == 0.0


def test_what_is_not_compiled_says_why() -> None:
    """No trees, an aggregate of another kind and an unknown post-transform stay as they were."""
    plain = model(
        [helper.make_node("Identity", ["x"], ["scores"])],
        [value("x", DOUBLE, "n", WIDTH)],
        [value("scores", DOUBLE, "n", WIDTH)],
    )
    with pytest.raises(NotCompiled, match="no trees"):
        CompiledTrees(plain.SerializeToString(), "scores")

    class Draw:
        def __call__(self, _: Any) -> int:
            return 5

    grown = Grown(Draw(), ("LEQ",), 2, True)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"aggregate_function": "MAX"}, "aggregates by MAX"),
        ({"post_transform": "PROBIT"}, "end in PROBIT"),
        ({"base_values": [1.0, 2.0]}, "base values"),
    )
    for attribute, reason in refused:
        proto = graph_of(operator_3(grown, 2, False, **attribute), FLOAT, FLOAT, 2)
        with pytest.raises(NotCompiled, match=reason):
            CompiledTrees(proto.SerializeToString(), "scores")


def test_an_ensemble_is_compared_when_it_is_made() -> None:
    """compile_trees asks ONNX Runtime itself: another model's session is noticed."""

    class Draw:
        def __init__(self, seed: int) -> None:
            self.seed = seed

        def __call__(self, _: Any) -> int:
            return self.seed

    trees = [Grown(Draw(seed), ("LEQ",), 3, False) for seed in (5, 6)]
    nodes = [operator_5(one, DOUBLE, 1, False) for one in trees]
    protos = [graph_of(node, DOUBLE, DOUBLE, 1) for node in nodes]
    own = session(protos[0])
    compile_trees(protos[0].SerializeToString(), "scores", own).close()
    with pytest.raises(NotCompiled, match="differ"):
        compile_trees(protos[1].SerializeToString(), "scores", own)
