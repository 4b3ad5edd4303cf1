"""Bundles in a store by digest: cut and resumed through a real S3 server, damaged, refused."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.models.artifacts import ArtifactStore, card_at, fetch_located
from consumers.models.objects import Objects
from millstream.errors import BundleInvalid, DependencyUnavailable
from millstream.models.bundle import Bundle
from millstream.models.fetching import PART_BYTES, cached
from millstream.models.reference import ModelReference
from ops.faults.proxy import Proxy
from tests.millstream.models.graphs import written

LARGE = 3 * PART_BYTES + 123_456


@pytest.fixture
def proxy(s3_port: int, s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Between the S3 server and its clients."""
    with Proxy(s3_port) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{between.port}")
        yield between


def large(folder: Path) -> Bundle:
    """A bundle with a file of three parts and a bit."""
    bundle = written(folder)
    (folder / "profile.json").write_bytes(random.Random(1).randbytes(LARGE))
    return bundle


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store in turn."""
    if request.param == "folder":
        return str(tmp_path / "store")
    found: str = request.getfixturevalue("s3_address")
    return found


def test_a_bundle_comes_back_from_its_address_alone(address: str, tmp_path: Path) -> None:
    """Its location is all that a reader must know; storing it again changes nothing."""
    bundle = written(tmp_path / "bundle")
    seen: list[tuple[int, int]] = []
    reference = ArtifactStore(address).put(bundle.folder, lambda *found: seen.append(found))
    assert seen[-1][0] == seen[-1][1] > 0
    assert (reference.name, reference.version, reference.digest) == ("test", "1", bundle.digest)
    assert ArtifactStore(address).put(bundle.folder) == reference
    folder = fetch_located(reference, tmp_path / "cache")
    assert Bundle.load(folder).card == bundle.card == card_at(reference.location)
    assert len(Objects(address).names("manifests")) == 1


def test_the_same_file_is_stored_once(address: str, tmp_path: Path) -> None:
    """Two versions of one model: two cards, one model."""
    store = ArtifactStore(address)
    for version in ("1", "2"):
        store.put(written(tmp_path / version, version=version).folder)
    assert len(Objects(address).names("blobs/sha256")) == 3


def test_what_is_cached_is_not_asked_for(s3_address: str, proxy: Proxy, tmp_path: Path) -> None:
    """A scorer that has the model needs no store."""
    reference = ArtifactStore(s3_address).put(written(tmp_path / "bundle").folder)
    folder = fetch_located(reference, tmp_path / "cache")
    proxy.cut()
    assert fetch_located(reference, tmp_path / "cache") == folder


def test_a_fetch_cut_in_the_middle_goes_on_from_there(
    s3_address: str, proxy: Proxy, tmp_path: Path
) -> None:
    """Whole parts that arrived are not sent again; nothing is in sight before all of it is."""
    reference = ArtifactStore(s3_address).put(large(tmp_path / "bundle").folder)

    def cut(done: int, _: int) -> None:
        if done > 2 * PART_BYTES:
            proxy.cut()

    with pytest.raises(DependencyUnavailable, match="object store"):
        fetch_located(reference, tmp_path / "cache", cut)
    target = cached(reference, tmp_path / "cache")
    assert not target.exists()
    (part,) = target.parent.rglob("*.part")
    assert part.stat().st_size == 2 * PART_BYTES
    proxy.mend()
    before = proxy.passed_bytes
    assert fetch_located(reference, tmp_path / "cache") == target
    assert LARGE - 2 * PART_BYTES < proxy.passed_bytes - before < LARGE - PART_BYTES
    assert (target / "profile.json").read_bytes() == random.Random(1).randbytes(LARGE)


_FETCH = """
import sys, pathlib
from consumers.models.artifacts import fetch_located
from millstream.models.reference import ModelReference
def progress(done, size):
    if done > 2 * 8 * 2**20:
        print("middle", flush=True)
        sys.stdin.read()
fetch_located(ModelReference(*sys.argv[1:5]), pathlib.Path(sys.argv[5]), progress)
"""


def test_a_fetch_killed_in_the_middle_goes_on_from_there(
    s3_address: str, proxy: Proxy, tmp_path: Path
) -> None:
    """kill -9: the next process takes what lies there, after checking it."""
    reference = ArtifactStore(s3_address).put(large(tmp_path / "bundle").folder)
    process = subprocess.Popen(
        [sys.executable, "-c", _FETCH, *reference.as_dict().values(), str(tmp_path / "cache")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"middle\n"
    process.kill()
    process.communicate()
    before = proxy.passed_bytes
    folder = fetch_located(reference, tmp_path / "cache")
    assert proxy.passed_bytes - before < LARGE - PART_BYTES
    assert Bundle.load(folder).digest == reference.digest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_put_cut_in_the_middle_is_no_address_yet(
    s3_address: str, proxy: Proxy, tmp_path: Path
) -> None:
    """The manifest is last; the next put sends what is missing."""
    bundle, store = large(tmp_path / "bundle"), ArtifactStore(s3_address)

    def cut(done: int, _: int) -> None:
        proxy.cut()

    with pytest.raises(DependencyUnavailable):
        store.put(bundle.folder, cut)
    proxy.mend()
    assert Objects(s3_address).names("manifests") == []
    assert len(Objects(s3_address).names("blobs/sha256")) == 1
    reference = store.put(bundle.folder)
    assert fetch_located(reference, tmp_path / "cache").is_dir()


@pytest.mark.parametrize("name", ["model.onnx", "bundle.toml"])
@pytest.mark.parametrize("damage", ["flipped", "longer", "shorter"])
def test_a_damaged_object_is_refused(address: str, tmp_path: Path, name: str, damage: str) -> None:
    """A bit that flipped in the store, bytes more or fewer; when it is mended, all is well."""
    bundle = written(tmp_path / "bundle")
    reference = ArtifactStore(address).put(bundle.folder)
    objects = Objects(address)
    content = (bundle.folder / name).read_bytes()
    (blob,) = [
        blob
        for blob in (f"blobs/sha256/{name}" for name in objects.names("blobs/sha256"))
        if objects.read(blob, 0, 1 << 20) == content
    ]
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    changed = {"flipped": flipped, "longer": content + b"x", "shorter": content[:-1]}[damage]
    objects.write(blob, changed)
    with pytest.raises(BundleInvalid, match=f"{name} is damaged where it is stored"):
        fetch_located(reference, tmp_path / "cache")
    assert not cached(reference, tmp_path / "cache").exists()
    objects.write(blob, content)
    assert Bundle.load(fetch_located(reference, tmp_path / "cache")).card == bundle.card


@pytest.mark.parametrize("damage", [b"", b"# another\n"])
def test_a_damaged_card_is_not_read(address: str, tmp_path: Path, damage: bytes) -> None:
    """Of the same length or another: a registry compares by it what a version decides."""
    store, bundle = ArtifactStore(address), written(tmp_path / "bundle")
    location = store.put(bundle.folder).location
    digest = store.manifest(location.rpartition("/")[2].removesuffix(".json")).file("bundle.toml")
    content = (bundle.folder / "bundle.toml").read_bytes()
    changed = damage + content if damage else content.replace(b"regression", b"Regression")
    Objects(address).write(f"blobs/sha256/{digest.digest.removeprefix('sha256:')}", changed)
    with pytest.raises(BundleInvalid, match=r"bundle\.toml is damaged where it is stored"):
        card_at(location)


def test_a_changed_manifest_is_refused(address: str, tmp_path: Path) -> None:
    """The address holds its digest: whoever changes it cannot bring in other files."""
    reference = ArtifactStore(address).put(written(tmp_path / "bundle").folder)
    objects = Objects(address)
    name = "manifests/" + reference.location.rpartition("/")[2]
    objects.write(name, objects.read(name, 0, 1 << 16).replace(b"profile", b"x") + b" ")
    with pytest.raises(BundleInvalid, match="is damaged: its digest is another"):
        fetch_located(reference, tmp_path / "cache")


def test_a_manifest_that_names_files_outside_is_refused(address: str, tmp_path: Path) -> None:
    """Though its digest is right: whoever wrote the release record wrote both."""
    reference = ArtifactStore(address).put(written(tmp_path / "bundle").folder)
    objects = Objects(address)
    name = "manifests/" + reference.location.rpartition("/")[2]
    evil = objects.read(name, 0, 1 << 16).replace(b'"bundle.toml"', b'"../../bundle.toml"')
    digest = hashlib.sha256(evil).hexdigest()
    objects.write(f"manifests/{digest}.json", evil)
    location = f"{Objects(address).address}/manifests/{digest}.json"
    lured = ModelReference("test", "1", reference.digest, location)
    with pytest.raises(BundleInvalid, match="no manifest of a bundle"):
        fetch_located(lured, tmp_path / "cache")


def test_a_plain_folder_is_an_address_too(tmp_path: Path) -> None:
    """As a path or a URL, absolute; the digest must be the reference's."""
    bundle = written(tmp_path / "bundle")
    for location in (str(bundle.folder), f"file://{bundle.folder}"):
        reference = ModelReference("test", "1", bundle.digest, location)
        assert fetch_located(reference, tmp_path / "cache").is_dir()
    shutil.move(bundle.folder, tmp_path / "elsewhere")
    assert fetch_located(reference, tmp_path / "cache").is_dir(), "it is here already"
    shutil.move(tmp_path / "elsewhere", bundle.folder)
    other = ModelReference("test", "1", "sha256:" + "0" * 64, str(bundle.folder))
    with pytest.raises(BundleInvalid, match="was asked for"):
        fetch_located(other, tmp_path / "cache")


@pytest.mark.parametrize(
    "location", ["models/x", "http://host/x", "https://h/manifests/x.json", "../bundle", ""]
)
def test_what_is_no_address_is_refused(tmp_path: Path, location: str) -> None:
    """And nothing is asked."""
    reference = ModelReference("test", "1", "sha256:" + "0" * 64, location)
    with pytest.raises(BundleInvalid, match="no address of a model"):
        fetch_located(reference, tmp_path / "cache")
