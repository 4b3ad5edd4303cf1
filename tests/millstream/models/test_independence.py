"""A row's score is its own, whatever its batch and the order of its columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pytest
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from millstream.models.independence import independence, schema_map
from millstream.models.session import Scored, Session
from tests.millstream.models.graphs import BINARY, DOUBLE, bundle, model, value
from tests.millstream.models.passports import bundle_of as logistic_bundle
from tests.millstream.models.passports import network, rows

NAMES = [f"f{i}" for i in range(8)]


def _rows(count: int = 400) -> pa.RecordBatch:
    x = np.random.default_rng(1).normal(size=(count, 8)) * np.geomspace(1, 30, count)[:, None]
    return pa.RecordBatch.from_arrays([pa.array(c) for c in x.T], names=NAMES)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        x = np.column_stack([_rows().column(n) for n in NAMES]).astype(np.float32)
        self._batches = iter([{"x": x}])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._batches, None)


def test_dynamic_int8_fails(tmp_path: Path) -> None:
    """onnxruntime scales each batch by its own largest value: a score moves with its mates."""
    onnx.save(network(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    proto = onnx.load(tmp_path / "int8.onnx")
    assert "DynamicQuantizeLinear" in {node.op_type for node in proto.graph.node}
    found = independence(bundle(proto, NAMES, **BINARY), _rows(), 2_048)
    assert not found.passed
    assert found.found > 200, "many rows, not a rare one"
    assert "moves by up to 0." in found.note


def test_static_int8_passes(tmp_path: Path) -> None:
    """Its scales were fixed beforehand, on calibration rows."""
    onnx.save(network(), tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        _Calibration(),
        quant_format=QuantFormat.QDQ,
        nodes_to_exclude=["softmax"],
    )
    proto = onnx.load(tmp_path / "int8.onnx")
    assert independence(bundle(proto, NAMES, **BINARY), _rows(), 2_048).passed


def test_float_models_pass() -> None:
    """The network that both were made of."""
    assert independence(bundle(network(), NAMES, **BINARY), _rows(), 2_048).passed


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMean"])
def test_normalising_by_the_batch_fails(operator: str) -> None:
    """As a layer left in training mode does."""
    proto = model(
        [
            helper.make_node(operator, ["x", "axis"], ["of_all"], keepdims=1),
            helper.make_node("Sub", ["x", "of_all"], ["scores"]),
        ],
        [value("x", DOUBLE, "n", 1)],
        [value("scores", DOUBLE, "n", 1)],
        {"axis": np.array([0])},
    )
    values = pa.RecordBatch.from_arrays([pa.array(np.arange(50.0))], names=["a"])
    assert not independence(bundle(proto), values, 256).passed


def test_no_row_to_try_is_no_pass() -> None:
    """What was not shown is not true."""
    assert not independence(bundle(network(), NAMES, **BINARY), _rows().slice(0, 0), 64).passed


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """In another order, and beside others."""
    session = Session(logistic_bundle(tmp_path / "m"))
    try:
        found = schema_map(session, rows())
    finally:
        session.close()
    assert found.passed
    assert found.rows == 300


class _ByPlace(Session):
    """Takes the first three columns for the features, whatever they are called."""

    def score(self, columns: pa.RecordBatch) -> Scored:
        first = [columns.column(place) for place in range(3)]
        return super().score(pa.RecordBatch.from_arrays(first, names=["a", "b", "c"]))


def test_columns_found_by_place_are_noticed(tmp_path: Path) -> None:
    """A reader that did so would score the wrong fields."""
    session = _ByPlace(logistic_bundle(tmp_path / "m"))
    try:
        found = schema_map(session, rows())
    finally:
        session.close()
    assert not found.passed
    assert found.found > 200
