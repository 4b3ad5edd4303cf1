"""Children that cannot outlive their starter."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from millstream.errors import DependencyUnavailable
from ops.process import Child, free_ports, listening, write_ready_file

_DEADLINE_S = 30.0
_STARTER = """
import sys, threading
from pathlib import Path
from ops.process import Child
child = Child("sleeper", ["sleep", "600"], log=Path(sys.argv[1]))
print(child.pid, flush=True)
threading.Event().wait()
"""


def until(true: Callable[[], bool]) -> bool:
    """Ask again until it is true, for a bounded time."""
    deadline = time.monotonic() + _DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_child_dies_with_a_starter_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the starter, which runs no exit code of ours, ends the child."""
    argv = [sys.executable, "-c", _STARTER, str(tmp_path / "log")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert not gone(pid)
        starter.kill()
    assert until(lambda: gone(pid))


def test_a_child_dies_with_a_starter_that_ends(tmp_path: Path) -> None:
    """An ordinary exit of the starter, without stop(), ends the child."""
    ends = _STARTER.replace("threading.Event().wait()", "sys.exit(0)")
    argv = [sys.executable, "-c", ends, str(tmp_path / "log")]
    run = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    assert until(lambda: gone(int(run.stdout)))


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The parent-death signal follows threads; ours does not."""
    children: list[Child] = []

    def start() -> None:
        children.append(Child("sleeper", ["sleep", "600"], log=tmp_path / "log"))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        assert children[0].alive()
        assert not gone(children[0].pid)
    finally:
        children[0].kill()
    assert gone(children[0].pid)


def test_a_child_that_ends_at_its_start_is_reported_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    """What the child said last is in the error."""
    child = Child("grumbler", ["sh", "-c", "echo no disk; exit 3"], log=tmp_path / "log")
    with pytest.raises(DependencyUnavailable, match=r"(?s)ended at its start.*no disk"):
        child.wait_until(lambda: False, timeout_s=_DEADLINE_S)
    assert not child.alive()


def test_a_child_that_is_not_ready_in_time_is_killed(tmp_path: Path) -> None:
    """A start that hangs leaves no process."""
    child = Child("sleeper", ["sleep", "600"], log=tmp_path / "log")
    with pytest.raises(DependencyUnavailable, match="not ready after 0 s"):
        child.wait_until(lambda: False, timeout_s=0)
    assert gone(child.pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """stop() has an end."""
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 1; done"
    child = Child("stubborn", ["sh", "-c", script], log=tmp_path / "log")
    child.wait_until(ready.exists, timeout_s=_DEADLINE_S)
    child.stop(timeout_s=0.1)
    assert gone(child.pid)


def test_a_program_that_is_not_there_is_reported(tmp_path: Path) -> None:
    """A missing program is an error with a name, not a traceback of subprocess."""
    with pytest.raises(DependencyUnavailable, match="nobody: cannot be started"):
        Child("nobody", [str(tmp_path / "missing")], log=tmp_path / "log")


def test_free_ports_are_distinct_and_nobody_listens_on_them() -> None:
    """Ports come from below the range of outgoing connections."""
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert not any(listening(port) for port in ports)
    assert all(port < 32_768 for port in ports)


def test_a_ready_file_is_replaced_whole(tmp_path: Path) -> None:
    """No partial file stays beside it."""
    path = tmp_path / "ready"
    write_ready_file(path, "one")
    write_ready_file(path, "two")
    assert path.read_text() == "two\n"
    assert list(tmp_path.iterdir()) == [path]
