"""A registered bundle becomes a local folder: every byte checked, all of it or nothing.

Where a fetch was cut, the next one goes on from what is on the disk.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.durable import claimed, disk, sync_file, sync_folder
from millstream.models.lineage import hash_of
from millstream.models.manifest import BundleFile, Manifest
from millstream.models.reference import ModelReference

PART_BYTES = 8 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of all files."""


class Source(Protocol):
    """Where a bundle's files are read from."""

    def read(self, file: BundleFile, start: int, length: int) -> bytes:
        """Up to `length` bytes of the file, from byte `start`; none where it ends before.

        Raises DependencyUnavailable where it may succeed later, BundleInvalid where it cannot.
        """
        ...


def cached(reference: ModelReference, into: Path) -> Path:
    """The folder in `into` where this very version of the model is fetched to."""
    digest = reference.digest.removeprefix("sha256:")
    return into / reference.name / reference.version / digest


def whole(folder: Path, reference: ModelReference) -> bool:
    """Whether the folder holds the bundle that the reference means, undamaged."""
    try:
        bundle = Bundle.load(folder)
    except BundleInvalid:
        return False
    found = (bundle.name, bundle.version, bundle.digest)
    return found == (reference.name, reference.version, reference.digest)


def damaged(file: BundleFile) -> BundleInvalid:
    """The error that says so of a file of a bundle, where it is stored."""
    return BundleInvalid(
        f"{file.name} is damaged where it is stored: it has not the digest {file.digest}",
        "Restore it from a backup, or release another version",
    )


def fetch_bundle(
    reference: ModelReference,
    manifest: Manifest,
    source: Source,
    into: Path,
    progress: Progress | None = None,
) -> Path:
    """The bundle's folder below `into`, fetched from `source` unless it is there.

    Every file is read in parts of 8 MiB into a folder beside its place, checked against the
    manifest, and the folder renamed when the bundle loads. Processes that fetch the same model at
    once do not meet. Raises BundleInvalid where the source is not what the reference means, and
    DependencyUnavailable where it does not answer or the disk does not take it: call it again,
    and it goes on.
    """
    _require_same(reference, manifest)
    target = cached(reference, into)
    if whole(target, reference):
        return target
    with disk(target), claimed(target.parent, target.name) as stage:
        if whole(target, reference):  # another process was quicker
            shutil.rmtree(stage, ignore_errors=True)
            return target
        _fill(stage, manifest, source, progress)
        _place(stage, target, reference)
    return target


def _require_same(reference: ModelReference, manifest: Manifest) -> None:
    found = (manifest.name, manifest.version, manifest.digest)
    if found != (reference.name, reference.version, reference.digest):
        raise BundleInvalid(
            f"{reference.label} with {reference.digest} was asked for; "
            f"{manifest.name}@{manifest.version} with {manifest.digest} is there",
            "Release what the registry has: `millstream models list` shows it",
        )


def _fill(stage: Path, manifest: Manifest, source: Source, progress: Progress | None) -> None:
    wanted = {file.name for file in manifest.files}
    for path in stage.iterdir():
        if path.name not in wanted and path.name.removesuffix(".part") not in wanted:
            path.unlink()
    done = 0
    for file in manifest.files:
        if not _is(stage / file.name, file):
            before = done
            _fetch(
                stage / file.name,
                file,
                source,
                lambda here, before=before: (  # type: ignore[misc]
                    progress(before + here, manifest.size) if progress else None
                ),
            )
        done += file.size
        if progress is not None:
            progress(done, manifest.size)
    sync_folder(stage)


def _fetch(target: Path, file: BundleFile, source: Source, here: Callable[[int], None]) -> None:
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    if not _completed(part, file, source, here) and (
        not resumed or not _completed(part, file, source, here)
    ):
        raise damaged(file)
    sync_file(part)
    part.replace(target)


def _completed(part: Path, file: BundleFile, source: Source, here: Callable[[int], None]) -> bool:
    """Whether the part, filled up from the source, has the file's digest; else it is removed."""
    found = hashlib.sha256()
    with part.open("a+b") as stream:
        stream.seek(0)
        while block := stream.read(PART_BYTES):
            found.update(block)
        size = stream.tell()
        here(min(size, file.size))
        while size < file.size:
            block = source.read(file, size, min(PART_BYTES, file.size - size))
            if not block:
                break
            stream.write(block)
            stream.flush()
            found.update(block)
            size += len(block)
            here(min(size, file.size))
    if size == file.size and "sha256:" + found.hexdigest() == file.digest:
        return True
    part.unlink()
    return False


def _is(path: Path, file: BundleFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        path.unlink(missing_ok=True)
        return False
    if hash_of(path) != file.digest:
        path.unlink()
        return False
    return True


def _place(stage: Path, target: Path, reference: ModelReference) -> None:
    if not whole(stage, reference):
        Bundle.load(stage)  # says what is wrong with it
        raise BundleInvalid(
            f"the bundle stored as {reference.label} says that it is another",
            "Store the bundle again, under another version",
        )
    if target.exists():  # damaged, or whole would have been true
        with claimed(target.parent, f"{target.name}.damaged") as bin_:
            shutil.rmtree(bin_)
            target.rename(bin_)
            shutil.rmtree(bin_)
    try:
        stage.rename(target)
    except OSError:
        # Another process put it there in between.
        if not whole(target, reference):
            raise
        shutil.rmtree(stage, ignore_errors=True)
    sync_folder(target.parent)
