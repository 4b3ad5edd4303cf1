"""Small ONNX models and cards for tests, made by hand so that each fault is visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from millstream.models import graph
from millstream.models.bundle import Bundle, digest_of, write_bundle
from millstream.models.card import Card, Feature, Input, Output, TrainedBy

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FLOAT, DOUBLE, STRING, INT64 = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.STRING,
    TensorProto.INT64,
)


def value(name: str, element: int, *shape: int | str | None) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, element, list(shape))


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
    opset: int = 18,
) -> onnx.ModelProto:
    """A model of these nodes."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    return helper.make_model(
        helper.make_graph(list(nodes), "test", list(inputs), list(outputs), tensors),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


def identity(element: int = DOUBLE, width: int = 1) -> onnx.ModelProto:
    """Scores are the features themselves: [n, width] in and out."""
    return model(
        [helper.make_node("Identity", ["x"], ["scores"])],
        [value("x", element, "n", width)],
        [value("scores", element, "n", width)],
    )


def card(proto: onnx.ModelProto, names: Sequence[str] = ("a",), **changes: Any) -> Card:
    """A regression card for a tensor model; `changes` replace its entries."""
    entries: dict[str, Any] = {
        "name": "test",
        "version": "1",
        "digest": digest_of(proto.SerializeToString()),
        "kind": "regression",
        "opset": graph.opset(proto),
        "created": CREATED,
        "input": Input(layout="tensor", name="x"),
        "output": Output(scores="scores"),
        "trained_by": TrainedBy(library="by hand", version="0"),
        "features": tuple(Feature(name=name) for name in names),
    }
    return Card(**{**entries, **changes})


BINARY: dict[str, Any] = {
    "kind": "binary",
    "labels": ("no", "yes"),
    "positive": "yes",
    "threshold": 0.5,
}


def bundle(proto: onnx.ModelProto, names: Sequence[str] = ("a",), **changes: Any) -> Bundle:
    """A checked bundle in memory."""
    return Bundle.check(Path("bundle"), card(proto, names, **changes), proto.SerializeToString())


def written(folder: Path, proto: onnx.ModelProto | None = None, **changes: Any) -> Bundle:
    """A bundle on disk; identity regression unless told."""
    proto = proto or identity()
    return write_bundle(folder, proto.SerializeToString(), card(proto, **changes))


def batch(**columns: Any) -> pa.RecordBatch:
    """A batch of these columns; arrays or lists."""
    arrays = {
        name: column if isinstance(column, pa.Array) else pa.array(column)
        for name, column in columns.items()
    }
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def lookup() -> onnx.ModelProto:
    """Scores are table[int(a)], a table of three: raises where `a` is not in [-3, 2]."""
    return model(
        [
            helper.make_node("Cast", ["x"], ["i"], to=INT64),
            helper.make_node("Gather", ["table", "i"], ["scores"], name="look_up"),
        ],
        [value("x", DOUBLE, "n", 1)],
        [value("scores", DOUBLE, "n", 1)],
        {"table": np.array([0.0, 10.0, 20.0])},
    )


def one_node(operator: str, element: int = DOUBLE, width: int = 1) -> Callable[[], onnx.ModelProto]:
    """A model of one element-wise operator."""
    return lambda: model(
        [helper.make_node(operator, ["x"], ["scores"])],
        [value("x", element, "n", width)],
        [value("scores", element, "n", width)],
    )


def endless() -> onnx.ModelProto:
    """Scores are `a`, but it never ends when any `a` is above 100."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Identity", ["v_in"], ["v_out"]),
        ],
        "body",
        [
            value("turn", INT64),
            value("go_in", TensorProto.BOOL),
            value("v_in", DOUBLE, None, None),
        ],
        [value("go_out", TensorProto.BOOL), value("v_out", DOUBLE, None, None)],
    )
    return model(
        [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Greater", ["top", "hundred"], ["go"]),
            helper.make_node("Loop", ["", "go", "x"], ["scores"], body=body),
        ],
        [value("x", DOUBLE, "n", 1)],
        [value("scores", DOUBLE, "n", 1)],
        {"hundred": np.array(100.0)},
    )
