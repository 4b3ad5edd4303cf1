"""A model's making, written down and done again: the same digest, or which input differs."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from millstream.models.bundle import digest_of
from millstream.models.lineage import (
    DataFile,
    Lineage,
    OffsetRange,
    Query,
    commit_of,
    dirty_of,
    hash_of,
)
from millstream.training.fingerprint import hash_of_rows
from millstream.training.rows import Rows
from millstream.training.train import Recipe, make

LOCKS: Final = ("requirements-dev.lock", "requirements.lock", "uv.lock", "poetry.lock")
LIBRARIES: Final = ("lightgbm", "millstream", "numpy", "onnx", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows came from: a query and its offsets, or a file and its columns."""

    query: Query | None = None
    offsets: Sequence[OffsetRange] = ()
    file: DataFile | None = None
    columns: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One input that is not what it was."""

    input: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.input}: then {self.then}, now {self.now}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """digest: of the model that was made now. differences: inputs that are not what they were."""

    wanted: str
    digest: str
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether the very same model came out."""
        return self.wanted == self.digest


def lineage_of(rows: Rows, recipe: Recipe, source: Source, folder: Path) -> Lineage:
    """What the passport says of a candidate's origin. rows: all that the source gives. folder:
    where the commit and the lock are looked for, upwards."""
    lock = find_lock(folder)
    return Lineage(
        offsets=tuple(source.offsets),
        query=source.query,
        files=(source.file,) if source.file else (),
        git_commit=commit_of(folder),
        dirty=dirty_of(folder),
        lock=DataFile(path=lock.name, hash=hash_of(lock)) if lock else None,
        recipe={
            **recipe.as_lineage(),
            **{f"column_{name}": value for name, value in (source.columns or {}).items()},
            "rows": len(rows),
            "rows_hash": hash_of_rows(rows),
            **environment(),
        },
    )


def environment() -> dict[str, str]:
    """Versions of what computes, and the machine's kind: arithmetic may differ between these."""
    made = {f"version_{name}": version(name) for name in LIBRARIES}
    return {**made, "python": platform.python_version(), "machine": platform.machine()}


def find_lock(folder: Path) -> Path | None:
    """The file that pins the libraries, in this folder or above it up to the repository's root."""
    for place in (folder.resolve(), *folder.resolve().parents):
        for name in LOCKS:
            if (place / name).is_file():
                return place / name
        if (place / ".git").exists():
            return None
    return None


def repeat(lineage: Lineage, digest: str, rows: Rows, file: DataFile | None, at: Path) -> Repeated:
    """Make the model again of these rows by the lineage's recipe.

    digest: of the model then. file: the file that was read now. at: where commit and lock are
    looked for. Raises CannotTrain where the lineage has no recipe, or nothing can be fitted.
    """
    made = digest_of(make(rows, Recipe.of(lineage)).export().model)
    return Repeated(digest, made, tuple(differences(lineage, rows, file, at)))


def differences(lineage: Lineage, rows: Rows, file: DataFile | None, at: Path) -> list[Difference]:
    """Inputs of a model that are not what its lineage says."""
    lock = find_lock(at)
    told = lineage.recipe
    pairs: list[tuple[str, object, object]] = [
        ("rows", told.get("rows"), len(rows)),
        ("the rows' content", told.get("rows_hash"), hash_of_rows(rows)),
        ("git commit", lineage.git_commit, commit_of(at)),
    ]
    if lineage.lock is not None:
        pairs.append((lineage.lock.path, lineage.lock.hash, hash_of(lock) if lock else None))
    if lineage.files and file is not None:
        pairs.append((f"file {lineage.files[0].path}", lineage.files[0].hash, file.hash))
    pairs += [(name, told.get(name), now) for name, now in environment().items()]
    found = [
        Difference(name.removeprefix("version_"), str(then), str(now))
        for name, then, now in pairs
        if then is not None and then != now
    ]
    dirty = bool(dirty_of(at))
    if lineage.dirty or (lineage.dirty is not None and dirty):
        # Changes that no commit has are recorded nowhere: two dirty trees may differ as well.
        trees = ("as committed", "with changes that no commit has")
        found.append(Difference("working tree", trees[lineage.dirty], trees[dirty]))
    return found
