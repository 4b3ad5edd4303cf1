"""A network in narrower numbers: FP32, FP16, static INT8. Trees have no such form.

Only what begins with the first layer is narrowed: what makes the features ready before it stays in
the numbers that it has, so that large values are scaled while they still fit. Inputs and outputs
keep their types, so the card fits the variant.

INT8 is static: scales are fixed beforehand on calibration rows. Dynamic INT8 scales each batch by
its largest value, so a row's score depends on its batch mates; it is never made. The first layer
and what turns its last values into probabilities stay in FP32: quantised, they cost most.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from millstream.errors import OperatorNeeded

Form = Literal["fp32", "fp16", "int8"]
FORMS: Final[tuple[Form, ...]] = ("fp32", "fp16", "int8")
Feeds = Mapping[str, npt.NDArray[Any]]

_LAYERS: Final = frozenset({"MatMul", "Gemm"})
_NARROWED: Final = _LAYERS | {
    "Add", "Sub", "Mul", "Div", "Neg", "Relu", "LeakyRelu", "Elu", "Tanh", "Sigmoid", "Softmax",
    "Identity", "Concat", "Clip", "Flatten", "Reshape", "Erf", "BatchNormalization", "Gelu",
}  # fmt: skip
_WIDE: Final = (TensorProto.DOUBLE, TensorProto.FLOAT)
_TARGET: Final[dict[Form, int]] = {
    "fp32": TensorProto.FLOAT,
    "fp16": TensorProto.FLOAT16,
    "int8": TensorProto.FLOAT,
}
_DTYPE: Final[dict[int, npt.DTypeLike]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
}


class NoSuchForm(OperatorNeeded):
    """This model cannot be had in this form; it says why."""


def narrowed(model: bytes, form: Form, calibration: Sequence[Feeds] = ()) -> bytes:
    """The ONNX model in another form.

    calibration: feeds of the model's inputs, rows like the stream's; for int8 only.
    Raises NoSuchForm where the model has none.
    """
    proto = onnx.load_model_from_string(model)
    _require_network(proto)
    _narrow(proto, _TARGET[form])
    if form != "int8":
        made: bytes = proto.SerializeToString(deterministic=True)
        return made
    return _quantised(proto, calibration)


def _require_network(proto: onnx.ModelProto) -> None:
    operators = {node.op_type for node in proto.graph.node}
    if any(operator.startswith("TreeEnsemble") for operator in operators):
        raise NoSuchForm(
            "trees have no FP32, FP16 or INT8 form: each comparison needs the numbers that it was "
            "trained on",
            "Distil the model into a smaller one",
        )
    if any(a.g.node or a.graphs for node in proto.graph.node for a in node.attribute):
        raise NoSuchForm("the model has branches or loops", "Distil it into a smaller one")
    if not operators & _LAYERS:
        raise NoSuchForm("the model has no layer to narrow", "It is as cheap as it gets")


def _narrow(proto: onnx.ModelProto, target: int) -> None:
    """From the first layer on, every number is a `target`."""
    graph = proto.graph
    work = _Narrowing(proto, target)
    for node in list(graph.node):
        work.take(node)
    for output in graph.output:
        work.widen(output)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(work.nodes)
    used = {name for node in work.nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


class _Narrowing:
    """The new nodes, in order. narrow: names of the values that are `target` now."""

    def __init__(self, proto: onnx.ModelProto, target: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._target = proto.graph, target
        self._types = _types(proto)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._narrow: set[str] = set()
        self._made: dict[tuple[str, int], str] = {}

    def take(self, node: onnx.NodeProto) -> None:
        """The node with inputs of the types that it needs now."""
        inside = node.op_type in _LAYERS or any(name in self._narrow for name in node.input)
        narrowed = inside and node.op_type in _NARROWED and not node.domain
        for place, name in enumerate(node.input):
            is_narrow = name in self._narrow
            if narrowed and not is_narrow and self._types.get(name) in _WIDE:
                node.input[place] = self._as_type(name, self._target)
            elif not narrowed and is_narrow:
                node.input[place] = self._as_type(name, self._types[name])
        if narrowed:
            self._narrow |= set(node.output)
        self.nodes.append(node)

    def widen(self, output: onnx.ValueInfoProto) -> None:
        """The graph's output in the type that it had."""
        if output.name not in self._narrow:
            return
        last = f"{output.name}_narrow"
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == output.name:
                        names[place] = last
        wide = output.type.tensor_type.elem_type
        self.nodes.append(helper.make_node("Cast", [last], [output.name], to=wide))

    def _as_type(self, name: str, element: int) -> str:
        known = self._made.get((name, element))
        if known is not None:
            return known
        other = f"{name}_as_{element}"
        if name in self._constants:
            self._graph.initializer.append(_constant(self._constants[name], other, element))
        else:
            self.nodes.append(helper.make_node("Cast", [name], [other], to=element))
        self._made[name, element] = other
        return other


def _types(proto: onnx.ModelProto) -> dict[str, int]:
    """Element type by name."""
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    types = {value.name: int(value.type.tensor_type.elem_type) for value in values}
    return {**types, **{tensor.name: int(tensor.data_type) for tensor in inferred.initializer}}


def _constant(tensor: onnx.TensorProto, name: str, element: int) -> onnx.TensorProto:
    with np.errstate(over="ignore"):
        array = numpy_helper.to_array(tensor).astype(_DTYPE[element])
    if not np.isfinite(array).all():
        raise NoSuchForm(
            "a weight of the model does not fit the narrower numbers", "Keep the wider form"
        )
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def _quantised(proto: onnx.ModelProto, calibration: Sequence[Feeds]) -> bytes:
    # Imported late: only this form needs it, and a scorer never does.
    from onnxruntime.quantization import (  # noqa: PLC0415
        QuantFormat,
        QuantType,
        quantize_static,
    )

    for number, node in enumerate(proto.graph.node):
        node.name = f"node_{number}"
    first = _first_layers(proto)
    layers = {node.name for node in proto.graph.node if node.op_type in _LAYERS}
    if not layers - first:
        raise NoSuchForm(
            "the model has one layer, which stays in FP32: there is nothing to quantise",
            "It is as cheap as it gets",
        )
    if not calibration:
        raise NoSuchForm("static INT8 needs rows to fix its scales on", "Give rows")
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        wide, narrow = Path(folder) / "wide.onnx", Path(folder) / "narrow.onnx"
        onnx.save(proto, wide)
        quantize_static(
            wide,
            narrow,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(_LAYERS),
            nodes_to_exclude=sorted(first),
            per_channel=True,
            # Seven bits: eight overflow in the sums of processors without VNNI.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(narrow)
    made.metadata_props.clear()
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def _first_layers(proto: onnx.ModelProto) -> set[str]:
    """Names of the layers before which there is no other."""
    behind: set[str] = set()
    first = set()
    for node in proto.graph.node:
        is_behind = any(name in behind for name in node.input)
        if node.op_type in _LAYERS and not is_behind:
            first.add(node.name)
        if node.op_type in _LAYERS or is_behind:
            behind |= set(node.output)
    return first


class _Calibration:
    """onnxruntime's CalibrationDataReader, which it knows by its methods."""

    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches: Iterator[Feeds] = iter(batches)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """The next batch of feeds."""
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)
