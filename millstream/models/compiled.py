"""The trees of a bundle's graph through our own kernel; the rest of the graph in ONNX Runtime.

The graph is cut at its one tree ensemble: what comes before (encoders, imputers) and after it
(links) runs as it did, so only the sums of leaves, and an operator's own post-transform, are ours:
in ONNX Runtime's order, with the same bits. Every ensemble is compared with ONNX Runtime when it is
made; one that differs by one bit is not used, because `millstream verify` compares bits.

One thread, batches of 1,024 rows of 30 features, the whole graph, on a busy Xeon with AVX-512: 100
trees of depth 6 took 0.62 ms (ONNX Runtime 7.9), 100 of HistGradientBoosting 0.48 (4.1), a forest
of 200 trees of depth 12 took 5.9 (23.8). docs/BENCHMARKS.md has the curves. One row alone is slower
(26 µs against 13), because the graph around the trees is a run of its own: a session leaves batches
that small to ONNX Runtime.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from millstream.models.ensemble import TREE_OPERATORS, Ensemble, NotCompiled, read_ensemble
from millstream.models.graph import ORT_ERRORS, ports
from millstream.models.kernel_trees import transform
from millstream.models.layout import lay_out
from millstream.models.probes import made_up

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

DIFFERENCE_MAX: Final = 1e-6
"""Between its scores and ONNX Runtime's: absolute up to 1, relative above."""
PROBES: Final = 96
_THREAD_ROWS_MIN: Final = 256
_NUMBERS: Final = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64}


class CompiledTrees:
    """One model whose trees are ours. Not for several threads at once.

    model: an ONNX model that passed graph.py's checks. scores: the name of its output.
    threads: more than one splits large batches; the scores are the same bits.
    Raises NotCompiled, with the reason, where the model must stay with ONNX Runtime.
    """

    def __init__(self, model: bytes, scores: str, threads: int = 1) -> None:
        proto = onnx.load_model_from_string(model)
        node, before, after = _cut(proto.graph, scores)
        self._ensemble = read_ensemble(node)
        _check_transform(self._ensemble)
        self._layout = lay_out(self._ensemble)
        self._tree_input, self._tree_output = node.input[0], _scores_of(node)
        self._casts = _only_casts(before, ports(proto)[0], node.input[0])
        self._before = None
        if self._casts is None:
            self._before = _session(proto, before, None, self._tree_input)
        self._element = self._input_element(proto)
        self._after = None
        if after:
            # only the newest of the three operators answers doubles
            wide = node.op_type == "TreeEnsemble" and self._element == TensorProto.DOUBLE
            kind = TensorProto.DOUBLE if wide else TensorProto.FLOAT
            self._after = _session(proto, after, (self._tree_output, kind), scores)
        self._wide = node.op_type == "TreeEnsemble"
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "trees") if threads > 1 else None

    def run(self, feeds: dict[str, Array], options: ort.RunOptions | None = None) -> Array:
        """What ONNX Runtime's run answers for the scores. Raises as it does."""
        x = self._trees_see(feeds, options)
        single = self._element == TensorProto.FLOAT
        sums = self._sums(np.ascontiguousarray(x, np.float64), single)
        answer = _finished(self._ensemble, sums, np.float32 if single else np.float64)
        if not self._wide or single:
            answer = answer.astype(np.float32, copy=False)
        if self._after is None:
            return answer
        found: Array = self._after.run(None, {self._tree_output: answer}, options)[0]
        return found

    def probes(self, own: ort.InferenceSession, rows: int) -> dict[str, Array]:
        """Rows of the graph's inputs: at and beside the trees' thresholds where nothing but a cast
        stands before them."""
        return made_up(own.get_inputs(), rows, self._ensemble if self._casts is not None else None)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _trees_see(self, feeds: dict[str, Array], options: ort.RunOptions | None) -> Array:
        if self._before is not None:
            wanted = {port.name: feeds[port.name] for port in self._before.get_inputs()}
            x: Array = self._before.run(None, wanted, options)[0]
        else:
            assert self._casts is not None
            source, kinds = self._casts
            x = feeds[source]
            with np.errstate(over="ignore"):
                for kind in kinds:
                    x = x.astype(kind, copy=False)
        if x.ndim != 2 or x.shape[1] < self._layout.features:
            raise ValueError("a tree asks for a feature that the rows have not")
        return x

    def _sums(self, x: Floats, single: bool) -> Floats:
        pieces = min(self._threads, len(x) // _THREAD_ROWS_MIN)
        if self._pool is None or pieces < 2:
            return self._layout.sums(x, single)
        parts = np.array_split(x, pieces)
        return np.concatenate(
            list(self._pool.map(lambda part: self._layout.sums(part, single), parts))
        )

    def _input_element(self, proto: onnx.ModelProto) -> int:
        if self._before is not None:
            kind = self._before.get_outputs()[0].type
            element = {"tensor(float)": TensorProto.FLOAT, "tensor(double)": TensorProto.DOUBLE}
            found = element.get(kind, 0)
        else:
            assert self._casts is not None
            source, kinds = self._casts
            inputs, _ = ports(proto)
            found = next(port.element for port in inputs if port.name == source)
            if kinds:
                found = helper.np_dtype_to_tensor_dtype(np.dtype(kinds[-1]))
        if found not in _NUMBERS:
            raise NotCompiled("its trees do not take float or double")
        return found


def compile_trees(
    model: bytes, scores: str, own: ort.InferenceSession, threads: int = 1
) -> CompiledTrees:
    """The compiled form, compared with ONNX Runtime's answers on rows at and beside thresholds.

    own: a session of the same model. Raises NotCompiled, with the reason.
    """
    made = CompiledTrees(model, scores, threads)
    try:
        feeds = made.probes(own, PROBES)
        theirs = own.run([scores], feeds)[0]
        ours = made.run(feeds)
    except ORT_ERRORS as error:
        made.close()
        raise NotCompiled(f"it does not run: {' '.join(str(error).split())[:200]}") from error
    if ours.shape != theirs.shape:
        made.close()
        raise NotCompiled(f"it answers {ours.shape}, ONNX Runtime {theirs.shape}")
    off = difference(ours, theirs)
    if off > 0:
        made.close()
        raise NotCompiled(f"its scores differ from ONNX Runtime's by {off:.3g}")
    return made


def difference(ours: Array, theirs: Array) -> float:
    """The largest one: absolute up to 1, relative above. NaN beside NaN is none."""
    one, two = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.abs(one - two) / np.maximum(1.0, np.abs(two))
    off[(one == two) | (np.isnan(one) & np.isnan(two))] = 0.0
    return float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))


def _cut(
    graph: onnx.GraphProto, scores: str
) -> tuple[onnx.NodeProto, list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The ensemble, the nodes that it needs and the nodes that need it."""
    trees = [node for node in graph.node if node.op_type in TREE_OPERATORS]
    if len(trees) != 1:
        raise NotCompiled(f"it has {len(trees)} tree ensembles" if trees else "it has no trees")
    node = trees[0]
    needed, kept = {scores}, []
    for other in reversed(graph.node):
        if needed & set(other.output):
            needed |= set(other.input)
            kept.append(other)
    kept.reverse()
    needed, before = {node.input[0]}, []
    for other in reversed(kept):
        if other is not node and needed & set(other.output):
            needed |= set(other.input)
            before.append(other)
    before.reverse()
    after = [other for other in kept if other is not node and other not in before]
    made = {name for other in after for name in other.output} | {_scores_of(node)}
    fixed = {tensor.name for tensor in graph.initializer} | {""}
    for other in after:
        if any(True for attribute in other.attribute if attribute.HasField("g")):
            raise NotCompiled("a node behind its trees has a graph of its own")
        if not set(other.input) <= made | fixed:
            raise NotCompiled("what follows its trees needs more than their scores")
    return node, before, after


def _scores_of(node: onnx.NodeProto) -> str:
    name: str = node.output[1 if node.op_type == "TreeEnsembleClassifier" else 0]
    return name


def _only_casts(
    before: list[onnx.NodeProto], inputs: list[Any], target: str
) -> tuple[str, list[type]] | None:
    """The graph's input and the casts between it and the trees, or None if there is more."""
    kinds: list[type] = []
    for node in reversed(before):
        if node.op_type != "Cast" or node.output[0] != target:
            return None
        kind = _NUMBERS.get(node.attribute[0].i)
        if kind is None:
            return None
        kinds.append(kind)
        target = node.input[0]
    return (target, kinds[::-1]) if target in {port.name for port in inputs} else None


def _session(
    proto: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    source: tuple[str, int] | None,
    target: str,
) -> ort.InferenceSession:
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    fixed = {tensor.name for tensor in tensors}
    if source is not None:
        inputs = [helper.make_tensor_value_info(source[0], source[1], None)]
    else:
        inputs = [v for v in proto.graph.input if v.name in used and v.name not in fixed]
    known = [value for value in proto.graph.output if value.name == target]
    outputs = known or [onnx.ValueInfoProto(name=target)]
    part = helper.make_model(
        helper.make_graph(nodes, "part", inputs, outputs, tensors),
        opset_imports=list(proto.opset_import),
        functions=list(proto.functions),
        ir_version=proto.ir_version,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            part.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except ORT_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise NotCompiled(f"the graph around its trees does not build alone: {reason}") from error


def _check_transform(of: Ensemble) -> None:
    if of.transform not in {"NONE", "LOGISTIC", "SOFTMAX"}:
        raise NotCompiled(f"its trees end in {of.transform}")
    two_of_one = of.classes == 2 and of.values.shape[1] == 1
    if two_of_one and of.positive == (of.transform != "NONE"):
        raise NotCompiled("its two classes share one sum that is neither probability nor logit")


def _finished(of: Ensemble, sums: Floats, kind: type) -> Array:
    """Sums to what the operator answers, in its own precision."""
    found: Array = sums.astype(kind, copy=False)
    if of.average:
        found = found / kind(len(of.roots))
    if len(of.base) == found.shape[1]:
        found = found + of.base.astype(kind)
    elif len(of.base):
        found = found + kind(of.base[-1])
    if of.classes == 2 and found.shape[1] == 1:
        if of.positive:
            return np.hstack([kind(1) - found, found])
        found = np.hstack([-found, found])
    if of.transform != "NONE":
        found = np.ascontiguousarray(found, np.float32)
        transform(found, of.transform == "SOFTMAX")
    return found
