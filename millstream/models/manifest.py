"""Which files a registered bundle consists of, each with its digest and its size."""

from __future__ import annotations

import json
import stat
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from millstream.errors import BundleInvalid
from millstream.models.bundle import CARD_FILE, MODEL_FILE, Bundle
from millstream.models.card import Digest, Word
from millstream.models.lineage import hash_of
from millstream.models.tuning import TUNING_FILE

BUNDLE_BYTES_MAX = (1 << 30) + (1 << 28)
FILES_MAX = 64

LEFT_OUT = frozenset({TUNING_FILE})
"""A curve is of one machine: it stays there."""


class BundleFile(BaseModel):
    """One file of a bundle. Its name has no separator, so that it lies in the bundle's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Word
    digest: Digest
    size: Annotated[int, Field(ge=0, le=BUNDLE_BYTES_MAX)]


class Manifest(BaseModel):
    """The files of one version of a model. digest: of model.onnx."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Word
    version: Word
    digest: Digest
    files: Annotated[tuple[BundleFile, ...], Field(max_length=FILES_MAX)]

    @model_validator(mode="after")
    def _is_a_bundle(self) -> Self:
        names = [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("it names a file twice")
        if CARD_FILE not in names or MODEL_FILE not in names:
            raise ValueError(f"it has no {CARD_FILE} or no {MODEL_FILE}")
        if self.file(MODEL_FILE).digest != self.digest:
            raise ValueError(f"its digest is not that of {MODEL_FILE}")
        if self.size > BUNDLE_BYTES_MAX:
            raise ValueError(f"its files are larger than {BUNDLE_BYTES_MAX:,} bytes")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, name: str) -> BundleFile:
        """The file of this name. Raises KeyError."""
        for file in self.files:
            if file.name == name:
                return file
        raise KeyError(name)

    def encoded(self) -> bytes:
        """JSON; the same manifest gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True).encode() + b"\n"


def read_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in these bytes. Raises BundleInvalid, naming `where` they are from."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleInvalid(
            f"{where} is no manifest of a bundle: {key + ': ' if key else ''}{first['msg']}",
            "Register the bundle again, under another version",
        ) from None


def manifest_of(bundle: Bundle) -> Manifest:
    """What lies in the bundle's folder: every file but those of this machine (tuning.json).

    Raises BundleInvalid where the folder holds a link, another folder, a name that is not plain,
    too many files or too many bytes, or where model.onnx was changed since it was loaded.
    """
    files = []
    for path in sorted(bundle.folder.iterdir()):
        if path.name in LEFT_OUT or path.name.startswith("."):
            continue
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleInvalid(
                f"{path} is not a plain file", "A bundle is one folder of plain files: take it out"
            )
        files.append((path.name, hash_of(path), path.stat().st_size))
    try:
        return Manifest(
            name=bundle.name,
            version=bundle.version,
            digest=bundle.digest,
            files=tuple(BundleFile(name=n, digest=d, size=s) for n, d, s in files),
        )
    except ValidationError as error:
        what = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise BundleInvalid(
            f"{bundle.folder} cannot be registered: {what}",
            f"Keep up to {FILES_MAX} plainly named files in it, and change none meanwhile",
        ) from None
