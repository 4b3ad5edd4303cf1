"""What stops or replaces a scorer: one named outcome each, and nothing lost or doubled."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ops.process import Child
from tests.faults.conftest import SMALL
from tests.faults.trial import Trial, wait_for_exit, wait_until_stopped

SESSION_S = int(SMALL["MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS"]) / 1000
TRANSACTION_S = int(SMALL["MILLSTREAM_SCORER_TRANSACTION_TIMEOUT_MS"]) / 1000
FENCED_EXIT = 3


def test_a_scorer_that_hangs_longer_than_its_session_aborts_once_and_goes_on(
    trial: Trial, tmp_path: Path
) -> None:
    """It produced, hung, and was put out of the group: sending the offsets is refused, the
    transaction aborted, the batch read again. The process lives on."""
    child = trial.doomed_scorer("scorer:2:2:stop", tmp_path)
    trial.publish(2_000)
    wait_until_stopped(child)
    time.sleep(SESSION_S + 1.5)
    os.kill(child.pid, signal.SIGCONT)
    trial.audit()
    said = child.tail(50)
    assert child.alive(), said
    assert said.count("reading again in") == 1, said
    assert "while send_offsets_to_transaction" in said, said


def test_a_scorer_that_hangs_longer_than_its_transaction_is_fenced_and_started_again(
    trial: Trial, tmp_path: Path
) -> None:
    """The broker has aborted its transaction: the client is lost, exit code 3."""
    child = trial.doomed_scorer("scorer:3:2:stop", tmp_path)
    trial.publish(2_000)
    wait_until_stopped(child)
    time.sleep(TRANSACTION_S + 2)
    os.kill(child.pid, signal.SIGCONT)
    assert wait_for_exit(child) == FENCED_EXIT, child.tail()
    assert "must be started again" in child.tail(), child.tail()
    trial.audit()


def test_a_twin_with_the_same_slot_fences_the_older_scorer(trial: Trial, tmp_path: Path) -> None:
    """One of two with one slot leaves with exit code 3; the events have one answer each."""
    older = trial.bed.child("scorer-0")
    with trial.under_load():
        path = str(trial.bed.stream.path)
        twin = Child(
            "twin",
            [sys.executable, "-m", "millstream", "score", path, "--slot", "0"],
            log=tmp_path / "twin.log",
            env=trial.bed.stack.environment,
        )
        try:
            assert wait_for_exit(older) == FENCED_EXIT, older.tail()
            assert "must be started again" in trial.since("scorer-0")
        finally:
            twin.stop()
    trial.audit()
