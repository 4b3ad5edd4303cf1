"""The labelled rows of one attempt, and what any model loses on them: fitted here or registered.

Places of rows are their event times in microseconds. The same rows, family and parameters give the
same models, so a stage that is run again after a kill comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from millstream.drift.profile import make_profile
from millstream.models.bundle import Bundle
from millstream.models.evaluation import evaluate
from millstream.models.lineage import Lineage
from millstream.models.package import issue_passport
from millstream.models.passport import Passport
from millstream.models.proof import Facts
from millstream.models.session import Session
from millstream.retraining.challenge import Candidate, Losses
from millstream.training.candidate import Candidate as Fitted
from millstream.training.candidate import fit
from millstream.training.families import Family
from millstream.training.rows import CannotTrain, Rows

Opened = Callable[[str], Session | None]
"""A registered model by its candidate's name; None where it is to be fitted."""
SCALE_ERRORS: Final = 4.0
"""Regression: an error of so many median errors of the champion is a whole loss."""
SAMPLE_ROWS: Final = 2_000


class Workshop:
    """rows: in order of event time. opened: whose models lie in the registry."""

    def __init__(
        self, rows: Rows, family: str, parameters: Mapping[str, Any], opened: Opened
    ) -> None:
        self.rows = rows
        self._family = cast("Family", family)
        self._parameters = parameters
        self._opened = opened
        self._fitted: dict[tuple[tuple[int, int], ...], Fitted] = {}
        self._losses: dict[str, Losses] = {}
        self._scale: float | None = None

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
            times = self.rows.times_us
            bounds = [np.searchsorted(times, each).tolist() for each in candidate.ranges]
            places = np.concatenate([np.arange(a, b) for a, b in bounds] or [np.arange(0)])
            if not len(places):
                raise CannotTrain(
                    f"no labelled row of {candidate.name} is left in ClickHouse",
                    "Raise [retrain] rows_max, or keep labelled rows for longer",
                )
            taken = self.rows.take(places.astype(np.int64))
            found = fit(taken, self._family, self._parameters)
            self._fitted[candidate.ranges] = found
        return found

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
            folder, test, name=named[0], version=named[1], created=created, metrics=metrics
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
        session = self._opened(candidate.name)
        if session is None:
            try:
                return self._wrong(rows, self.fitted(candidate).predict_proba(rows.columns))
            except CannotTrain:  # its rows are gone: it cannot answer, so it cannot win
                return np.ones(len(rows))
        batch = rows.columns.combine_chunks().to_batches()
        scored = session.score(batch[0] if batch else pa.RecordBatch.from_pydict({}))
        lost = np.ones(len(rows))  # what it refuses is lost
        if rows.task.kind == "regression":
            lost[scored.rows] = self._scaled(scored.scores[:, 0] - rows.values[scored.rows])
        else:
            said = np.array(scored.label.to_pylist(), object)
            lost[scored.rows] = said != rows.labels[scored.rows]
        return lost

    def _wrong(self, rows: Rows, scores: Losses) -> Losses:
        if rows.task.kind == "regression":
            return self._scaled(scores[:, 0] - rows.values)
        return np.asarray(scores.argmax(axis=1) != rows.codes, np.float64)

    def _scaled(self, errors: Losses) -> Losses:
        sizes = np.abs(errors)
        if self._scale is None:
            self._scale = SCALE_ERRORS * float(np.median(sizes)) or 1.0
        return np.minimum(sizes / self._scale, 1.0)
