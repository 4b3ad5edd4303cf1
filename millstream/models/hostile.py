"""Rows that break models: what a stream will one day hold, and training rows do not.

One feature at a time is spoilt in an otherwise ordinary row, so that two ways to compute a score
have no sum in which everything cancels; a row with nothing in it is added. Trees are also asked at
their own thresholds and beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa

from millstream.models.bundle import Bundle
from millstream.models.card import Card, Feature
from millstream.models.golden import RowKind, schema_of
from millstream.models.probes import probes

HOSTILE_ROWS_MAX: Final = 768
THRESHOLD_ROWS: Final = 128
NEAR_PAIRS: Final = 24
NEAR_STEPS: Final = 40

Floats = npt.NDArray[np.float64]
Score = Callable[[pa.RecordBatch], Floats]
"""The training library's scores [n, k] of plain rows (golden.plain); NaN where it has none."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
NUMBERS: Final[tuple[tuple[RowKind, float | None], ...]] = (
    ("nan", float("nan")),
    ("nan", None),
    ("infinite", float("inf")),
    ("infinite", float("-inf")),
    ("extreme", 0.0),
    ("extreme", -0.0),
    ("extreme", 5e-324),
    ("extreme", -1e-35),
    ("extreme", 1e-35),
    ("extreme", 2.0**53 + 2),
    ("extreme", -1e9),
    ("extreme", _FLOAT32_MAX),
    ("extreme", -_FLOAT32_MAX),
    ("extreme", 1e300),
    ("extreme", -1e300),
)
TEXTS: Final[tuple[tuple[RowKind, str | None], ...]] = (
    ("unseen", "never seen before"),
    ("unseen", ""),
    ("unseen", "nan"),
    ("unseen", "\u2603 \U0001f600"),
    ("unseen", "x" * 1_000),
    ("nan", None),
)
_SPOILT: Final[dict[str, tuple[tuple[RowKind, Any], ...]]] = {
    "number": NUMBERS,
    "category": TEXTS,
    "boolean": (("nan", None),),
}


def hostile_rows(rows: pa.RecordBatch, card: Card) -> tuple[pa.RecordBatch, list[RowKind]]:
    """Rows like these, each with one feature spoilt; at most HOSTILE_ROWS_MAX, the same each time.

    Where there are more ways than that, each kind and as many features as possible have a turn.
    """
    ways = [
        (feature, kind, value) for feature in card.features for kind, value in _SPOILT[feature.type]
    ]
    if len(ways) > HOSTILE_ROWS_MAX:
        order = np.random.default_rng(0).permutation(len(ways))
        ways = [ways[place] for place in order[:HOSTILE_ROWS_MAX]]
    like = rows.take(pa.array(np.resize(np.arange(rows.num_rows), len(ways) + 1)))
    columns: dict[str, list[Any]] = {
        name: like.column(name).to_pylist() for name in like.schema.names
    }
    for row, (feature, _, value) in enumerate(ways):
        columns[feature.name][row] = value
    for feature in card.features:
        columns[feature.name][-1] = _nothing(feature)
    schema = schema_of(card)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    kinds: list[RowKind] = [kind for _, kind, _ in ways]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), [*kinds, "nan"]


def threshold_rows(bundle: Bundle) -> pa.RecordBatch | None:
    """Rows at and beside a tree ensemble's thresholds; None where it has none, or has text."""
    card = bundle.card
    if card.input.name is None or b"TreeEnsemble" not in bundle.model_bytes:
        return None
    options = ort.SessionOptions()
    options.log_severity_level = 4
    own = ort.InferenceSession(bundle.model_bytes, options, providers=["CPUExecutionProvider"])
    matrix = probes(own, bundle.model_bytes, THRESHOLD_ROWS)[card.input.name]
    arrays = [
        pa.array(np.nan_to_num(column) > 0.5)
        if feature.type == "boolean"
        else pa.array(column.astype(np.float64))
        for feature, column in zip(card.features, matrix.T, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(card))


def near_rows(
    rows: pa.RecordBatch, card: Card, score: Score, decide: Callable[[Floats], Any], close: float
) -> pa.RecordBatch | None:
    """Rows on both sides of a decision, found by halving the way between two ordinary rows.

    decide: scores to labels. Halving ends where the score is within `close` of the decision (then
    rounding may tip it), or at neighbouring numbers: beside a tree's threshold. None for
    regression, or where all rows have one label.
    """
    if card.kind == "regression":
        return None
    labels = decide(score(rows))
    here, there = _pairs(labels)
    if not len(here):
        return None
    whole = {f.name: rows.column(f.name).to_pylist() for f in card.features}
    low, high = np.zeros(len(here)), np.ones(len(here))

    def at(share: Floats) -> pa.RecordBatch:
        return _between(whole, card, here, there, share)

    first = labels[here]
    for _ in range(NEAR_STEPS):
        middle = (low + high) / 2
        scores = score(at(middle))
        going = _distance(scores, card) > close
        same = decide(scores) == first
        low = np.where(going & same, middle, low)
        high = np.where(going & ~same, middle, high)
        if not going.any():
            break
    both = pa.Table.from_batches([at(low), at(high)]).combine_chunks()
    return both.to_batches()[0]


def _nothing(feature: Feature) -> Any:
    return float("nan") if feature.type == "number" else None


def _pairs(labels: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Neighbouring rows whose labels differ, spread over all of them."""
    changes = np.flatnonzero(labels[1:] != labels[:-1])
    if len(changes) > NEAR_PAIRS:
        changes = changes[np.linspace(0, len(changes) - 1, NEAR_PAIRS).astype(int)]
    return changes, changes + 1


def _between(
    whole: dict[str, list[Any]],
    card: Card,
    here: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
    share: Floats,
) -> pa.RecordBatch:
    """Numbers between the two rows; everything else is the nearer row's."""
    schema = schema_of(card)
    arrays = []
    for feature, field in zip(card.features, schema, strict=True):
        values = whole[feature.name]
        made = []
        for a, b, t in zip(here, there, share, strict=True):
            one, two = values[a], values[b]
            mixed = feature.type == "number" and one is not None and two is not None
            made.append(one + (two - one) * t if mixed else (one if t < 0.5 else two))
        arrays.append(pa.array(made, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _distance(scores: Floats, card: Card) -> Floats:
    """Of each row's score from where its label changes."""
    if card.kind == "binary":
        chances = scores[:, card.labels.index(card.positive or "")]
        return np.abs(chances - (card.threshold or 0.0))
    top = np.sort(scores, axis=1)
    found: Floats = top[:, -1] - top[:, -2]
    return found
