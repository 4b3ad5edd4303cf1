"""scikit-learn's SimpleImputer as ONNX in double precision.

skl2onnx writes the operator Imputer, which ONNX Runtime has for float32 only; a pipeline with it
would lose its doubles before the first threshold. Needs the extra `train`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType
from skl2onnx.operator_converters.common import concatenate_variables
from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """A skl2onnx converter: Where(IsNaN(x), statistics, x); anything unusual goes to its own."""
    model = operator.raw_operator
    doubles = isinstance(operator.inputs[0].type, DoubleTensorType)
    if not doubles or not _plain(model):
        convert_sklearn_imputer(scope, operator, container)
        return
    source = concatenate_variables(scope, operator.inputs, container)
    missing = scope.get_unique_variable_name("is_nan")
    fill = scope.get_unique_variable_name("statistics")
    values = np.asarray(model.statistics_, np.float64)
    container.add_initializer(fill, TensorProto.DOUBLE, [1, len(values)], values.tolist())
    container.add_node("IsNaN", [source], [missing], op_version=13)
    container.add_node(
        "Where", [missing, fill, source], [operator.outputs[0].full_name], op_version=9
    )


def _plain(model: Any) -> bool:
    nan = isinstance(model.missing_values, float) and np.isnan(model.missing_values)
    kept = model.statistics_.dtype.kind == "f" and not np.isnan(model.statistics_).any()
    return bool(nan and kept and not model.add_indicator)
