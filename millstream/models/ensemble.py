"""A tree ensemble as ONNX says it, read into plain arrays with one kind of question.

Every comparison becomes "is x above the threshold?": x < t is x <= the number before t, x >= t
swaps the children, x == t asks for membership in {t}. Asked whether a fraction is a member, ONNX
Runtime 1.31 cuts it to a whole number or not, as the sets of the model are; here it is no member,
and the comparison in compiled.py finds who relies on it. ONNX operator documentation, `ai.onnx.ml`:
TreeEnsemble 5, TreeEnsembleRegressor and TreeEnsembleClassifier 3. What ONNX does not say (which
values NaN and repeated weights give) is ONNX Runtime's, and what is not known here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Attributes = Mapping[str, Any]

TREE_OPERATORS: Final = ("TreeEnsemble", "TreeEnsembleRegressor", "TreeEnsembleClassifier")
TRANSFORMS: Final = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES: Final = ("AVERAGE", "SUM", "MIN", "MAX")
_MODES: Final = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
VALUES_MAX: Final = 1 << 27


class NotCompiled(Exception):
    """Why an ensemble stays with ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Nodes with two children each, and leaves.

    feature, threshold, left, right, nan_right: one for each node; a child is a node's number, or
    -1 - the number of a leaf. A row goes right where x > threshold, or where it is not in the
    node's set. members: node -> ascending values. roots: a child in each tree, in order.
    values: [leaves, targets]. average: sums are divided by the number of trees.
    base: [targets], or empty. transform: one of TRANSFORMS. classes: 0, or of a classifier; then
    the operator's own rules make scores of the sums. positive: all weights are at least 0.
    """

    feature: Longs
    threshold: Floats
    left: Longs
    right: Longs
    nan_right: npt.NDArray[np.bool_]
    members: Mapping[int, Floats]
    roots: Longs
    values: Floats
    average: bool
    base: Floats
    transform: str
    classes: int = 0
    positive: bool = False


def read_ensemble(node: onnx.NodeProto) -> Ensemble:
    """The ensemble of one of TREE_OPERATORS. Raises NotCompiled with the reason."""
    values = {attribute.name: _value(attribute) for attribute in node.attribute}
    try:
        return _read_5(values) if node.op_type == "TreeEnsemble" else _read_3(node.op_type, values)
    except (IndexError, ValueError, TypeError, KeyError) as error:
        reason = f"its {node.op_type} cannot be read: {type(error).__name__}: {error}"
        raise NotCompiled(reason) from error


def _value(attribute: onnx.AttributeProto) -> Any:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return numpy_helper.to_array(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [text.decode() for text in value]
    return value


def _longs(values: Attributes, name: str) -> Longs:
    return np.asarray(values.get(name, ()), np.int64)


def _floats(values: Attributes, name: str) -> Floats:
    found = values.get(name)
    if found is None or not len(found):
        found = values.get(f"{name}_as_tensor", ())
    return np.asarray(found, np.float64)


def _aggregate(name: str) -> bool:
    if name not in {"SUM", "AVERAGE"}:
        raise NotCompiled(f"it aggregates by {name}")
    return name == "AVERAGE"


def _read_5(values: Attributes) -> Ensemble:
    modes = np.asarray(values["nodes_modes"], np.int64)
    children = {}
    for side in ("true", "false"):
        ids, is_leaf = _longs(values, f"nodes_{side}nodeids"), _longs(values, f"nodes_{side}leafs")
        children[side] = np.where(is_leaf != 0, -1 - ids, ids)
    weights, targets = _floats(values, "leaf_weights"), _longs(values, "leaf_targetids")
    members = iter(_split_at_nan(_floats(values, "membership_values")))
    sets = {int(node): next(members) for node in np.flatnonzero(modes == _MODES.index("MEMBER"))}
    leaf_values = _dense(
        np.arange(len(weights)), targets, weights, len(weights), int(values["n_targets"])
    )
    return _asking_above(
        modes,
        _longs(values, "nodes_featureids"),
        _floats(values, "nodes_splits"),
        children,
        _tracks(values, len(modes)),
        sets,
        {
            "roots": _longs(values, "tree_roots"),
            "values": leaf_values,
            "average": _aggregate(_AGGREGATES[int(values.get("aggregate_function", 1))]),
            "base": np.empty(0),
            "transform": TRANSFORMS[int(values.get("post_transform", 0))],
        },
    )


def _read_3(operator: str, values: Attributes) -> Ensemble:
    classifier = operator == "TreeEnsembleClassifier"
    kind = "class" if classifier else "target"
    labels = values.get("classlabels_strings") or values.get("classlabels_int64s") or ()
    width = len(labels) if classifier else int(values["n_targets"])
    trees, ids = _longs(values, "nodes_treeids"), _longs(values, "nodes_nodeids")
    starts = np.flatnonzero(np.diff(trees, prepend=trees[:1] - 1))
    if len(np.unique(trees)) != len(starts):
        raise NotCompiled("the nodes of a tree do not stand together")
    names = {f"BRANCH_{name}": code for code, name in enumerate(_MODES)} | {"LEAF": -1}
    modes = np.array([names[mode] for mode in values["nodes_modes"]], np.int64)
    inner = modes >= 0
    # a child's number among the nodes, or among the leaves
    number = np.where(inner, np.cumsum(inner) - 1, 0 - np.cumsum(np.logical_not(inner)))
    place = {pair: at for at, pair in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    if len(place) != len(trees):
        raise NotCompiled("two nodes of a tree have the same id")

    def children(name: str) -> Longs:
        wanted = zip(trees[inner].tolist(), _longs(values, name)[inner].tolist(), strict=True)
        return number[[place[pair] for pair in wanted]] if inner.any() else np.empty(0, np.int64)

    chosen = _longs(values, f"{kind}_ids")
    owners = zip(
        _longs(values, f"{kind}_treeids").tolist(),
        _longs(values, f"{kind}_nodeids").tolist(),
        strict=True,
    )
    leaves = -1 - number[[place[pair] for pair in owners]]
    if (leaves < 0).any():
        raise NotCompiled("a node that is no leaf has a weight")
    weights, base = _floats(values, f"{kind}_weights"), _floats(values, "base_values")
    if len(base) > 1 and not _always_named(leaves, chosen, trees[~inner], width):
        # ONNX Runtime adds no base value to a target that a row's leaves do not name
        raise NotCompiled("it has base values, and leaves that do not name every target")
    binary = classifier and width == 2 and len(np.unique(chosen)) == 1
    if binary:  # one class has weights: the operator makes both scores of one sum
        if chosen.any():
            raise NotCompiled("only its second class has weights")
        width = 1
    return _asking_above(
        modes[inner],
        _longs(values, "nodes_featureids")[inner],
        _floats(values, "nodes_values")[inner],
        {"true": children("nodes_truenodeids"), "false": children("nodes_falsenodeids")},
        _tracks(values, len(modes))[inner],
        {},
        {
            "roots": number[starts],
            "values": _dense(leaves, chosen, weights, int((~inner).sum()), width),
            "average": _aggregate(str(values.get("aggregate_function", "SUM"))),
            "base": base,
            "transform": str(values.get("post_transform", "NONE")),
            "classes": len(labels) if classifier else 0,
            "positive": bool((weights >= 0).all()),
        },
    )


def _tracks(values: Attributes, count: int) -> npt.NDArray[np.bool_]:
    tracks = _longs(values, "nodes_missing_value_tracks_true")
    return tracks == 1 if len(tracks) else np.zeros(count, np.bool_)


def _split_at_nan(values: Floats) -> list[Floats]:
    parts = np.split(values, np.flatnonzero(np.isnan(values)))
    return [np.unique(part[~np.isnan(part)]) for part in parts]


def _always_named(leaves: Longs, targets: Longs, trees: Longs, width: int) -> bool:
    """Whether each target has a tree all of whose leaves name it. trees: of each leaf."""
    named = np.zeros((len(trees), width), np.bool_)
    named[leaves, targets] = True
    starts = np.flatnonzero(np.diff(trees, prepend=trees[:1] - 1))
    return bool(np.logical_and.reduceat(named, starts).any(axis=0).all())


def _dense(leaves: Longs, targets: Longs, weights: Floats, count: int, width: int) -> Floats:
    """[count, width]: what each leaf adds to each target."""
    if count * width > VALUES_MAX:
        raise NotCompiled(f"{count} leaves by {width} targets are too many values")
    if len(leaves) and (targets.min() < 0 or targets.max() >= width):
        raise NotCompiled("a leaf has a target that is not there")
    if len(np.unique(leaves * width + targets)) != len(leaves):
        raise NotCompiled("a leaf has two weights for one target")
    if width == 1 and len(np.unique(leaves)) != count:
        raise NotCompiled("a leaf has no weight")
    dense = np.zeros((count, width))
    dense[leaves, targets] = weights
    return dense


def _asking_above(
    modes: Longs,
    feature: Longs,
    threshold: Floats,
    children: Mapping[str, Longs],
    tracks: npt.NDArray[np.bool_],
    members: Mapping[int, Floats],
    rest: dict[str, Any],
) -> Ensemble:
    """The same questions, all of the form x > t or membership."""
    is_one = {name: modes == code for code, name in enumerate(_MODES)}
    swapped = is_one["GTE"] | is_one["GT"] | is_one["NEQ"]
    before = np.nextafter(threshold, -np.inf)
    # Nothing is below -inf, and x > NaN is always false where x <= NaN must be.
    before[threshold == -np.inf] = np.nan
    limit = np.where(is_one["LT"] | is_one["GTE"], before, threshold)
    sets = dict(members)
    for node in np.flatnonzero(is_one["EQ"] | is_one["NEQ"]).tolist():
        value = threshold[node]
        sets[node] = np.empty(0) if np.isnan(value) else np.array([value])
    never = np.isnan(limit)
    for node in np.flatnonzero(never & ~(is_one["MEMBER"] | is_one["EQ"] | is_one["NEQ"])).tolist():
        sets[node] = np.empty(0)  # x <= NaN holds for no number
    # x >= NaN holds for none either, so there the swap must not turn a "no" into a "yes"
    swapped &= ~(np.isnan(threshold) & (is_one["GTE"] | is_one["GT"]))
    true_on_nan = tracks | is_one["NEQ"]
    return Ensemble(
        feature=feature,
        threshold=limit,
        left=np.where(swapped, children["false"], children["true"]),
        right=np.where(swapped, children["true"], children["false"]),
        nan_right=np.where(swapped, true_on_nan, ~true_on_nan),
        members=sets,
        **rest,
    )
