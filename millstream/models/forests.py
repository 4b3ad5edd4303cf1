"""Trees read out of fitted LightGBM and scikit-learn models, exactly as their predict sees them.

Needs the extra `train`; nothing here is imported by a program that scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from millstream.errors import BundleInvalid
from millstream.models.trees import Forest, Link, Tree

LIGHTGBM_ZERO = float(np.float32(1e-35))

_LIGHTGBM_LINKS = {
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "huber": Link.IDENTITY,
    "fair": Link.IDENTITY,
    "quantile": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "poisson": Link.EXP,
    "gamma": Link.EXP,
    "tweedie": Link.EXP,
    "binary": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.SIGMOID_EACH,
}


def forest_of(model: Any) -> Forest | None:
    """The forest of a fitted tree model, or None where it is no tree model known here.

    Raises BundleInvalid for a tree model with something that has no exact ONNX form.
    """
    for kind in type(model).__mro__:
        reader = _READERS.get((kind.__module__.split(".")[0], kind.__name__))
        if reader is not None:
            return reader(model)
    return None


def _lightgbm(model: Any) -> Forest:
    booster = getattr(model, "booster_", model)
    dump = booster.dump_model()
    name, *parameters = dump["objective"].split()
    if name not in _LIGHTGBM_LINKS:
        raise BundleInvalid(
            f"LightGBM's objective {name!r} has no ONNX form here",
            f"Train with one of {', '.join(sorted(_LIGHTGBM_LINKS))}",
        )
    link = _LIGHTGBM_LINKS[name]
    if name.startswith("regression") and "sqrt" in parameters:
        link = Link.SIGNED_SQUARE
    options = dict(part.split(":", 1) for part in parameters if ":" in part)
    outputs = int(dump["num_tree_per_iteration"])
    count = len(dump["tree_info"]) // outputs
    share = 1.0 / count if dump["average_output"] else 1.0
    if not count:
        raise BundleInvalid("the LightGBM model has no trees", "Train it first")
    return Forest(
        trees=tuple(_lightgbm_tree(tree["tree_structure"], share) for tree in dump["tree_info"]),
        outputs=outputs,
        link=link,
        scale=float(options.get("sigmoid", 1.0)) if link.startswith("sigmoid") else 1.0,
    )


def _lightgbm_tree(root: dict[str, Any], share: float) -> Tree:
    # An explicit stack: leaf-wise trees can be deeper than Python's recursion limit.
    nodes: list[dict[str, Any]] = [root]
    children: list[tuple[int, int]] = []
    for node in nodes:
        if "left_child" in node:
            children.append((len(nodes), len(nodes) + 1))
            nodes += [node["left_child"], node["right_child"]]
        else:
            children.append((0, 0))
    leaf = np.array(["left_child" not in node for node in nodes])
    members: dict[int, list[int]] = {}
    threshold = np.zeros(len(nodes))
    missing_left = np.zeros(len(nodes), np.bool_)
    for index in np.flatnonzero(~leaf):
        node = nodes[index]
        _refuse_zero_as_missing(node)
        if node["decision_type"] == "==":
            members[int(index)] = [int(value) for value in node["threshold"].split("||")]
            continue  # LightGBM sends a missing category right
        threshold[index] = _around_zero(node["threshold"])
        # Without missing values in training, LightGBM reads a NaN as 0.
        nan = node["missing_type"] == "NaN"
        missing_left[index] = node["default_left"] if nan else node["threshold"] >= 0
    if any("leaf_coeff" in node for node in nodes):
        raise BundleInvalid("linear trees have no ONNX form", "Train with linear_tree=False")
    return Tree(
        leaf=leaf,
        feature=np.array([node.get("split_feature", 0) for node in nodes], np.int64),
        threshold=threshold,
        left=np.array([left for left, _ in children], np.int64),
        right=np.array([right for _, right in children], np.int64),
        missing_left=missing_left,
        value=np.array([[node.get("leaf_value", 0.0) * share] for node in nodes], np.float64),
        members=members,
    )


def _around_zero(threshold: float) -> float:
    """LightGBM takes |x| <= 1e-35 for 0: the same split on x itself."""
    if -LIGHTGBM_ZERO <= threshold < 0:
        return float(np.nextafter(-LIGHTGBM_ZERO, -np.inf))
    return LIGHTGBM_ZERO if 0 <= threshold < LIGHTGBM_ZERO else threshold


def _refuse_zero_as_missing(node: dict[str, Any]) -> None:
    if node["missing_type"] == "Zero":
        raise BundleInvalid(
            "a LightGBM model with zero_as_missing has no ONNX form",
            "Train with zero_as_missing=False and NaN for what is missing",
        )


def _hist_gradient_boosting(model: Any) -> Forest:
    if getattr(model, "is_categorical_", None) is not None:
        raise BundleInvalid(
            "HistGradientBoosting with categorical features has no ONNX form here",
            "Encode the categories in a pipeline (OneHotEncoder, OrdinalEncoder)",
        )
    outputs = model.n_trees_per_iteration_
    if hasattr(model, "classes_"):
        link = Link.SIGMOID if outputs == 1 else Link.SOFTMAX
    else:
        logarithm = type(model._loss.link).__name__ == "LogLink"
        link = Link.EXP if logarithm else Link.IDENTITY
    start = np.broadcast_to(np.ravel(model._baseline_prediction), (outputs,))
    trees = []
    for turn, predictors in enumerate(model._predictors):
        for k, predictor in enumerate(predictors):
            # The starting value goes into the first tree's leaves: the same order of additions.
            extra = float(start[k]) if turn == 0 else 0.0
            nodes = predictor.nodes
            trees.append(
                Tree(
                    leaf=nodes["is_leaf"].astype(np.bool_),
                    feature=nodes["feature_idx"].astype(np.int64),
                    threshold=nodes["num_threshold"].astype(np.float64),
                    left=nodes["left"].astype(np.int64),
                    right=nodes["right"].astype(np.int64),
                    missing_left=nodes["missing_go_to_left"].astype(np.bool_),
                    value=(nodes["value"] + extra).reshape(-1, 1),
                )
            )
    return Forest(tuple(trees), outputs, link)


def _sklearn_trees(model: Any) -> Forest:
    trees = [tree.tree_ for tree in getattr(model, "estimators_", [model])]
    if model.n_outputs_ != 1:
        raise BundleInvalid(
            "a model with several outputs per row cannot be a bundle", "Train one model per output"
        )
    classes = len(model.classes_) if hasattr(model, "classes_") else 0
    columns = {0: slice(0, 1), 2: slice(1, 2)}.get(classes, slice(None))
    return Forest(
        trees=tuple(_sklearn_tree(t, t.value[:, 0, columns] / len(trees)) for t in trees),
        outputs=1 if classes in {0, 2} else classes,
        link=Link.POSITIVE if classes == 2 else Link.IDENTITY,
        float32_first=True,
    )


def _gradient_boosting(model: Any) -> Forest:
    if model.init is not None and model.init != "zero":
        raise BundleInvalid(
            "GradientBoosting with an init estimator has no ONNX form here", "Train with init=None"
        )
    outputs = model.estimators_.shape[1]
    link = Link.IDENTITY
    if hasattr(model, "classes_"):
        link = Link.SIGMOID if outputs == 1 else Link.SOFTMAX
    start = np.ravel(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32)))
    trees = []
    for turn, row in enumerate(model.estimators_):
        for k, estimator in enumerate(row):
            value = estimator.tree_.value[:, 0, :1] * model.learning_rate
            trees.append(_sklearn_tree(estimator.tree_, value + (start[k] if turn == 0 else 0.0)))
    return Forest(
        tuple(trees),
        outputs,
        link,
        float32_first=True,
        scale=2.0 if model.loss == "exponential" else 1.0,
    )


def _sklearn_tree(tree: Any, value: Any) -> Tree:
    return Tree(
        leaf=tree.children_left < 0,
        feature=tree.feature.astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        missing_left=tree.missing_go_to_left.astype(np.bool_),
        value=value,
    )


# By the name of a class among the model's ancestors, so that nothing needs to be imported.
_READERS: dict[tuple[str, str], Callable[[Any], Forest]] = {
    ("lightgbm", "Booster"): _lightgbm,
    ("lightgbm", "LGBMModel"): _lightgbm,
    ("sklearn", "BaseHistGradientBoosting"): _hist_gradient_boosting,
    ("sklearn", "BaseGradientBoosting"): _gradient_boosting,
    ("sklearn", "ForestClassifier"): _sklearn_trees,
    ("sklearn", "ForestRegressor"): _sklearn_trees,
    ("sklearn", "BaseDecisionTree"): _sklearn_trees,
}
