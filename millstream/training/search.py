"""A search for family and parameters within a time budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import numpy as np

from millstream.training.candidate import Candidate, fit
from millstream.training.families import DEFAULTS, FAMILIES, Family
from millstream.training.rows import CannotTrain, Rows

Clock = Callable[[], float]
"""Seconds, from any beginning; never goes back."""
TRIALS_MAX: Final = 1_000
_LONGER: Final = 1.5
"""A trial is not begun if it would be cut off when it took so many times what is expected of it: as
long as the last of its family, for its size."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fit. loss: on the rows that choose: mean log loss, or the root of mean squares."""

    family: Family
    parameters: Mapping[str, Any]
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress bar shows. best: None before the first trial ended."""

    elapsed_s: float
    trials: int
    family: str
    best: Trial | None


@dataclass(frozen=True, slots=True)
class Budget:
    """seconds: 0 tries each family once, with its defaults. families: in the order of trial."""

    seconds: float = 60.0
    families: Sequence[Family] = FAMILIES
    seed: int = 0


def search(
    known: Rows,
    judge: Rows,
    budget: Budget,
    clock: Clock,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Trial]:
    """Trials on `known`, the best on `judge` first.

    Each family's defaults always come first; then scikit-learn's ParameterSampler draws for one
    family after the other until the time is over. How many trials that gives depends on the
    machine; each of them can be repeated alone. Raises CannotTrain where every trial failed.
    """
    start = clock()
    trials: list[Trial] = []
    failures: list[CannotTrain] = []
    rates: dict[Family, float] = {}
    best: Trial | None = None
    for family, parameters in _draws(budget):
        elapsed = clock() - start
        first, size = family not in rates, _size(family, parameters)
        if not first and elapsed >= budget.seconds:
            break
        if not first and elapsed + _LONGER * rates[family] * size > budget.seconds:
            continue
        progress(Progress(elapsed, len(trials), family, best))
        began = clock()
        try:
            found = loss(fit(known, family, parameters, budget.seed), judge)
        except CannotTrain as why:
            failures.append(why)
            found = np.inf
        took = clock() - began
        rates[family] = took / size
        if np.isfinite(found):
            trials.append(Trial(family, parameters, found, took))
            best = trials[-1] if best is None or found < best.loss else best
    if not trials:
        raise failures[0] if failures else CannotTrain("no model could be fitted", "See the rows")
    progress(Progress(clock() - start, len(trials), "", best))
    return sorted(trials, key=lambda trial: trial.loss)


def loss(candidate: Candidate, rows: Rows) -> float:
    """Mean log loss, or regression's root of mean squares; infinite without a row."""
    scores = candidate.predict_proba(rows.columns)
    if candidate.task.kind == "regression":
        return float(np.sqrt(np.mean((scores[:, 0] - rows.values) ** 2))) if len(rows) else np.inf
    known = rows.codes < len(candidate.task.labels)
    hit = scores[known, rows.codes[known]]
    return float(-np.log(np.maximum(hit, np.finfo(np.float64).eps)).mean()) if len(hit) else np.inf


def _draws(budget: Budget) -> Iterator[tuple[Family, dict[str, Any]]]:
    """Every family's defaults, then one draw of each in turn."""
    from sklearn.model_selection import ParameterSampler  # noqa: PLC0415

    for family in budget.families:
        yield family, {}
    samplers = {
        family: iter(ParameterSampler(_space(family), TRIALS_MAX, random_state=budget.seed))
        for family in budget.families
    }
    for turn, family in enumerate(cycle(budget.families)):
        if turn >= TRIALS_MAX:
            return
        yield family, {name: _plain(value) for name, value in next(samplers[family]).items()}


def _size(family: Family, parameters: Mapping[str, Any]) -> float:
    """What the time of a fit grows with: trees by their leaves, passes by their units."""
    given = {**DEFAULTS[family], **parameters}
    if family == "lightgbm":
        return float(given["n_estimators"] * given["num_leaves"])
    if family == "hist_gradient_boosting":
        return float(given["max_iter"] * given["max_leaf_nodes"])
    return float(given["max_iter"] * sum(given["hidden_layer_sizes"])) if family == "mlp" else 1.0


def _space(family: Family) -> dict[str, Any]:
    from scipy.stats import loguniform, randint, uniform  # noqa: PLC0415

    if family == "lightgbm":
        return {
            "n_estimators": randint(40, 400),
            "learning_rate": loguniform(0.02, 0.3),
            "num_leaves": randint(6, 96),
            "min_child_samples": randint(5, 120),
            "reg_lambda": loguniform(1e-3, 30),
            "colsample_bytree": uniform(0.5, 0.5),
        }
    if family == "hist_gradient_boosting":
        return {
            "max_iter": randint(40, 400),
            "learning_rate": loguniform(0.02, 0.3),
            "max_leaf_nodes": randint(6, 96),
            "min_samples_leaf": randint(5, 120),
            "l2_regularization": loguniform(1e-3, 30),
        }
    if family == "logistic_regression":
        return {"C": loguniform(1e-3, 1e3)}
    return {
        "hidden_layer_sizes": [(16,), (32,), (64,), (128,), (32, 32), (64, 32), (128, 64)],
        "alpha": loguniform(1e-5, 1),
        "learning_rate_init": loguniform(3e-4, 1e-2),
        "max_iter": randint(15, 80),
    }


def _plain(value: Any) -> Any:
    """As JSON has it: a recipe is read again from a file."""
    if isinstance(value, np.floating | float):
        return float(f"{float(value):.6g}")
    if isinstance(value, np.integer):
        return int(value)
    return list(value) if isinstance(value, tuple) else value
