"""A student: a smaller model that learned the champion's scores instead of labels.

Each row is learned once for each label, weighed by the champion's probability of it, so that any
family that takes weights learns the whole score (soft targets: Hinton, Vinyals & Dean 2015, without
temperature). Rows without labels serve as well as others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from millstream.performance.metrics import Floats
from millstream.training.candidate import Candidate, fit
from millstream.training.families import Family
from millstream.training.rows import Rows

WEIGHT_MIN: Final = 1e-3
"""A label that the champion gives less is not learned from this row."""
STUDENTS: Final[dict[Family, dict[str, Any]]] = {
    "logistic_regression": {},
    "mlp": {"hidden_layer_sizes": (16,), "max_iter": 40},
    "lightgbm": {"n_estimators": 30, "num_leaves": 8},
}


def distilled(
    rows: Rows,
    scores: Floats,
    family: Family,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Candidate:
    """Fit a student. rows: the labels in them are not looked at. scores: [n, k] of the champion.

    parameters: over STUDENTS. Raises CannotTrain as `fit` does.
    """
    assert len(scores) == len(rows), f"{len(scores)} scores of {len(rows)} rows"
    given = {**STUDENTS.get(family, {}), **(parameters or {})}
    if rows.task.kind == "regression":
        return fit(replace(rows, labels=scores[:, 0]), family, given, seed)
    n, k = scores.shape
    own = np.ones(n) if rows.weights is None else rows.weights
    weights = (scores * own[:, None]).ravel()
    places = np.flatnonzero(np.nan_to_num(scores.ravel()) >= WEIGHT_MIN)
    labels = np.array(rows.task.labels, dtype=object)
    again = rows.take(places // k)
    return fit(
        replace(again, labels=labels[places % k], weights=weights[places]), family, given, seed
    )
