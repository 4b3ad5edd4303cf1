"""The registry in a bucket: what it asks of the store; the rest is tests/contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.models.object_registry import ObjectRegistry
from consumers.models.objects import Objects
from millstream.errors import BundleInvalid
from tests.millstream.models.graphs import one_node, written


def test_a_version_that_is_there_is_not_sent_again(s3_address: str, tmp_path: Path) -> None:
    """Another model of the same version leaves nothing in the bucket."""
    registry, objects = ObjectRegistry(s3_address), Objects(s3_address)
    bundle = written(tmp_path / "bundle")
    first = registry.add(bundle.folder, {})
    blobs = objects.names("blobs/sha256")
    objects.write(f"blobs/sha256/{blobs[0]}", b"")  # an upload would mend it
    other = written(tmp_path / "other", one_node("Neg")())
    with pytest.raises(BundleInvalid, match="registered with"):
        registry.add(other.folder, {})
    assert objects.names("blobs/sha256") == blobs
    assert objects.size(f"blobs/sha256/{blobs[0]}") == 0
    assert registry.find("test", "1") == first


def test_what_is_unknown_is_said_without_reading_the_others(
    s3_address: str, tmp_path: Path
) -> None:
    """One that is damaged is named as any other."""
    registry = ObjectRegistry(s3_address)
    registry.add(written(tmp_path / "bundle").folder, {})
    Objects(s3_address).write("models/test/versions/1.json", b"{")
    with pytest.raises(BundleInvalid, match="versions of test are: 1"):
        registry.find("test", "2")
