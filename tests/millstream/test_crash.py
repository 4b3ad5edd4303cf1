"""Crash points: silent unless asked, then deadly at the step that was named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from millstream.crash import VARIABLE, CrashPoint
from millstream.errors import SettingsInvalid

_PROGRAM = """
import os, sys
from millstream.crash import CrashPoint
point = CrashPoint("sink", os.environ)
for turn in range(3):
    for step in (1, 2, 3):
        point.after(step)
        sys.stdout.write(f"{turn}.{step} ")
        sys.stdout.flush()
"""


def _run(wanted: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={VARIABLE: wanted},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.strip()


def test_the_process_dies_when_the_step_was_passed_so_often() -> None:
    """By SIGKILL, so that nothing is flushed or closed."""
    assert _run("sink:2:2") == (-signal.SIGKILL, "0.1 0.2 0.3 1.1")


def test_without_a_count_the_first_time_is_meant() -> None:
    """PROGRAM:STEP is PROGRAM:STEP:1."""
    assert _run("sink:1") == (-signal.SIGKILL, "")


def test_another_programs_crash_point_does_nothing() -> None:
    """The variable reaches every program of a stack."""
    assert _run("scorer:1") == (0, "0.1 0.2 0.3 1.1 1.2 1.3 2.1 2.2 2.3")


def test_without_the_variable_nothing_happens() -> None:
    """A step is passed any number of times."""
    point = CrashPoint("sink", {})
    for step in range(6):
        point.after(step)


@pytest.mark.parametrize(
    "wanted",
    [
        "sink",
        "sink:",
        "sink:x",
        "sink:1:x",
        "sink:-1",
        "sink:²",
        "sink:1:1:halt",
        "sink:1:1:stop:2",
    ],
)
def test_a_misspelt_crash_point_is_refused(wanted: str) -> None:
    """A crash test that crashes nothing would pass in silence."""
    with pytest.raises(SettingsInvalid, match=r"is not PROGRAM:STEP\[:TIMES\[:stop\]\]"):
        CrashPoint("sink", {VARIABLE: wanted})


def test_a_crash_after_no_passage_is_refused() -> None:
    """Steps and times count from 1."""
    for wanted in ("sink:0", "sink:1:0"):
        with pytest.raises(SettingsInvalid):
            CrashPoint("sink", {VARIABLE: wanted})


def test_a_process_may_stop_in_place_of_dying() -> None:
    """It hangs where it is until it gets SIGCONT, and then goes on as if nothing had been."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env={VARIABLE: "sink:2:2:stop"},
        stdout=subprocess.PIPE,
        text=True,
    ) as hung:
        _, status = os.waitpid(hung.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.kill(hung.pid, signal.SIGCONT)
        said, _ = hung.communicate(timeout=60)
    assert said.strip() == "0.1 0.2 0.3 1.1 1.2 1.3 2.1 2.2 2.3"
