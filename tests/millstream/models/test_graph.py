"""What may be in an ONNX graph, and which graphs fit which cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from millstream.errors import BundleInvalid
from millstream.models import graph
from millstream.models.card import Feature, Input, Output
from tests.millstream.models.graphs import (
    BINARY,
    DOUBLE,
    FLOAT,
    INT64,
    STRING,
    bundle,
    card,
    endless,
    identity,
    model,
    value,
)

FILE = Path("b/model.onnx")


def test_external_data_in_a_subgraph_is_refused() -> None:
    """The walk goes into the bodies of loops and branches."""
    proto = endless()
    loop = next(node for node in proto.graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    constant = helper.make_node(
        "Constant", [], ["k"], value=helper.make_tensor("k", FLOAT, [0], [])
    )
    constant.attribute[0].t.external_data.add(key="location", value="k.bin")
    body.node.append(constant)
    with pytest.raises(BundleInvalid, match="keeps its data in another file"):
        graph.check_contents(proto, FILE)


def test_external_data_in_a_sparse_initializer_is_refused() -> None:
    """Sparse tensors hold two tensors each; both are looked at."""
    proto = identity()
    sparse = proto.graph.sparse_initializer.add()
    sparse.indices.name = "hidden"
    sparse.indices.data_location = TensorProto.EXTERNAL
    with pytest.raises(BundleInvalid, match="'hidden'"):
        graph.check_contents(proto, FILE)


def test_a_foreign_operator_in_a_function_is_refused() -> None:
    """A function of the model's own is allowed, foreign operators within it are not."""
    proto = identity()
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "own", "Same"
    function = proto.functions.add(name="Same", domain="own")
    function.node.add(op_type="Identity", input=["x"], output=["y"])
    graph.check_contents(proto, FILE)
    function.node.add(op_type="Shell", domain="evil", input=["x"], output=["z"])
    with pytest.raises(BundleInvalid, match="evil::Shell"):
        graph.check_contents(proto, FILE)


def test_an_operator_that_reads_files_is_refused() -> None:
    """EPContext names a file although its domain is allowed."""
    proto = identity()
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "com.microsoft", "EPContext"
    with pytest.raises(BundleInvalid, match="EPContext"):
        graph.check_contents(proto, FILE)


def test_a_training_graph_is_refused() -> None:
    """Only inference runs here."""
    proto = identity()
    proto.training_info.add()
    with pytest.raises(BundleInvalid, match="training graph"):
        graph.check_contents(proto, FILE)


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"hello"])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    """Nothing, noise and text."""
    with pytest.raises(BundleInvalid, match="is not an ONNX model"):
        graph.parse(content, FILE)


@pytest.mark.parametrize(
    ("imports", "ir_version"), [([("", 99)], 10), ([("ai.onnx.ml", 99)], 10), ([("", 18)], 99)]
)
def test_what_this_onnxruntime_cannot_run_is_refused(
    imports: list[tuple[str, int]], ir_version: int
) -> None:
    """Opsets of both domains and the IR version are asked of ONNX Runtime itself."""
    proto = identity()
    entries = [helper.make_opsetid(domain, number) for domain, number in imports]
    proto.opset_import.extend(entries)
    if imports[0][0] == "":
        del proto.opset_import[0]
    proto.ir_version = ir_version
    with pytest.raises(BundleInvalid, match=r"99.* is not supported by onnxruntime"):
        graph.check_runtime(proto, FILE)


def test_ports_leave_initializers_out() -> None:
    """Old exporters list initializers as inputs; they are not fed."""
    proto = model(
        [helper.make_node("Add", ["x", "w"], ["scores"])],
        [value("x", DOUBLE, "n", 1), value("w", DOUBLE, 1)],
        [value("scores", DOUBLE, "n", 1)],
        {"w": np.array([1.0])},
    )
    inputs, _ = graph.ports(proto)
    assert inputs == [graph.Port("x", DOUBLE, (None, 1))]


def test_the_batch_dimension_can_be_freed() -> None:
    """A model with fixed first dimensions fits afterwards."""
    proto = identity()
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(BundleInvalid, match="fixed shape"):
        graph.check_signature(card(proto), proto, FILE)
    graph.free_batch_dimension(proto)
    graph.check_signature(card(proto), proto, FILE)


def _columns(*ports: Any) -> onnx.ModelProto:
    first = ports[0].name
    return model(
        [helper.make_node("Identity", [first], ["scores"])],
        ports,
        [value("scores", ports[0].type.tensor_type.elem_type, "n", 1)],
    )


COLUMNS = {"input": Input(layout="columns")}
A = value("a", DOUBLE, "n", 1)


@pytest.mark.parametrize(
    ("proto", "changes", "says"),
    [
        (identity(), {"opset": {"ai.onnx": 17}}, "has opset .*18.*17"),
        (identity(), {"input": Input(layout="tensor", name="y")}, r"has the inputs \['x'\]"),
        (identity(INT64), {}, "input 'x' has elements INT64"),
        (identity(), {"output": Output(scores="scores", label="l")}, "has no output 'l'"),
        (identity(width=3), {}, r"shape \[\?, 3\].*1 features"),
        (
            identity(),
            {"kind": "multiclass", "labels": ("a", "b", "c")},
            r"output 'scores' has shape \[\?, 1\].*3 labels",
        ),
        (_columns(A), {**COLUMNS, "features": (Feature(name="b"),)}, "the model has not: b"),
        (_columns(A, value("b", DOUBLE, "n", 1)), COLUMNS, "lacks inputs of the model: b"),
        (_columns(value("a", FLOAT, "n", 2)), COLUMNS, r"\[\?, 2\], not \[rows, 1\]"),
        (_columns(value("a", STRING, "n", 1)), COLUMNS, "has elements STRING.*number"),
        (
            _columns(value("a", INT64, "n", 1)),
            {**COLUMNS, "features": (Feature(name="a", missing="nan"),)},
            "INT64, which have no NaN",
        ),
    ],
)
def test_a_graph_that_is_not_the_cards_is_refused(
    proto: onnx.ModelProto, changes: dict[str, Any], says: str
) -> None:
    """Names, counts, element types and shapes of inputs and outputs."""
    with pytest.raises(BundleInvalid, match=says):
        graph.check_signature(card(proto, **changes), proto, FILE)


def test_a_zipmap_is_refused() -> None:
    """A sequence of maps is no tensor of scores."""
    proto = identity()
    map_type = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    proto.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(map_type))
    with pytest.raises(BundleInvalid, match="not a tensor") as caught:
        graph.check_signature(card(proto), proto, FILE)
    assert "zipmap" in caught.value.remedy


def test_a_binary_model_may_give_one_column() -> None:
    """[n, 1] is the probability of the positive label."""
    assert bundle(identity(), **BINARY).card.score_columns == 2
