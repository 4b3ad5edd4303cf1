"""A candidate: a fitted model with its encoder and calibration, and the same as a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from millstream.models.bundle import Bundle
from millstream.models.card import Output, TrainedBy, Window
from millstream.models.export import Exported
from millstream.models.package import About, make_bundle
from millstream.performance.metrics import Bools, Floats, Ints
from millstream.training.calibration import Calibration, calibration_of
from millstream.training.encoder import Encoder
from millstream.training.families import LIBRARY, SCALED, Family, Model, fit_model
from millstream.training.nodes import Nodes
from millstream.training.rows import CannotTrain, Rows, Task, as_table, number_column


@dataclass(frozen=True, slots=True)
class Candidate:
    """What `fit` made. present: the labels' numbers that training saw; the others keep the chance
    of something that n rows did not show, 1 / (n + k) each (Laplace's rule of succession)."""

    task: Task
    family: Family
    parameters: Mapping[str, Any]
    seed: int
    encoder: Encoder = field(repr=False)
    model: Model = field(repr=False)
    present: tuple[int, ...]
    window: Window
    calibration: Calibration | None = None

    def predict_proba(self, columns: Any) -> Floats:
        """[n, k] in the order of the task's labels; regression [n, 1]. By the training library.

        columns: Table, RecordBatch, pandas DataFrame or mapping with the features.
        """
        found = self.model.scores(self.encoder.matrix(columns))
        spread = self._spread()
        if spread is not None:
            found = found @ spread[0] + spread[1]
        return found if self.calibration is None else self.calibration(found)

    def calibrated(self, rows: Rows) -> Candidate:
        """The same with probabilities mended on rows that it was not fitted on, if that helps.

        Regression stays as it is.
        """
        bare = replace(self, calibration=None)
        if self.task.kind == "regression":
            return bare
        known = rows.codes < len(self.task.labels)
        scores = bare.predict_proba(rows.columns)[known]
        made = calibration_of(scores, rows.codes[known], self.task.classes)
        return replace(bare, calibration=made)

    def export(self) -> Exported:
        """As ONNX: encoder, model and calibration in one graph of doubles."""
        graph = Nodes()
        scores = self.model.add_to(graph, self.encoder.add_to(graph))
        spread = self._spread()
        if spread is not None:
            product = graph.add("MatMul", scores, graph.constant(spread[0]))
            scores = graph.add("Add", product, graph.constant(spread[1]))
        if self.calibration is not None:
            scores = self.calibration.add_to(graph, scores)
        proto = graph.finish(scores, self.task.width)
        library = LIBRARY[self.family]
        return Exported(
            model=proto.SerializeToString(deterministic=True),
            kind=self.task.kind,
            labels=self.task.labels,
            input=self.encoder.input,
            output=Output(scores=proto.graph.output[0].name),
            trained_by=TrainedBy(library=library, version=version(library)),
        )

    def bundle(
        self,
        folder: Path,
        rows: Rows,
        *,
        name: str,
        version: str,
        created: datetime,
        metrics: Mapping[str, float] | None = None,
        threshold: float = 0.5,
    ) -> Bundle:
        """Write the bundle, if its session gives these rows the same scores to 1e-6.

        created: with a time zone. Raises BundleInvalid.
        """
        about = About(
            name=name,
            version=version,
            created=created,
            positive=self.task.positive,
            threshold=threshold,
            window=self.window,
            metrics=metrics or {},
        )
        frame = rows.columns.select(self.task.names).to_pandas()
        return make_bundle(folder, self, self.task.features, frame, about)

    def _spread(self) -> tuple[Floats, Floats] | None:
        """[present, k] and [k] that give every label a column; None where all were there."""
        k = self.task.width
        if self.task.kind == "regression" or len(self.present) == k:
            return None
        unseen = 1.0 / (self.window.rows + k)
        weights = np.zeros((len(self.present), k))
        weights[np.arange(len(self.present)), list(self.present)] = 1 - unseen * (
            k - len(self.present)
        )
        rest = np.full(k, unseen)
        rest[list(self.present)] = 0.0
        return weights, rest


def fit(
    rows: Rows, family: Family, parameters: Mapping[str, Any] | None = None, seed: int = 0
) -> Candidate:
    """Fit one model of a family, in this thread; rows that a session would refuse are left out.

    parameters: the library's own, over the family's defaults. Raises CannotTrain where no row is
    left, or the library takes no such parameter.
    """
    task, given = rows.task, dict(parameters or {})
    rows = usable(rows)
    if not len(rows):
        raise CannotTrain("no row is left to train on", "Take more rows, or rows with labels")
    encoder = Encoder.of(task, rows.columns, scaled=family in SCALED)
    matrix = encoder.matrix(rows.columns)
    truth = rows.values if task.kind == "regression" else rows.codes
    try:
        model = fit_model(family, task.kind, given, seed, matrix, truth, rows.weights)
    except (TypeError, ValueError) as why:
        raise CannotTrain(
            f"{family} cannot be fitted: {' '.join(str(why).split())[:300]}",
            f"Correct the parameters {given}" if given else "Look at the rows",
        ) from why
    present = () if task.kind == "regression" else tuple(int(n) for n in np.unique(truth))
    return Candidate(task, family, given, seed, encoder, model, present, _window(rows.times_us))


def usable(rows: Rows) -> Rows:
    """Those with finite numbers, a value where none may be missing, and a label: a session refuses
    the others, but for their label."""
    kept = _kept(rows)
    return rows if kept.all() else rows.take(np.flatnonzero(kept))


def _kept(rows: Rows) -> Bools:
    table, task = as_table(rows.columns), rows.task
    kept: Bools = (
        np.isfinite(rows.values) if task.kind == "regression" else (rows.codes < len(task.labels))
    )
    for feature in task.features:
        if feature.type == "category":
            column = table.column(feature.name)
            if feature.missing_value is None and column.null_count:
                kept &= np.asarray(column.is_valid())
            continue
        numbers = number_column(table, feature.name)
        kept &= ~np.isinf(numbers)
        if feature.missing == "refuse":
            kept &= ~np.isnan(numbers)
    return kept


def _window(times_us: Ints) -> Window:
    first, last = (
        datetime.fromtimestamp(int(t) / 1e6, UTC) for t in (times_us.min(), times_us.max())
    )
    return Window(start=first, end=last, rows=len(times_us))
