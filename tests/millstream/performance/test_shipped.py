"""The estimate on shipped streams: within two points under input shift, distrusted when the rule
changes. Those in shared/data are skipped where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from examples.loans.generate import Change, loans
from millstream.performance.estimate import Rows, expected, gaps, judge, walk
from millstream.performance.metrics import Classes

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
DELAY = 500
STEP_US = 1_000
Matrix = npt.NDArray[np.float64]


def _read(name: str, drop: Sequence[str]) -> tuple[Matrix, npt.NDArray[np.int64]]:
    path = DATA / f"{name}.csv.gz"
    if not path.is_file():
        pytest.skip(f"{name}.csv.gz is not at ../shared/data: get it to run this test")
    frame = pd.read_csv(path)
    labels = frame["label"].to_numpy()
    inputs = frame.drop(columns=["label", *drop])
    for column in inputs.columns:
        if not pd.api.types.is_numeric_dtype(inputs[column]):
            inputs[column] = inputs[column].astype("category").cat.codes
    return inputs.to_numpy(np.float64), labels


def _applications(
    rows: int, seed: int, functions: Sequence[int] = (0,), changes: Sequence[Change] = ()
) -> tuple[Matrix, npt.NDArray[np.int64]]:
    drawn = list(loans(rows, seed=seed, functions=functions, changes=changes))
    names = drawn[0].events.schema.names[3:]
    columns = [
        np.column_stack([np.asarray(batch.events.column(n), np.float64) for n in names])
        for batch in drawn
    ]
    return np.concatenate(columns), np.concatenate([b.labels for b in drawn]).astype(np.int64)


def _model(x: Matrix, y: npt.NDArray[np.int64]) -> Any:
    model = lightgbm.LGBMClassifier(
        n_estimators=60, max_depth=6, random_state=0, n_jobs=1, verbose=-1
    )
    return model.fit(x, y)


def _answers(model: Any, x: Matrix, y: npt.NDArray[np.int64]) -> tuple[Rows, Classes]:
    chances = np.asarray(model.predict_proba(x))
    at = np.arange(len(y), dtype=np.int64) * STEP_US
    truth = np.searchsorted(model.classes_, y)
    k = chances.shape[1]
    classes = Classes(tuple(str(c) for c in model.classes_), 1 if k == 2 else None)
    return Rows(chances, chances.argmax(axis=1), truth, at, at + DELAY * STEP_US), classes


def _shifted(x: Matrix, model: Any, rng: np.random.Generator, count: int, up: bool) -> Any:
    """Rows of a pool in which the most important feature moves: drawn without replacement, by its
    rank. What a row's label is does not change: only the inputs do."""
    feature = x[:, int(np.argmax(model.feature_importances_))]
    rank = feature.argsort().argsort() / len(feature) - 0.5
    weights = np.exp((3 if up else -3) * rank)
    return rng.choice(len(x), size=count, replace=False, p=weights / weights.sum())


def _pool(name: str) -> tuple[Matrix, npt.NDArray[np.int64]]:
    match name:
        case "loans":
            return _applications(26_000, seed=7)
        case "elec2":
            return _read("elec2/elec2", ["event_time", "date", "nswprice"])
        case "nsl_kdd":
            return _read("nsl_kdd/nsl_kdd", ["attack", "difficulty", "part"])
    x, y = _read("insects/insects_gradual", [])
    return x[:14_000], y[:14_000]  # before the change of the concept


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("name", ["loans", "elec2", "nsl_kdd", "insects"])
def test_it_is_within_two_points_under_input_shift(name: str, up: bool) -> None:
    """Estimated before any label of the shifted rows is in; and it is trusted."""
    x, y = _pool(name)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    x, y = x[order], y[order]
    third = len(y) // 3
    model = _model(x[:third], y[:third])
    calm = np.arange(third, third + 2 * len(y) // 9)
    left = np.arange(calm[-1] + 1, len(y))
    chosen = left[_shifted(x[left], model, rng, len(left) * 2 // 3, up)]
    which = np.concatenate((calm, chosen))
    rows, classes = _answers(model, x[which], y[which])
    late = np.arange(len(calm), len(which))
    held = np.where(np.arange(len(which)) < len(calm), rows.ready_us, np.iinfo(np.int64).max)
    rows = Rows(rows.raw, rows.predicted, rows.truth, rows.scored_us, held)
    walked = walk(rows, classes)
    found = expected(rows.raw[late], rows.predicted[late], walked.chances[late], classes).accuracy
    assert found == pytest.approx(float(rows.hits[late].mean()), abs=0.02)
    assert gaps(rows, walked, len(rows)) == []
    assert walked.covered[late].mean() > 0.95


def test_a_new_rule_for_loans_is_distrusted() -> None:
    """P(label | inputs) changes at once: when its labels come, and not before."""
    model = _model(*_applications(12_000, seed=1))
    rows, classes = _answers(model, *_applications(16_000, 5, (0, 3), (Change(8_000),)))
    walked = walk(rows, classes)
    assert gaps(rows, walked, 8_000) == []
    assert gaps(rows, walked, 9_500)
    window = judge(rows, walked, np.arange(8_000, 9_000))
    assert window is not None
    assert abs(window[0]) > window[1]
    again = judge(rows, walked, np.arange(12_000, 16_000))
    assert again is not None
    assert abs(again[0]) < 0.02


def test_insects_in_the_cold_are_distrusted() -> None:
    """The model grows surer while it gets worse: the six blocks of each concept in turn."""
    x, y = _read("insects/insects_switch", ["concept"])
    model = _model(x[:2_000], y[:2_000])
    rows, classes = _answers(model, x[2_000:], y[2_000:])
    walked = walk(rows, classes)
    for change in (2_000, 4_000, 7_000, 9_000, 12_000, 14_000):
        assert gaps(rows, walked, change + DELAY + 500), change
