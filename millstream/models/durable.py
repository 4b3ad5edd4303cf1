"""Files that are there whole or not at all, whoever is killed and however many write at once."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from millstream.errors import DependencyUnavailable


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """What the file system refuses becomes DependencyUnavailable, naming the path."""
    try:
        yield
    except OSError as error:
        raise DependencyUnavailable("disk", f"{path}: {error.strerror or error}") from error


def write_whole(file: Path, content: bytes) -> None:
    """Write a file in place of what was there; a reader sees the old or the new bytes.

    Of two writers at once the later one's bytes stay. Written through to the disk.
    """
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=file.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(0o644)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_file(file: Path) -> None:
    """Write a file's bytes through to the disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def claimed(parent: Path, name: str) -> Iterator[Path]:
    """A folder in `parent` that only this process writes while the block runs.

    It is `.NAME.0`, or the next number where another process has that one now; what a process
    that was killed had put there is still in it. The block may rename it away.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for number in count():
        folder = parent / f".{name}.{number}"
        lock = _locked(folder)
        if lock is not None:
            try:
                yield folder
            finally:
                os.close(lock)
            return


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None where another process holds it."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been renamed away between the two calls: then the lock is of another one.
            if os.path.samestat(os.fstat(descriptor), folder.lstat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)
