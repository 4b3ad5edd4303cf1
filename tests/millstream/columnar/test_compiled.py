"""Compiling once, and what it depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numba import types

from millstream.columnar.compiled import kernel, stamp_of

FOLDER = Path(__file__).resolve().parents[3] / "millstream" / "columnar"


def test_where_nothing_can_be_kept_the_kernel_is_compiled_all_the_same() -> None:
    """A function without a file has nowhere to keep its machine code, and runs."""
    made: dict[str, Any] = {}
    exec("def twice(number):\n    return 2 * number", made)
    twice = kernel(types.int64(types.int64))(made["twice"])
    assert twice(21) == 42
    assert [str(one) for one in twice.signatures] == ["(int64,)"]


@pytest.mark.parametrize("change", ["kernel_bytes.py", "kernel_memory.py", "kernel_read.py"])
def test_a_change_of_any_part_compiles_anew(change: str, tmp_path: Path) -> None:
    """The stamp that a kernel closes over differs once a file that it is made of does."""
    names = ["kernel_memory.py", "kernel_bytes.py", "kernel_read.py"]
    copies = []
    for name in names:
        copies.append(tmp_path / name)
        copies[-1].write_bytes((FOLDER / name).read_bytes())
    before = stamp_of(*map(str, copies))
    assert before == stamp_of(*(str(FOLDER / name) for name in names))
    with (tmp_path / change).open("ab") as file:
        file.write(b"\n")
    assert stamp_of(*map(str, copies)) != before
