"""What the embedded registry remembers: one file of lines, each one decision, never rewritten.

A line is ``CRC32 JSON``: eight hexadecimal digits, the checksum of every JSON from the first line
to this one, so that a line that was changed, lost or moved is found. A decision is on the disk
(fsync) before anybody is told of it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millstream.errors import OperatorNeeded
from ops.registry.avro_rules import Level, SchemaInvalid, canonical, parse

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a subject. number counts from 1; schema_id is the same in every subject."""

    subject: str
    number: int
    schema_id: int


@dataclass(frozen=True, slots=True)
class Stored:
    """One schema: the text as first registered, and what the Avro library made of it."""

    schema_id: int
    text: str
    parsed: Any


class Store:
    """Schemas, versions and compatibility levels in one folder, for one process at a time.

    Raises OperatorNeeded when another process has the folder, or the file is damaged. The one
    damage that is repaired is a last line without its end: nobody was told of that decision.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "registry.jsonl"
        self._by_id: dict[int, Stored] = {}
        self._ids: dict[str, int] = {}  # canonical text to id
        self._subjects: dict[str, list[Version]] = {}
        self._levels: dict[str | None, Level] = {}
        self._checksum = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._claim(folder)
            self._fd = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = self._load()
            _sync_folder(folder)
        except OSError as error:
            raise OperatorNeeded(
                f"the registry cannot use {folder}: {error.strerror}",
                "Name a folder that this user may write to",
            ) from error

    def subjects(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self._subjects)

    def versions(self, subject: str) -> list[Version]:
        """Oldest first; [] for a subject that is not there."""
        return self._subjects.get(subject, [])

    def schema(self, schema_id: int) -> Stored | None:
        """By id."""
        return self._by_id.get(schema_id)

    def uses(self, schema_id: int) -> list[Version]:
        """Every version of every subject that is this schema."""
        return [
            version
            for subject in self.subjects()
            for version in self._subjects[subject]
            if version.schema_id == schema_id
        ]

    def find(self, subject: str, parsed: Any) -> Version | None:
        """The version of a subject that is this schema."""
        schema_id = self._ids.get(canonical(parsed))
        matching = (each for each in self.versions(subject) if each.schema_id == schema_id)
        return next(matching, None)

    def level(self, subject: str | None) -> Level | None:
        """The level set for a subject, or for all of them (None); None where none was set."""
        return self._levels.get(subject)

    def add(self, subject: str, text: str, parsed: Any) -> Version:
        """A new version of a subject, with the id that the schema has, or the next one.

        Raises OSError: the disk did not take it, and nothing has changed.
        """
        schema_id = self._ids.get(canonical(parsed), len(self._by_id) + 1)
        version = Version(subject, len(self.versions(subject)) + 1, schema_id)
        self._append(
            {"subject": subject, "version": version.number, "id": schema_id, "schema": text}
        )
        self._apply_version(version, text, parsed)
        return version

    def set_level(self, subject: str | None, level: Level | None) -> None:
        """Set it, or clear it with None. Raises OSError as add()."""
        self._append({"subject": subject, "level": level})
        self._apply_level(subject, level)

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._fd)
        os.close(self._lock)

    def _claim(self, folder: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorNeeded(
                f"another registry has {folder} open", "Use that one, or stop it, or another folder"
            ) from error

    def _append(self, decision: dict[str, Any]) -> None:
        body = json.dumps(decision, separators=(",", ":")).encode()
        checksum = zlib.crc32(body, self._checksum)
        line = b"%08x %s\n" % (checksum, body)
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(f"wrote {written} of {len(line)} bytes")
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)  # no half line before the next decision
            raise
        self._size += len(line)
        self._checksum = checksum

    def _load(self) -> int:
        """Take every decision again; the file's size without a torn last line."""
        whole = self.file.read_bytes()
        lines = whole.split(b"\n")
        torn = lines.pop()
        for number, line in enumerate(lines, start=1):
            try:
                self._replay(line)
            except (ValueError, KeyError, TypeError) as error:
                raise OperatorNeeded(
                    f"{self.file} is damaged in line {number}: {error}",
                    "Restore the file from a copy; or move it away and register every schema "
                    "again, in the same order, or the ids in published records point elsewhere",
                ) from error
        size = len(whole) - len(torn)
        if torn:
            log.warning("%s: the last line was cut off and is dropped; nobody knew it", self.file)
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        return size

    def _replay(self, line: bytes) -> None:
        """Take one decision again. Raises ValueError, KeyError or TypeError: it is damaged."""
        checksum, _, body = line.partition(b" ")
        self._checksum = zlib.crc32(body, self._checksum)
        if int(checksum, 16) != self._checksum:
            raise ValueError("it, or a line before it, was changed or lost")
        decision = json.loads(body)
        subject = decision["subject"]
        if "level" in decision:
            level = decision["level"]
            self._apply_level(subject, None if level is None else Level(level))
            return
        version = Version(subject, decision["version"], decision["id"])
        try:
            parsed = parse(decision["schema"])
        except SchemaInvalid as error:
            raise ValueError(f"schema {version.schema_id}: {error}") from error
        self._apply_version(version, decision["schema"], parsed)

    def _apply_version(self, version: Version, text: str, parsed: Any) -> None:
        if version.schema_id not in self._by_id:
            self._by_id[version.schema_id] = Stored(version.schema_id, text, parsed)
            self._ids[canonical(parsed)] = version.schema_id
        self._subjects.setdefault(version.subject, []).append(version)

    def _apply_level(self, subject: str | None, level: Level | None) -> None:
        if level is None:
            self._levels.pop(subject, None)
        else:
            self._levels[subject] = level


def _sync_folder(folder: Path) -> None:
    """Make the new file's name survive a power loss, not only its content."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
