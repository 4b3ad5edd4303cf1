"""The reference profile: made from rows, kept as JSON, refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.drift.profile import (
    CATEGORIES_MAX,
    CategoryFeature,
    NumberFeature,
    Profile,
    ProfileLearner,
    make_profile,
)
from millstream.errors import BundleInvalid

ORDER = ("pay", "age", "flat", "region")


def _columns(rows: int = 1_000, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    pay = rng.lognormal(10, 1, rows)
    pay[::10] = np.nan
    return {
        "pay": pay,
        "age": rng.integers(20, 30, rows),
        "flat": np.full(rows, 3.5),
        "region": rng.choice(np.array(["n", "s", None]), rows),
    }


def _profile() -> Profile:
    return make_profile("loans", ORDER, _columns(), ["region"])


def test_it_says_what_the_rows_were() -> None:
    """Counts, nulls, range, runs and magnitudes."""
    pay, age, flat, region = _profile().features
    assert isinstance(pay, NumberFeature)
    assert (pay.nulls, pay.rows, pay.discrete, len(pay.edges)) == (100, 1_000, False, 17)
    assert max(pay.counts[1:-1]) - min(pay.counts[1:-1]) <= 1
    assert pay.counts[0] == pay.counts[-1] == 0
    assert pay.log2_mean == pytest.approx(float(np.nanmean(np.log2(_columns()["pay"]))), abs=0.09)
    assert isinstance(age, NumberFeature)
    assert (age.discrete, len(age.counts), age.minimum, age.maximum) == (True, 12, 20, 29)
    assert flat.constant
    assert (flat.repeat_rate, flat.longest_run) == (1.0, 1_000)
    assert isinstance(region, CategoryFeature)
    assert sorted(region.categories) == ["n", "s"]
    assert region.nulls == sum(one is None for one in _columns()["region"])
    assert not pay.constant


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    """Beside bundle.toml as profile.json, or under any name."""
    profile = _profile()
    assert profile.save(tmp_path) == tmp_path / "profile.json"
    assert Profile.load(tmp_path) == profile
    profile.save(tmp_path / "other.json")
    assert Profile.load(tmp_path / "other.json") == profile
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json", "profile.json"]


def test_arrow_and_arrays_make_the_same_profile() -> None:
    """Whatever holds the rows, dictionaries included."""
    columns = _columns()
    batch = pa.RecordBatch.from_pydict(
        {
            **{name: pa.array(columns[name], from_pandas=True) for name in ("pay", "age", "flat")},
            "region": pa.array(list(columns["region"])).dictionary_encode(),
        }
    )
    assert make_profile("loans", ORDER, batch, ["region"]) == _profile()


def test_the_first_events_make_the_same_profile() -> None:
    """As soon as there are enough; the rows beyond them are not in it."""
    columns = _columns(1_500)
    learner = ProfileLearner("loans", ORDER, 1_000, ["region"])
    batch = pa.RecordBatch.from_pydict(
        {name: pa.array(list(column), from_pandas=True) for name, column in columns.items()}
    )
    assert learner.add(batch.slice(0, 700)) is None
    learned = learner.add(batch.slice(700))
    first = {name: column[:1_000] for name, column in columns.items()}
    wanted = make_profile("loans", ORDER, first, ["region"], made_from="first_events")
    assert learned == wanted


def test_the_matrix_has_codes_and_nan() -> None:
    """Unseen categories share a code; a column that is gone is all null."""
    profile = _profile()
    region = profile.features[3]
    assert isinstance(region, CategoryFeature)
    matrix = profile.matrix(
        {"pay": [1.0, None], "flat": np.array([1, 2]), "region": [region.categories[1], "new"]}
    )
    np.testing.assert_array_equal(matrix, [[1, np.nan], [np.nan] * 2, [1, 2], [1, 2]])
    assert np.isnan(profile.matrix({"pay": [1.0], "region": [None]})[3]).all()


def test_float32_of_the_reference_is_inside_of_its_range() -> None:
    """The wire's rounding is no drift."""
    values = np.random.default_rng(2).uniform(0.1, 0.2, 1_000)
    (feature,) = make_profile("s", ["x"], {"x": values}).features
    assert isinstance(feature, NumberFeature)
    narrow = values.astype(np.float32).astype(np.float64)
    assert feature.edges[0] < narrow.min()
    assert narrow.max() < feature.edges[-1]


def test_rare_categories_share_a_cell() -> None:
    """The state stays bounded whatever the data."""
    names = [f"c{number}" for number in range(CATEGORIES_MAX + 50)]
    (feature,) = make_profile("s", ["x"], {"x": names * 2}, ["x"]).features
    assert isinstance(feature, CategoryFeature)
    assert len(feature.categories) == CATEGORIES_MAX
    assert feature.counts[-1] == 100


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": np.arange(99)}, "a profile of 99 rows"),
        ({"y": np.arange(200)}, "no column x"),
        ({"x": ["a"] * 200}, "column x holds no numbers"),
    ],
)
def test_rows_that_make_no_profile_are_refused(columns: dict[str, Any], said: str) -> None:
    """With what to give instead."""
    with pytest.raises(BundleInvalid, match=said):
        make_profile("s", ["x"], columns)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "format"),
        (("rows",), 999, "same number of rows"),
        (("features", 0, "edges", 3), 1e300, "edges of pay do not ascend"),
        (("features", 0, "counts", 3), 1, "are not its rows"),
        (("features", 1, "name"), "pay", "described twice"),
        (("features", 3, "categories", 0), "s", "names a category twice"),
        (("features", 0, "color"), 1, "color"),
        (("features", 0, "type"), "text", "type"),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused(
    tmp_path: Path, path: tuple[Any, ...], value: Any, said: str
) -> None:
    """In one line that names file and place."""
    raw = json.loads(_profile().model_dump_json())
    if path[-1] == 0:
        raw["features"][3]["categories"] = ["s", "s"]
    else:
        inner = raw
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
    (tmp_path / "profile.json").write_text(json.dumps(raw))
    with pytest.raises(BundleInvalid, match=said) as caught:
        Profile.load(tmp_path)
    assert "profile.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(BundleInvalid, match=r"profile\.json does not exist"):
        Profile.load(tmp_path)
    (tmp_path / "profile.json").write_text("{")
    with pytest.raises(BundleInvalid, match="Invalid JSON"):
        Profile.load(tmp_path)
