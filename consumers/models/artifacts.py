"""Bundles in a store, every byte addressed by its digest: in a folder, in S3, or the like.

    ROOT/blobs/sha256/HEX        a file of a bundle; the same file is stored once
    ROOT/manifests/HEX.json      which files a version consists of; the address of a model

The address holds the manifest's digest and the manifest each file's: whoever can change the store
cannot change what an address means, only break it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from consumers.models.objects import Objects
from millstream.errors import BundleInvalid
from millstream.models.bundle import CARD_BYTES_MAX, CARD_FILE, Bundle, digest_of
from millstream.models.card import Card, read_card
from millstream.models.fetching import Progress, Source, cached, damaged, fetch_bundle, whole
from millstream.models.manifest import BundleFile, Manifest, manifest_of, read_manifest
from millstream.models.reference import ModelReference
from millstream.models.registry import FolderSource

MANIFEST_BYTES_MAX: Final = 1 << 16
_ADDRESS: Final = re.compile(r"(?P<root>.+)/manifests/(?P<hex>[0-9a-f]{64})\.json")


class ArtifactStore:
    """Bundles below one address: a folder's path or a URL; see Objects for what it raises."""

    def __init__(self, address: str) -> None:
        self._objects = Objects(address)

    @property
    def address(self) -> str:
        """As a URL, without a slash at its end."""
        return self._objects.address

    def put(self, bundle_folder: Path, progress: Progress | None = None) -> ModelReference:
        """Store the bundle in this folder; a reference whose location is its address.

        What is stored already is not sent again, so a put that was cut goes on. The manifest is
        written last: an address that is known is whole. Raises BundleInvalid as Bundle.load does.
        """
        bundle = Bundle.load(bundle_folder)
        manifest = manifest_of(bundle)
        done = 0
        for file in manifest.files:
            if self._objects.size(_blob(file)) != file.size:
                self._objects.put(bundle.folder / file.name, _blob(file))
            done += file.size
            if progress is not None:
                progress(done, manifest.size)
        if manifest_of(bundle) != manifest:
            raise BundleInvalid(
                f"{bundle_folder} was changed while it was read", "Add it again when it is still"
            )
        content = manifest.encoded()
        name = f"manifests/{hashlib.sha256(content).hexdigest()}.json"
        self._objects.write(name, content)
        return ModelReference(
            bundle.name, bundle.version, bundle.digest, f"{self._objects.address}/{name}"
        )

    def source(self) -> Source:
        """Where the files of the bundles that are stored here are read from."""
        return _Blobs(self._objects)

    def manifest(self, digest: str) -> Manifest:
        """The manifest of this hexadecimal digest. Raises BundleInvalid where it is damaged."""
        name = f"manifests/{digest}.json"
        content = self._objects.read(name, 0, MANIFEST_BYTES_MAX + 1)
        address = f"{self._objects.address}/{name}"
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleInvalid(
                f"{address} is damaged: its digest is another",
                "Restore it from a backup, or release another version",
            )
        return read_manifest(content, address)


class _Blobs:
    """A Source; looks at a file's size once, before the first byte of it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._sized: set[str] = set()

    def read(self, file: BundleFile, start: int, length: int) -> bytes:
        """See Source."""
        name = _blob(file)
        if name not in self._sized and self._objects.size(name) != file.size:
            raise BundleInvalid(
                f"{file.name} is damaged where it is stored: {self._objects.address}/{name} is "
                f"missing, or not of {file.size:,} bytes",
                "Restore it from a backup, or release another version",
            )
        self._sized.add(name)
        return self._objects.read(name, start, length)


def fetch_located(reference: ModelReference, into: Path, progress: Progress | None = None) -> Path:
    """The bundle at the reference's location, as a folder below `into`.

    location: an address that `ArtifactStore.put` gave, or the absolute path (or file URL) of a
    bundle's folder. A bundle that is in `into` already is used, and its location not asked.
    Raises BundleInvalid where there is no such address, or what is there is damaged or another
    model; DependencyUnavailable where it may succeed later: then the next call goes on.
    """
    target = cached(reference, into)
    if whole(target, reference):
        return target
    found = _ADDRESS.fullmatch(reference.location)
    if found is None:
        folder = _folder(reference)
        bundle = Bundle.load(folder)
        return fetch_bundle(reference, manifest_of(bundle), FolderSource(folder), into, progress)
    store = ArtifactStore(found["root"])
    return fetch_bundle(reference, store.manifest(found["hex"]), store.source(), into, progress)


def card_at(location: str) -> Card:
    """The card of the bundle at an address that `ArtifactStore.put` gave.

    Raises BundleInvalid where there is none, or it is damaged; DependencyUnavailable.
    """
    found = _ADDRESS.fullmatch(location)
    if found is None:
        raise _no_address(location)
    store = ArtifactStore(found["root"])
    file = store.manifest(found["hex"]).file(CARD_FILE)
    content = store.source().read(file, 0, min(file.size, CARD_BYTES_MAX))
    if digest_of(content) != file.digest:
        raise damaged(file)
    return read_card(content, Path(CARD_FILE))


def _blob(file: BundleFile) -> str:
    return f"blobs/sha256/{file.digest.removeprefix('sha256:')}"


def _folder(reference: ModelReference) -> Path:
    path = Path(reference.location.removeprefix("file://"))
    if not path.is_absolute():
        raise _no_address(reference.location)
    return path


def _no_address(location: str) -> BundleInvalid:
    return BundleInvalid(
        f"{location!r} is no address of a model",
        "Release a model of the registry: `millstream models list` shows its address",
    )
