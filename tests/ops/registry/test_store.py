"""The registry's file: what was decided is there again, what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.errors import OperatorNeeded
from ops.registry.avro_rules import Level, parse
from ops.registry.store import Store

INT, LONG, STRING = '"int"', '"long"', '"string"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which three schemas and two levels were decided."""
    store = Store(tmp_path)
    store.add("a-value", INT, parse(INT))
    store.set_level("a-value", Level.NONE)
    store.add("a-value", LONG, parse(LONG))
    store.set_level(None, Level.FULL)
    store.add("b-value", LONG, parse(LONG))
    store.close()
    return tmp_path


def test_everything_is_there_after_a_restart(folder: Path) -> None:
    """Subjects, versions, ids and levels; the same schema has the same id in both subjects."""
    store = Store(folder)
    assert store.subjects() == ["a-value", "b-value"]
    assert [(v.number, v.schema_id) for v in store.versions("a-value")] == [(1, 1), (2, 2)]
    assert [(v.number, v.schema_id) for v in store.versions("b-value")] == [(1, 2)]
    assert store.level("a-value") is Level.NONE
    assert store.level(None) is Level.FULL
    assert store.level("b-value") is None
    assert [(v.subject, v.number) for v in store.uses(2)] == [("a-value", 2), ("b-value", 1)]
    assert store.add("b-value", STRING, parse(STRING)).schema_id == 3
    store.close()


def test_a_cleared_level_stays_cleared(folder: Path) -> None:
    """None is a decision too."""
    store = Store(folder)
    store.set_level("a-value", None)
    store.close()
    again = Store(folder)
    assert again.level("a-value") is None
    again.close()


@pytest.mark.parametrize("kept", [1, 20])
def test_a_last_line_that_was_cut_off_is_dropped(folder: Path, kept: int) -> None:
    """A crash in the middle of a write costs the decision that nobody was told of, no other."""
    file = folder / "registry.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    store = Store(folder)
    assert store.subjects() == ["a-value"]
    assert file.read_bytes() == b"".join(lines[:-1])
    assert store.add("b-value", LONG, parse(LONG)).schema_id == 2
    store.close()
    assert file.read_bytes() == b"".join(lines)


def test_one_changed_byte_is_found_and_the_remedy_named(folder: Path) -> None:
    """The error says which line of which file, and what to do."""
    file = folder / "registry.jsonl"
    whole = bytearray(file.read_bytes())
    whole[whole.index(b"long")] = ord("L")
    file.write_bytes(whole)
    with pytest.raises(
        OperatorNeeded, match=r"line 3: it, or a line before it, was changed"
    ) as refused:
        Store(folder)
    assert str(file) in refused.value.problem
    assert refused.value.remedy.startswith("Restore the file from a copy")


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_lost_line_is_found(folder: Path, lost: int) -> None:
    """Ids would silently move otherwise."""
    file = folder / "registry.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    del lines[lost]
    file.write_bytes(b"".join(lines))
    with pytest.raises(OperatorNeeded, match="was changed or lost"):
        Store(folder)


@pytest.mark.parametrize("rubbish", [b"\n", b"zz\n", b"00000000 {}\n", b"\xff\xfe\x00\n"])
def test_a_foreign_line_is_found(folder: Path, rubbish: bytes) -> None:
    """Whatever stands in the file, the operator is told its line."""
    file = folder / "registry.jsonl"
    file.write_bytes(rubbish + file.read_bytes())
    with pytest.raises(OperatorNeeded, match="is damaged in line 1"):
        Store(folder)


def test_a_folder_has_one_owner_at_a_time(folder: Path) -> None:
    """A second registry on the folder is refused, and may have it once the first has closed."""
    first = Store(folder)
    with pytest.raises(OperatorNeeded, match="another registry has"):
        Store(folder)
    first.close()
    Store(folder).close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(OperatorNeeded, match="the registry cannot use"):
        Store(tmp_path / "file" / "folder")
