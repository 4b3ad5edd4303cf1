"""How the stack tends its programs; the whole stack is run by tests/broker and tests/crash."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from millstream.stream import Stream
from ops.process import Child
from ops.stack import RESTART_S_MIN, Parts, Running, Stack
from tests.clock import Clock
from tests.streams import LOANS


@pytest.fixture
def clock() -> Clock:
    """At 100 s."""
    return Clock()


@pytest.fixture
def stack(clock: Clock, tmp_path: Path) -> Stack:
    """A stack that was not started: only its `tend` is asked."""
    return Stack(Stream.load(LOANS / "stream.toml"), tmp_path, Parts(), clock)


def leaving(stack: Stack, code: int, folder: Path) -> Running:
    """A program that has left with this exit code."""

    def start() -> Child:
        command = [sys.executable, "-c", f"raise SystemExit({code})"]
        return Child("leaving", command, log=folder / "leaving.log")

    running = Running("leaving", start, ready=folder / "ready")
    stack.programs["leaving"] = running
    running.child = start()
    wait_until_gone(running.child)
    return running


def wait_until_gone(child: Child) -> None:
    """Returns when it has ended."""
    with pytest.raises(Exception, match="ended at its start"):
        child.wait_until(lambda: False, timeout_s=30)


@pytest.mark.parametrize("code", [1, 2, 3, 70, -9])
def test_a_program_that_ended_is_started_again_after_a_wait(
    code: int, stack: Stack, clock: Clock, tmp_path: Path
) -> None:
    """Not at once, and not twice."""
    running = leaving(stack, code, tmp_path)
    stack.tend()
    assert running.child is None
    stack.tend()
    assert running.starts == 0, "it waits first"
    clock.now += RESTART_S_MIN
    stack.tend()
    assert running.starts == 1


def test_a_program_that_keeps_failing_is_started_ever_later(
    stack: Stack, clock: Clock, tmp_path: Path
) -> None:
    """Twice as late each time."""
    running = leaving(stack, 3, tmp_path)
    waits = []
    for _ in range(4):
        stack.tend()
        waits.append(running.due - clock.now)
        clock.now = running.due
        running.launched = clock.now
        running.child = leaving(stack, 3, tmp_path).child
        stack.programs["leaving"] = running
    assert waits == [0.5, 1.0, 2.0, 4.0]


def test_a_program_that_says_so_stays_down(stack: Stack, clock: Clock, tmp_path: Path) -> None:
    """Exit code 4: starting it again would do harm."""
    running = leaving(stack, 4, tmp_path)
    for _ in range(3):
        stack.tend()
        clock.now += 3_600
    assert running.starts == 0
    assert running.child is None


@pytest.mark.parametrize(
    ("variable", "rules", "telling"),
    [
        (None, "", False),
        ("http://127.0.0.1:9/hook", "", True),
        (None, '[[alerts.rules]]\nkind = "detector"\nname = "drift"', True),
    ],
)
def test_alerts_run_where_there_are_rules_or_a_channel_has_its_address(
    variable: str | None,
    rules: str,
    telling: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither: nobody is to be told, and no program for it is started."""
    monkeypatch.delenv("MILLSTREAM_ALERTS_WEBHOOK_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv("MILLSTREAM_ALERTS_WEBHOOK_URL", variable)
    for name in ("stream.toml", "event.v1.avsc"):
        shutil.copyfile(LOANS / name, tmp_path / name)
    with (tmp_path / "stream.toml").open("a") as file:
        file.write(f"\n{rules}\n")
    made = Stack(Stream.load(tmp_path / "stream.toml"), tmp_path, Parts())
    assert made.is_telling is telling
