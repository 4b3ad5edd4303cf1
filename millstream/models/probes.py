"""Made-up rows on which two ways to run a model are compared and timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from millstream.models.ensemble import TREE_OPERATORS, Ensemble, NotCompiled, read_ensemble

Array = npt.NDArray[Any]

_ELEMENTS: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def probes(own: Any, model: bytes, rows: int) -> dict[str, Array]:
    """Feeds for an ONNX Runtime session of `model`, by input name."""
    return made_up(own.get_inputs(), rows, _ensemble_of(model))


def made_up(ports: Sequence[Any], rows: int, ensemble: Ensemble | None) -> dict[str, Array]:
    """Feeds by input name: numbers of all sizes, no text.

    ensemble: trees that see the one input as it is: then also their thresholds, the numbers beside
    them, and NaN.
    """
    rng = np.random.default_rng(0)
    if ensemble is None or len(ports) != 1:
        return {port.name: _plain(port, rows, rng) for port in ports}
    port = ports[0]
    needed = int(ensemble.feature.max(initial=0)) + 1
    width = port.shape[1] if isinstance(port.shape[1], int) else needed
    x = rng.normal(size=(rows, width)) * 10.0 ** rng.integers(-2, 4, (rows, 1))
    for column in range(width):
        found = ensemble.threshold[(ensemble.feature == column) & np.isfinite(ensemble.threshold)]
        sets = [m for node, m in ensemble.members.items() if ensemble.feature[node] == column]
        found = np.concatenate([found, *sets, *(members + 0.5 for members in sets)])
        if len(found):
            picked = rng.choice(found, rows)
            beside = np.nextafter(picked, rng.choice([-np.inf, np.inf], rows))
            x[:, column] = np.where(rng.random(rows) < 0.7, picked, beside)
    x[rng.random(x.shape) < 0.05] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        return {port.name: x.astype(_ELEMENTS[port.type])}


def _ensemble_of(model: bytes) -> Ensemble | None:
    """The trees of a graph in which nothing but casts stands before them."""
    if b"TreeEnsemble" not in model:
        return None
    graph = onnx.load_model_from_string(model).graph
    trees = [node for node in graph.node if node.op_type in TREE_OPERATORS]
    made = {name: node for node in graph.node for name in node.output}
    source = trees[0].input[0] if len(trees) == 1 else ""
    while source in made and made[source].op_type == "Cast":
        source = made[source].input[0]
    if source not in {value.name for value in graph.input}:
        return None
    try:
        return read_ensemble(trees[0])
    except NotCompiled:
        return None


def _plain(port: Any, rows: int, rng: np.random.Generator) -> Array:
    kind = _ELEMENTS.get(port.type)
    width = port.shape[1] if len(port.shape) > 1 and isinstance(port.shape[1], int) else 1
    if kind is None:
        return np.full((rows, width), "", object)
    sizes = 10.0 ** rng.integers(-1, 4, (rows, 1))
    return (rng.normal(size=(rows, width)) * sizes).astype(kind)
