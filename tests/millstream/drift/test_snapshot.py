"""Snapshots: state and offsets together, sealed, of one version, and never a pickle."""

from __future__ import annotations

import json
import os
import pickle
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from millstream.drift.rivers import NAMES, RiverDetector
from millstream.drift.snapshot import (
    MAC_BYTES,
    MAGIC,
    Part,
    Rebuild,
    Snapshot,
    load_key,
    restored,
    river_part,
    seal,
    unseal,
)
from millstream.errors import InvariantBroken, SettingsInvalid
from tests.millstream.drift.test_rivers import errors, table

KEY = bytes(range(32))


def _snapshot() -> Snapshot:
    parts = {}
    for kind in NAMES:
        detector = RiverDetector(table(type=kind))
        detector.update(errors(1)[:400])
        parts[detector.table.id] = river_part(detector)
    offsets = {("loans.labelled", 0): 812, ("loans.labelled", 1): 7}
    return Snapshot("loans", offsets, parts)


def test_what_was_sealed_comes_back() -> None:
    """Offsets and every part; the same state gives the same bytes."""
    snapshot = _snapshot()
    sealed = seal(KEY, snapshot)
    assert unseal(KEY, sealed, "loans") == snapshot
    assert seal(KEY, _snapshot()) == sealed


@pytest.mark.parametrize("kind", NAMES)
def test_a_restored_detector_goes_on_where_the_snapshot_was_taken(kind: str) -> None:
    """Through the bytes, for each of the seven."""
    detector = RiverDetector(table(type=kind))
    values = errors(9, 2_000)
    detector.update(values[:700])
    sealed = seal(KEY, Snapshot("s", {("t", 0): 700}, {"d": river_part(detector)}))
    again = restored(table(type=kind), unseal(KEY, sealed, "s").parts["d"])
    assert isinstance(again, RiverDetector)
    assert again.update(values[700:]) == detector.update(values[700:])


def test_a_flipped_bit_anywhere_is_refused() -> None:
    """In the format, the seal, the offsets or the state."""
    sealed = seal(KEY, _snapshot())
    rng = random.Random(4)
    places = {*range(len(MAGIC) + MAC_BYTES + 2), *rng.sample(range(len(sealed)), 300)}
    for place in places:
        spoilt = bytearray(sealed)
        spoilt[place] ^= 1 << rng.randrange(8)
        with pytest.raises(InvariantBroken):
            unseal(KEY, bytes(spoilt), "loans")


@pytest.mark.parametrize("cut", [0, 3, len(MAGIC), len(MAGIC) + MAC_BYTES, 500])
def test_a_torn_snapshot_is_refused(cut: int) -> None:
    """However little of it was written."""
    with pytest.raises(InvariantBroken):
        unseal(KEY, seal(KEY, _snapshot())[:cut], "loans")


def test_another_key_and_another_stream_are_refused() -> None:
    """A snapshot is of one stream, and of those who have its key."""
    sealed = seal(KEY, _snapshot())
    with pytest.raises(InvariantBroken, match="not what was written with this key"):
        unseal(KEY[::-1], sealed, "loans")
    with pytest.raises(InvariantBroken, match="of the stream loans, not of shop"):
        unseal(KEY, sealed, "shop")


def test_a_pickle_is_not_read() -> None:
    """Not even one that carries the format's first bytes: nothing in it is carried out."""
    marker: list[int] = []

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return marker.append, (1,)

    for body in (pickle.dumps(Trap()), MAGIC + bytes(MAC_BYTES) + pickle.dumps(Trap())):
        with pytest.raises(InvariantBroken):
            unseal(KEY, body, "loans")
    assert marker == []
    sealed = seal(KEY, _snapshot())
    json.loads(sealed[len(MAGIC) + MAC_BYTES :])


def test_the_state_of_another_river_is_rebuilt() -> None:
    """By a result that says so, not by an error and not by hope."""
    part = _snapshot().parts["ADWIN_error"]
    found = restored(table(type="ADWIN"), replace(part, library="river 0.1.0"))
    assert isinstance(found, Rebuild)
    assert "the state is of river 0.1.0, installed is river" in found.why


def test_the_state_of_other_parameters_is_rebuilt() -> None:
    """A user who changes delta gets a detector with that delta."""
    part = _snapshot().parts["ADWIN_error"]
    assert isinstance(restored(table(type="ADWIN", delta=0.1), part), Rebuild)
    assert isinstance(restored(table(type="DDM"), part), Rebuild)


def test_parts_that_are_not_rivers_are_kept_as_they_are() -> None:
    """The monitor's own states are JSON already."""
    part = Part("InputMonitor", {"window_events": 500}, {"events": 3}, "millstream 1")
    snapshot = Snapshot("s", {}, {"inputs/0": part})
    assert unseal(KEY, seal(KEY, snapshot), "s") == snapshot


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, the same key at the next start, no draft left behind."""
    file = tmp_path / "state" / "key"
    key = load_key(file)
    assert len(key) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_key(file) == key
    assert list(file.parent.iterdir()) == [file]
    assert load_key(tmp_path / "other") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    file = tmp_path / "key"
    load_key(file)
    file.chmod(mode)
    with pytest.raises(SettingsInvalid, match="chmod 600"):
        load_key(file)


def test_a_key_given_in_the_settings_needs_no_file(tmp_path: Path) -> None:
    """One that is too short is refused."""
    assert load_key(tmp_path / "key", "x" * 32) == b"x" * 32
    assert not (tmp_path / "key").exists()
    with pytest.raises(SettingsInvalid, match="at least 32"):
        load_key(tmp_path / "key", "short")


def test_an_empty_key_file_and_a_link_are_refused(tmp_path: Path) -> None:
    """An empty file would be a key that everybody knows."""
    file = tmp_path / "key"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    with pytest.raises(SettingsInvalid, match="has 0 bytes"):
        load_key(file)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load_key(tmp_path / "link")
