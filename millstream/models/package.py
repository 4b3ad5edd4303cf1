"""A fitted model becomes a bundle, but only if its ONNX form gives the library's own scores.

Needs the extra `train`; nothing here is imported by a program that scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.block import block_of
from millstream.errors import BundleInvalid
from millstream.models import graph
from millstream.models.bundle import MODEL_FILE, Bundle, digest_of, write_bundle
from millstream.models.card import Card, Feature, Layout, Window
from millstream.models.export import Exported, InputType, export_lightgbm, export_sklearn
from millstream.models.model_card import write_model_card
from millstream.models.passport import Passport
from millstream.models.proof import Facts, Limits, Predict, prove
from millstream.models.session import Session

# Rows of the sample that are scored again with a NaN in each feature that allows one.
NAN_ROWS = 64


@dataclass(frozen=True, slots=True)
class About:
    """What only the person who trains knows. created: with a time zone.

    labels: names for the model's classes, in its order (default: the classes themselves).
    positive: default the second label. threshold: a row is positive at or above it.
    """

    name: str
    version: str
    created: datetime
    labels: Sequence[str] | None = None
    positive: str | None = None
    threshold: float = 0.5
    window: Window | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Exports(Protocol):
    """A model that writes its own graph, such as a candidate of training/."""

    def export(self) -> Exported:
        """As ONNX."""
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """How the ONNX model takes its rows; None leaves the choice to export.py."""

    layout: Layout | None = None
    input_type: InputType | None = None


def make_bundle(
    folder: Path,
    model: Any,
    features: Sequence[Feature],
    sample: Any,
    about: About,
    form: Form | None = None,
    tolerance: float = 1e-6,
) -> Bundle:
    """Export a fitted model, compare it with itself on `sample`, and write the bundle.

    sample: a pandas DataFrame with the feature columns, or an array [rows, features]; rows like
    those of the stream, missing values included.
    tolerance: largest allowed difference, absolute for probabilities and relative above 1 for
    regression. The measured one is written to the card as `parity_max_diff`.
    Raises BundleInvalid where the model cannot be exported or differs by more; then nothing is
    written.
    """
    exported = _export(model, features, about, form or Form())
    bundle = Bundle.check(folder, _card(exported, features, about), exported.model)
    difference = parity(bundle, model, sample)
    if not difference <= tolerance:
        raise BundleInvalid(
            f"{folder / MODEL_FILE}: its scores differ from {exported.trained_by.library}'s by "
            f"{difference:.3g}, allowed is {tolerance:g}",
            "Export with input_type='float64', or use another model family",
        )
    card = bundle.card.model_copy(update={"parity_max_diff": difference})
    return write_bundle(folder, bundle.model_bytes, card)


def issue_passport(
    bundle: Bundle, model: Any, sample: Any, facts: Facts, limits: Limits | None = None
) -> Passport:
    """Measure the passport of a bundle that `make_bundle` made; write it, its golden rows and the
    model card beside bundle.toml.

    model, sample: those of make_bundle. A check that fails is in the passport, which
    `require_passport` then refuses. Raises BundleInvalid where nothing can be compared.
    """
    frame = _frame(bundle.card, sample)
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    proof = prove(bundle, rows, predictor(bundle.card, model, sample), facts, limits)
    passport = proof.save(bundle.folder)
    write_model_card(bundle, passport)
    return passport


def predictor(card: Card, model: Any, sample: Any) -> Predict:
    """A fitted model's own scores of plain rows, given in the kind of table that the sample is."""

    def predict(batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        return _own_scores(model, _frame(card, batch.to_pandas()), sample)

    return predict


def parity(bundle: Bundle, model: Any, sample: Any) -> float:
    """The largest difference between the bundle's scores and the model's own on `sample`.

    The whole way is compared: Arrow columns, Session, scores. Rows that the card refuses (a null
    or NaN) are left out; features that allow NaN are also tried with one.
    Raises BundleInvalid where no row can be scored, or the model itself cannot take a NaN.
    """
    frame = _with_nan_rows(_frame(bundle.card, sample), bundle.card)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    session = Session(bundle)
    try:
        scored = session.score(block_of(table))
    finally:
        session.close()
    broken = [refusal for refusal in scored.refusals if refusal.stage == "score"]
    if broken or not len(scored.rows):
        first = (broken or list(scored.refusals))[:1]
        raise BundleInvalid(
            f"{bundle.folder / MODEL_FILE} does not score the sample: "
            + (first[0].reason if first else "it has no rows"),
            "Give a sample like the stream's events, or correct the features",
        )
    try:
        own = _own_scores(model, frame.iloc[scored.rows], sample)
    except ValueError as error:
        raise BundleInvalid(
            f"the model itself cannot score the sample: {' '.join(str(error).split())[:300]}",
            "Use missing = 'refuse' for features in which the model takes no NaN",
        ) from error
    difference = np.abs(scored.scores - own)
    if bundle.card.kind == "regression":
        difference /= np.maximum(1.0, np.abs(own))
    return float(difference.max())


def _export(model: Any, features: Sequence[Feature], about: About, form: Form) -> Exported:
    if isinstance(model, Exports):
        return model.export()
    if type(model).__module__.startswith("lightgbm"):
        if form.layout == "columns":
            raise BundleInvalid(
                "a LightGBM model alone takes a tensor, not columns",
                "Use layout='tensor', or a Pipeline with a ColumnTransformer",
            )
        return export_lightgbm(
            model, features, labels=about.labels, input_type=form.input_type or "float64"
        )
    return export_sklearn(model, features, layout=form.layout, input_type=form.input_type)


def _card(exported: Exported, features: Sequence[Feature], about: About) -> Card:
    binary = exported.kind == "binary"
    labels = tuple(about.labels) if about.labels is not None else exported.labels
    if len(labels) != len(exported.labels):
        raise BundleInvalid(
            f"the model has {len(exported.labels)} labels, {len(labels)} are given",
            "Give one label for each class, in the model's order",
        )
    return Card(
        name=about.name,
        version=about.version,
        digest=digest_of(exported.model),
        kind=exported.kind,
        labels=labels,
        positive=(about.positive or labels[1]) if binary else None,
        threshold=about.threshold if binary else None,
        opset=graph.opset(graph.parse(exported.model, Path(MODEL_FILE))),
        created=about.created,
        input=exported.input,
        output=exported.output,
        trained_by=exported.trained_by,
        window=about.window,
        features=tuple(features),
        metrics=dict(about.metrics),
    )


def _frame(card: Card, sample: Any) -> Any:
    import pandas as pd  # noqa: PLC0415

    names = [feature.name for feature in card.features]
    frame = sample[names] if isinstance(sample, pd.DataFrame) else pd.DataFrame(sample)
    frame = frame.set_axis(names, axis=1)
    for feature in card.features:
        if feature.missing_value is not None:
            frame = frame.assign(
                **{feature.name: frame[feature.name].fillna(feature.missing_value)}
            )
    return frame


def _with_nan_rows(frame: Any, card: Card) -> Any:
    import pandas as pd  # noqa: PLC0415

    parts = [frame]
    for feature in card.features:
        if feature.missing == "nan":
            parts.append(frame.head(NAN_ROWS).assign(**{feature.name: np.nan}))
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else frame


def _own_scores(model: Any, frame: Any, sample: Any) -> npt.NDArray[np.float64]:
    """[rows, k] by the training library, given the kind of table that the sample is."""
    rows = frame if hasattr(sample, "columns") else frame.to_numpy()
    predict = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    own = np.asarray(predict(rows), np.float64)
    if own.ndim == 2:
        return own
    if type(model).__name__ == "Booster" and model.dump_model()["objective"].startswith("binary"):
        return np.column_stack([1.0 - own, own])
    return own.reshape(-1, 1)
