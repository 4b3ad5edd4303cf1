"""Students learn scores, not labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from millstream.optimise.distil import STUDENTS, distilled
from millstream.training.families import Family
from tests.millstream.optimise.models import fresh


def _teacher(kind: str, count: int) -> Any:
    x = np.nan_to_num(np.asarray(fresh(kind, count).columns.column("x")))
    if kind == "regression":
        return x.reshape(-1, 1) * 3
    if kind == "binary":
        yes = 1 / (1 + np.exp(-2 * x))
        return np.column_stack([1 - yes, yes])
    raw = np.exp(np.outer(x, [-2.0, -1.0, 1.0, 2.0]))
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("family", list(STUDENTS))
def test_a_student_gives_the_teachers_scores(kind: str, family: Family) -> None:
    """Whatever the rows' labels say: here they say nothing true."""
    rows = fresh(kind, 1_500)
    teacher = _teacher(kind, len(rows))
    shuffled = np.random.default_rng(3).permutation(rows.labels)
    student = distilled(replace(rows, labels=shuffled), teacher, family)
    off = np.abs(student.predict_proba(rows.columns) - teacher)
    assert np.mean(off) < (0.3 if kind == "regression" else 0.05)


def test_weights_of_rows_are_kept() -> None:
    """A row of weight nought teaches nothing."""
    rows = fresh(rows=1_000)
    teacher = _teacher("binary", 1_000)
    teacher[500:] = teacher[500:, ::-1]
    half = np.repeat([1.0, 0.0], 500)
    student = distilled(replace(rows, weights=half), teacher, "logistic_regression")
    off = np.abs(student.predict_proba(rows.columns) - teacher)
    assert off[:500].mean() < 0.05
    assert off[500:].mean() > 0.2


def test_the_same_rows_give_the_same_student() -> None:
    """To the bit."""
    rows, teacher = fresh(rows=500), _teacher("binary", 500)
    one, two = (distilled(rows, teacher, "mlp", seed=4).export().model for _ in range(2))
    assert one == two
