"""Releases for tests."""

from __future__ import annotations

from typing import Any

from millstream.models.reference import ModelReference
from millstream.releases.release import Kind, Release


def model(version: int | str, name: str = "loans") -> ModelReference:
    """A reference whose digest follows from its name and version."""
    digit = f"{sum(f'{name}{version}'.encode()) % 65_536:04x}"
    return ModelReference(name, str(version), f"sha256:{digit * 16}")


def release(number: int, **more: Any) -> Release:
    """Release `number`, of model version `number` at once, unless told otherwise."""
    given: dict[str, Any] = {"champion": model(number), "kind": Kind.RELEASE} | more
    return Release(id=f"r{number}", number=number, stream="loans", **given)
