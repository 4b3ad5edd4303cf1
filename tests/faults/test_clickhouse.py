"""What happens to ClickHouse: the sink pauses, waits, and goes on; nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ops.faults.bed import frozen
from tests.faults.trial import Trial

Fault = Callable[[Path], AbstractContextManager[None]]
PAUSED = "reading pauses until ClickHouse takes the rows that wait"
RESUMED = "ClickHouse takes rows again; reading goes on"


def once_paused_and_resumed(trial: Trial, starts: int) -> None:
    """The sink said so, lived through it, and kept its partitions."""
    trial.wait_for(RESUMED, "sink")
    said = trial.since("sink")
    assert trial.bed.stack.programs["sink"].starts == starts, said
    assert PAUSED in said
    assert "revoked" not in said, "a member that polls is not put out of its group"


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """A file takes all the room that is left."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1_000_000)):
                pass
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """No file can be made in it, as after an error of the disk."""
    folders = [str(path) for path in (disk / "data" / "store").rglob("*") if path.is_dir()]
    said = subprocess.run(["chattr", "+i", *folders], capture_output=True, check=False)
    try:
        if said.returncode:
            why = said.stderr.decode()[:200]
            pytest.skip(f"chattr +i failed, run as root with Debian's e2fsprogs: {why}")
        yield
    finally:
        subprocess.run(["chattr", "-f", "-i", *folders], capture_output=True, check=False)


def test_a_clickhouse_that_is_away_is_waited_for(trial: Trial) -> None:
    """Every connection is refused for longer than a session: the sink pauses and stays a member."""
    starts = trial.bed.stack.programs["sink"].starts
    with trial.under_load():
        trial.bed.warehouse.cut()
        trial.wait_for(PAUSED, "sink")
        trial.tend_for(7)
        trial.bed.mend()
    trial.audit()
    once_paused_and_resumed(trial, starts)


def test_a_clickhouse_that_is_killed_and_started_again_has_every_row_once(trial: Trial) -> None:
    """kill -9 under inserts: what had landed is counted back, the rest is inserted again."""
    starts = trial.bed.stack.programs["sink"].starts
    with trial.under_load(2_000):
        trial.tend_for(1)
        trial.bed.clickhouse.kill()
        trial.wait_for(PAUSED, "sink")
        trial.bed.clickhouse.restart()
    trial.audit()
    once_paused_and_resumed(trial, starts)


def test_an_insert_that_lands_after_its_time_out_is_not_inserted_again(trial: Trial) -> None:
    """ClickHouse hangs (SIGSTOP) for longer than the sink's time-out, then does what it was told:
    the rows are counted back."""
    with trial.under_load():
        trial.tend_for(1)
        with frozen(trial.bed.clickhouse.pid):
            trial.wait_for("the rows from offset", "sink")
    trial.audit()


def test_lost_answers_of_clickhouse_double_no_rows(trial: Trial) -> None:
    """Inserts that are done and never acknowledged: the same token goes out again, and the range
    is counted back."""
    with trial.under_load():
        trial.tend_for(1)
        trial.bed.warehouse.swallow()
        trial.wait_for(PAUSED, "sink")
        trial.bed.mend()
    trial.audit()


@pytest.mark.parametrize("fault", [full, read_only])
def test_a_clickhouse_that_cannot_write_is_waited_for(trial: Trial, fault: Fault) -> None:
    """A full or read-only disk: the sink pauses, no record becomes a dead letter, and it goes on
    when ClickHouse can write again."""
    disk = trial.bed.clickhouse.data
    if not disk.is_mount():
        pytest.skip("no disk of its own for ClickHouse: mounting a tmpfs needs root, run as root")
    starts = trial.bed.stack.programs["sink"].starts
    with fault(disk):
        trial.publish(3_000)
        trial.wait_for(PAUSED, "sink")
        trial.tend_for(1)
    trial.audit()
    once_paused_and_resumed(trial, starts)
    assert not trial.rows("dead_letters")


def test_a_table_with_too_many_parts_is_waited_for(trial: Trial) -> None:
    """Too many parts: the rows wait until there are fewer."""
    starts = trial.bed.stack.programs["sink"].starts
    table = f"{trial.bed.stream.name}.events"
    trial.warehouse.command(f"ALTER TABLE {table} MODIFY SETTING parts_to_throw_insert = 1")
    try:
        trial.publish(1_000)
        trial.wait_for("Too many parts", "sink")
        trial.wait_for(PAUSED, "sink")
    finally:
        trial.warehouse.command(f"ALTER TABLE {table} RESET SETTING parts_to_throw_insert")
    trial.audit()
    once_paused_and_resumed(trial, starts)
