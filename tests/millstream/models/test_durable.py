"""Files that are there whole, and folders that one process has to itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from millstream.errors import DependencyUnavailable
from millstream.models.durable import claimed, disk, write_whole


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """While two threads replace it a hundred times each, it is always one of the two contents."""
    file, contents = tmp_path / "file", (b"a" * 10_000, b"b" * 20_000)
    write_whole(file, contents[0])

    def replace(content: bytes) -> None:
        for _ in range(100):
            write_whole(file, content)

    writers = [threading.Thread(target=replace, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(file.read_bytes())
    assert seen <= set(contents)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_no_draft(tmp_path: Path) -> None:
    """A folder is in the way."""
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "x").touch()
    with pytest.raises(OSError):
        write_whole(tmp_path / "file", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_that_claim_at_once_get_two_folders(tmp_path: Path) -> None:
    """And who comes later gets the first again, with what is in it."""
    with claimed(tmp_path, "x") as first, claimed(tmp_path, "x") as second:
        assert first != second
        (first / "file").touch()
    with claimed(tmp_path, "x") as again:
        assert again == first
        assert (again / "file").exists()


def test_a_folder_renamed_away_is_claimed_anew(tmp_path: Path) -> None:
    """The lock went with the renamed one."""
    with claimed(tmp_path, "x") as folder:
        folder.rename(tmp_path / "placed")
        with claimed(tmp_path, "x") as fresh:
            assert fresh == folder
    assert (tmp_path / "placed").is_dir()


def test_what_a_killed_process_claimed_is_free(tmp_path: Path) -> None:
    """The lock dies with it, what it wrote does not."""
    program = (
        "import sys, pathlib\n"
        "from millstream.models.durable import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1]), 'x') as folder:\n"
        "    (folder / 'half').touch()\n"
        "    print('there', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "there\n"
    with claimed(tmp_path, "x") as other:
        assert other.name == ".x.1"
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    with claimed(tmp_path, "x") as again:
        assert (again / "half").exists()


def test_what_the_disk_refuses_is_a_dependency(tmp_path: Path) -> None:
    """With the path."""
    with pytest.raises(DependencyUnavailable, match="nowhere"), disk(tmp_path / "nowhere"):
        (tmp_path / "nowhere").read_bytes()
