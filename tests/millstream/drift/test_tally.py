"""Counts: the compiled walk and numpy's agree, whatever the batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millstream.drift import tally
from millstream.drift.profile import Floats, Profile, make_profile
from millstream.drift.tally import NULL, OUTSIDE, Tally


def _columns(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    wild = rng.standard_cauchy(rows) * 1e12
    wild[rng.random(rows) < 0.1] = np.nan
    wild[rng.random(rows) < 0.05] = np.inf
    wild[rng.random(rows) < 0.05] = 0.0
    return {
        "wild": wild,
        "few": np.repeat(rng.integers(0, 3, rows // 5 + 1), 5)[:rows].astype(np.float64),
        "text": rng.choice(np.array(["a", "b", "c", None]), rows, p=[0.6, 0.2, 0.1, 0.1]),
    }


def _profile() -> Profile:
    columns = _columns(2_000, 1)
    columns["text"] = np.where(columns["text"] == "c", "a", columns["text"])
    return make_profile("s", list(columns), columns, ["text"])


def _counted(profile: Profile, matrix: Floats, cuts: list[int]) -> dict[str, Any]:
    made = Tally(profile)
    rows = np.arange(matrix.shape[1])
    for start, end in zip([0, *cuts], [*cuts, matrix.shape[1]], strict=True):
        made.add(matrix[:, start:end], rows[start:end] * 2, rows[start:end] * 7)
    return made.state()


@pytest.mark.parametrize("cuts", [[], [1, 2, 700, 1_500], [999]])
def test_the_kernel_and_numpy_count_the_same(
    cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every count, mark and run, in one batch or several, with NaN, infinities and zeros."""
    profile = _profile()
    matrix = profile.matrix(_columns(2_000, 2))
    wanted = _counted(profile, matrix, [])
    for engine in (True, False):
        monkeypatch.setattr(tally, "kernels_load", lambda engine=engine: engine)
        found = _counted(profile, matrix, cuts)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, err_msg=f"{name} {engine}")


def test_every_value_is_in_one_cell() -> None:
    """Nulls in the last column, unseen categories behind the known ones."""
    profile = _profile()
    columns = _columns(2_000, 2)
    made = Tally(profile)
    made.add(profile.matrix(columns), np.arange(2_000), np.arange(2_000))
    assert made.cells.sum(axis=1).tolist() == [2_000] * 3
    assert made.cells[0, -1] == np.isnan(columns["wild"]).sum()
    assert made.cells[2, -1] == sum(one is None for one in columns["text"])
    assert made.cells[2, 2] == (columns["text"] == "c").sum()


def test_the_first_null_and_the_first_value_outside_are_marked() -> None:
    """With offset and time, until the window is cleared."""
    profile = make_profile("s", ["x"], {"x": np.arange(1_000.0)})
    made = Tally(profile)
    values = np.array([[5.0, np.nan, 7.0, 2_000.0, np.nan, -1.0]])
    made.add(values, np.arange(6) + 100, np.arange(6) + 900)
    assert made.marks[0, NULL].tolist() == [101, 901]
    assert made.marks[0, OUTSIDE].tolist() == [103, 903]
    made.clear()
    assert made.marks[0, NULL].tolist() == [-1, -1]
    assert made.cells.sum() == 0


def test_a_run_goes_on_over_windows() -> None:
    """A value that is stuck is stuck from the first event that had it."""
    profile = make_profile("s", ["x"], {"x": np.arange(1_000.0)})
    made = Tally(profile)
    made.add(np.array([[1.0, 2.0, 2.0]]), np.array([10, 11, 12]), np.array([0, 1, 2]))
    made.clear()
    made.add(np.array([[2.0, 2.0, 3.0]]), np.array([13, 14, 15]), np.array([3, 4, 5]))
    assert made.runs[0] == 4
    assert made.longest_mark[0].tolist() == [11, 1]
