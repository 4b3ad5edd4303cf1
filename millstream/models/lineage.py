"""Where a model comes from: its training rows, the code and the libraries that made it.

What nobody told is absent, never made up: a lineage of nothing but a file's hash is one.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

READ_BYTES = 1 << 20
GIT_S_MAX = 30.0

Text = Annotated[str, Field(min_length=1, max_length=4_096)]
Hash = Annotated[str, Field(pattern=r"^(sha256|md5):[0-9a-f]{32,64}$")]
"""`sha256:` or (of DVC) `md5:` and hexadecimal digits."""
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OffsetRange(_Part):
    """Records of one partition: first and last offset, both included."""

    topic: Text
    partition: Annotated[int, Field(ge=0)]
    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _goes_up(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the offsets of {self.topic} end before they begin")
        return self


class DataFile(_Part):
    """A file that rows were read from. dvc: the `.dvc` file or `dvc.lock` that names its md5."""

    path: Text
    hash: Hash
    rows: Annotated[int, Field(ge=0)] | None = None
    dvc: Text | None = None


class Query(_Part):
    """A query whose result the rows are. result_hash: of its rows, in the order that it says."""

    text: Annotated[str, Field(min_length=1, max_length=65_536)]
    result_hash: Hash | None = None
    rows: Annotated[int, Field(ge=0)] | None = None


class Lineage(_Part):
    """The origin of one model. recipe: family, seed, parameters and whatever else repeats it.

    dirty: the working tree had changes that the commit has not. lock: the file that pins the
    libraries.
    """

    offsets: Annotated[tuple[OffsetRange, ...], Field(max_length=100_000)] = ()
    query: Query | None = None
    files: Annotated[tuple[DataFile, ...], Field(max_length=10_000)] = ()
    git_commit: Commit | None = None
    dirty: bool | None = None
    lock: DataFile | None = None
    recipe: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @property
    def rows_known(self) -> bool:
        """Whether it says which rows were taken."""
        return bool(self.offsets or self.query or self.files)


def hash_of(file: Path, algorithm: str = "sha256") -> str:
    """`ALGORITHM:HEX` of a file's bytes; md5 is what DVC writes down. Raises OSError."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            found.update(block)
    return f"{algorithm}:{found.hexdigest()}"


def commit_of(folder: Path) -> str | None:
    """The commit that is checked out where `folder` lies, read from `.git`; None if there is none.

    Whether the working tree has changes only git itself can say: `dirty_of`.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        git = place / ".git"
        if git.is_file():  # a worktree
            text = git.read_text("utf-8", errors="replace")
            git = (place / text.removeprefix("gitdir:").strip()).resolve()
        if git.is_dir():
            return _head(git)
    return None


def dirty_of(folder: Path) -> bool | None:
    """Whether tracked files have changes that the commit has not; None where git cannot say."""
    try:
        run = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder.resolve(),
            capture_output=True,
            timeout=GIT_S_MAX,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(run.stdout.strip())


def _head(git: Path) -> str | None:
    common = git
    if (git / "commondir").is_file():
        common = (git / (git / "commondir").read_text("utf-8").strip()).resolve()
    try:
        head = (git / "HEAD").read_text("utf-8").strip()
    except OSError:
        return None
    if not head.startswith("ref: "):
        return _commit(head)
    name = head.removeprefix("ref: ")
    for folder in (git, common):
        if (folder / name).is_file():
            return _commit((folder / name).read_text("utf-8").strip())
    packed = common / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.is_file() else []
    for line in lines:
        commit, _, ref = line.partition(" ")
        if ref == name:
            return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if len(text) >= 40 and set(text) <= set("0123456789abcdef") else None
