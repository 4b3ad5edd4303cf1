"""The families of models: how each is fitted, predicts by its own library, and becomes nodes.

One thread and one seed everywhere: the same rows give the same bits on the same machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np

from millstream.models.card import Kind
from millstream.models.forests import forest_of
from millstream.performance.metrics import Floats, Ints
from millstream.training.nodes import Nodes

Family = Literal["lightgbm", "hist_gradient_boosting", "logistic_regression", "mlp"]
FAMILIES: Final[tuple[Family, ...]] = (
    "lightgbm",
    "hist_gradient_boosting",
    "logistic_regression",
    "mlp",
)
SCALED: Final = frozenset({"logistic_regression", "mlp"})
"""Families that take standardised numbers without holes."""
LIBRARY: Final[dict[str, str]] = {
    family: "lightgbm" if family == "lightgbm" else "scikit-learn" for family in FAMILIES
}
DEFAULTS: Final[dict[Family, dict[str, Any]]] = {
    "lightgbm": {"n_estimators": 100, "learning_rate": 0.1, "num_leaves": 31},
    "hist_gradient_boosting": {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 31},
    "logistic_regression": {"C": 1.0, "max_iter": 500},
    "mlp": {"hidden_layer_sizes": (32,), "max_iter": 30, "alpha": 1e-3},
}
_ALWAYS: Final[dict[Family, dict[str, Any]]] = {
    "lightgbm": {"n_jobs": 1, "verbose": -1, "deterministic": True, "force_row_wise": True},
    "hist_gradient_boosting": {"early_stopping": False},
    "logistic_regression": {},
    "mlp": {},
}


class Model(Protocol):
    """A fitted model on the encoder's matrix."""

    def scores(self, matrix: Floats) -> Floats:
        """[n, k] by the training library, of the classes that it saw; regression [n, 1]."""
        ...

    def add_to(self, graph: Nodes, source: str) -> str:
        """The same as nodes; the scores' name."""
        ...


@dataclass(frozen=True, slots=True)
class Trees:
    """LightGBM or HistGradientBoosting."""

    model: Any

    def scores(self, matrix: Floats) -> Floats:
        return _library_scores(self.model, matrix)

    def add_to(self, graph: Nodes, source: str) -> str:
        forest = forest_of(self.model)
        assert forest is not None, type(self.model)
        graph.ml_opset = forest.ml_opset
        name = graph.name()
        forest.add_to(graph.proto, source, name)
        return name


@dataclass(frozen=True, slots=True)
class Layers:
    """Linear models and networks. target: mean and spread of regression's targets."""

    model: Any
    target: tuple[float, float] = (0.0, 1.0)

    def scores(self, matrix: Floats) -> Floats:
        found = _library_scores(self.model, matrix)
        return found * self.target[1] + self.target[0] if self.target != (0.0, 1.0) else found

    def add_to(self, graph: Nodes, source: str) -> str:
        layers, activation = _layers(self.model)
        value = source
        for number, (weights, bias) in enumerate(layers):
            product = graph.add("MatMul", value, graph.constant(weights))
            value = graph.add("Add", product, graph.constant(bias))
            if number < len(layers) - 1:
                value = graph.add(activation, value) if activation else value
        if not hasattr(self.model, "classes_"):
            if self.target == (0.0, 1.0):
                return value
            spread, mean = graph.constant(self.target[1]), graph.constant(self.target[0])
            return graph.add("Add", graph.add("Mul", value, spread), mean)
        if layers[-1][1].size > 1:
            return graph.add("Softmax", value, axis=1)
        chance = graph.add("Sigmoid", value)
        return graph.join([graph.add("Sub", graph.constant(1.0), chance), chance])


@dataclass(frozen=True, slots=True)
class Constant:
    """One class was all there was."""

    def scores(self, matrix: Floats) -> Floats:
        return np.ones((len(matrix), 1))

    def add_to(self, graph: Nodes, source: str) -> str:
        shape = graph.add("Shape", source)
        rows = graph.add("Slice", shape, *(graph.constant(np.array([n])) for n in (0, 1, 0)))
        wanted = graph.add("Concat", rows, graph.constant(np.array([1])), axis=0)
        return graph.add("Expand", graph.constant([[1.0]]), wanted)


def fit_model(
    family: Family,
    kind: Kind,
    parameters: Mapping[str, Any],
    seed: int,
    matrix: Floats,
    truth: Floats | Ints,
    weights: Floats | None,
) -> Model:
    """Fit one model, in one thread.

    matrix: [n, width] of the encoder. truth: [n] class numbers, or regression's values.
    parameters: the library's own, over DEFAULTS. Raises what the library raises for a parameter
    that it does not know (TypeError, ValueError).
    """
    # Imported late: a command that trains nothing needs none of it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # noqa: PLC0415

    if kind != "regression" and len(np.unique(truth)) == 1:
        return Constant()
    given = {**DEFAULTS[family], **parameters, **_ALWAYS[family]}
    target: tuple[float, float] = (0.0, 1.0)
    goal: Any = truth
    if family == "mlp" and kind == "regression":
        target = float(goal.mean()), float(goal.std()) or 1.0
        goal = (goal - target[0]) / target[1]
    if family == "hist_gradient_boosting":
        # It cannot bin a column without a number; one that never varies is not split on either.
        matrix = np.where(np.isnan(matrix).all(axis=0), 0.0, matrix)
    model = _MAKERS[family](kind != "regression", given, seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(matrix, goal, sample_weight=weights)
        except Exception as why:
            if type(why).__name__ == "LightGBMError":  # it is no ValueError, and what it says is
                raise ValueError(str(why)) from why
            raise
    return Trees(model) if family not in SCALED else Layers(model, target)


def _lightgbm(classes: bool, given: dict[str, Any], seed: int) -> Any:
    import lightgbm  # noqa: PLC0415

    kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    return kind(random_state=seed, **given)


def _hist_gradient_boosting(classes: bool, given: dict[str, Any], seed: int) -> Any:
    from sklearn import ensemble  # noqa: PLC0415

    name = "HistGradientBoostingClassifier" if classes else "HistGradientBoostingRegressor"
    return getattr(ensemble, name)(random_state=seed, **given)


def _linear(classes: bool, given: dict[str, Any], seed: int) -> Any:
    """Ridge where there are no classes, with the penalty of the same C."""
    from sklearn.linear_model import LogisticRegression, Ridge  # noqa: PLC0415

    if classes:
        return LogisticRegression(random_state=seed, **given)
    rest = {name: value for name, value in given.items() if name not in {"C", "max_iter"}}
    return Ridge(alpha=0.5 / given["C"], solver="cholesky", **rest)


def _mlp(classes: bool, given: dict[str, Any], seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: PLC0415

    sizes = given["hidden_layer_sizes"]
    given = {**given, "hidden_layer_sizes": tuple(sizes) if not isinstance(sizes, int) else sizes}
    return (MLPClassifier if classes else MLPRegressor)(random_state=seed, **given)


_MAKERS: Final[dict[Family, Callable[[bool, dict[str, Any], int], Any]]] = {
    "lightgbm": _lightgbm,
    "hist_gradient_boosting": _hist_gradient_boosting,
    "logistic_regression": _linear,
    "mlp": _mlp,
}


def _library_scores(model: Any, matrix: Floats) -> Floats:
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    predict = model.predict_proba if hasattr(model, "classes_") else model.predict
    with threadpool_limits(1), warnings.catch_warnings():
        # LightGBM invents names for columns that have none, then misses them.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(predict(matrix), np.float64).reshape(len(matrix), -1)


def _layers(model: Any) -> tuple[list[tuple[Floats, Floats]], str | None]:
    """Weights [in, out] and bias [out] of each layer, and what stands between them."""
    if hasattr(model, "coefs_"):
        between = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": None}
        return list(zip(model.coefs_, model.intercepts_, strict=True)), between[model.activation]
    weights = np.atleast_2d(model.coef_).T
    return [(weights, np.atleast_1d(model.intercept_))], None
