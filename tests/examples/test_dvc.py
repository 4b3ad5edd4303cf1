"""The example's pipeline, run by DVC itself in a git repository of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dvc", reason="install the extra dvc")
pytest.importorskip("lightgbm", reason="install the extra train")

from millstream.models.bundle import Bundle
from millstream.models.passport import read_passport, require_passport

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "loans"
FILES = ("dvc.yaml", "params.yaml", "stream.toml", "event.v1.avsc", "generate.py")
SECONDS_MAX = 240


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder in a repository, with fewer rows, run once."""
    folder = tmp_path_factory.mktemp("pipeline")
    for name in FILES:
        shutil.copyfile(EXAMPLE / name, folder / name)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("rows: 6000", "rows: 1500"))
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "repro", "-q")
    return folder


def run(folder: Path, *command: str) -> str:
    """What the command printed; it must end well."""
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    programs = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}"
    return done.stdout


def test_it_makes_a_model_that_may_be_released(pipeline: Path) -> None:
    """With its passport, and measures that DVC shows."""
    bundle = Bundle.load(pipeline / "trained")
    require_passport(bundle)
    measures = json.loads((pipeline / "metrics.json").read_text())["measures"]
    assert measures["accuracy"] > 0.85
    assert "accuracy" in run(pipeline, "dvc", "metrics", "show")


def test_its_lineage_names_dvcs_md5_of_the_data(pipeline: Path) -> None:
    """The one in dvc.lock."""
    passport = read_passport(Bundle.load(pipeline / "trained"))
    assert passport is not None and passport.lineage is not None
    (file,) = passport.lineage.files
    assert (file.path, file.dvc) == ("applications.parquet", "dvc.lock")
    assert f"md5: {file.hash.removeprefix('md5:')}" in (pipeline / "dvc.lock").read_text()
    assert file.rows == 1_500


def test_nothing_is_made_again_where_nothing_changed(pipeline: Path) -> None:
    """DVC knows from its lock."""
    before = (pipeline / "trained" / "bundle.toml").stat().st_mtime_ns
    run(pipeline, "dvc", "repro")
    assert (pipeline / "trained" / "bundle.toml").stat().st_mtime_ns == before


def test_the_same_model_comes_out_again(pipeline: Path) -> None:
    """Trained anew from its passport: the same digest, bit for bit."""
    said = run(pipeline, "millstream", "repro", "trained")
    assert "the same model" in said
    assert said.count(Bundle.load(pipeline / "trained").digest) == 2


def test_another_parameter_is_another_model(pipeline: Path) -> None:
    """And repro says of an older bundle that it was made of other rows."""
    old = Bundle.load(pipeline / "trained")
    shutil.copytree(pipeline / "trained", pipeline / "old")
    params = pipeline / "params.yaml"
    params.write_text(params.read_text().replace("rows: 1500", "rows: 1600"))
    run(pipeline, "dvc", "repro", "-q")
    assert Bundle.load(pipeline / "trained").digest != old.digest
    with pytest.raises(AssertionError, match=r"differs: file applications\.parquet: then md5:"):
        run(pipeline, "millstream", "repro", "old")
