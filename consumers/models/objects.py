"""The border to object stores: named bytes below one address, a folder or a bucket's prefix.

fsspec does the work; s3fs comes with the extra `registry`, gcsfs and adlfs for Google's and
Microsoft's stores must be installed beside it. Credentials and endpoints are those of the
store's own clients, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from millstream.errors import BundleInvalid, DependencyUnavailable, SettingsInvalid
from millstream.models.durable import claimed, sync_file, sync_folder, write_whole

SCHEMES: Final = ("file", "s3", "gs", "abfs")
"""Addresses come from records too: no scheme that asks an arbitrary host."""

_CLIENTS: Final = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs"}
_FOREIGN: Final = ("botocore", "aiobotocore", "aiohttp", "fsspec", "gcsfs", "google", "azure")
_FILE: Final = "file://"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_S3: Final = {
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 1}},
    "use_listings_cache": False,
}


class Objects:
    """Bytes by name below `address`: a folder's path, or a URL of one of SCHEMES.

    Names have parts of letters, digits, `.`, `_` and `-`, a letter or digit first, joined by `/`.
    Raises SettingsInvalid where the address cannot be used or asks for other credentials,
    BundleInvalid where a name that was asked for is not there, DependencyUnavailable where the
    store does not answer. May be shared by threads.
    """

    def __init__(self, address: str) -> None:
        scheme, rest = _split(address)
        self.address = f"{scheme}://{rest}"
        self.folder = Path(rest) if scheme == "file" else None
        self._root = rest
        self._system = _system(scheme, self.address)

    def size(self, name: str) -> int | None:
        """Bytes of an object; None where it is not there."""
        with self._border(name) as path:
            try:
                found = self._system.info(path)
            except FileNotFoundError:
                return None
        return int(found["size"]) if found["type"] == "file" else None

    def read(self, name: str, start: int, length: int) -> bytes:
        """Up to `length` bytes from byte `start`; none where the object ends before."""
        with self._border(name) as path:
            try:
                content: bytes = self._system.cat_file(path, start=start, end=start + length)
            except OSError as error:
                # S3 has no empty range: it answers 416 where one begins at the end or behind it.
                if error.errno != errno.EINVAL or self._system.info(path)["size"] > start:
                    raise
                return b""
        return content[:length]

    def put(self, file: Path, name: str) -> None:
        """Store a file's bytes, whole or not at all, in place of what is there."""
        with self._border(name) as path:
            if self.folder is None:
                self._system.put_file(str(file), path)
            else:
                _copied_whole(file, Path(path))

    def write(self, name: str, content: bytes) -> None:
        """Store these bytes, in place of what is there."""
        with self._border(name) as path:
            if self.folder is None:
                self._system.pipe_file(path, content)
            else:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_whole(Path(path), content)

    def create(self, name: str, content: bytes) -> bool:
        """Store these bytes unless the name is taken: then False. Of two at once one is told True.

        S3 decides by If-None-Match. On a folder, write_whole and a link do.
        """
        with self._border(name) as path:
            try:
                if self.folder is None:
                    self._system.pipe_file(path, content, mode="create")
                else:
                    _linked(Path(path), content)
            except FileExistsError:
                return False
        return True

    def names(self, below: str) -> list[str]:
        """The names directly below, sorted; none where there is nothing."""
        with self._border(below) as path:
            try:
                found = self._system.ls(path, detail=False)
            except FileNotFoundError:
                return []
        names = {str(entry).rstrip("/").rpartition("/")[2] for entry in found}
        return sorted(name for name in names if _NAME.fullmatch(name))

    @contextmanager
    def _border(self, name: str) -> Iterator[str]:
        if not _NAME.fullmatch(name):
            raise BundleInvalid(f"{name[:200]!r} is no name of an object", "Write the name again")
        address = f"{self.address}/{name}"
        try:
            yield f"{self._root}/{name}"
        except FileNotFoundError:
            raise BundleInvalid(
                f"{address} is missing", "Check the address, or add the bundle again"
            ) from None
        except PermissionError as error:
            raise _refused(address, error) from error
        except OSError as error:
            raise DependencyUnavailable("object store", f"{address}: {error}") from error
        except Exception as error:
            if type(error).__name__ == "NoCredentialsError":
                raise _refused(address, error) from error
            if type(error).__module__.startswith(_FOREIGN):
                raise DependencyUnavailable("object store", f"{address}: {error}") from error
            raise


def is_remote(address: str) -> bool:
    """Whether the address is of an object store and no folder."""
    return "://" in address and not address.startswith(_FILE)


def _split(address: str) -> tuple[str, str]:
    """(scheme, path as fsspec takes it, without a slash at its end)."""
    if address.startswith(_FILE):
        # The plain prefix, as everywhere: an address that we made is a path behind it.
        path = Path(address.removeprefix(_FILE))
        if not path.is_absolute():
            raise _unusable(address)
        return "file", str(path)
    if "::" in address or (":" in address and "://" not in address):
        raise _unusable(address)
    if "://" not in address:
        if not address:
            raise _unusable(address)
        return "file", str(Path(address).absolute())
    parts = urlsplit(address)
    if parts.scheme not in SCHEMES or parts.query or parts.fragment or parts.password:
        raise _unusable(address)
    if not parts.netloc or ".." in parts.path.split("/"):
        raise _unusable(address)
    return parts.scheme, (parts.netloc + parts.path).rstrip("/")


def _unusable(address: str) -> SettingsInvalid:
    return SettingsInvalid(
        f"{address[:200]!r} is no address of a store of models",
        "Give a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or abfs://CONTAINER/PREFIX",
    )


def _refused(address: str, error: Exception) -> SettingsInvalid:
    return SettingsInvalid(
        f"the store refuses access to {address}: {error}",
        "Give this program credentials, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )


def _system(scheme: str, address: str) -> Any:
    try:
        import fsspec  # noqa: PLC0415

        options = {**_S3} if scheme == "s3" else {}
        return fsspec.filesystem(scheme, skip_instance_cache=True, **options)
    except ImportError as error:
        what = _CLIENTS.get(scheme, "fsspec")
        raise SettingsInvalid(
            f"{address} needs {what}, which is not installed",
            "Install millstream[registry]" + (f", and {what}" if scheme in {"gs", "abfs"} else ""),
        ) from error


def _copied_whole(file: Path, target: Path) -> None:
    with claimed(target.parent, target.name) as draft:
        shutil.copyfile(file, draft / "object")
        sync_file(draft / "object")
        (draft / "object").replace(target)
        draft.rmdir()
    sync_folder(target.parent)


def _linked(target: Path, content: bytes) -> None:
    with claimed(target.parent, target.name) as draft:
        write_whole(draft / "object", content)
        try:
            os.link(draft / "object", target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    sync_folder(target.parent)
