"""ONNX graphs, node by node, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from millstream.models.export import IR_VERSION, OPSET, TENSOR
from millstream.models.graph import free_batch_dimension
from millstream.models.trees import ML_DOMAIN

SCORES: Final = "scores"


class Nodes:
    """A graph that grows. Names of its own begin with `n_`, so that no feature's name is taken."""

    def __init__(self) -> None:
        self.proto: onnx.GraphProto = helper.make_graph([], "millstream", [], [])
        self.ml_opset = 3

    def input(self, name: str, *, text: bool = False, width: int = 1) -> str:
        """A graph input [rows, width]."""
        element = TensorProto.STRING if text else TensorProto.DOUBLE
        self.proto.input.append(helper.make_tensor_value_info(name, element, ["rows", width]))
        return name

    def tensor(self, width: int) -> str:
        """The one input of all features."""
        return self.input(TENSOR, width=width)

    def constant(self, values: npt.ArrayLike) -> str:
        """Doubles, or whole numbers where they are given as int64."""
        array = np.asarray(values)
        if array.dtype != np.int64:
            array = array.astype(np.float64)
        name = self._name("constant")
        self.proto.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; its name."""
        name = self._name(operator.lower())
        node = helper.make_node(operator, list(inputs), [name], **attributes)
        self.proto.node.append(node)
        return name

    def name(self) -> str:
        """One that is free."""
        return self._name("value")

    def join(self, columns: Sequence[str]) -> str:
        """[rows, a] and [rows, b] to [rows, a + b]."""
        return columns[0] if len(columns) == 1 else self.add("Concat", *columns, axis=1)

    def finish(self, scores: str, width: int) -> onnx.ModelProto:
        """The model whose one output `scores` is this value, [rows, width] doubles."""
        taken = {value.name for value in self.proto.input}
        name = SCORES
        while name in taken:
            name += "_"
        self.proto.node.append(helper.make_node("Identity", [scores], [name]))
        output = helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", width])
        self.proto.output.append(output)
        domains = {node.domain for node in self.proto.node}
        opsets = [helper.make_opsetid("", OPSET)]
        if ML_DOMAIN in domains:
            opsets.append(helper.make_opsetid(ML_DOMAIN, self.ml_opset))
        proto = helper.make_model(
            self.proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="millstream"
        )
        free_batch_dimension(proto)
        return proto

    def _name(self, kind: str) -> str:
        # An input called like one of ours would be another value of the same name.
        return f"n_{kind}_{len(self.proto.node) + len(self.proto.initializer)}"
