"""Detector state and source offsets in one sealed piece: both are from the same moment, or neither.

    magic and format version (6 bytes) | HMAC-SHA-256 of all else (32 bytes) | JSON

The seal is checked before anything is read: a flipped byte would load silently otherwise (measured:
ADWIN's width 3001 for 3000). There is no pickle in it. A state of another River version, or of
other parameters, is not used: it is rebuilt by reading the topic again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from millstream.drift.river_state import from_state, state_of
from millstream.drift.rivers import RiverDetector, RiverTable
from millstream.errors import InvariantBroken, SettingsInvalid

FORMAT = 1
MAGIC = b"MSNAP" + bytes((FORMAT,))
MAC_BYTES = 32
KEY_BYTES_MIN = 32
SNAPSHOT_BYTES_MAX = 64 << 20

Offsets = Mapping[tuple[str, int], int]
"""(topic, partition) -> the offset to be read next."""


@dataclass(frozen=True, slots=True)
class Part:
    """The state of one thing. library: what made it and must read it, such as river 0.26.1."""

    kind: str
    params: dict[str, Any]
    state: Any
    library: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every part of one stream's watch, with the offsets up to which they have seen the topics."""

    stream: str
    offsets: dict[tuple[str, int], int]
    parts: dict[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A part cannot go on from its snapshot: replay the topics up to the snapshot's offsets."""

    why: str


def seal(key: bytes, snapshot: Snapshot) -> bytes:
    """The snapshot as bytes that `unseal` takes with the same key; the same for the same state."""
    body = json.dumps(
        {
            "stream": snapshot.stream,
            "offsets": sorted(
                [topic, number, at] for (topic, number), at in snapshot.offsets.items()
            ),
            "parts": {
                name: [part.kind, part.params, part.library, part.state]
                for name, part in snapshot.parts.items()
            },
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    return MAGIC + _mac(key, body) + body


def unseal(key: bytes, sealed: bytes, stream: str) -> Snapshot:
    """The snapshot that was sealed with this key for this stream.

    Raises InvariantBroken where the format is another, the seal does not fit, or the stream.
    """
    if len(sealed) > SNAPSHOT_BYTES_MAX:
        raise InvariantBroken(f"a snapshot of {len(sealed)} bytes", _REMEDY)
    if not sealed.startswith(MAGIC):
        raise InvariantBroken("the detectors' snapshot is of another format", _REMEDY)
    start = len(MAGIC) + MAC_BYTES
    body = sealed[start:]
    if not hmac.compare_digest(sealed[len(MAGIC) : start], _mac(key, body)):
        raise InvariantBroken(
            "the detectors' snapshot is not what was written with this key: damaged, or foreign",
            _REMEDY,
        )
    read = json.loads(body)
    if read["stream"] != stream:
        raise InvariantBroken(
            f"the detectors' snapshot is of the stream {read['stream']}, not of {stream}", _REMEDY
        )
    return Snapshot(
        stream,
        {(topic, number): at for topic, number, at in read["offsets"]},
        {
            name: Part(kind, params, state, library)
            for name, (kind, params, library, state) in read["parts"].items()
        },
    )


def river_part(detector: RiverDetector) -> Part:
    """The state of one of River's detectors."""
    table = detector.table
    return Part(table.kind, table.parameters(), state_of(detector), _river())


def restored(table: RiverTable, part: Part) -> RiverDetector | Rebuild:
    """The detector that goes on where the part was taken, or why it must be rebuilt."""
    if part.library != _river():
        return Rebuild(f"the state is of {part.library}, installed is {_river()}")
    if (part.kind, part.params) != (table.kind, table.parameters()):
        return Rebuild(f"the state is of {part.kind} with other parameters")
    return from_state(table, part.state)


def load_key(file: Path, secret: str | None = None) -> bytes:
    """The key that seals snapshots: `secret` if there is one, else of the file, made if missing.

    The file is made with mode 0600. Raises SettingsInvalid where the secret or the file's content
    is too short, or others can read the file.
    """
    if secret is not None:
        return _long_enough(secret.encode(), "the snapshot key")
    with suppress(FileExistsError):
        if not file.exists():
            _make_key(file)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as why:
        raise SettingsInvalid(f"the key file {file} cannot be read: {why}", "Mend it") from None
    with os.fdopen(descriptor, "rb") as opened:
        about = os.fstat(opened.fileno())
        if stat.S_IMODE(about.st_mode) & 0o077 or about.st_uid != os.geteuid():
            raise SettingsInvalid(
                f"the key file {file} can be read by others", f"chown it, and chmod 600 {file}"
            )
        return _long_enough(opened.read(4096).strip(), str(file))


def _make_key(file: Path) -> None:
    """All of it or nothing, and never over another: two programs may start at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_hex(KEY_BYTES_MIN))
            opened.flush()
            os.fsync(opened.fileno())
        os.link(draft, file)
    finally:
        draft.unlink()


def _long_enough(key: bytes, name: str) -> bytes:
    if len(key) < KEY_BYTES_MIN:
        raise SettingsInvalid(f"{name} has {len(key)} bytes", f"Give at least {KEY_BYTES_MIN}")
    return key


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, MAGIC + body, hashlib.sha256).digest()


def _river() -> str:
    return f"river {metadata.version('river')}"


_REMEDY = "Take the snapshot away: the detectors are then rebuilt from the topics"
