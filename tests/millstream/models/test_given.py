"""A model that comes from elsewhere, with rows that its library has scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from millstream.errors import BundleInvalid, SettingsInvalid
from millstream.models.bundle import CARD_FILE
from millstream.models.card import write_card
from millstream.models.given import (
    KIND,
    answered,
    evaluated,
    features_of,
    fitted,
    onnx_bundle,
    read_rows,
    to_answer,
)
from millstream.models.proof import attest
from tests.millstream.models.graphs import CREATED
from tests.millstream.models.passports import FACTS, NAMES, bundle_of, library, logistic, rows

SAID: dict[str, object] = {"created": CREATED}


def _scored(folder: Path) -> pa.Table:
    """What a person brings back: the rows to answer, with two columns of scores."""
    table = to_answer(bundle_of(folder), pa.Table.from_batches([rows()]))
    batch = table.combine_chunks().to_batches()[0]
    scores = library(batch)
    return table.append_column("score_no", pa.array(scores[:, 0])).append_column(
        "score_yes", pa.array(scores[:, 1])
    )


def test_an_onnx_file_with_scored_rows_gets_a_passport(tmp_path: Path) -> None:
    """The card is a template: digest, operator sets and time are filled in."""
    onnx.save(logistic(), tmp_path / "model.onnx")
    text = write_card(bundle_of(tmp_path / "m").card)
    kept = [line for line in text.splitlines() if not line.startswith(("digest", "created"))]
    (tmp_path / "card.toml").write_text("\n".join(kept).replace('[opset]\n"ai.onnx" = 18', ""))
    said = {**SAID, "version": "7"}
    made = onnx_bundle(tmp_path / "out", tmp_path / "model.onnx", tmp_path / "card.toml", said)
    assert (made.version, made.card.created) == ("7", CREATED)
    tried = answered(made.card, _scored(tmp_path / "n"))
    assert attest(made, tried, FACTS).passport.passed


def test_another_bundle_is_a_source_too(tmp_path: Path) -> None:
    """Its own card says what its inputs mean, and when it was made."""
    old = bundle_of(tmp_path / "m")
    made = onnx_bundle(tmp_path / "out", old.folder, None, {"created": None, "name": "renamed"})
    assert (made.name, made.digest, made.card.created) == ("renamed", old.digest, CREATED)
    with pytest.raises(SettingsInvalid, match="does not say what its inputs mean") as caught:
        onnx_bundle(tmp_path / "out", tmp_path / "m" / "model.onnx", None, SAID)
    assert "--card" in caught.value.remedy
    (tmp_path / "m" / CARD_FILE).write_text("= 1")
    with pytest.raises(BundleInvalid, match="is not valid TOML"):
        onnx_bundle(tmp_path / "out", old.folder, None, SAID)


def test_one_column_is_enough_for_two_labels(tmp_path: Path) -> None:
    """The positive label's probability; a null says that the library has none."""
    of = bundle_of(tmp_path / "m").card
    table = pa.Table.from_batches([rows(3)]).append_column("score", pa.array([0.25, None, 1.0]))
    golden = answered(of, table)
    assert golden.scores[0].tolist() == [0.75, 0.25]
    assert np.isnan(golden.scores[1]).all()
    assert set(golden.kinds) == {"ordinary"}
    with pytest.raises(BundleInvalid, match="no scores of the training library: score_no"):
        answered(of, table.drop_columns(["score"]))
    kinds = pa.array(["ordinary", "friendly", "nan"])
    with pytest.raises(BundleInvalid, match="says friendly"):
        answered(of, table.append_column(KIND, kinds))


def test_rows_are_read_from_parquet_and_csv(tmp_path: Path) -> None:
    """Anything else is named."""
    table = pa.table({"a": [1.0, 2.0]})
    pa_parquet.write_table(table, tmp_path / "r.parquet")
    pa_csv.write_csv(table, tmp_path / "r.csv")
    assert read_rows(tmp_path / "r.parquet").equals(
        read_rows(tmp_path / "r.csv").cast(table.schema)
    )
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for name, says in (
        ("none.csv", "cannot be read"),
        ("torn.parquet", "cannot be read"),
        ("r.pkl", "ends neither"),
    ):
        with pytest.raises(SettingsInvalid, match=says):
            read_rows(tmp_path / name)


def test_features_are_as_the_rows_show_them() -> None:
    """A number may be missing where it is; texts are categories where the stream says so."""
    table = pa.table(
        {
            "whole": [1, 2],
            "holes": [1.0, float("nan")],
            "nulls": pa.array([1, None]),
            "truth": [True, False],
            "text": ["u", "v"],
        }
    )
    found = features_of(["text", "whole", "holes", "nulls", "truth"], ["text"], table)
    shown = [(f.name, f.type, f.missing) for f in found]
    assert shown == [
        ("text", "category", "refuse"),
        ("whole", "number", "refuse"),
        ("holes", "number", "nan"),
        ("nulls", "number", "nan"),
        ("truth", "boolean", "refuse"),
    ]
    with pytest.raises(BundleInvalid, match="no column 'x'"):
        features_of(["x"], [], table)


def test_held_out_rows_are_measured(tmp_path: Path) -> None:
    """Those that have a truth; hostile ones are left out."""
    bundle = bundle_of(tmp_path / "m")
    table = _scored(tmp_path / "n")
    chances = table.column("score_yes").to_pylist()
    truth = pa.array([None, *("yes" if one >= 0.5 else "no" for one in chances[1:])])
    found = evaluated(bundle, table.append_column("truth", truth), "truth", [KIND])
    assert found is not None
    assert found.rows == rows().num_rows - 1
    accuracy = found.metric("accuracy")
    assert accuracy is not None
    assert accuracy.value == 1.0
    assert [part.value for part in found.slices] == ["ordinary"]
    with pytest.raises(BundleInvalid, match="no column 'outcome'"):
        evaluated(bundle, table, "outcome", [])
    nothing: Any = pa.nulls(table.num_rows, pa.string())
    assert evaluated(bundle, table.append_column("truth", nothing), "truth", []) is None


def test_a_function_gives_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, from the current folder; a pickle is no source."""
    (tmp_path / "my_training.py").write_text("def fit():\n    return 'a model'\n")
    monkeypatch.chdir(tmp_path)
    assert fitted("my_training:fit") == "a model"
    for wrong, says in (
        ("my_training:other", "has no attribute 'other'"),
        ("nowhere_at_all:fit", "No module named"),
        ("model.pkl", "is no model"),
    ):
        with pytest.raises(SettingsInvalid, match=says):
            fitted(wrong)
    lightgbm = pytest.importorskip("lightgbm", reason="install the extra train")
    with pytest.raises(SettingsInvalid, match="is no LightGBM model"):
        fitted("nothing.txt")
    x = np.random.default_rng(0).normal(size=(100, 3))
    booster = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(x, x[:, 0] > 0).booster_
    booster.save_model(tmp_path / "model.txt")
    assert fitted("model.txt").num_feature() == len(NAMES)
