"""Signatures: Ed25519 (RFC 8032) over the digests of all of a bundle's files.

`signature.json` beside bundle.toml holds the manifest, the signature and which key it is of. What
is signed begins with a line of our own, so that a signature of something else is never one of a
bundle. tuning.json is of a machine and is not signed; what else lies in the folder must be.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from millstream.errors import BundleInvalid, SettingsInvalid
from millstream.models.bundle import CARD_FILE, Bundle, read_file
from millstream.models.durable import write_whole
from millstream.models.manifest import Manifest, manifest_of

SIGNATURE_FILE = "signature.json"
SIGNATURE_BYTES_MAX = 1 << 20
KEY_BYTES_MAX = 1 << 16
CONTEXT = b"millstream bundle 1\n"
SIGN_AGAIN = "Copy the whole bundle again, or sign it anew: millstream bundle sign --key FILE"


class _Signed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    key: Annotated[str, Field(pattern=r"^ed25519:[0-9a-f]{16}$")]
    signature: Annotated[str, Field(max_length=128)]
    manifest: Manifest


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A new key pair as NAME.pem, readable by its owner only, and NAME.public.pem.

    Raises SettingsInvalid where either exists: a key is never overwritten.
    """
    private, public = folder / f"{name}.pem", folder / f"{name}.public.pem"
    for file in (private, public):
        if file.exists():
            raise SettingsInvalid(f"{file} exists", "Give another name, or take it away first")
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(secret)
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def sign(bundle: Bundle, private_key: Path) -> Path:
    """Write signature.json over every file that lies in the bundle's folder now.

    Raises SettingsInvalid where the key is missing or no Ed25519 key, BundleInvalid where the
    folder holds what cannot be signed, or model.onnx or bundle.toml changed since they were read.
    """
    key = _private(private_key)
    manifest = _manifest(bundle)
    signed = _Signed(
        key=_name(key.public_key()),
        signature=base64.b64encode(key.sign(CONTEXT + manifest.encoded())).decode(),
        manifest=manifest,
    )
    file = bundle.folder / SIGNATURE_FILE
    write_whole(file, json.dumps(signed.model_dump(mode="json"), indent=1).encode() + b"\n")
    return file


def verify_signature(bundle: Bundle, public_key: Path) -> Manifest:
    """What was signed, if it was by this key and is what lies in the bundle's folder.

    Raises SettingsInvalid for the key, BundleInvalid for the bundle: no signature, another key, a
    forged one, a file that was changed, added or taken away since.
    """
    key = _public(public_key)
    file = bundle.folder / SIGNATURE_FILE
    if not file.exists():
        raise BundleInvalid(
            f"{bundle.folder} is not signed, and [release] signed_by asks for {public_key}",
            "Sign it: millstream bundle sign --key FILE",
        )
    try:
        signed = _Signed.model_validate_json(read_file(file, SIGNATURE_BYTES_MAX))
        signature = base64.b64decode(signed.signature, validate=True)
    except (ValidationError, binascii.Error):
        raise BundleInvalid(f"{file} is no signature of a bundle", SIGN_AGAIN) from None
    if signed.key != _name(key):
        raise BundleInvalid(
            f"{file} is by the key {signed.key}, {public_key} is {_name(key)}",
            "Have it signed by that key, or name another one under [release] signed_by",
        )
    try:
        key.verify(signature, CONTEXT + signed.manifest.encoded())
    except InvalidSignature:
        raise BundleInvalid(f"{file} is forged or damaged", SIGN_AGAIN) from None
    here = _manifest(bundle)
    for problem in _differences(signed.manifest, here):
        raise BundleInvalid(f"{bundle.folder}: {problem} since it was signed", SIGN_AGAIN)
    return here


def key_name(public_key: Path) -> str:
    """`ed25519:` and the first 16 digits of the key's SHA-256. Raises SettingsInvalid."""
    return _name(_public(public_key))


def _manifest(bundle: Bundle) -> Manifest:
    """Of the folder, whose model.onnx and bundle.toml must still be those that were loaded."""
    whole = manifest_of(bundle)
    if whole.file(CARD_FILE).digest != bundle.card_digest:
        raise BundleInvalid(f"{bundle.folder / CARD_FILE} changed while it was read", "Try again")
    kept = tuple(file for file in whole.files if file.name != SIGNATURE_FILE)
    return whole.model_copy(update={"files": kept})


def _differences(signed: Manifest, here: Manifest) -> Iterator[str]:
    if (signed.name, signed.version) != (here.name, here.version):
        yield f"it was {signed.name} {signed.version} and is {here.name} {here.version}"
    then = {file.name: file.digest for file in signed.files}
    now = {file.name: file.digest for file in here.files}
    for name in sorted(then | now):
        if name not in now:
            yield f"{name} was taken away"
        elif name not in then:
            yield f"{name} was added"
        elif then[name] != now[name]:
            yield f"{name} was changed"


def _name(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "ed25519:" + hashlib.sha256(raw).hexdigest()[:16]


def _private(file: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(_pem(file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsInvalid(
            f"{file} is no Ed25519 private key in PEM without a password",
            "Make a pair: millstream bundle keys NAME",
        )
    return key


def _public(file: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(_pem(file))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsInvalid(
            f"{file} is no Ed25519 public key in PEM", "Give the .public.pem of the signing key"
        )
    return key


def _pem(file: Path) -> bytes:
    try:
        return read_file(file, KEY_BYTES_MAX)
    except BundleInvalid as why:
        raise SettingsInvalid(why.problem, "Give a PEM file, such as bundle keys makes") from None
