"""Two sinks on one partition, and one that dies inside an insert, on a real chDB.

The interleavings run in one process: while one sink stands still at a point of its protocol,
another lives its whole life. A kill needs a process: strace sends it at a system call.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.warehouse import Tables, Warehouse
from millstream.warehouse.blocks import Block, Look
from tests.crash.one_sink import TABLE, World, offsets, open_tables

RECORDS = 10
MUTATING = "mkdir,openat,write,rename,unlink"


class Halting(Tables):
    """Stands still once, at a point of the protocol, while `meanwhile` happens."""

    def __init__(self, warehouse: Warehouse, point: str, meanwhile: Callable[[], None]) -> None:
        super().__init__(warehouse, "loans")
        self._point: str | None = point
        self._meanwhile = meanwhile

    def insert(self, block: Block, attempt: int) -> None:
        self._halt("before insert")
        super().insert(block, attempt)
        self._halt("after insert")

    def look(self, block: Block) -> Look:
        found = super().look(block)
        self._halt("after look")
        return found

    def _halt(self, point: str) -> None:
        if point == self._point:
            self._point = None
            self._meanwhile()


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty chDB with the stream's tables."""
    made = open_tables(tmp_path / "chdb")
    yield made
    made.close()


@pytest.mark.parametrize("point", ["before insert", "after insert", "after look"])
@pytest.mark.parametrize(
    ("zombie_rows", "successor_rows"),
    [(4, 4), (2, 5), (5, 2), (10, 3), (3, 10)],
    ids=["same", "shorter", "longer", "whole first", "whole second"],
)
def test_a_zombie_neither_doubles_nor_skips(
    point: str, zombie_rows: int, successor_rows: int, warehouse: Warehouse
) -> None:
    """It wakes at any point, after its successor wrote to the end; its late insert is dropped, it
    finds itself overtaken, and both leave in peace."""
    world = World(RECORDS)

    def succeed() -> None:
        _, life = world.sink("successor", Tables(warehouse, "loans"), successor_rows)
        life.run()
        assert offsets(warehouse) == list(range(RECORDS))

    _, life = world.sink("zombie", Halting(warehouse, point, succeed), zombie_rows)
    life.run()
    assert offsets(warehouse) == list(range(RECORDS))


@pytest.mark.parametrize("point", ["before insert", "after insert", "after look"])
@pytest.mark.parametrize(("zombie_rows", "successor_rows"), [(4, 4), (2, 5), (5, 2)], ids=str)
def test_two_that_see_nothing_use_the_same_next_attempt(
    point: str, zombie_rows: int, successor_rows: int, warehouse: Warehouse
) -> None:
    """A token without its rows (its server died): both are acknowledged, both find nothing, and of
    their next attempts, which share a token too, one lands."""
    world = World(RECORDS)
    log_tokens_without_rows(world, warehouse)
    repeats = []

    def succeed() -> None:
        sink, life = world.sink("successor", Tables(warehouse, "loans"), successor_rows)
        life.run()
        repeats.append(sink.tally.repeats)

    _, life = world.sink("zombie", Halting(warehouse, point, succeed), zombie_rows)
    life.run()
    assert offsets(warehouse) == list(range(RECORDS))
    assert repeats[0] == 1


def log_tokens_without_rows(world: World, warehouse: Warehouse) -> None:
    """What a kill between the token's log line and the part's rename leaves of the first block."""

    class OnlyOne(Tables):
        def insert(self, block: Block, attempt: int) -> None:
            super().insert(block, attempt)
            raise SystemExit

    _, life = world.sink("dead", OnlyOne(warehouse, "loans"), 1)
    with pytest.raises(SystemExit):
        life.run()
    warehouse.command(f"ALTER TABLE loans.{TABLE} DELETE WHERE 1 SETTINGS mutations_sync = 1")
    assert offsets(warehouse) == []


@dataclass(frozen=True, slots=True)
class Kill:
    """The `times`-th `call` on `path` (below the database's folder) is never made."""

    call: str
    path: str
    times: int

    def __str__(self) -> str:
        return f"{self.call} {Path(self.path).name}"


@pytest.fixture
def strace() -> str:
    """Skips where there is none, fails in CI."""
    found = shutil.which("strace")
    if found is None:
        reason = "needs strace (Debian package: strace)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.mark.crash
def test_crash_at_each_system_call_of_step_3_leaves_no_hole(strace: str, tmp_path: Path) -> None:
    """Killed at each system call by which an insert changes the disk, and started again, the sink
    has every row once. Killed between the token and the part, only counting back saves the block.
    """
    before = tmp_path / "before"
    half, whole = World(RECORDS // 2), World(RECORDS)
    run_to_end(half, before)
    kills = mutating_calls(strace, before, tmp_path)
    names = [str(kill) for kill in kills]
    assert names[0].startswith("mkdir tmp_insert"), names
    assert names[-2:] == ["write deduplication_log_1.txt", names[0].replace("mkdir", "rename")]
    assert len(names) >= 12, names

    def die(numbered: tuple[int, Kill]) -> Path:
        number, kill = numbered
        folder = tmp_path / f"{number}"
        shutil.copytree(before, folder, symlinks=True)
        inject = f"inject={kill.call}:signal=SIGKILL:when={kill.times}"
        options = ["-P", f"{folder}/{kill.path}", "-e", inject]
        ran = lives(strace, options, folder, tmp_path / f"{number}.strace")
        assert ran == -signal.SIGKILL, f"{kill}: not killed, {ran}"
        return folder

    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(die, enumerate(kills)))
    for kill, folder in zip(kills, folders, strict=True):
        there, repeats = run_to_end(whole, folder)
        assert there == list(range(RECORDS)), kill
        assert repeats == (1 if kill.call == "rename" else 0), kill


def run_to_end(world: World, folder: Path) -> tuple[list[int], int]:
    """One life of a sink there: the rows' offsets, and how often a block had to be tried again."""
    warehouse = open_tables(folder)
    try:
        sink, life = world.sink("sink", Tables(warehouse, "loans"), rows_max=RECORDS)
        life.run()
        return offsets(warehouse), sink.tally.repeats
    finally:
        warehouse.close()


def lives(strace: str, options: list[str], folder: Path, log: Path) -> int:
    """The same life as a process under strace: how it ended."""
    program = [sys.executable, "-m", "tests.crash.one_sink", str(folder), str(RECORDS)]
    ran = subprocess.run(
        [strace, "-f", "-qq", "-o", str(log), "-e", f"trace={MUTATING}", *options, *program],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    return ran.returncode


def mutating_calls(strace: str, before: Path, tmp_path: Path) -> list[Kill]:
    """Those of one insert, in order, seen in a life that nobody cuts short."""
    folder, log = tmp_path / "traced", tmp_path / "traced.strace"
    shutil.copytree(before, folder, symlinks=True)
    assert lives(strace, ["-y"], folder, log) == 0, log.read_text()[-2_000:]
    pattern = re.compile(
        rf'(\w+)\([^"<]*(?:\d+<|AT_FDCWD<[^>]*>, "|"){re.escape(str(folder))}/([^">]+)'
    )
    seen: Counter[tuple[str, str]] = Counter()
    found: list[Kill] = []
    for line in log.read_text().splitlines():
        match = pattern.search(line)
        if match is None or (match[1] == "openat" and "O_CREAT" not in line):
            continue
        call, path = match[1], match[2]
        seen[(call, path)] += 1
        is_part, is_token = "tmp_insert" in path, call == "write" and "deduplication_log" in path
        if (is_part and call != "write") or (is_token and found):
            found.append(Kill(call, path, seen[(call, path)]))
        if found and call == "rename":
            break
    return found
