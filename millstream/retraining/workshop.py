"""The labelled rows of one attempt, and what any model loses on them: fitted here or registered.

Places of rows are their event times in microseconds. The same rows, family and parameters give the
same models, so a stage that is run again after a kill comes to the same. A candidate decides by the
champion's threshold: it stands for what errors cost, which no retraining knows better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from millstream.columnar.block import block_of
from millstream.drift.profile import make_profile
from millstream.models.bundle import Bundle
from millstream.models.evaluation import evaluate
from millstream.models.lineage import Lineage
from millstream.models.package import issue_passport
from millstream.models.passport import Passport
from millstream.models.proof import Facts
from millstream.models.session import Session
from millstream.performance.metrics import Ints
from millstream.retraining.challenge import Candidate, Losses
from millstream.training.candidate import Candidate as Fitted
from millstream.training.rows import CannotTrain, Ranges, Rows
from millstream.training.train import Recipe, make

Opened = Callable[[str], Session | None]
"""A registered model by its candidate's name; None where it is to be fitted."""
SCALE_ERRORS: Final = 4.0
"""Regression: an error of so many median errors of the champion is a whole loss."""
SAMPLE_ROWS: Final = 2_000


class Workshop:
    """rows: in order of event time. opened: whose models lie in the registry. champion: whose
    errors on these rows are a regression's measure, unless `scale` is given. threshold: binary;
    every new model's.
    """

    def __init__(
        self,
        rows: Rows,
        recipe: Recipe,
        opened: Opened,
        champion: Candidate,
        threshold: float = 0.5,
        scale: float | None = None,
    ) -> None:
        self.rows = rows
        self._given_scale = scale
        self._recipe = recipe
        self._opened = opened
        self._champion = champion
        self._threshold = threshold
        self._fitted: dict[Ranges, Fitted] = {}
        self._losses: dict[str, Losses] = {}

    def losses(self, candidate: Candidate, begin: int, end: int) -> Losses:
        """Wrong decisions, 0 or 1; of a regression absolute errors, scaled to at most 1."""
        first, last = np.searchsorted(self.rows.times_us, [begin, end]).tolist()
        known = self._losses.setdefault(candidate.name, np.full(len(self.rows), np.nan))
        missing = np.flatnonzero(np.isnan(known[first:last]))
        if len(missing):
            start = first + int(missing[0])
            known[start:last] = self._lost(candidate, slice(start, last))
        return known[first:last]

    def fitted(self, candidate: Candidate) -> Fitted:
        """The model of its rows. Raises CannotTrain where there are none."""
        found = self._fitted.get(candidate.ranges)
        if found is None:
            if not len(self.rows.within(candidate.ranges)):
                raise CannotTrain(
                    f"no labelled row of {candidate.name} is left in ClickHouse",
                    "Raise [retrain] rows_max, or keep labelled rows for longer",
                )
            found = make(self.rows, self.recipe(candidate))
            self._fitted[candidate.ranges] = found
        return found

    def recipe(self, candidate: Candidate) -> Recipe:
        """What makes its model of these rows."""
        return replace(self._recipe, ranges=candidate.ranges, calibrate=False)

    def write(
        self,
        candidate: Candidate,
        folder: Path,
        named: tuple[str, str],
        created: datetime,
        lineage: Lineage,
    ) -> tuple[Bundle, Passport]:
        """Its bundle, measured on the rows behind those that it was fitted on, with a passport.

        named: name and version. Raises BundleInvalid where the exported model gives other scores.
        """
        made, rows = self.fitted(candidate), self.rows
        behind = int(np.searchsorted(rows.times_us, candidate.end))
        test = rows.take(slice(min(behind, len(rows) - 1), None))
        lost = self.losses(candidate, candidate.end, int(rows.times_us[-1]) + 1)
        metrics = {"held_out_rows": float(len(lost))}
        if len(lost):
            metrics["held_out_loss"] = float(lost.mean())
        bundle = made.bundle(
            folder,
            test,
            name=named[0],
            version=named[1],
            created=created,
            metrics=metrics,
            threshold=self._threshold,
        )
        task = made.task
        categories = [feature.name for feature in task.features if feature.type == "category"]
        sample = rows.take(slice(max(behind - SAMPLE_ROWS, 0), behind or None))
        make_profile(named[0], task.names, sample.columns, categories).save(folder)
        evaluation = None
        if len(test) > 1:
            scores = made.predict_proba(test.columns)
            evaluation = evaluate(bundle.card, test.labels, scores, None)
        facts = Facts(issued=created, lineage=lineage, evaluation=evaluation)
        frame = sample.columns.select(task.names).to_pandas()
        return bundle, issue_passport(bundle, made, frame, facts)

    def _lost(self, candidate: Candidate, places: slice) -> Losses:
        rows = self.rows.take(places)
        lost = np.ones(len(rows))  # what it refuses is lost
        answered, said = self._said(candidate, rows)
        if rows.task.kind == "regression":
            errors = np.abs(said - rows.values[answered])
            lost[answered] = np.minimum(errors / self.scale, 1.0)
        else:
            lost[answered] = said != rows.labels[answered]
        return lost

    def _said(self, candidate: Candidate, rows: Rows) -> tuple[Ints, Any]:
        """Which rows it answers, and its labels or numbers for them."""
        task, session = rows.task, self._opened(candidate.name)
        if session is not None:
            scored = session.score(block_of(rows.columns))
            if task.kind == "regression":
                return scored.rows, scored.scores[:, 0]
            return scored.rows, np.array(scored.label.to_pylist(), object)
        try:
            scores = self.fitted(candidate).predict_proba(rows.columns)
        except CannotTrain:  # its rows are gone: it cannot answer, so it cannot win
            return np.zeros(0, np.int64), np.zeros(0)
        every = np.arange(len(rows), dtype=np.int64)
        if task.kind == "regression":
            return every, scores[:, 0]
        picked = scores.argmax(axis=1)
        if task.positive is not None:
            positive = task.labels.index(task.positive)
            picked = np.where(scores[:, positive] >= self._threshold, positive, 1 - positive)
        return every, np.array(task.labels, object)[picked]

    @cached_property
    def scale(self) -> float:
        """Of a regression's errors. By the champion's on all rows: the same in every process."""
        if self._given_scale is not None:
            return self._given_scale
        answered, said = self._said(self._champion, self.rows)
        sizes = np.abs(said - self.rows.values[answered])
        return SCALE_ERRORS * (float(np.median(sizes)) if len(sizes) else 0.0) or 1.0
