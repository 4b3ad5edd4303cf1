"""Where a model comes from: what is known is checked, what is not known is absent."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millstream.models.lineage import (
    Lineage,
    OffsetRange,
    Query,
    commit_of,
    dirty_of,
    hash_of,
)


def test_a_lineage_comes_back_from_json() -> None:
    """With the parts that repeat it."""
    lineage = Lineage(
        offsets=(OffsetRange(topic="loans.events", partition=0, first=3, last=9),),
        query=Query(text="SELECT 1", result_hash="sha256:" + "a" * 64),
        git_commit="b" * 40,
        recipe={"family": "lightgbm", "seed": 7, "rate": 0.1, "early": False, "depth": None},
    )
    assert Lineage.model_validate_json(lineage.model_dump_json()) == lineage
    assert lineage.rows_known
    assert not Lineage().rows_known


@pytest.mark.parametrize(
    "wrong",
    [
        {"git_commit": "main"},
        {"offsets": [{"topic": "t", "partition": 0, "first": 9, "last": 3}]},
        {"files": [{"path": "x.csv", "hash": "abc"}]},
        {"trained_on": "everything"},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """A branch for a commit, offsets that end before they begin, a hash of nothing."""
    with pytest.raises(ValidationError):
        Lineage.model_validate(wrong)


def test_hashes_are_those_of_sha256sum_and_dvc(tmp_path: Path) -> None:
    """Of the bytes, with the algorithm's name."""
    file = tmp_path / "rows.csv"
    file.write_bytes(b"a,b\n1,2\n")
    assert hash_of(file) == "sha256:" + hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert hash_of(file, "md5") == "md5:" + hashlib.md5(b"a,b\n1,2\n").hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    run = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_the_commit_is_the_one_that_is_checked_out(tmp_path: Path) -> None:
    """On a branch, packed, detached, in a worktree and in a folder below; None where there is no
    commit."""
    assert commit_of(tmp_path) is None or (Path("/") / ".git").exists()
    home = tmp_path / "home"
    home.mkdir()
    _git(home, "init", "-q")
    assert commit_of(home) is None
    _git(home, "commit", "-q", "--allow-empty", "-m", "one")
    commit = _git(home, "rev-parse", "HEAD")
    (home / "below").mkdir()
    assert commit_of(home / "below") == commit
    _git(home, "pack-refs", "--all")
    assert commit_of(home) == commit
    _git(home, "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    assert commit_of(tmp_path / "tree") == commit
    _git(home, "checkout", "-q", "--detach")
    assert commit_of(home) == commit


def test_changes_that_the_commit_has_not_are_known(tmp_path: Path) -> None:
    """Of tracked files, wherever in the repository one looks; None where there is none."""
    home = tmp_path / "home"
    home.mkdir()
    assert dirty_of(home) is None
    _git(home, "init", "-q")
    (home / "rows.csv").write_text("a\n")
    _git(home, "add", "rows.csv")
    _git(home, "commit", "-q", "-m", "one")
    (home / "untracked").touch()
    (home / "below").mkdir()
    assert dirty_of(home / "below") is False
    (home / "rows.csv").write_text("b\n")
    assert dirty_of(home / "below") is True
    assert dirty_of(tmp_path / "nowhere") is None
