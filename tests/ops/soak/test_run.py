"""The soak itself, in its short version."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ops.soak.run import Soak

SECONDS = 60.0
RATE = 1_500.0
PEAK_MB_MAX = 1_000.0


@pytest.mark.crash
def test_a_minute_of_kills_restarts_and_network_faults_loses_and_doubles_nothing(
    kafka_jars: Path, tmp_path: Path
) -> None:
    """Twelve kills, a dead broker, latency, resets and a partition of 20 s; then verify is clean,
    and no program ever needed more memory than its bound."""
    soak = Soak(tmp_path, 20_240, SECONDS, RATE, threading.Event(), lambda text: None)
    account = soak.run()
    assert account.problems == []
    assert sum(account.kills.values()) >= 8
    assert set(account.faults) == {
        "kill -9", "broker kill -9", "latency", "resets", "partition"
    }  # fmt: skip
    assert account.published >= SECONDS * RATE / 2
    programs = {name: mb for name, mb in account.peaks_mb.items() if name != "broker"}
    assert max(programs.values()) < PEAK_MB_MAX, programs
