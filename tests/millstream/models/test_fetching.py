"""A bundle fetched: whole or not at all, going on where it was cut, refused when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.errors import BundleInvalid, DependencyUnavailable
from millstream.models.bundle import Bundle
from millstream.models.fetching import cached, fetch_bundle
from millstream.models.manifest import BundleFile, Manifest, manifest_of
from millstream.models.reference import ModelReference
from tests.millstream.models.graphs import written


class Shelf:
    """A Source in memory that gives up to `pace` bytes a read, and breaks after `breaks` bytes."""

    def __init__(self, folder: Path, pace: int = 100) -> None:
        self.contents = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.pace = pace
        self.breaks: list[int] = []
        self.given = 0

    def read(self, file: BundleFile, start: int, length: int) -> bytes:
        """See Source."""
        if self.breaks and self.given >= self.breaks[0]:
            self.breaks.pop(0)
            raise DependencyUnavailable("shelf", "cut")
        content = self.contents[file.name][start : start + min(length, self.pace)]
        self.given += len(content)
        return content


def stored(folder: Path) -> tuple[ModelReference, Manifest, Shelf]:
    """A bundle with a larger file beside it, its manifest, and where its files are."""
    bundle = written(folder)
    (folder / "profile.json").write_bytes(bytes(range(256)) * 4)
    manifest = manifest_of(bundle)
    reference = ModelReference(bundle.name, bundle.version, bundle.digest)
    return reference, manifest, Shelf(folder)


def test_what_was_fetched_is_the_bundle_and_is_fetched_once(tmp_path: Path) -> None:
    """A folder named by the digest, with progress up to all bytes; then not a byte more."""
    reference, manifest, shelf = stored(tmp_path / "there")
    seen: list[tuple[int, int]] = []
    folder = fetch_bundle(
        reference, manifest, shelf, tmp_path / "cache", lambda done, of: seen.append((done, of))
    )
    assert folder == cached(reference, tmp_path / "cache")
    assert folder.name == reference.digest.removeprefix("sha256:")
    assert Bundle.load(folder).digest == reference.digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == shelf.contents
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert seen == sorted(seen)
    assert seen[-1] == (manifest.size, manifest.size)
    given = shelf.given
    assert given == manifest.size
    assert fetch_bundle(reference, manifest, shelf, tmp_path / "cache") == folder
    assert shelf.given == given


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(breaks=st.lists(st.integers(0, 1_500), max_size=6), pace=st.integers(1, 700))
def test_wherever_it_is_cut_it_goes_on_from_there(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[int], pace: int
) -> None:
    """The bundle is whole at the end, no byte was asked for twice, and none is in sight before."""
    tmp_path = tmp_path_factory.mktemp("cut")
    reference, manifest, shelf = stored(tmp_path / "there")
    shelf.breaks, shelf.pace = sorted(breaks), pace
    for _ in range(len(breaks) + 1):
        try:
            fetch_bundle(reference, manifest, shelf, tmp_path / "cache")
            break
        except DependencyUnavailable:
            assert not cached(reference, tmp_path / "cache").exists()
    assert Bundle.load(cached(reference, tmp_path / "cache")).digest == reference.digest
    assert shelf.given == manifest.size


def test_a_part_that_the_disk_spoilt_is_fetched_again(tmp_path: Path) -> None:
    """A fetch was cut, and what it had written changed before the next one."""
    reference, manifest, shelf = stored(tmp_path / "there")
    shelf.breaks = [manifest.size - 300]
    with pytest.raises(DependencyUnavailable):
        fetch_bundle(reference, manifest, shelf, tmp_path / "cache")
    (part,) = (tmp_path / "cache").rglob("*.part")
    part.write_bytes(bytes(part.stat().st_size))
    folder = fetch_bundle(reference, manifest, shelf, tmp_path / "cache")
    assert Bundle.load(folder).digest == reference.digest


@pytest.mark.parametrize("name", ["model.onnx", "bundle.toml", "profile.json"])
@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_a_damaged_file_is_refused_and_nothing_is_placed(
    tmp_path: Path, name: str, damage: str
) -> None:
    """A flipped bit or a file that ends early: every file counts, not the model alone."""
    reference, manifest, shelf = stored(tmp_path / "there")
    content = bytearray(shelf.contents[name])
    content[len(content) // 2] ^= 1
    shelf.contents[name] = {
        "flipped": bytes(content),
        "short": bytes(content[:-1]),
        "gone": b"",
    }[damage]
    with pytest.raises(BundleInvalid, match=f"{name} is damaged where it is stored"):
        fetch_bundle(reference, manifest, shelf, tmp_path / "cache")
    assert not cached(reference, tmp_path / "cache").exists()
    assert list((tmp_path / "cache").rglob("*.part")) == []


def test_a_damaged_copy_in_the_cache_is_replaced(tmp_path: Path) -> None:
    """It is not believed because of its name."""
    reference, manifest, shelf = stored(tmp_path / "there")
    folder = fetch_bundle(reference, manifest, shelf, tmp_path / "cache")
    (folder / "model.onnx").write_bytes(b"damaged")
    assert fetch_bundle(reference, manifest, shelf, tmp_path / "cache") == folder
    assert Bundle.load(folder).digest == reference.digest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_another_model_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    """Before a byte is fetched."""
    reference, manifest, shelf = stored(tmp_path / "there")
    other = ModelReference(reference.name, reference.version, "sha256:" + "0" * 64)
    with pytest.raises(BundleInvalid, match="was asked for"):
        fetch_bundle(other, manifest, shelf, tmp_path / "cache")
    assert shelf.given == 0


def test_a_manifest_that_lies_about_the_card_is_refused(tmp_path: Path) -> None:
    """Digests are right, but the bundle says that it is another version."""
    _, manifest, shelf = stored(tmp_path / "there")
    lying = manifest.model_copy(update={"version": "2"})
    reference = ModelReference("test", "2", manifest.digest)
    with pytest.raises(BundleInvalid, match="says that it is another"):
        fetch_bundle(reference, lying, shelf, tmp_path / "cache")
    assert not cached(reference, tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_a_dependency(tmp_path: Path) -> None:
    """A file is where the folder should be."""
    reference, manifest, shelf = stored(tmp_path / "there")
    (tmp_path / "cache").touch()
    with pytest.raises(DependencyUnavailable, match="disk"):
        fetch_bundle(reference, manifest, shelf, tmp_path / "cache")
