"""The registry of models in an object store, without a server: what S3 alone can keep.

    ROOT/models/NAME/versions/VERSION.json     when it was added, its address, its first tags
    ROOT/models/NAME/tags/VERSION/KEY          a tag that was set later
    ROOT/models/NAME/aliases/ALIAS             the version that it means

beside the artifacts themselves (artifacts.py). A version's object is created only if it
is not there, which the store decides: of two that add it at once one is told no. Tags and aliases
are replaced whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumers.models.artifacts import ArtifactStore, card_at, fetch_located
from consumers.models.objects import Objects
from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.fetching import Progress
from millstream.models.reference import ModelReference, require_word
from millstream.models.registry import (
    TAG_CHARS_MAX,
    Entry,
    require_same_answers,
    require_same_model,
    require_tag,
    unknown,
)

_ENTRY_BYTES_MAX = 1 << 20


def _now() -> datetime:
    return datetime.now(UTC)


class ObjectRegistry:
    """A ModelRegistry below an address such as s3://BUCKET/PREFIX. See Objects for its errors."""

    def __init__(self, address: str, clock: Callable[[], datetime] = _now) -> None:
        self._objects = Objects(address)
        self._artifacts = ArtifactStore(address)
        self._clock = clock

    def add(self, bundle_folder: Path, tags: Mapping[str, str]) -> ModelReference:
        """See ModelRegistry."""
        for key, value in tags.items():
            require_tag(key, value)
        bundle = Bundle.load(bundle_folder)
        file = f"models/{bundle.name}/versions/{bundle.version}.json"
        if self._objects.size(file) is not None:
            return self._same(bundle)
        reference = self._artifacts.put(bundle_folder)
        fields = {
            "created_at": self._clock().isoformat(),
            "digest": reference.digest,
            "location": reference.location,
            "tags": dict(tags),
        }
        if self._objects.create(file, json.dumps(fields).encode()):
            return reference
        return self._same(bundle)

    def find(self, name: str, version: str) -> ModelReference:
        """See ModelRegistry."""
        require_word("model", name)
        file = f"models/{name}/versions/{require_word('version', version)}.json"
        if self._objects.size(file) is None:
            raise unknown(name, version, self._versions(name))
        return self._entry(name, version).reference

    def names(self) -> list[str]:
        """See ModelRegistry."""
        return self._objects.names("models")

    def versions(self, name: str) -> list[Entry]:
        """See ModelRegistry."""
        require_word("model", name)
        entries = [self._entry(name, version) for version in self._versions(name)]
        return sorted(entries, key=lambda entry: (entry.created_at, entry.reference.version))

    def fetch(
        self, reference: ModelReference, into: Path, progress: Progress | None = None
    ) -> Path:
        """See ModelRegistry. Where the reference has a location, that is asked."""
        there = reference if reference.location else self.find(reference.name, reference.version)
        asked = ModelReference(reference.name, reference.version, reference.digest, there.location)
        return fetch_located(asked, into, progress)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See ModelRegistry."""
        require_word("alias", alias)
        self.find(name, version)
        self._objects.write(f"models/{name}/aliases/{alias}", version.encode())

    def alias(self, name: str, alias: str) -> ModelReference | None:
        """See ModelRegistry."""
        require_word("model", name)
        file = f"models/{name}/aliases/{require_word('alias', alias)}"
        return None if self._objects.size(file) is None else self.find(name, self._text(file))

    def aliases(self, name: str) -> dict[str, str]:
        """See ModelRegistry."""
        folder = f"models/{require_word('model', name)}/aliases"
        return {alias: self._text(f"{folder}/{alias}") for alias in self._objects.names(folder)}

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """See ModelRegistry."""
        require_tag(key, value)
        self.find(name, version)
        self._objects.write(f"models/{name}/tags/{version}/{key}", value.encode())

    def _same(self, offered: Bundle) -> ModelReference:
        """What is registered, where that is this very bundle."""
        there = self.find(offered.name, offered.version)
        require_same_model(there, ModelReference(offered.name, offered.version, offered.digest))
        require_same_answers(card_at(there.location), offered.card)
        return there

    def _versions(self, name: str) -> list[str]:
        """Their names, without reading them."""
        files = self._objects.names(f"models/{name}/versions")
        return [file.removesuffix(".json") for file in files]

    def _entry(self, name: str, version: str) -> Entry:
        file = f"models/{name}/versions/{version}.json"
        content = self._objects.read(file, 0, _ENTRY_BYTES_MAX)
        try:
            fields: dict[str, Any] = json.loads(content)
            created_at = datetime.fromisoformat(fields["created_at"])
            tags = {str(key): str(value) for key, value in fields["tags"].items()}
            reference = ModelReference(
                name, version, str(fields["digest"]), str(fields["location"])
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BundleInvalid(
                f"{self._objects.address}/{file} is damaged", "Restore it from a backup"
            ) from None
        for key in self._objects.names(f"models/{name}/tags/{version}"):
            tags[key] = self._text(f"models/{name}/tags/{version}/{key}")
        return Entry(reference, created_at, tags)

    def _text(self, name: str) -> str:
        return self._objects.read(name, 0, 4 * TAG_CHARS_MAX).decode("utf-8", "replace")
