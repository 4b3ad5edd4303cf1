"""A model that answers: batches of columns in, scores and refusals out.

One bad row never costs its neighbours: rows that a model must not see are refused before it
(features.py), and where the model raises on a batch, the batch is cut in halves until the rows
that it cannot score stand alone.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa

from millstream.errors import BundleInvalid, Refusal, Stage
from millstream.models.bundle import MODEL_FILE, Bundle
from millstream.models.ensemble import NotCompiled
from millstream.models.features import FeatureReader, Rows
from millstream.models.graph import ORT_ERRORS
from millstream.models.pieces import CannotScore, Pieces
from millstream.models.probes import probes
from millstream.models.watchdog import Watchdog

if TYPE_CHECKING:
    from millstream.models.compiled import CompiledTrees

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Provider = Literal["cpu", "cuda"]
Engine = Literal["onnxruntime", "compiled"]

# A probability may stray this far from [0, 1] by rounding.
PROBABILITY_SLACK = 1e-5
COMPILED_ROWS_MIN = 12
"""Below, ONNX Runtime is quicker: the graph around compiled trees is a run of its own. Both give
the same bits."""
FAR = float(np.finfo(np.float64).max)

_ELEMENTS: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(string)": np.dtype(object),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a batch: every row is in `rows` or in `refusals`, never in both.

    rows: [m] positions in the batch that were scored, ascending.
    scores: [m, k]: binary k = 2 and multiclass k = labels, probabilities in the order of the
    card's labels; regression k = 1.
    score: [m]: binary the probability of `positive`, multiclass the highest, regression the value.
    label: [m] strings, the predicted labels; null for regression.
    confidence: [m]: probability of the predicted label; NaN for regression.
    refusals: rows not scored, ascending: Stage.VALIDATE or Stage.SCORE.
    answered_by: a mark of the prediction contract, the same for all rows or one for each of them.
    bundle: what answered, where it is not the stream's own model.
    """

    rows: npt.NDArray[np.int64]
    scores: Floats
    score: Floats
    label: pa.StringArray
    confidence: Floats
    refusals: tuple[Refusal, ...]
    answered_by: str | pa.StringArray = "full"
    bundle: Bundle | None = None

    def whole(self, count: int) -> Floats:
        """[count, k]: the scores of the batch's `count` rows, NaN where one was refused."""
        found = np.full((count, self.scores.shape[1]), np.nan)
        found[self.rows] = self.scores
        return found


class Session:
    """One loaded model. Not for several threads at once: make a session for each.

    bundle: what `Bundle.load` returned.
    threads: ONNX Runtime's threads, this one included. With one, a row's scores are the same bits
    in every batch; more may add up a tree ensemble in another order (differences of a last bit).
    provider: `cuda` where this onnxruntime has it, else the CPU and `provider_note` says why.
    batch_rows_max: larger batches are scored in pieces of this many rows.
    score_s_max: seconds after which a run is stopped (between 1 and 1.5 times that); None never.
    engine: `compiled` runs trees by our own kernel where they can be (compiled.py), else all is
    ONNX Runtime's and `engine_note` says why.
    Raises BundleInvalid where ONNX Runtime cannot build the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        provider: Provider = "cpu",
        *,
        batch_rows_max: int = 1024,
        score_s_max: float | None = 2.0,
        engine: Engine = "compiled",
    ) -> None:
        if threads < 1 or batch_rows_max < 1 or (score_s_max is not None and score_s_max <= 0):
            raise ValueError("threads, batch_rows_max and score_s_max must be positive")
        self.bundle = bundle
        self.provider_note: str | None = None
        self.engine_note: str | None = None
        self._card = bundle.card
        self._batch_rows_max = batch_rows_max
        self._trees: CompiledTrees | None = None
        if engine == "compiled" and b"TreeEnsemble" in bundle.model_bytes:
            # compared with one thread's answers, which are the same in every batch
            self._ort = self._open(1, provider)
            self._trees = self._compiled(threads)
        if self._trees is None:
            self._ort = self._open(threads, provider)
        elements = {port.name: _ELEMENTS[port.type] for port in self._ort.get_inputs()}
        self._reader = FeatureReader(bundle.card, elements)
        self._outputs = [bundle.card.output.scores]
        types = {port.name: port.type for port in self._ort.get_outputs()}
        self._even = types[bundle.card.output.scores] == "tensor(double)"
        self._labels = pa.array(bundle.card.labels, pa.string())
        self._labels_alone = [pa.array([label], pa.string()) for label in bundle.card.labels]
        self._threshold = bundle.card.threshold or 0.0
        self._positive = -1
        if bundle.card.positive is not None:
            self._positive = bundle.card.labels.index(bundle.card.positive)
        self._options = ort.RunOptions()
        self._watchdog = Watchdog(score_s_max) if score_s_max is not None else None
        if self._watchdog is not None:
            weakref.finalize(self, self._watchdog.close)

    @property
    def provider(self) -> Provider:
        """Where the model runs."""
        return "cuda" if "CUDAExecutionProvider" in self._ort.get_providers() else "cpu"

    @property
    def engine(self) -> Engine:
        """What runs the model."""
        return "onnxruntime" if self._trees is None else "compiled"

    def warm_up(self, rows: Sequence[int] = (1, 64, 256)) -> None:
        """Score zeros in batches of these sizes, so that the first record waits for nothing.

        Raises BundleInvalid where the model fails on them, or its answer has the wrong shape.
        """
        for count in rows:
            try:
                self._run(self._reader.zeros(count), count)
            except CannotScore as failure:
                raise BundleInvalid(
                    f"{self.bundle.folder / MODEL_FILE} cannot score {count} rows of zeros: "
                    f"{failure.reason}",
                    "Correct the model or bundle.toml, and export it again",
                ) from failure

    def score(self, columns: pa.RecordBatch) -> Scored:
        """Score a batch that has (at least) the feature columns, by name."""
        return self.score_rows(self.read(columns))

    def read(self, columns: pa.RecordBatch) -> Rows:
        """The rows that the model may see."""
        return self._reader.read(columns)

    def score_rows(self, read: Rows) -> Scored:
        """Score what `read` gave, or some rows of it."""
        count = len(read.positions)
        pieces = Pieces(self._run, read.feeds)
        for start in range(0, count, self._batch_rows_max):
            pieces.score(start, min(start + self._batch_rows_max, count))
        rows, scores = read.positions, pieces.scores(self._card.score_columns)
        refusals: list[Refusal] = list(read.refusals)
        if pieces.failed:
            refusals += pieces.refusals(read.positions)
            rows = np.delete(read.positions, sorted(pieces.failed))
        rows, scores = self._only_sound(rows, scores, refusals)
        if refusals:
            refusals.sort(key=lambda refusal: refusal.row)
        return self.decide(rows, scores, tuple(refusals))

    def answer(self, feeds: dict[str, Array], rows: int) -> Floats:
        """[rows, k]: the model's scores of feeds by ONNX input name, in one run and unchecked.

        Raises BundleInvalid where the model fails.
        """
        try:
            return self._run(feeds, rows)
        except CannotScore as failure:
            raise BundleInvalid(
                f"{self.bundle.folder / MODEL_FILE} cannot score {rows} rows: {failure.reason}",
                "Correct the model or bundle.toml, and export it again",
            ) from failure

    def probes(self, rows: int) -> dict[str, Array]:
        """Made-up feeds: for a tree ensemble its own thresholds, else numbers of all sizes."""
        return probes(self._ort, self.bundle.model_bytes, rows)

    def close(self) -> None:
        """End the session's threads. It cannot score afterwards."""
        if self._trees is not None:
            self._trees.close()
        if self._watchdog is not None:
            self._watchdog.close()

    def _open(self, threads: int, provider: Provider) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 4  # what fails is raised as well; its own lines are noise
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        if provider == "cuda":
            if "CUDAExecutionProvider" in ort.get_available_providers():
                providers.insert(0, "CUDAExecutionProvider")
            else:
                self.provider_note = (
                    "scoring on the CPU: this onnxruntime was built without the CUDA provider"
                )
        try:
            opened = ort.InferenceSession(self.bundle.model_bytes, options, providers=providers)
        except ORT_ERRORS as error:
            raise BundleInvalid(
                f"{self.bundle.folder / MODEL_FILE}: ONNX Runtime cannot build the model: "
                f"{_one_line(str(error))}",
                "Export the model again with operators that ONNX Runtime has",
            ) from error
        if len(providers) > 1 and "CUDAExecutionProvider" not in opened.get_providers():
            self.provider_note = (
                "scoring on the CPU: the CUDA provider did not start (driver, CUDA or cuDNN)"
            )
        return opened

    def _compiled(self, threads: int) -> CompiledTrees | None:
        if self.provider != "cpu":
            return None
        # The kernel is only loaded for those who need it.
        try:
            from millstream.models.compiled import compile_trees  # noqa: PLC0415
        except Exception as error:  # noqa: BLE001 - numba and LLVM fail in many ways, all slow
            self.engine_note = f"no compiled trees: {type(error).__name__}: {_one_line(str(error))}"
            return None
        scores = self.bundle.card.output.scores
        try:
            return compile_trees(self.bundle.model_bytes, scores, self._ort, threads)
        except NotCompiled as why:
            self.engine_note = f"its trees run in ONNX Runtime: {why}"
            return None

    def _run(self, feeds: dict[str, Array], rows: int) -> Floats:
        """[rows, k] float64. Raises CannotScore."""
        if self._even and rows % 2:
            # ONNX Runtime's exponentials of doubles work on pairs, and otherwise on what is left
            # over: the last of an odd batch would differ from itself elsewhere by one bit.
            doubled = {name: np.concatenate((array, array[-1:])) for name, array in feeds.items()}
            return self._run(doubled, rows + 1)[:rows]
        watchdog = self._watchdog
        options = self._options
        if watchdog is not None:
            watchdog.begin()
            options = watchdog.options
        failure: CannotScore | None = None
        try:
            if self._trees is not None and rows >= COMPILED_ROWS_MIN:
                answer = self._trees.run(feeds, options)
            else:
                answer = self._ort.run(self._outputs, feeds, options)[0]
        except ORT_ERRORS as error:
            failure = CannotScore("model_failed", f"the model failed ({_where(error)})")
        finally:
            stopped = watchdog.end() if watchdog is not None else False
        if failure is not None:
            if stopped:
                raise CannotScore("score_timeout", "the model did not end in time")
            raise failure
        return self._as_scores(answer, rows)

    def _as_scores(self, answer: Array, rows: int) -> Floats:
        wanted = self._card.score_columns
        shape = answer.shape
        if shape == (rows, wanted):
            return answer.astype(np.float64, copy=False)
        if shape in {(rows, 1), (rows,)} and (wanted == 1 or self._positive >= 0):
            scores = answer.reshape(rows, 1).astype(np.float64, copy=False)
            if wanted == 1:
                return scores
            both = (1.0 - scores, scores)
            return np.hstack(both if self._positive == 1 else both[::-1])
        raise CannotScore(
            "wrong_shape", f"the model answered {list(shape)} in place of [{rows}, {wanted}]"
        )

    def _only_sound(
        self, rows: npt.NDArray[np.int64], scores: Floats, refusals: list[Refusal]
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Without the rows whose answer is not a number or not a probability."""
        probabilities = self._card.kind != "regression"
        low, high = (-PROBABILITY_SLACK, 1 + PROBABILITY_SLACK) if probabilities else (-FAR, FAR)
        # A NaN makes both comparisons false.
        if not len(rows) or (scores.min() >= low and scores.max() <= high):
            return rows, scores
        checks = (
            (~np.isfinite(scores), "non_finite_score", "the model's answer is not finite"),
            (
                ~((scores >= low) & (scores <= high)),
                "not_a_probability",
                "the model's answer is not between 0 and 1",
            ),
        )
        sound = np.ones(len(rows), np.bool_)
        for mask, name, reason in checks:
            lines = np.flatnonzero(mask.any(axis=1) & sound)
            refusals += [Refusal(int(rows[i]), Stage.SCORE, name, reason) for i in lines]
            sound[lines] = False
        return rows[sound], scores[sound]

    def decide(
        self, rows: npt.NDArray[np.int64], scores: Floats, refusals: tuple[Refusal, ...]
    ) -> Scored:
        """Labels and confidence of sound scores [rows, k]."""
        count = len(rows)
        if self._card.kind == "regression":
            nothing = np.full(count, np.nan)
            label = pa.nulls(count, pa.string())
            return Scored(rows, scores, scores[:, 0], label, nothing, refusals)
        if self._card.kind == "binary":
            score, other = scores[:, self._positive], scores[:, 1 - self._positive]
            yes = score >= self._threshold
            chosen = yes if self._positive == 1 else ~yes
            confidence = np.where(yes, score, other)
        else:
            chosen = scores.argmax(axis=1)
            score = confidence = scores.max(axis=1)
        if count == 1:  # a fifth of the time of `take`
            label = self._labels_alone[int(chosen[0])]
        else:
            label = self._labels.take(pa.array(chosen.astype(np.int64, copy=False)))
        return Scored(rows, scores, score, label, confidence, refusals)


def _where(error: Exception) -> str:
    # Never the whole text: it may quote a value, as in "idx=5 must be within [0, 2]".
    found = re.search(r"while running (\w+) node\. Name:'([^']*)'", str(error))
    node = f" in {found[1]} {found[2]!r}" if found else ""
    return type(error).__name__ + node


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
