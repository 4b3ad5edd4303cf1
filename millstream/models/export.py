"""From a fitted model to ONNX whose scores are those of the training library.

Needs the extra `train`; nothing here is imported by a program that scores.

| family | how | largest difference measured |
|---|---|---|
| LightGBM, HistGradientBoosting, GradientBoosting | trees.py, doubles | 3e-16 |
| decision trees, random and extra forests | trees.py, doubles | 1e-14 |
| forests and trees of three classes and more | trees.py, float32 sums | 3e-8 |
| linear models, MLP, scalers, encoders, SimpleImputer | skl2onnx in doubles | 2e-14 |
| the same with input_type float32 | skl2onnx | 2e-5: may be refused |

What is not in the table goes through skl2onnx as well, and `make_bundle` measures whether it
may become a bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from millstream.errors import BundleInvalid
from millstream.models.card import Feature, Input, Kind, Layout, Output, TrainedBy
from millstream.models.forests import forest_of
from millstream.models.graph import ORT_ERRORS, free_batch_dimension
from millstream.models.trees import ML_DOMAIN, Forest

InputType = Literal["float64", "float32"]

OPSET = 18
IR_VERSION = 10
TENSOR = "features"


@dataclass(frozen=True, slots=True)
class Exported:
    """A model as ONNX, and what a card says about it."""

    model: bytes
    kind: Kind
    labels: tuple[str, ...]
    input: Input
    output: Output
    trained_by: TrainedBy


def export_lightgbm(
    model: Any,
    features: Sequence[Feature],
    *,
    labels: Sequence[str] | None = None,
    input_type: InputType = "float64",
) -> Exported:
    """A fitted LGBMClassifier, LGBMRegressor or Booster, as one tensor [rows, features].

    features: in the order of the training columns; numbers and booleans, category codes as
    numbers. labels: needed for a Booster that classifies. input_type: with float32 an event's
    double is rounded before it meets a threshold, and thresholds often lie on training values:
    on the electricity data some scores then differ by 0.1 to 0.3.
    Raises BundleInvalid for an objective or option without an exact ONNX form.
    """
    forest = forest_of(model)
    if forest is None:
        raise BundleInvalid(
            f"{type(model).__name__} is no LightGBM model", "Use export_sklearn for it"
        )
    width = int(getattr(model, "n_features_in_", 0) or model.num_feature())
    _check_width(width, features)
    names = tuple(labels) if labels is not None else _classes(model)
    if names and len(names) != max(2, forest.outputs):
        raise BundleInvalid(
            f"the model has {max(2, forest.outputs)} classes, {len(names)} labels are given",
            "Give one label for each class, in the model's order",
        )
    if not names and forest.link in {"sigmoid", "softmax", "sigmoid_each"}:
        raise BundleInvalid(
            "a LightGBM Booster does not know its labels", "Give labels, one for each class"
        )
    proto = _forest_model(forest, len(features), input_type)
    trained_by = TrainedBy(library="lightgbm", version=version("lightgbm"))
    return _exported(proto, names, Input(layout="tensor", name=TENSOR), trained_by)


def export_sklearn(
    model: Any,
    features: Sequence[Feature],
    *,
    layout: Layout | None = None,
    input_type: InputType | None = None,
) -> Exported:
    """A fitted scikit-learn estimator or Pipeline (its last step may be a LightGBM model).

    layout: default `columns` where a feature is a category, else `tensor`. A pipeline that picks
    DataFrame columns by name needs `columns`.
    input_type: default float64, or float32 where ONNX Runtime has an operator for that only.
    float32 makes an MLP twice as fast.
    Raises BundleInvalid where the model has no ONNX form, or no probabilities.
    """
    _check_width(getattr(model, "n_features_in_", len(features)), features)
    categories = any(feature.type == "category" for feature in features)
    spec = _input(layout or ("columns" if categories else "tensor"))
    labels = _classes(model)
    if labels and not hasattr(model, "predict_proba"):
        raise BundleInvalid(
            f"{type(model).__name__} gives no probabilities",
            "Wrap it in CalibratedClassifierCV before training",
        )
    proto = _sklearn_model(model, features, spec, input_type or "float64")
    if input_type is None and not _runs(proto):
        proto = _sklearn_model(model, features, spec, "float32")
    trained_by = TrainedBy(library="scikit-learn", version=version("scikit-learn"))
    return _exported(proto, labels, spec, trained_by)


def _exported(
    proto: onnx.ModelProto, labels: tuple[str, ...], spec: Input, trained_by: TrainedBy
) -> Exported:
    kind: Kind = {0: "regression", 2: "binary"}.get(len(labels), "multiclass")  # type: ignore[assignment]
    return Exported(
        model=proto.SerializeToString(),
        kind=kind,
        labels=labels,
        input=spec,
        output=Output(scores=proto.graph.output[0].name),
        trained_by=trained_by,
    )


def _input(layout: Layout) -> Input:
    return Input(layout=layout, name=TENSOR if layout == "tensor" else None)


def _classes(model: Any) -> tuple[str, ...]:
    return tuple(str(label) for label in getattr(model, "classes_", ()))


def _check_width(width: int, features: Sequence[Feature]) -> None:
    if width != len(features):
        raise BundleInvalid(
            f"the model was trained on {width} columns, {len(features)} features are declared",
            "Declare the training columns, in their order",
        )


def _forest_model(forest: Forest, width: int, input_type: InputType) -> onnx.ModelProto:
    element = TensorProto.DOUBLE if input_type == "float64" else TensorProto.FLOAT
    source = helper.make_tensor_value_info(TENSOR, element, ["rows", width])
    graph = helper.make_graph([], "millstream", [source], [])
    return _finish_with_forest(graph, forest, TENSOR, [("", OPSET)])


def _finish_with_forest(
    graph: onnx.GraphProto, forest: Forest, source: str, opset: list[tuple[str, int]]
) -> onnx.ModelProto:
    scores = _scores_name(graph)
    forest.add_to(graph, source, scores)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(scores, TensorProto.DOUBLE, ["rows", None]))
    versions = {**dict(opset), ML_DOMAIN: forest.ml_opset}
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*entry) for entry in versions.items()],
        ir_version=IR_VERSION,
        producer_name="millstream",
    )
    free_batch_dimension(proto)
    return proto


def _scores_name(graph: onnx.GraphProto) -> str:
    name = "scores"
    while any(value.name == name for value in graph.input):
        name += "_"
    return name


def _sklearn_model(
    model: Any, features: Sequence[Feature], spec: Input, input_type: InputType
) -> onnx.ModelProto:
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    forest = forest_of(final)
    if forest is None:
        return _only_scores(_converted(model, features, spec, input_type))
    before = model[:-1] if hasattr(model, "steps") and len(model.steps) > 1 else None
    if before is None:
        if spec.layout == "columns":
            raise BundleInvalid(
                "a tree model alone takes a tensor, not columns",
                "Use layout='tensor', or a Pipeline with a ColumnTransformer",
            )
        return _forest_model(forest, len(features), input_type)
    proto = _converted(before, features, spec, input_type)
    opset = [(entry.domain, entry.version) for entry in proto.opset_import]
    return _finish_with_forest(proto.graph, forest, proto.graph.output[0].name, opset)


def _converted(
    model: Any, features: Sequence[Feature], spec: Input, input_type: InputType
) -> onnx.ModelProto:
    # Imported late: a LightGBM export needs none of it, and it takes over a second.
    import skl2onnx  # noqa: PLC0415
    from skl2onnx.common import data_types, exceptions  # noqa: PLC0415
    from sklearn.impute import SimpleImputer  # noqa: PLC0415

    from millstream.models.imputer import convert_imputer  # noqa: PLC0415

    number = getattr(
        data_types, "DoubleTensorType" if input_type == "float64" else "FloatTensorType"
    )
    if spec.layout == "tensor":
        types = [(TENSOR, number([None, len(features)]))]
    else:
        types = [
            (f.name, (data_types.StringTensorType if f.type == "category" else number)([None, 1]))
            for f in features
        ]
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    options = {id(final): {"zipmap": False}} if hasattr(final, "predict_proba") else None
    try:
        proto: onnx.ModelProto = skl2onnx.convert_sklearn(
            model,
            name="millstream",
            initial_types=types,
            options=options,
            custom_conversion_functions={SimpleImputer: convert_imputer},
            target_opset={"": OPSET, ML_DOMAIN: 3},
        )
    except (
        exceptions.MissingConverter,
        exceptions.MissingShapeCalculator,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        KeyError,
        NameError,
    ) as error:
        raise BundleInvalid(
            f"skl2onnx cannot convert {type(final).__name__}: {' '.join(str(error).split())[:300]}",
            "Use estimators that skl2onnx supports; columns picked by name need layout='columns'",
        ) from error
    return proto


def _only_scores(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its last output only, called scores, and no node that it needs not."""
    graph = proto.graph
    wanted, name = graph.output[-1], _scores_name(graph)
    needed, kept = {wanted.name}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    kept.reverse()
    # A cast, since skl2onnx declares this output's type after the first input, even if it is
    # a string and the scores are doubles.
    kept.append(helper.make_node("Cast", [wanted.name], [name], to=TensorProto.DOUBLE))
    shape = [None, None][: len(wanted.type.tensor_type.shape.dim)]
    output = helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)
    slim = helper.make_graph(
        kept,
        graph.name,
        list(graph.input),
        [output],
        [tensor for tensor in graph.initializer if tensor.name in needed],
    )
    result = helper.make_model(
        slim,
        opset_imports=list(proto.opset_import),
        ir_version=IR_VERSION,
        producer_name="millstream",
    )
    free_batch_dimension(result)
    return result


def _runs(proto: onnx.ModelProto) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS:
        return False
    return True
