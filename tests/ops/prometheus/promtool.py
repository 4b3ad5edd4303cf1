"""Debian's promtool and Prometheus, as the tests start them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Its path. Skips where there is none, fails in CI."""
    found = shutil.which(name)
    if found is not None:
        return found
    reason = f"needs {name} (Debian package: prometheus)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def promtool(*arguments: str | Path) -> str:
    """What it says; fails the test where it finds fault."""
    argv = [program("promtool"), *(str(each) for each in arguments)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    return run.stdout
