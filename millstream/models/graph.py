"""What an ONNX graph may contain, checked on the parsed model before ONNX Runtime sees it.

Why so strict: ONNX Runtime reads files that a model names. Given as bytes, a model with external
data reads them from the process's working directory, and a hard link beside the model was loaded
(measured with 1.31.1). So a model carries all of its data itself, in its own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from millstream.errors import BundleInvalid
from millstream.models.card import Card, Feature

DOMAINS = ("ai.onnx", "ai.onnx.ml", "com.microsoft")
# EPContext names a file with compiled code for an accelerator.
OPERATORS_REFUSED = ("EPContext",)

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_ELEMENTS = {
    "number": (*FLOATS, TensorProto.INT64),
    "boolean": (*FLOATS, TensorProto.INT64, TensorProto.BOOL),
    "category": (TensorProto.STRING,),
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name, element type (0 if not a tensor) and shape.

    shape: None where unknown; a dimension is None where it is symbolic.
    """

    name: str
    element: int
    shape: tuple[int | None, ...] | None

    @property
    def element_name(self) -> str:
        """The element type in ONNX's words, such as `FLOAT`."""
        return str(TensorProto.DataType.Name(self.element)) if self.element else "not a tensor"


def parse(model: bytes, file: Path) -> onnx.ModelProto:
    """The parsed model. Raises BundleInvalid where the bytes are no ONNX model."""
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise BundleInvalid(
            f"{file} is not an ONNX model", "Export the model again, or restore the file"
        ) from error
    if not proto.graph.node or not proto.opset_import:
        raise BundleInvalid(
            f"{file} is not an ONNX model: it has no nodes or no operator set",
            "Export the model again, or restore the file",
        )
    return proto


def check_contents(proto: onnx.ModelProto, file: Path) -> None:
    """Refuse external data, foreign operators and training graphs, wherever they hide."""
    functions = {(function.domain, function.name) for function in proto.functions}
    for part in _parts(proto):
        if isinstance(part, onnx.TensorProto):
            if part.data_location == TensorProto.EXTERNAL or part.external_data:
                raise BundleInvalid(
                    f"{file}: tensor {part.name!r} keeps its data in another file",
                    "Save the model with its data inside: onnx.save(model, path)",
                )
        elif isinstance(part, onnx.NodeProto):
            domain = part.domain or "ai.onnx"
            foreign = domain not in DOMAINS and (part.domain, part.op_type) not in functions
            if foreign or part.op_type in OPERATORS_REFUSED:
                raise BundleInvalid(
                    f"{file}: operator {domain}::{part.op_type} is not allowed",
                    f"Use operators of {', '.join(DOMAINS)} only",
                )
    if proto.training_info:
        raise BundleInvalid(f"{file} holds a training graph", "Export the model for inference only")


def check_runtime(proto: onnx.ModelProto, file: Path) -> None:
    """Refuse an opset or IR version that this ONNX Runtime cannot run.

    Asks ONNX Runtime itself with a one-node model (0.4 ms): it publishes no list.
    """
    one = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    two = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    probe = onnx.helper.make_model(
        onnx.helper.make_graph([node], "probe", [one], [two]),
        opset_imports=list(proto.opset_import),
        ir_version=proto.ir_version,
    )
    try:
        ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        versions = ", ".join(f"{domain} {n}" for domain, n in opset(proto).items())
        raise BundleInvalid(
            f"{file}: opset {versions} (IR {proto.ir_version}) is not supported by "
            f"onnxruntime {ort.__version__}",
            "Export with a lower target opset, or install a newer onnxruntime",
        ) from error


def check_signature(card: Card, proto: onnx.ModelProto, file: Path) -> None:
    """Refuse a graph whose inputs or outputs are not those of the card."""
    if card.opset != opset(proto):
        raise BundleInvalid(
            f"{file} has opset {opset(proto)}, bundle.toml says {card.opset}",
            "Export the bundle again",
        )
    inputs, outputs = ports(proto)
    for port in (*inputs, *outputs):
        if port.shape is not None and port.shape[:1] != (None,):
            raise BundleInvalid(
                f"{file}: {port.name!r} has the fixed shape {list(port.shape)}, so it takes no "
                "batches",
                "Export with a symbolic first dimension",
            )
    if card.input.layout == "tensor":
        _check_tensor(card, inputs, file)
    else:
        _check_columns(card, inputs, file)
    _check_outputs(card, outputs, file)


def ports(proto: onnx.ModelProto) -> tuple[list[Port], list[Port]]:
    """Inputs (initializers left out) and outputs of the graph, in its order."""
    fixed = {tensor.name for tensor in proto.graph.initializer}
    return (
        [_port(value) for value in proto.graph.input if value.name not in fixed],
        [_port(value) for value in proto.graph.output],
    )


def opset(proto: onnx.ModelProto) -> dict[str, int]:
    """Operator set versions by domain; the default domain is `ai.onnx`."""
    return {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}


def free_batch_dimension(proto: onnx.ModelProto) -> None:
    """Make the first dimension of every input and output symbolic, in place.

    onnxmltools declares `label` with shape [1], and ONNX Runtime then warns on every batch.
    """
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_param = "rows"


def _ort_errors() -> tuple[type[Exception], ...]:
    state = ort.capi.onnxruntime_pybind11_state
    found = [value for value in vars(state).values() if isinstance(value, type)]
    return tuple(kind for kind in found if issubclass(kind, Exception))


# ONNX Runtime's exceptions share no ancestor but Exception; RuntimeError and ValueError come from
# its Python layer, which looks at the inputs first.
ORT_ERRORS: tuple[type[Exception], ...] = (*_ort_errors(), RuntimeError, ValueError)


def _parts(part: Message) -> Iterator[Message]:
    yield part
    for field, value in part.ListFields():
        if isinstance(value, Message):
            yield from _parts(value)
        elif field.message_type is not None:  # repeated
            for item in value:
                yield from _parts(item)


def _port(value: Any) -> Port:
    if not value.type.HasField("tensor_type"):
        return Port(value.name, 0, None)
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return Port(value.name, tensor.elem_type, None)
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Port(value.name, tensor.elem_type, shape)


def _check_tensor(card: Card, inputs: list[Port], file: Path) -> None:
    names = [port.name for port in inputs]
    if names != [card.input.name]:
        raise BundleInvalid(
            f"{file} has the inputs {names}, bundle.toml says one tensor {card.input.name!r}",
            "Correct input.name, or use layout = 'columns'",
        )
    port, width = inputs[0], len(card.features)
    if port.element not in FLOATS:
        raise BundleInvalid(
            f"{file}: input {port.name!r} has elements {port.element_name}",
            "Export with one FLOAT or DOUBLE tensor, or use layout = 'columns'",
        )
    if port.shape is not None and (len(port.shape) != 2 or port.shape[1] not in (None, width)):
        raise BundleInvalid(
            f"{file}: input {port.name!r} has shape {_text(port.shape)}, bundle.toml declares "
            f"{width} features",
            "List exactly the features the model was trained on, in its order",
        )


def _check_columns(card: Card, inputs: list[Port], file: Path) -> None:
    by_name = {port.name: port for port in inputs}
    declared = {feature.name for feature in card.features}
    for what, names in (
        ("declares features that the model has not", declared - set(by_name)),
        ("lacks inputs of the model", set(by_name) - declared),
    ):
        if names:
            raise BundleInvalid(
                f"{file}: bundle.toml {what}: {', '.join(sorted(names))}",
                "Name every input of the model once, as a feature",
            )
    for feature in card.features:
        _check_column(feature, by_name[feature.name], file)


def _check_column(feature: Feature, port: Port, file: Path) -> None:
    if port.element not in _ELEMENTS[feature.type]:
        raise BundleInvalid(
            f"{file}: input {port.name!r} has elements {port.element_name}, bundle.toml says "
            f"{feature.type}",
            "Correct the feature's type, or export the model again",
        )
    if feature.missing == "nan" and port.element not in FLOATS:
        raise BundleInvalid(
            f"{file}: input {port.name!r} has elements {port.element_name}, which have no NaN",
            "Use missing = 'refuse' for this feature",
        )
    if port.shape is not None and (len(port.shape) != 2 or port.shape[1] not in (None, 1)):
        raise BundleInvalid(
            f"{file}: input {port.name!r} has shape {_text(port.shape)}, not [rows, 1]",
            "Export with one [rows, 1] input per feature",
        )


def _check_outputs(card: Card, outputs: list[Port], file: Path) -> None:
    by_name = {port.name: port for port in outputs}
    for name in filter(None, (card.output.scores, card.output.label)):
        if name not in by_name:
            raise BundleInvalid(
                f"{file} has no output {name!r}; it has {', '.join(sorted(by_name))}",
                "Correct [output] in bundle.toml",
            )
    port, k = by_name[card.output.scores], card.score_columns
    if port.element not in FLOATS:
        raise BundleInvalid(
            f"{file}: output {port.name!r} is {port.element_name}, not a tensor of FLOAT or DOUBLE",
            "Export with zipmap off, and name the output that holds the scores",
        )
    widths = (k, 1) if card.kind == "binary" else (k,)
    if port.shape is None:
        return
    flat = len(port.shape) == 1 and 1 in widths
    if not flat and (len(port.shape) != 2 or port.shape[1] not in (None, *widths)):
        raise BundleInvalid(
            f"{file}: output {port.name!r} has shape {_text(port.shape)}, a {card.kind} model with "
            f"{len(card.labels)} labels needs [rows, {k}]",
            "Name the output that holds the scores, and list the labels in its order",
        )


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
