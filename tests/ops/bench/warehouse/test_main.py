"""The warehouse bench from the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

WAIT_S_MAX = 90


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    """Neither rows nor a result, though it was in the middle of them."""
    command = [sys.executable, "-m", "ops.bench.warehouse", "--rows", "40000000", "--settle-s", "0"]
    command += ["--folder", str(tmp_path / "made"), "--results", str(tmp_path / "results")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        try:
            deadline = time.monotonic() + WAIT_S_MAX
            while not (tmp_path / "made" / "db" / "data" / "loans").exists():
                assert run.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            _, told = run.communicate(timeout=WAIT_S_MAX)
        finally:
            run.kill()
    assert run.returncode == 130, told
    assert told.splitlines()[-1] == "stopped; no result was written"
    assert list(tmp_path.iterdir()) == []
