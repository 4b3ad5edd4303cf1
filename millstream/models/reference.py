"""A model by name: which version, with which digest, and where it can be fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from millstream.errors import BundleInvalid

LOCATION_CHARS_MAX = 2_048

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URI = re.compile(r"models:/([^/@]+)[/@]([^/@]+)")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """One version of a model.

    digest: `sha256:` and 64 hexadecimal digits, of model.onnx: what Bundle.digest says.
    location: the address of its artifact, or a bundle's folder; empty asks the stream's registry.
    Raises BundleInvalid where a part is not of its form: names become folders' names.
    """

    name: str
    version: str
    digest: str
    location: str = ""

    def __post_init__(self) -> None:
        require_word("model", self.name)
        require_word("version", self.version)
        if not _DIGEST.fullmatch(self.digest):
            raise BundleInvalid(
                f"{self.digest[:100]!r} is no digest of a model",
                "Give sha256: and 64 hexadecimal digits, as bundle.toml has it",
            )
        if len(self.location) > LOCATION_CHARS_MAX or not self.location.isprintable():
            raise BundleInvalid(
                f"the location of {self.label} is no address of a model",
                f"Give a URL or a path of up to {LOCATION_CHARS_MAX} printable characters",
            )

    @property
    def label(self) -> str:
        """name@version, as people write it."""
        return f"{self.name}@{self.version}"

    def means(self, other: ModelReference) -> bool:
        """Whether it is the same model, wherever the two lie."""
        return (self.label, self.digest) == (other.label, other.digest)

    def as_dict(self) -> dict[str, str]:
        """Its fields; `of` gives the reference back."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "location": self.location,
        }

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> ModelReference:
        """The reference of these fields. Raises BundleInvalid where one is missing or wrong."""
        try:
            return cls(
                fields["name"], fields["version"], fields["digest"], fields.get("location", "")
            )
        except KeyError as missing:
            raise BundleInvalid(
                f"a reference to a model has no {missing.args[0]}", "Write the reference again"
            ) from None


def require_word(what: str, text: str) -> str:
    """`text`, where it can be a folder's name and a header. Raises BundleInvalid."""
    if not _WORD.fullmatch(text):
        raise BundleInvalid(
            f"{text[:100]!r} is no name for a {what}",
            "Use letters, digits, '.', '_' and '-', a letter or digit first, 128 at most",
        )
    return text


def asked_for(text: str) -> tuple[str, str]:
    """(name, version or alias) of `NAME@X`, `models:/NAME@X` or `models:/NAME/X`.

    Raises BundleInvalid where it is none of these.
    """
    found = _URI.fullmatch(text)
    name, _, chosen = (found[1], "", found[2]) if found else text.partition("@")
    if not _WORD.fullmatch(name) or not _WORD.fullmatch(chosen):
        raise BundleInvalid(
            f"{text[:200]!r} names no model",
            "Write NAME@VERSION or NAME@ALIAS, such as loans@3 or loans@champion",
        )
    return name, chosen
