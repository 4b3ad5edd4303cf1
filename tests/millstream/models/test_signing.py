"""Signatures: of all files, by one key, checked before a bundle answers."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from millstream.errors import BundleInvalid, SettingsInvalid
from millstream.models.bundle import CARD_FILE, Bundle, digest_of
from millstream.models.passport import require_passport
from millstream.models.signing import (
    SIGNATURE_FILE,
    key_name,
    make_keys,
    sign,
    verify_signature,
)
from tests.millstream.models.passports import with_passport


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """A signed bundle's folder, and the public key."""
    private, public = make_keys(tmp_path / "keys", "release")
    bundle, _ = with_passport(tmp_path / "m")
    sign(bundle, private)
    return bundle.folder, public


def test_a_signed_bundle_is_taken(signed: tuple[Path, Path]) -> None:
    """Every file of it but tuning.json, which is of a machine, and what is hidden."""
    folder, public = signed
    (folder / "tuning.json").write_text("{}")
    (folder / ".cache").write_text("x")
    manifest = verify_signature(Bundle.load(folder), public)
    names = [file.name for file in manifest.files]
    assert names == ["bundle.toml", "golden.json", "model.onnx", "passport.json"]
    assert require_passport(Bundle.load(folder), "required", public) is not None


def test_signing_again_replaces_the_signature(signed: tuple[Path, Path], tmp_path: Path) -> None:
    """By another key: the first one no longer holds."""
    folder, public = signed
    private, other = make_keys(tmp_path / "keys", "other")
    sign(Bundle.load(folder), private)
    verify_signature(Bundle.load(folder), other)
    with pytest.raises(BundleInvalid, match=f"is by the key {key_name(other)}"):
        verify_signature(Bundle.load(folder), public)


def _flip_signature(folder: Path) -> None:
    file = folder / SIGNATURE_FILE
    fields = json.loads(file.read_text())
    raw = bytearray(base64.b64decode(fields["signature"]))
    raw[7] ^= 1
    fields["signature"] = base64.b64encode(bytes(raw)).decode()
    file.write_text(json.dumps(fields))


def _forge_the_manifest(folder: Path) -> None:
    """A file is changed, and its digest in the signature's manifest with it."""
    passport = folder / "passport.json"
    passport.write_text(passport.read_text() + " ")
    file = folder / SIGNATURE_FILE
    fields = json.loads(file.read_text())
    for entry in fields["manifest"]["files"]:
        if entry["name"] == "passport.json":
            entry["digest"] = digest_of(passport.read_bytes())
            entry["size"] += 1
    file.write_text(json.dumps(fields))


def _change_a_file(folder: Path) -> None:
    (folder / "golden.json").write_text("{}")


def _change_the_card(folder: Path) -> None:
    file = folder / CARD_FILE
    file.write_text(file.read_text().replace("threshold = 0.5", "threshold = 0.4"))


def _add_a_file(folder: Path) -> None:
    (folder / "profile.json").write_text("{}")


def _remove_a_file(folder: Path) -> None:
    (folder / "passport.json").unlink()


def _unsign(folder: Path) -> None:
    (folder / SIGNATURE_FILE).unlink()


def _garble(folder: Path) -> None:
    (folder / SIGNATURE_FILE).write_text('{"signature": 1}')


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (_flip_signature, "is forged or damaged"),
    (_forge_the_manifest, "is forged or damaged"),
    (_change_a_file, r"golden\.json was changed since it was signed"),
    (_change_the_card, r"bundle\.toml was changed since it was signed"),
    (_add_a_file, r"profile\.json was added since it was signed"),
    (_remove_a_file, r"passport\.json was taken away since it was signed"),
    (_unsign, "is not signed, and .* asks for"),
    (_garble, "is no signature of a bundle"),
]


@pytest.mark.parametrize(("break_it", "says"), BROKEN, ids=[b.__name__ for b, _ in BROKEN])
def test_what_was_not_signed_is_refused(
    signed: tuple[Path, Path], break_it: Callable[[Path], None], says: str
) -> None:
    """Even where no passport is asked for."""
    folder, public = signed
    break_it(folder)
    with pytest.raises(BundleInvalid, match=says) as caught:
        require_passport(Bundle.load(folder), "none", public)
    assert "sign" in caught.value.remedy


def test_a_card_that_changes_between_load_and_check_is_found(signed: tuple[Path, Path]) -> None:
    """What was loaded is what must have been signed."""
    folder, public = signed
    text = (folder / CARD_FILE).read_text()
    (folder / CARD_FILE).write_text(text.replace("threshold = 0.5", "threshold = 0.4"))
    bundle = Bundle.load(folder)
    (folder / CARD_FILE).write_text(text)
    with pytest.raises(BundleInvalid, match="changed while it was read"):
        verify_signature(bundle, public)


def test_the_private_key_is_its_owners(tmp_path: Path) -> None:
    """Mode 600, and an existing key is never overwritten."""
    private, public = make_keys(tmp_path, "k")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    with pytest.raises(SettingsInvalid, match="exists"):
        make_keys(tmp_path, "k")


def test_keys_of_another_kind_are_named(tmp_path: Path) -> None:
    """RSA, the wrong half, no key at all, no file."""
    private, public = make_keys(tmp_path, "k")
    other = rsa.generate_private_key(65_537, 2_048)
    (tmp_path / "rsa.pem").write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    bundle, _ = with_passport(tmp_path / "m")
    for wrong in ("rsa.pem", "k.public.pem", "nothing.pem"):
        with pytest.raises(SettingsInvalid, match=wrong):
            sign(bundle, tmp_path / wrong)
    sign(bundle, private)
    with pytest.raises(SettingsInvalid, match="no Ed25519 public key"):
        verify_signature(bundle, private)
    verify_signature(bundle, public)
