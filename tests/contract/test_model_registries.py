"""What everybody takes for granted of a registry of models, asked of each kind there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.reference import ModelReference
from millstream.models.registry import ModelRegistry, resolve
from tests.contract.model_registries import KINDS, opened
from tests.millstream.models.graphs import identity, one_node, written


@pytest.fixture(params=KINDS)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """Each kind in turn, empty."""
    return opened(request, tmp_path)


def test_an_empty_registry_has_nothing(registry: ModelRegistry) -> None:
    """No names, no versions, no aliases; what is asked for is named."""
    assert registry.names() == []
    assert registry.versions("test") == []
    assert registry.alias("test", "champion") is None
    with pytest.raises(BundleInvalid, match="no model test@1"):
        registry.find("test", "1")
    with pytest.raises(BundleInvalid, match="no test at all"):
        resolve(registry, "test@champion")


def test_what_was_added_is_found_with_its_tags(registry: ModelRegistry, tmp_path: Path) -> None:
    """By name and version, with the time, and nothing of it changes by adding it again."""
    bundle = written(tmp_path / "bundle")
    before = datetime.now(UTC)
    reference = registry.add(bundle.folder, {"stage": "shadow", "note": "für alle, 100 %"})
    assert (reference.name, reference.version, reference.digest) == ("test", "1", bundle.digest)
    assert registry.find("test", "1") == reference
    assert registry.names() == ["test"]
    assert registry.add(bundle.folder, {"stage": "other"}) == reference
    (entry,) = registry.versions("test")
    assert entry.reference == reference
    assert entry.tags == {"stage": "shadow", "note": "für alle, 100 %"}
    second = timedelta(seconds=1)
    assert before - second <= entry.created_at <= datetime.now(UTC) + second


def test_versions_are_in_the_order_in_which_they_were_added(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    """Not in that of their names."""
    for version in ("2", "10", "1"):
        registry.add(written(tmp_path / version, version=version).folder, {})
    registry.add(written(tmp_path / "other", name="other").folder, {})
    assert [entry.reference.version for entry in registry.versions("test")] == ["2", "10", "1"]
    assert registry.names() == ["other", "test"]


def test_a_version_never_becomes_another_model(registry: ModelRegistry, tmp_path: Path) -> None:
    """Another digest under the same name and version is refused, and the first one stays."""
    first = registry.add(written(tmp_path / "a").folder, {})
    other = written(tmp_path / "b", one_node("Neg")())
    with pytest.raises(BundleInvalid, match="registered with sha256:"):
        registry.add(other.folder, {})
    assert registry.find("test", "1") == first


def test_a_version_never_decides_otherwise(registry: ModelRegistry, tmp_path: Path) -> None:
    """The same model with another threshold is another version; another date of it is not."""
    binary = {"kind": "binary", "labels": ("no", "yes"), "positive": "yes"}
    proto = identity(width=2)
    first = written(tmp_path / "a", proto, names=("a", "b"), threshold=0.5, **binary)
    registry.add(first.folder, {})
    other = written(tmp_path / "b", proto, names=("a", "b"), threshold=0.6, **binary)
    with pytest.raises(BundleInvalid, match="another threshold"):
        registry.add(other.folder, {})
    later = datetime(2027, 1, 1, tzinfo=UTC)
    same = written(tmp_path / "c", proto, names=("a", "b"), threshold=0.5, created=later, **binary)
    registry.add(same.folder, {})


def test_a_broken_bundle_is_never_registered(registry: ModelRegistry, tmp_path: Path) -> None:
    """Nor one whose folder holds a link."""
    bundle = written(tmp_path / "bundle")
    (bundle.folder / "profile.json").symlink_to("/etc/passwd")
    with pytest.raises(BundleInvalid, match="not a plain file"):
        registry.add(bundle.folder, {})
    (bundle.folder / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleInvalid, match="digest"):
        registry.add(bundle.folder, {})
    assert registry.names() == []


def test_what_is_fetched_is_what_was_added(registry: ModelRegistry, tmp_path: Path) -> None:
    """Every file but the curve of this machine; a second fetch uses the first one's folder."""
    bundle = written(tmp_path / "bundle")
    (bundle.folder / "passport.json").write_bytes(b"{}")
    (bundle.folder / "tuning.json").write_bytes(b"{}")
    reference = registry.add(bundle.folder, {})
    seen: list[tuple[int, int]] = []
    folder = registry.fetch(reference, tmp_path / "cache", lambda *found: seen.append(found))
    assert seen[-1][0] == seen[-1][1] > 0
    assert Bundle.load(folder).card == bundle.card
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.toml",
        "model.onnx",
        "passport.json",
    ]
    assert registry.fetch(reference, tmp_path / "cache") == folder
    assert len(list((tmp_path / "cache").rglob("model.onnx"))) == 1


def test_another_digest_than_the_registered_is_not_fetched(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    """A release that names a digest gets that model or none."""
    reference = registry.add(written(tmp_path / "bundle").folder, {})
    other = ModelReference("test", "1", "sha256:" + "0" * 64, reference.location)
    with pytest.raises(BundleInvalid, match="was asked for"):
        registry.fetch(other, tmp_path / "cache")


def test_an_alias_means_the_version_it_was_set_to_last(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    """Each model has its own; one that was never set means nothing."""
    first, second = (
        registry.add(written(tmp_path / version, version=version).folder, {})
        for version in ("1", "2")
    )
    registry.set_alias("test", "champion", "1")
    registry.set_alias("test", "challenger", "2")
    assert registry.alias("test", "champion") == first
    registry.set_alias("test", "champion", "2")
    assert registry.alias("test", "champion") == second
    assert registry.alias("test", "challenger") == second
    assert registry.aliases("test") == {"champion": "2", "challenger": "2"}
    assert registry.aliases("other") == {}
    assert registry.alias("test", "former") is None
    assert registry.alias("other", "champion") is None
    assert resolve(registry, "test@champion") == second
    assert resolve(registry, "models:/test@champion") == second
    assert resolve(registry, "test@1") == first
    with pytest.raises(BundleInvalid, match="newest versions of test are: 1, 2"):
        resolve(registry, "test@3")


def test_an_alias_of_nothing_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    """An unknown version, an unknown model, a name that is a path."""
    registry.add(written(tmp_path / "1").folder, {})
    for name, alias, version in (
        ("test", "champion", "2"),
        ("other", "champion", "1"),
        ("test", "../champion", "1"),
        ("../test", "champion", "1"),
        ("test", "champion", "../1"),
    ):
        with pytest.raises(BundleInvalid):
            registry.set_alias(name, alias, version)
    assert registry.alias("test", "champion") is None


def test_a_tag_is_set_and_changed(registry: ModelRegistry, tmp_path: Path) -> None:
    """Of one version; what is no plain key, or too long, is refused."""
    registry.add(written(tmp_path / "1").folder, {"a": "1"})
    registry.tag("test", "1", "b", "2")
    registry.tag("test", "1", "a", "3\r\nlines")
    assert registry.versions("test")[0].tags == {"a": "3\r\nlines", "b": "2"}
    for key, value in (("../a", ""), ("", ""), ("a", "x" * 5_001), ("a", "\udcff")):
        with pytest.raises(BundleInvalid):
            registry.tag("test", "1", key, value)
    with pytest.raises(BundleInvalid, match="no model test@2"):
        registry.tag("test", "2", "a", "")
