"""A small model with its training library, and a network: for tests of passports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
from onnx import TensorProto, helper

from millstream.models.bundle import Bundle
from millstream.models.card import Feature
from millstream.models.passport import Passport
from millstream.models.proof import Facts, prove
from tests.millstream.models.graphs import BINARY, CREATED, DOUBLE, model, value, written

FACTS = Facts(CREATED)
NAMES = ("a", "b", "c")
WEIGHTS = np.array([[0.8], [-1.3], [0.4]])
NAN_FIRST = (Feature(name="a", missing="nan"), Feature(name="b"), Feature(name="c"))


def logistic(fill: float = 0.25) -> onnx.ModelProto:
    """P(yes) of three features; a NaN counts as `fill`. In doubles."""
    return model(
        [
            helper.make_node("IsNaN", ["x"], ["hole"]),
            helper.make_node("Where", ["hole", "fill", "x"], ["whole"]),
            helper.make_node("MatMul", ["whole", "w"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["scores"]),
        ],
        [value("x", DOUBLE, "n", 3)],
        [value("scores", DOUBLE, "n", 1)],
        {"w": WEIGHTS, "fill": np.array(fill)},
    )


def library(batch: pa.RecordBatch, fill: float = 0.25) -> npt.NDArray[np.float64]:
    """What `logistic` was exported from: [n, 2]."""
    x = np.column_stack(
        [batch.column(n).fill_null(np.nan).to_numpy(zero_copy_only=False) for n in NAMES]
    )
    logit = np.where(np.isnan(x), fill, x) @ WEIGHTS[:, 0]
    yes = np.where(
        logit >= 0,
        1 / (1 + np.exp(-np.abs(logit))),
        np.exp(-np.abs(logit)) / (1 + np.exp(-np.abs(logit))),
    )
    return np.column_stack([1 - yes, yes])


def rows(count: int = 300, seed: int = 5) -> pa.RecordBatch:
    """Ordinary ones."""
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return pa.RecordBatch.from_arrays([pa.array(column) for column in x.T], names=list(NAMES))


def bundle_of(folder: Path, proto: onnx.ModelProto | None = None, **changes: Any) -> Bundle:
    """The logistic model's bundle, in `folder`."""
    entries = {"names": NAMES, "features": NAN_FIRST, **BINARY, **changes}
    return written(folder, proto or logistic(), **entries)


def with_passport(folder: Path, **changes: Any) -> tuple[Bundle, Passport]:
    """A whole bundle that may be released."""
    bundle = bundle_of(folder, **changes)
    return bundle, prove(bundle, rows(), library, FACTS).save(folder)


def network(width: int = 8, hidden: int = 32, seed: int = 0) -> onnx.ModelProto:
    """A float32 network with one hidden layer, as a quantiser takes it: P of two labels."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(shape[0]))

    return model(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
            helper.make_node("Softmax", ["z"], ["scores"], axis=1),
        ],
        [value("x", TensorProto.FLOAT, "n", width)],
        [value("scores", TensorProto.FLOAT, "n", 2)],
        {
            "w1": weights(width, hidden),
            "b1": weights(hidden),
            "w2": weights(hidden, 2),
            "b2": weights(2),
        },
    )
