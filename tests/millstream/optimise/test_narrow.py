"""Networks in narrower numbers; what has no such form says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from millstream.models import graph
from millstream.models.bundle import MODEL_FILE, Bundle, digest_of
from millstream.models.independence import independence
from millstream.models.session import Session
from millstream.optimise.narrow import FORMS, Form, NoSuchForm, narrowed
from millstream.training.rows import Rows
from tests.millstream.models.graphs import endless, identity
from tests.millstream.optimise.models import fresh, network, trained


def _feeds(bundle: Bundle, rows: Rows) -> dict[str, Any]:
    session = Session(bundle)
    try:
        return dict(session.read(rows.columns.combine_chunks().to_batches()[0]).feeds)
    finally:
        session.close()


def _variant(bundle: Bundle, form: Form) -> Bundle:
    model = narrowed(bundle.model_bytes, form, [_feeds(bundle, fresh())])
    opset = graph.opset(graph.parse(model, Path(MODEL_FILE)))
    card = bundle.card.model_copy(update={"digest": digest_of(model), "opset": opset})
    return Bundle.check(bundle.folder, card, model)


def _scores(bundle: Bundle) -> Any:
    session = Session(bundle)
    try:
        return session.score(fresh().columns.combine_chunks().to_batches()[0]).scores
    finally:
        session.close()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(("form", "limit"), [("fp32", 1e-5), ("fp16", 0.02), ("int8", 0.2)])
def test_a_network_answers_nearly_the_same(
    tmp_path: Path, kind: str, form: Form, limit: float
) -> None:
    """Its card fits, its file is smaller, and a row's score is its own."""
    own = network(tmp_path / "own", kind)
    variant = _variant(own, form)
    one, two = _scores(own), _scores(variant)
    spread = one.std() if kind == "regression" else 1.0
    assert 0 < np.abs(one - two).max() < limit * spread
    assert len(variant.model_bytes) < 0.7 * len(own.model_bytes)
    batch = fresh().columns.combine_chunks().to_batches()[0]
    assert independence(variant, batch, 2_048).passed


def test_the_numbers_are_as_narrow_as_the_form_says(tmp_path: Path) -> None:
    """Weights of FP16, weights of INT8 but for the first layer's; inputs and outputs as before."""
    own = network(tmp_path / "own")
    before = onnx.load_model_from_string(own.model_bytes)
    expected: dict[Form, int] = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
    for form, element in expected.items():
        after = onnx.load_model_from_string(_variant(own, form).model_bytes)
        large = [t for t in after.graph.initializer if np.prod(t.dims) >= 96]
        assert {t.data_type for t in large} == {element}
        assert list(after.graph.input) == list(before.graph.input)
        assert list(after.graph.output) == list(before.graph.output)
    after = onnx.load_model_from_string(_variant(own, "int8").model_bytes)
    layers = {tuple(t.dims): t.data_type for t in after.graph.initializer if len(t.dims) == 2}
    assert layers[96, 48] == TensorProto.INT8
    assert [kind for dims, kind in layers.items() if dims[1] == 96] == [TensorProto.FLOAT]
    operators = {node.op_type for node in after.graph.node}
    assert "QuantizeLinear" in operators
    assert "DynamicQuantizeLinear" not in operators, "a row's score would depend on its mates"


@pytest.mark.parametrize("form", FORMS)
def test_trees_have_no_such_form(tmp_path: Path, form: Form) -> None:
    """Each comparison needs the numbers that it was trained on."""
    own = trained(tmp_path / "own", "lightgbm", n_estimators=5)
    with pytest.raises(NoSuchForm, match="trees have no"):
        narrowed(own.model_bytes, form)


def test_one_layer_has_nothing_to_quantise(tmp_path: Path) -> None:
    """The first layer stays in FP32."""
    own = trained(tmp_path / "own", "logistic_regression")
    with pytest.raises(NoSuchForm, match="nothing to quantise"):
        narrowed(own.model_bytes, "int8", [_feeds(own, fresh())])


def test_int8_needs_rows(tmp_path: Path) -> None:
    """Its scales are fixed on them."""
    with pytest.raises(NoSuchForm, match="needs rows"):
        narrowed(network(tmp_path / "own").model_bytes, "int8")


def test_loops_and_models_without_layers_have_none() -> None:
    """What is not understood is not changed."""
    with pytest.raises(NoSuchForm, match="loops"):
        narrowed(endless().SerializeToString(), "fp16")
    with pytest.raises(NoSuchForm, match="no layer"):
        narrowed(identity().SerializeToString(), "fp16")


def test_a_weight_that_does_not_fit_is_found(tmp_path: Path) -> None:
    """FP16 ends at 65,504."""
    proto = onnx.load_model_from_string(network(tmp_path / "own").model_bytes)
    for tensor in proto.graph.initializer:
        if tuple(tensor.dims) == (96, 48):
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[0, 0] = 1e6
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    narrowed(proto.SerializeToString(), "fp32")
    with pytest.raises(NoSuchForm, match="does not fit"):
        narrowed(proto.SerializeToString(), "fp16")
