"""`millstream demo --story concept`, and what would make it fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ops.demo.story import CHANGE_AT, EVENTS, Seen, faults_of

GOOD = Seen(
    EVENTS,
    (0.95,) * (CHANGE_AT // 1_000) + (0.5,) * ((EVENTS - CHANGE_AT) // 1_000),
    (("id", "concept_change", "opened", "loss", 7),),
    1,
    {"monitor": 1},
)


def test_the_changed_rule_is_seen_and_named(tmp_path: Path) -> None:
    """On the embedded parts: one incident, a concept change, no input alarm; exit code 0."""
    command = [sys.executable, "-m", "millstream", "demo", "--story", "concept", "--rate", "3000"]
    run = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "one incident was opened, its verdict is concept_change" in run.stdout
    assert "concept_change (loss)" in run.stdout


def test_a_good_story_has_no_fault() -> None:
    """What the demo wants to see."""
    assert list(faults_of(GOOD)) == []


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, labelled=EVENTS - 1),
        replace(GOOD, accuracy=(0.95,) * (EVENTS // 1_000)),
        replace(GOOD, opened=0, incidents=()),
        replace(GOOD, opened=2),
        replace(GOOD, incidents=(("id", "harmful_shift", "opened", "loss", 7),)),
        replace(GOOD, alarms={"inputs": 1, "monitor": 1}),
    ],
    ids=["labels", "accuracy", "none", "two", "verdict", "inputs"],
)
def test_each_fault_fails_the_story(bad: Seen) -> None:
    """Nothing that is asserted can be missing without the exit code 1."""
    assert len(list(faults_of(bad))) >= 1
