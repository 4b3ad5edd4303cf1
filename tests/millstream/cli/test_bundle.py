"""`millstream bundle`, as a person runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from millstream.models.bundle import Bundle, write_bundle
from millstream.models.signing import make_keys, sign
from millstream.models.tuning import read_tuning, this_machine
from tests.millstream.cli.test_operator_errors import assert_operator_must_act, millstream
from tests.millstream.models.graphs import card, identity
from tests.streams import applications, make_loans, matrix

lightgbm = pytest.importorskip("lightgbm", reason="install the extra train")


def test_tune_keeps_the_curve_with_the_bundle(tmp_path: Path) -> None:
    """A table to read, tuning.json beside bundle.toml, and the same as JSON."""
    proto = identity()
    bundle = write_bundle(tmp_path / "bundle", proto.SerializeToString(), card(proto))
    quick = ("--seconds", "0.001", "--threads-max", "1")
    run = millstream("bundle", "tune", bundle.folder, *quick)
    assert run.returncode == 0, run.stderr
    assert "8,192" in run.stdout
    assert "0 of 2662 labels flipped" in run.stdout
    assert read_tuning(bundle, this_machine()) is not None
    run = millstream("bundle", "tune", bundle.folder, *quick, "--json")
    assert json.loads(run.stdout)["model_digest"] == bundle.digest


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    """The file that is missing, and what to do."""
    assert_operator_must_act(millstream("bundle", "tune", tmp_path), "bundle.toml is missing")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stream.toml, LightGBM's text file, training and held-out rows."""
    folder = tmp_path_factory.mktemp("made")
    loans = make_loans(folder / "loans")
    batch = applications(1_500, seed=9)
    chance = loans.model.predict_proba(matrix(batch))[:, 1]
    truth = pa.array(["1" if one >= 0.5 else "0" for one in chance])
    table = pa.Table.from_batches([batch]).append_column("outcome", truth)
    pa_parquet.write_table(table.slice(0, 1_000), folder / "training.parquet")
    pa_parquet.write_table(table.slice(1_000), folder / "held_out.parquet")
    loans.model.booster_.save_model(folder / "model.txt")
    return folder


def _make(made: Path, out: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    stream = made / "loans" / "stream.toml"
    rows = made / "held_out.parquet"
    return millstream(
        "bundle",
        "make",
        made / "model.txt",
        out,
        "--rows",
        rows,
        "--stream",
        stream,
        "--no-curve",
        *more,
    )


def test_a_model_becomes_a_bundle_that_is_signed_checked_and_compared(
    made: Path, tmp_path: Path
) -> None:
    """make, check, show, keys, sign, check, diff: as a person goes through them."""
    out = tmp_path / "b1"
    more = ("--truth", "outcome", "--slice", "elevel", "--training", made / "training.parquet")
    run = _make(made, out, *more)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("ok   ") == 7
    assert {file.name for file in out.iterdir()} == {
        "MODEL_CARD.md", "bundle.toml", "golden.json", "model.onnx", "model_card.json",
        "passport.json", "profile.json",
    }  # fmt: skip
    run = millstream("bundle", "show", out)
    assert "| accuracy | 1 | 1 | 1 |" in run.stdout
    assert "training.parquet, `sha256:" in run.stdout
    key, public = tmp_path / "k.pem", tmp_path / "k.public.pem"
    assert millstream("bundle", "keys", "k", "--folder", tmp_path).returncode == 0
    assert millstream("bundle", "sign", out, "--key", key).returncode == 0
    run = millstream("bundle", "check", out, "--signed-by", public)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("ok   ") == 7
    (out / "profile.json").write_text("{}")
    run = millstream("bundle", "check", out, "--signed-by", public)
    assert_operator_must_act(run, "profile.json was changed since it was signed", "sign it anew")
    assert _make(made, tmp_path / "b2", "--version", "2").returncode == 0
    run = millstream("bundle", "diff", out, tmp_path / "b2")
    assert "version: 1 -> 2" in run.stdout
    assert run.returncode == 0


def test_training_rows_that_dvc_knows_otherwise_make_no_bundle(made: Path, tmp_path: Path) -> None:
    """A lineage that names another file is none; what the pipeline's lock says counts too."""
    rows = tmp_path / "training.parquet"
    shutil.copyfile(made / "training.parquet", rows)
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  prepare:\n    outs:\n    - path: training.parquet\n"
        f"      hash: md5\n      md5: {'0' * 32}\n"
    )
    run = _make(made, tmp_path / "b", "--training", rows)
    assert_operator_must_act(run, "is not the file that", "dvc checkout")
    assert not (tmp_path / "b").exists()


def test_an_onnx_model_is_proven_by_scores_from_elsewhere(made: Path, tmp_path: Path) -> None:
    """hostile writes the rows, their owner scores them, make takes both; wrong scores end with 1
    and a bundle that check refuses."""
    source = made / "loans" / "bundle"
    out = tmp_path / "to_score.parquet"
    rows = made / "held_out.parquet"
    run = millstream("bundle", "hostile", source, "--rows", rows, "--out", out)
    assert run.returncode == 0, run.stderr
    table = pa_parquet.read_table(out)
    booster = lightgbm.Booster(model_file=str(made / "model.txt"))
    names = [name for name in table.schema.names if name != "millstream_kind"]
    x = np.column_stack([table.column(name).to_numpy() for name in names])
    for shift, code in ((0.0, 0), (0.01, 1)):
        scored = table.append_column("score", pa.array(booster.predict(x) * (1 - shift)))
        pa_parquet.write_table(scored, tmp_path / "scored.parquet")
        made_at = tmp_path / f"b{code}"
        run = millstream(
            "bundle", "make", source, made_at, "--rows", tmp_path / "scored.parquet", "--no-curve"
        )
        assert run.returncode == code, run.stdout + run.stderr
    assert "FAIL parity_ordinary" in run.stdout
    run = millstream("bundle", "check", made_at)
    assert_operator_must_act(run, "the check failed: parity_ordinary", "Export in doubles")


def test_check_demands_a_passport_and_a_signature_that_the_stream_demands(
    made: Path, tmp_path: Path
) -> None:
    """check --stream reads [release]; `millstream check` does so for the stream's own bundle."""
    assert_operator_must_act(
        millstream("bundle", "check", made / "loans" / "bundle"), "has no passport.json"
    )
    shutil.copytree(made / "loans", tmp_path / "loans")
    stream = tmp_path / "loans" / "stream.toml"
    make_keys(tmp_path / "loans", "k")
    stream.write_text(stream.read_text() + '\n[release]\nsigned_by = "k.public.pem"\n')
    run = millstream("check", stream, "--offline")
    assert run.returncode == 2
    assert "is not signed" in run.stdout
    sign(Bundle.load(tmp_path / "loans" / "bundle"), tmp_path / "loans" / "k.pem")
    assert millstream("check", stream, "--offline").returncode == 0


def test_a_model_that_is_none_is_named(made: Path, tmp_path: Path) -> None:
    """A pickle, most of all."""
    rows = made / "held_out.parquet"
    run = millstream(
        "bundle",
        "make",
        "model.pkl",
        tmp_path / "b",
        "--rows",
        rows,
        "--stream",
        made / "loans" / "stream.toml",
    )
    assert_operator_must_act(run, "model.pkl is no model", "LightGBM's .txt")
    run = millstream("bundle", "make", made / "model.txt", tmp_path / "b", "--rows", rows)
    assert_operator_must_act(run, "what its columns are called", "--stream")
