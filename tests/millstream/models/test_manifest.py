"""Manifests: the files of a bundle, and nothing that could lie outside its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle, digest_of
from millstream.models.manifest import (
    BUNDLE_BYTES_MAX,
    FILES_MAX,
    Manifest,
    manifest_of,
    read_manifest,
)
from tests.millstream.models.graphs import written


def test_a_manifest_names_every_file_but_the_curve_of_this_machine(tmp_path: Path) -> None:
    """With digest and size; it comes back from its bytes."""
    bundle = written(tmp_path / "bundle")
    (bundle.folder / "passport.json").write_bytes(b"{}")
    (bundle.folder / "tuning.json").write_bytes(b"{}")
    (bundle.folder / ".DS_Store").write_bytes(b"{}")
    manifest = manifest_of(bundle)
    assert [file.name for file in manifest.files] == ["bundle.toml", "model.onnx", "passport.json"]
    assert manifest.file("passport.json").digest == digest_of(b"{}")
    assert manifest.file("passport.json").size == 2
    assert manifest.size == 2 + sum(
        (bundle.folder / name).stat().st_size for name in ("bundle.toml", "model.onnx")
    )
    assert read_manifest(manifest.encoded(), "here") == manifest


def _link(folder: Path) -> None:
    (folder / "profile.json").symlink_to("/etc/passwd")


def _folder(folder: Path) -> None:
    (folder / "more").mkdir()


def _name(folder: Path) -> None:
    (folder / "a name with blanks").touch()


def _changed(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"another")


def _many(folder: Path) -> None:
    for number in range(FILES_MAX):
        (folder / f"file{number}").touch()


@pytest.mark.parametrize("damage", [_link, _folder, _name, _changed, _many])
def test_a_folder_that_is_no_plain_bundle_has_no_manifest(tmp_path: Path, damage: object) -> None:
    """Links, folders, odd names, a model changed since, too many files."""
    bundle = written(tmp_path / "bundle")
    damage(bundle.folder)  # type: ignore[operator]
    with pytest.raises(BundleInvalid):
        manifest_of(Bundle(bundle.folder, bundle.card, bundle.model_bytes))


def _manifest(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(manifest_of(written(tmp_path / "b")).encoded())
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../x"),
        ("version", ""),
        ("digest", "sha256:" + "0" * 64),
        ("files", []),
        ("more", 1),
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    """And the place it is from is named."""
    with pytest.raises(BundleInvalid, match=r"^s3://b/x is no manifest"):
        read_manifest(json.dumps({**_manifest(tmp_path), key: value}).encode(), "s3://b/x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../../etc/cron.d/x"),
        ("name", "/etc/passwd"),
        ("name", ".."),
        ("name", "bundle.toml"),
        ("size", -1),
        ("size", BUNDLE_BYTES_MAX + 1),
        ("size", "1"),
        ("digest", "md5:0"),
    ],
)
def test_a_file_that_leaves_the_folder_or_all_bounds_is_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    """By its name, its size, its digest, or because it is there twice."""
    fields = _manifest(tmp_path)
    extra = {"name": "profile.json", "digest": "sha256:" + "0" * 64, "size": 1, key: value}
    fields["files"] = [*fields["files"], extra]  # type: ignore[misc]
    with pytest.raises(BundleInvalid):
        read_manifest(json.dumps(fields).encode(), "here")


def test_a_manifest_of_more_bytes_than_a_bundle_may_have_is_refused(tmp_path: Path) -> None:
    """Though each file is within the bound."""
    fields = _manifest(tmp_path)
    fields["files"] = [
        *fields["files"],  # type: ignore[misc]
        {"name": "profile.json", "digest": "sha256:" + "0" * 64, "size": BUNDLE_BYTES_MAX},
    ]
    with pytest.raises(BundleInvalid, match="larger than"):
        read_manifest(json.dumps(fields).encode(), "here")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{" * 100_000])
def test_bytes_that_are_no_json_are_refused(content: bytes) -> None:
    """Not crashed on."""
    with pytest.raises(BundleInvalid):
        read_manifest(content, "here")


def test_a_manifest_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Its digest is its address."""
    bundle = written(tmp_path / "bundle")
    encoded = manifest_of(bundle).encoded()
    assert Manifest.model_validate_json(encoded).encoded() == encoded
