"""Labelled rows to one candidate that was chosen, calibrated, measured and compared.

1. Cut by time: fit, choose, test (split.py).
2. Search families and parameters: fitted on the first part, compared on the second (search.py).
3. Calibrate the winner on the second part, which it was not fitted on.
4. Fit the winner again on both, keep that calibration (as scikit-learn's CalibratedClassifierCV
   does with ensemble=False). This is the candidate.
5. Measure it on the third part, and the champion on the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, cast

import numpy as np

from millstream.columnar.block import block_of
from millstream.models.bundle import Bundle
from millstream.models.evaluation import Bootstrap, Metric
from millstream.models.lineage import Lineage
from millstream.models.session import Session
from millstream.performance import metrics
from millstream.performance.metrics import Bools, Floats, Ints, Measures
from millstream.training.candidate import Candidate, fit, usable
from millstream.training.families import FAMILIES, Family
from millstream.training.rows import CannotTrain, Ranges, Rows
from millstream.training.search import Budget, Clock, Progress, Trial, search
from millstream.training.split import PART_ROWS_MIN, Parts, Shares, split

RESAMPLES: Final = 200
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that makes a candidate of its rows, and nothing of the clock.

    ranges: of a retrained model, the event times of the rows that it is fitted on, all of them and
    with no calibration; empty: the rows are cut into parts by `shares`.
    """

    family: Family
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    shares: Shares = field(default_factory=Shares)
    calibrate: bool = True
    ranges: Ranges = ()

    def __post_init__(self) -> None:
        assert not (self.ranges and self.calibrate), "rows of ranges leave none to calibrate on"

    def as_lineage(self) -> dict[str, str | int | float | bool | None]:
        """For a lineage, whose values are plain."""
        made: dict[str, str | int | float | bool | None] = {
            "family": self.family,
            "parameters": json.dumps(dict(self.parameters), sort_keys=True),
            "seed": self.seed,
            "calibrate": self.calibrate,
        }
        if self.ranges:
            return {**made, "ranges": json.dumps([list(each) for each in self.ranges])}
        return {
            **made,
            "choose_share": self.shares.choose,
            "test_share": self.shares.test,
            "embargo_s": self.shares.embargo_s,
        }

    @classmethod
    def of(cls, lineage: Lineage) -> Self:
        """What `as_lineage` wrote down. Raises CannotTrain where it is not that."""
        told = lineage.recipe
        if told.get("family") not in FAMILIES or not isinstance(told.get("parameters"), str):
            raise CannotTrain(
                "the lineage has no recipe that can be repeated",
                "Only a bundle that `millstream train` or `millstream retrain` made has one",
            )
        family, parameters = cast("Family", told["family"]), json.loads(str(told["parameters"]))
        seed = int(told["seed"] or 0)
        if told.get("ranges"):
            ranges = tuple((int(a), int(b)) for a, b in json.loads(str(told["ranges"])))
            return cls(family, parameters, seed, calibrate=False, ranges=ranges)
        shares = (float(told[n] or 0) for n in ("choose_share", "test_share", "embargo_s"))
        return cls(family, parameters, seed, Shares(*shares), bool(told["calibrate"]))


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """budget: how long which families are searched. champion: whom it is compared with."""

    budget: Budget = field(default_factory=Budget)
    shares: Shares = field(default_factory=Shares)
    calibrate: bool = True
    champion: Bundle | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate and champion on the same `rows`. differences: candidate less champion, each with
    its 95 % interval (paired moving-block bootstrap). left_out: test rows that the champion was
    trained on, or that one of the two refuses."""

    champion: str
    rows: int
    left_out: int
    champion_measures: Measures
    differences: tuple[Metric, ...]

    @property
    def better(self) -> bool:
        """Whether its loss is surely lower: log loss, or regression's root of mean squares."""
        return any(each.high < 0 for each in self._losses)

    @property
    def worse(self) -> bool:
        """Whether its loss is surely higher."""
        return any(each.low > 0 for each in self._losses)

    @property
    def _losses(self) -> list[Metric]:
        return [each for each in self.differences if each.name in ("log_loss", "rmse")]


@dataclass(frozen=True, slots=True)
class Trained:
    """scores: of `parts.test`, by the training library. measures: of them,
    decided by `threshold`. comparison: None without
    a champion, or where no row is left for it; then `notes` says why."""

    candidate: Candidate
    recipe: Recipe
    parts: Parts
    trials: list[Trial]
    scores: Floats
    measures: Measures
    threshold: float
    comparison: Comparison | None
    notes: tuple[str, ...]


def train(
    request: TrainRequest,
    rows: Rows,
    clock: Clock,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Search, calibrate, fit, measure, compare. rows: in order of time; clock: monotonic seconds.

    Only the search is bounded by the budget: the last fit and the measuring come on top. Raises
    CannotTrain.
    """
    parts = split(usable(rows), request.shares)
    trials = search(parts.fit, parts.choose, request.budget, clock, progress)
    best = trials[0]
    recipe = Recipe(
        best.family, best.parameters, request.budget.seed, request.shares, request.calibrate
    )
    candidate = _made(parts, recipe)
    scores = candidate.predict_proba(parts.test.columns)
    threshold = _threshold(request.champion)
    notes = []
    refused = len(rows) - len(parts.known) - len(parts.test) - parts.left_out
    if refused:
        notes.append(f"{refused:,} rows were left out that a model would refuse")
    if parts.left_out:
        notes.append(f"{parts.left_out:,} rows were left out before the borders of the parts")
    comparison = None
    if request.champion is not None:
        comparison, said = compare(request.champion, parts.test, scores, threshold)
        notes += said
    return Trained(
        candidate,
        recipe,
        parts,
        trials,
        scores,
        measure(parts.test, scores, threshold),
        threshold,
        comparison,
        tuple(notes),
    )


def make(rows: Rows, recipe: Recipe) -> Candidate:
    """The candidate of these rows and this recipe: steps 1, 3 and 4, or one fit on the recipe's
    ranges. Raises CannotTrain."""
    if recipe.ranges:
        return fit(rows.within(recipe.ranges), recipe.family, recipe.parameters, recipe.seed)
    return _made(split(usable(rows), recipe.shares), recipe)


def measure(rows: Rows, scores: Floats, threshold: float = 0.5) -> Measures:
    """What [n, k] scores are worth on rows."""
    return _measurer(rows, scores, threshold)(np.arange(len(rows)))


def compare(
    champion: Bundle, test: Rows, scores: Floats, threshold: float = 0.5
) -> tuple[Comparison | None, list[str]]:
    """The champion on the candidate's test rows, but for those that it was trained on; and notes.

    scores: the candidate's [n, k]. Both decide by `threshold`.
    """
    name, window = f"{champion.name} {champion.version}", champion.card.window
    other = _cannot_answer(champion, test)
    if other:
        return None, [f"{name} was not compared: {other}"]
    theirs, answered = champion_scores(champion, test)
    seen = np.zeros(len(test), np.bool_)
    notes = []
    if window is None:
        notes.append(
            f"{name} does not say what it was trained on: it may know rows that it is compared on"
        )
    else:
        seen = test.times_us <= round(window.end.timestamp() * 1e6)
    fair = answered & ~seen
    left_out = int((~fair).sum())
    if window is not None and (seen & answered).any():
        notes.append(
            f"{name} was trained on events until {window.end:%Y-%m-%d %H:%M:%S}: "
            f"{int(seen.sum()):,} test rows are not compared"
        )
    if fair.sum() < PART_ROWS_MIN:
        notes.append(f"{name} was not compared: {int(fair.sum()):,} test rows are left for it")
        return None, notes
    kept = np.flatnonzero(fair)
    rows, everything = test.take(kept), np.arange(len(kept))
    ours = _measurer(rows, scores[kept], threshold)
    champions = _measurer(rows, theirs[kept], threshold)

    def difference(places: Ints) -> Measures:
        one, two = ours(places).as_json(), champions(places).as_json()
        both = [name for name in one if name in two and name != "rows"]
        return Measures(len(places), **{name: one[name] - two[name] for name in both})

    differences = Bootstrap(difference, RESAMPLES, CONFIDENCE).of(everything)
    made = Comparison(name, len(rows), left_out, champions(everything), differences)
    return made, notes


def _cannot_answer(champion: Bundle, rows: Rows) -> str:
    """Why a bundle has nothing to say of this task's rows; empty where it may have."""
    if champion.card.kind != rows.task.kind:
        return f"it is a {champion.card.kind} model, the rows are {rows.task.kind}"
    names = rows.columns.column_names
    lacks = [each.name for each in champion.card.features if each.name not in names]
    return f"the rows lack its feature {lacks[0]}" if lacks else ""


def champion_scores(champion: Bundle, rows: Rows) -> tuple[Floats, Bools]:
    """[n, k] in the order of the rows' labels, and [n] which rows it answers.

    A label that it does not know has no chance.
    """
    session = Session(champion)
    try:
        scored = session.score(block_of(rows.columns))
    finally:
        session.close()
    task, labels = rows.task, champion.card.labels
    found = np.full((len(rows), task.width), 0.0)
    if task.kind == "regression":
        found[scored.rows] = scored.scores
    else:
        for column, label in enumerate(labels):
            if label in task.labels:
                found[scored.rows, task.labels.index(label)] = scored.scores[:, column]
    answered = np.zeros(len(rows), np.bool_)
    answered[scored.rows] = True
    return found, answered


def _made(parts: Parts, recipe: Recipe) -> Candidate:
    whole = fit(parts.known, recipe.family, recipe.parameters, recipe.seed)
    if not recipe.calibrate or parts.fit.task.kind == "regression":
        return whole
    first = fit(parts.fit, recipe.family, recipe.parameters, recipe.seed)
    return replace(whole, calibration=first.calibrated(parts.choose).calibration)


def _measurer(rows: Rows, scores: Floats, threshold: float) -> Callable[[Ints], Measures]:
    """Measures of some of the rows, by their places."""
    if rows.task.kind == "regression":
        values, answers = rows.values, scores[:, 0]
        return lambda places: metrics.regression(values[places], answers[places])
    codes, classes = rows.codes, rows.task.classes
    predicted: Ints = scores.argmax(axis=1)
    if classes.positive is not None:
        yes = scores[:, classes.positive] >= threshold
        predicted = np.where(yes, classes.positive, 1 - classes.positive).astype(np.int64)
    return lambda places: metrics.classification(
        codes[places], predicted[places], scores[places], classes
    )


def _threshold(champion: Bundle | None) -> float:
    told = champion.card.threshold if champion is not None else None
    return 0.5 if told is None else told
