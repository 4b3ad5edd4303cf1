"""The ONNX files themselves: what other readers of them find."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

lgb = pytest.importorskip("lightgbm", reason="install the extra train")
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from millstream.errors import BundleInvalid  # noqa: E402
from millstream.models import graph  # noqa: E402
from millstream.models.card import Feature  # noqa: E402
from millstream.models.export import Exported, export_lightgbm, export_sklearn  # noqa: E402
from tests.millstream.models.graphs import DOUBLE, FLOAT  # noqa: E402

FEATURES = [Feature(name=name) for name in "abc"]
X = np.random.default_rng(0).normal(size=(300, 3))
Y = (X[:, 0] > 0).astype(int)


def exports() -> list[tuple[str, Exported]]:
    """One export of each way."""
    booster: Any = lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    return [
        ("lightgbm", export_lightgbm(booster, FEATURES)),
        ("lightgbm", export_lightgbm(booster, FEATURES, input_type="float32")),
        ("scikit-learn", export_sklearn(pipeline, FEATURES)),
        ("scikit-learn", export_sklearn(pipeline, FEATURES, layout="columns")),
    ]


def test_every_export_is_a_plain_tensor_model_of_any_batch() -> None:
    """One output [rows, k] of doubles, no label, no ZipMap, symbolic first dimensions."""
    for library, exported in exports():
        proto = onnx.load_model_from_string(exported.model)
        inputs, outputs = graph.ports(proto)
        assert [(port.name, port.element) for port in outputs] == [("scores", DOUBLE)]
        assert all(port.shape is not None and port.shape[0] is None for port in inputs + outputs)
        assert "ZipMap" not in {node.op_type for node in proto.graph.node}
        assert (exported.kind, exported.labels) == ("binary", ("0", "1"))
        assert exported.trained_by.library == library
        onnx.checker.check_model(proto)


def test_the_input_type_is_a_choice() -> None:
    """Doubles unless told: an event's double then meets thresholds as it is."""
    elements = [
        graph.ports(onnx.load_model_from_string(exported.model))[0][0].element
        for _, exported in exports()
    ]
    assert elements == [DOUBLE, FLOAT, DOUBLE, DOUBLE]


def test_columns_are_called_as_their_features() -> None:
    """In the features' order."""
    exported = exports()[3][1]
    inputs, _ = graph.ports(onnx.load_model_from_string(exported.model))
    assert [port.name for port in inputs] == ["a", "b", "c"]


def test_the_wrong_door_says_which_is_right() -> None:
    """A scikit-learn model is no LightGBM model."""
    model = LogisticRegression().fit(X, Y)
    with pytest.raises(BundleInvalid, match="Use export_sklearn"):
        export_lightgbm(model, FEATURES)


def test_labels_must_be_as_many_as_classes() -> None:
    """A label too many would shift nothing silently."""
    model = lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    with pytest.raises(BundleInvalid, match="2 classes, 3 labels"):
        export_lightgbm(model, FEATURES, labels=["a", "b", "c"])
