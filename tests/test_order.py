from __future__ import annotations

from pathlib import Path

from tests.order import LONGEST, longest_first

ROOT = Path(__file__).resolve().parent.parent


def test_the_longest_files_come_first_and_tests_keep_their_order() -> None:
    """Of a file, and of the files that are not named."""
    items = ["b.py::2", f"{LONGEST[1]}::2", "a.py::1", f"{LONGEST[0]}::1", f"{LONGEST[1]}::1"]
    ordered = longest_first(items, lambda item: item.partition("::")[0])
    assert ordered == [items[3], items[1], items[4], items[0], items[2]]


def test_every_named_file_exists_and_is_named_once() -> None:
    """One that was renamed would run last."""
    assert [file for file in LONGEST if not (ROOT / file).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
