"""The registry of models: versions of bundles that never change, with tags and aliases.

FolderRegistry keeps it in files:

    ROOT/NAME/versions/VERSION/entry.json     when it was added; its files, each with its digest
    ROOT/NAME/versions/VERSION/bundle/        the bundle
    ROOT/NAME/versions/VERSION/tags/KEY       a tag's value
    ROOT/NAME/aliases/ALIAS                   the version that it means

A version is a folder that is renamed into its place whole; a tag and an alias are files that are
replaced whole. So a kill leaves nothing half done, and any number of processes may write.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from millstream.errors import BundleInvalid
from millstream.models.bundle import CARD_BYTES_MAX, Bundle, read_file
from millstream.models.card import Card, read_card
from millstream.models.durable import claimed, disk, sync_file, sync_folder, write_whole
from millstream.models.fetching import Progress, fetch_bundle
from millstream.models.manifest import BundleFile, Manifest, manifest_of, read_manifest
from millstream.models.reference import ModelReference, asked_for, require_word

TAG_CHARS_MAX = 5_000

_DESCRIPTIVE = {"created", "metrics", "window", "trained_by", "parity_max_diff"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered version. created_at: when it was registered, with a time zone."""

    reference: ModelReference
    created_at: datetime
    tags: Mapping[str, str]


class ModelRegistry(Protocol):
    """Where versions of models are kept. Whatever it raises is a MillstreamError."""

    def add(self, bundle_folder: Path, tags: Mapping[str, str]) -> ModelReference:
        """Register the bundle in this folder, by the name and version of its card.

        A version never changes: where this name and version are registered with the same model,
        nothing is done. Raises BundleInvalid where they are with another one, or with a card that
        makes other answers of it; and as Bundle.load does.
        """
        ...

    def find(self, name: str, version: str) -> ModelReference:
        """Raises BundleInvalid where there is none."""
        ...

    def names(self) -> list[str]:
        """The models of which there are versions, sorted."""
        ...

    def versions(self, name: str) -> list[Entry]:
        """Of one model, in the order of registration; none where the name is unknown."""
        ...

    def fetch(
        self, reference: ModelReference, into: Path, progress: Progress | None = None
    ) -> Path:
        """A folder below `into` with this very bundle; one that is there already is used.

        Raises BundleInvalid where the registry has not this version with this digest, or it is
        damaged; DependencyUnavailable where it may succeed later: then the next call goes on.
        """
        ...

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """From now on the alias means this version. Raises BundleInvalid where there is none."""
        ...

    def alias(self, name: str, alias: str) -> ModelReference | None:
        """What the alias means; None where it was never set."""
        ...

    def aliases(self, name: str) -> dict[str, str]:
        """Version by alias; none where the name is unknown."""
        ...

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag of a version. Raises BundleInvalid where there is no such version."""
        ...


def resolve(registry: ModelRegistry, text: str) -> ModelReference:
    """What `NAME@VERSION`, `NAME@ALIAS` or `models:/NAME@ALIAS` means; a version comes first.

    Raises BundleInvalid, naming what there is, where it means nothing.
    """
    name, chosen = asked_for(text)
    versions = [entry.reference for entry in registry.versions(name)]
    for reference in versions:
        if reference.version == chosen:
            return reference
    found = registry.alias(name, chosen)
    if found is None:
        raise unknown(name, chosen, [reference.version for reference in versions])
    return found


def unknown(name: str, version: str, known: list[str]) -> BundleInvalid:
    """The error that says what there is instead; `known`: versions, newest last."""
    newest = ", ".join(known[-5:])
    return BundleInvalid(
        f"the registry has no model {name}@{version}",
        f"The newest versions of {name} are: {newest}" if newest else f"It has no {name} at all",
    )


def require_tag(key: str, value: str) -> None:
    """Raises BundleInvalid where a tag's key is no plain word or its value is no text or long."""
    require_word("tag", key)
    if not value.isascii() and value.encode("utf-8", "replace").decode() != value:
        raise BundleInvalid(f"the tag {key} is no text", "Write it in UTF-8")
    if len(value) > TAG_CHARS_MAX:
        raise BundleInvalid(
            f"the tag {key} has {len(value):,} characters", f"Keep it to {TAG_CHARS_MAX:,}"
        )


def require_same_model(registered: ModelReference, offered: ModelReference) -> None:
    """Of two references to one version: raises BundleInvalid where the models differ."""
    if registered.digest != offered.digest:
        raise BundleInvalid(
            f"{offered.label} is registered with {registered.digest}, this one is {offered.digest}",
            "Give the bundle another version: a registered one never changes",
        )


def require_same_answers(registered: Card, offered: Card) -> None:
    """Of two cards of one version and model: raises BundleInvalid where they decide differently.

    The model's digest alone does not tell: threshold, labels and features are in the card.
    """
    there, here = (card.model_dump(exclude=_DESCRIPTIVE) for card in (registered, offered))
    differing = sorted(key for key in there if there[key] != here[key])
    if differing:
        raise BundleInvalid(
            f"{offered.name}@{offered.version} is registered with another "
            + ", ".join(key.replace("_", " ") for key in differing),
            "Give the bundle another version: a registered one never changes",
        )


class FolderRegistry:
    """A ModelRegistry in a folder, on a disk that the processes share. Needs nothing else."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, bundle_folder: Path, tags: Mapping[str, str]) -> ModelReference:
        """See ModelRegistry."""
        for key, value in tags.items():
            require_tag(key, value)
        bundle = Bundle.load(bundle_folder)
        reference = ModelReference(bundle.name, bundle.version, bundle.digest)
        place = self._place(reference.name, reference.version)
        with disk(place):
            if place.exists():
                return self._same(reference, bundle.card)
        with disk(place), claimed(place.parent, reference.version) as draft:
            _clear(draft)
            manifest = _copied(bundle, draft / "bundle")
            _describe(draft, manifest, tags)
            draft.chmod(0o755)
            try:
                draft.rename(place)
            except OSError:
                if not place.exists():
                    raise
                _clear(draft)
                draft.rmdir()
                return self._same(reference, bundle.card)
            sync_folder(place.parent)
        return reference

    def find(self, name: str, version: str) -> ModelReference:
        """See ModelRegistry."""
        return self._entry(name, version)[0].reference

    def names(self) -> list[str]:
        """See ModelRegistry."""
        return [name for name in _listed(self._root) if _listed(self._root / name / "versions")]

    def versions(self, name: str) -> list[Entry]:
        """See ModelRegistry."""
        folder = self._root / require_word("model", name) / "versions"
        entries = [self._entry(name, version)[0] for version in _listed(folder)]
        return sorted(entries, key=lambda entry: (entry.created_at, entry.reference.version))

    def fetch(
        self, reference: ModelReference, into: Path, progress: Progress | None = None
    ) -> Path:
        """See ModelRegistry. The reference's location is not asked: the model is here."""
        _, manifest = self._entry(reference.name, reference.version)
        folder = self._place(reference.name, reference.version) / "bundle"
        return fetch_bundle(reference, manifest, FolderSource(folder), into, progress)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See ModelRegistry."""
        require_word("alias", alias)
        self.find(name, version)
        folder = self._root / name / "aliases"
        with disk(folder):
            folder.mkdir(exist_ok=True)
            write_whole(folder / alias, f"{version}\n".encode())

    def alias(self, name: str, alias: str) -> ModelReference | None:
        """See ModelRegistry."""
        require_word("alias", alias)
        file = self._root / require_word("model", name) / "aliases" / alias
        with disk(file):
            version = _text(file) if file.exists() else None
        return None if version is None else self.find(name, version)

    def aliases(self, name: str) -> dict[str, str]:
        """See ModelRegistry."""
        folder = self._root / require_word("model", name) / "aliases"
        with disk(folder):
            return {alias: _text(folder / alias) for alias in _listed(folder)}

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """See ModelRegistry."""
        require_tag(key, value)
        self.find(name, version)
        file = self._place(name, version) / "tags" / key
        with disk(file):
            write_whole(file, value.encode())

    def _place(self, name: str, version: str) -> Path:
        require_word("model", name)
        return self._root / name / "versions" / require_word("version", version)

    def _entry(self, name: str, version: str) -> tuple[Entry, Manifest]:
        place = self._place(name, version)
        file = place / "entry.json"
        content = _bytes(file)
        if content is None:
            raise unknown(name, version, _listed(place.parent))
        found = {key: _bytes(place / "tags" / key) or b"" for key in _listed(place / "tags")}
        try:
            fields = json.loads(content)
            created_at = datetime.fromisoformat(fields["created_at"])
            manifest = read_manifest(json.dumps(fields["manifest"]).encode(), str(file))
            tags = {key: value.decode() for key, value in found.items()}
        except (ValueError, KeyError, TypeError):
            raise BundleInvalid(
                f"{file} or a tag beside it is damaged",
                "Restore the registry's folder from its backup",
            ) from None
        return Entry(ModelReference(name, version, manifest.digest), created_at, tags), manifest

    def _same(self, reference: ModelReference, card: Card) -> ModelReference:
        there = self.find(reference.name, reference.version)
        require_same_model(there, reference)
        file = self._place(there.name, there.version) / "bundle" / "bundle.toml"
        require_same_answers(read_card(read_file(file, CARD_BYTES_MAX), file), card)
        return there


class FolderSource:
    """A Source: the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, file: BundleFile, start: int, length: int) -> bytes:
        """See Source."""
        path = self._folder / file.name
        with disk(path):
            try:
                with path.open("rb") as stream:
                    stream.seek(start)
                    return stream.read(length)
            except FileNotFoundError:
                raise BundleInvalid(
                    f"{path} is missing", "Restore it from a backup, or release another version"
                ) from None


def _copied(bundle: Bundle, into: Path) -> Manifest:
    """Copy the bundle's files, and say what was copied: the same that was loaded."""
    into.mkdir()
    for file in manifest_of(bundle).files:
        shutil.copyfile(bundle.folder / file.name, into / file.name, follow_symlinks=False)
        sync_file(into / file.name)
    sync_folder(into)
    copy = Bundle.load(into)
    if (copy.card, copy.digest) != (bundle.card, bundle.digest):
        raise BundleInvalid(
            f"{bundle.folder} was changed while it was read", "Register it again when it is still"
        )
    return manifest_of(copy)


def _describe(draft: Path, manifest: Manifest, tags: Mapping[str, str]) -> None:
    (draft / "tags").mkdir()
    for key, value in tags.items():
        write_whole(draft / "tags" / key, value.encode())
    file = draft / "entry.json"
    # What the file system takes for now: nothing in here reads a clock.
    now = datetime.fromtimestamp((draft / "tags").stat().st_mtime, UTC)
    fields = {"created_at": now.isoformat(), "manifest": manifest.model_dump(mode="json")}
    write_whole(file, json.dumps(fields, indent=1).encode() + b"\n")
    sync_folder(draft)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _bytes(file: Path) -> bytes | None:
    """None where there is no such file."""
    with disk(file):
        return file.read_bytes() if file.exists() else None


def _text(file: Path) -> str:
    return file.read_text("utf-8", "replace").strip()


def _listed(folder: Path) -> list[str]:
    """Names in a folder, sorted, without drafts; none where it does not exist."""
    with disk(folder):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(name for name in names if not name.startswith("."))
