"""What ClickHouse is told of the functions."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from millstream.errors import DependencyUnavailable, SettingsInvalid
from millstream.functions.config import CONFIG_FILE, FUNCTIONS, SCRIPTS, Pool, write_functions


def test_each_function_has_an_entry_and_a_script(tmp_path: Path) -> None:
    """Results are RowBinary, which has a score's bits; a script takes no word of a query's."""
    streams = [tmp_path / "a b" / "stream.toml", tmp_path / "it's" / "stream.toml"]
    made = write_functions(tmp_path / "f", streams, Pool(Path("/usr/bin/python3"), 3))
    assert made[-1] == tmp_path / "f" / CONFIG_FILE
    root = ElementTree.fromstring(made[-1].read_text())
    entries = {entry.findtext("name"): entry for entry in root}
    assert set(entries) == set(FUNCTIONS)
    for name, entry in entries.items():
        assert name is not None
        assert entry.findtext("format") == "RowBinary"
        assert entry.findtext("pool_size") == "3"
        assert entry.findtext("return_type") == FUNCTIONS[name]
        assert [argument.findtext("type") for argument in entry.iter("argument")] == ["String"] * 2
        script = tmp_path / "f" / SCRIPTS / str(entry.findtext("command"))
        assert os.access(script, os.X_OK)
        first, line = script.read_text().splitlines()
        assert first == "#!/bin/sh"
        words = shlex.split(line)
        assert words[:2] == ["exec", "/usr/bin/python3"]
        assert words[-3:] == [name, *map(str, streams)]
        assert "$" not in line


def test_paths_are_whole(tmp_path: Path) -> None:
    """ClickHouse starts scripts in a folder of its own."""
    with pytest.raises(SettingsInvalid, match="no absolute path"):
        write_functions(tmp_path, [Path("stream.toml")], Pool(Path("/usr/bin/python3")))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "f").touch()
    with pytest.raises(DependencyUnavailable, match=str(tmp_path / "f")):
        write_functions(tmp_path / "f", [tmp_path / "s.toml"], Pool(Path("/usr/bin/python3")))
