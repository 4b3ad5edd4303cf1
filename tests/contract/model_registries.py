"""Each kind of model registry, empty, for the tests that all of them must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.object_registry import ObjectRegistry
from millstream.models.registry import FolderRegistry, ModelRegistry

KINDS = ["folder", "s3"]


def opened(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """A new registry of the kind that the fixture's parameter names."""
    if request.param == "folder":
        return FolderRegistry(tmp_path / "models")
    address: str = request.getfixturevalue("s3_address")
    return ObjectRegistry(address)
