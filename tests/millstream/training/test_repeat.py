"""What is said of the inputs of a model that is made again."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from millstream.models.lineage import DataFile, Lineage, hash_of
from millstream.training.repeat import Source, differences, lineage_of
from millstream.training.train import Recipe
from tests.millstream.training.tables import labelled_rows

ROWS = labelled_rows("binary", 200)
RECIPE = Recipe("logistic_regression")


def git(folder: Path, *arguments: str) -> None:
    """Run git as nobody in particular."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a lock file and code."""
    (tmp_path / "requirements.lock").write_text("a==1\n")
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "a")
    return tmp_path


def named(lineage: Lineage, rows: Any, folder: Path, file: DataFile | None = None) -> list[str]:
    """The inputs that differ."""
    return [each.input for each in differences(lineage, rows, file, folder)]


def test_every_input_that_is_not_what_it_was_is_named(folder: Path) -> None:
    """Rows, labels, times, file, lock, commit, libraries; nothing where nothing changed."""
    file = DataFile(path="rows.csv", hash="sha256:" + "1" * 64)
    told = lineage_of(ROWS, RECIPE, Source(file=file), folder)
    assert named(told, ROWS, folder, file) == []
    assert named(told, ROWS.take(slice(1, None)), folder, file) == ["rows", "the rows' content"]
    labels = ROWS.labels.copy()
    labels[7] = "yes" if labels[7] == "no" else "no"
    for changed in (
        replace(ROWS, labels=labels),
        replace(ROWS, times_us=ROWS.times_us + 1),
        replace(ROWS, known_us=None),
        replace(ROWS, columns=ROWS.columns.set_column(0, "x", ROWS.columns["z"])),
    ):
        assert named(told, changed, folder, file) == ["the rows' content"]
    other = file.model_copy(update={"hash": "sha256:" + "2" * 64})
    assert named(told, ROWS, folder, other) == ["file rows.csv"]
    for key in ("version_millstream", "version_numpy", "python", "machine"):
        then = told.model_copy(update={"recipe": {**told.recipe, key: "0"}})
        assert named(then, ROWS, folder, file) == [key.removeprefix("version_")]
    assert told.lock is not None and told.lock.hash == hash_of(folder / "requirements.lock")
    (folder / "requirements.lock").write_text("a==2\n")
    git(folder, "commit", "--quiet", "-am", "b")
    assert named(told, ROWS, folder, file) == ["git commit", "requirements.lock"]


def test_changes_that_no_commit_has_may_be_what_differs(folder: Path) -> None:
    """Then or now: the commit alone does not say which code it was."""
    clean = lineage_of(ROWS, RECIPE, Source(), folder)
    (folder / "code.py").write_text("a = 2\n")
    (found,) = differences(clean, ROWS, None, folder)
    assert str(found) == ("working tree: then as committed, now with changes that no commit has")
    dirty = lineage_of(ROWS, RECIPE, Source(), folder)
    assert named(dirty, ROWS, folder) == ["working tree"]
    git(folder, "checkout", "--quiet", "code.py")
    assert named(dirty, ROWS, folder) == ["working tree"]
    assert named(clean, ROWS, folder) == []
