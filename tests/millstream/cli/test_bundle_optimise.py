"""`millstream bundle optimise`, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from millstream.cli import app
from millstream.errors import SettingsInvalid
from millstream.models.bundle import Bundle
from millstream.stream import Stream
from tests.consumers.warehouses import stream_in
from tests.millstream.optimise.models import NOW


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A stream with one feature, n, its bundle, a logistic regression, and labelled rows."""
    from millstream.models.card import Feature
    from millstream.training.candidate import fit
    from millstream.training.rows import Rows, Task

    made = stream_in(tmp_path, "loans")
    rng = np.random.default_rng(1)
    n = rng.integers(-50, 50, 600)
    truth = np.where(n + rng.normal(size=600) * 20 > 0, "yes", "no").astype(object)
    task = Task("binary", (Feature(name="n"),), ("no", "yes"), "yes")
    rows = Rows(task, pa.table({"n": n}), truth, np.arange(600, dtype=np.int64))
    model = fit(rows, "logistic_regression")
    model.bundle(made.bundle_path, rows, name="loans", version="1", created=NOW)
    lines = [f"{a},{b}" for a, b in zip(n.tolist(), truth.tolist(), strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["n,label", *lines]) + "\n")
    return made.path


def _run(*words: object) -> str:
    result = CliRunner().invoke(
        app, ["bundle", "optimise", *map(str, words)], catch_exceptions=False, standalone_mode=False
    )
    assert result.exception is None, result.exception
    return result.stdout


def test_a_table_says_what_each_variant_is_worth(stream: Path, tmp_path: Path) -> None:
    """What has no such form, what was measured, what was written."""
    words = (stream, tmp_path / "rows.csv", "--into", tmp_path / "out", "--seconds", "0.001")
    said = _run(*words, "--form", "int8", "--form", "fp16", "--flips-max", "1", "--loss-max", "9")
    assert "int8: the model has one layer" in said
    assert "fp16" in said
    found = json.loads(_run(*words, "--form", "student_logistic_regression", "--json"))
    assert found[0]["form"] == "student_logistic_regression"
    assert found[0]["measured"]["rows"] == 180
    if found[0]["folder"] is not None:
        assert Bundle.load(Path(found[0]["folder"])).name == "loans"
    assert Stream.load(stream).bundle_path.is_dir()


def test_an_unknown_form_is_named(stream: Path, tmp_path: Path) -> None:
    """With the one that was meant."""
    with pytest.raises(SettingsInvalid, match=r"int4.*int8"):
        _run(stream, tmp_path / "rows.csv", "--into", tmp_path / "out", "--form", "int4")
