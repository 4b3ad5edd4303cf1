"""`millstream demo` on the embedded parts, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_well_and_its_data_can_be_queried_afterwards(tmp_path: Path) -> None:
    """3,000 events: one prediction each, said in the summary and by the exit code."""
    command = [sys.executable, "-m", "millstream", "demo", "--events", "3000", "--folder"]
    run = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, timeout=180, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "every one of 3,000 events has exactly one prediction" in run.stdout
    assert "curl" in run.stdout
    assert "look at it in the browser: http://127.0.0.1:" in run.stdout
    query = "SELECT count() FROM loans.predictions"
    read = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, clickhouse_connect as c; "
            "print(c.get_client(interface='chdb', path=sys.argv[1]).command(sys.argv[2]))",
            str(tmp_path / "run" / "clickhouse"),
            query,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert read.stdout.strip() == "3000"
