"""`millstream demo --story drift`, and what would make it fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from millstream.retraining.stages import Stage
from ops.demo.drift_story import CHANGE_AT, Seen, faults_of, is_back

EVENTS = 20_000
BEFORE = (0.95,) * (CHANGE_AT // 1_000)
AFTER = (0.5,) * 4 + (0.94,) * 8
STEPS = tuple((stage.value, "done", "") for stage in Stage if stage is not Stage.PROMOTE)
OVER = (("promote", "over", "promoted"),)
SWITCHES = (
    (1, "canary", "1", "retrained-1", 0, 2_500),
    (2, "promote", "retrained-1", "", 0, 3_000),
)
GOOD = Seen(EVENTS, BEFORE + AFTER, (("concept_change", "resolved"),), STEPS + OVER, SWITCHES)


@pytest.mark.broker
def test_a_better_model_takes_over_by_itself(tmp_path: Path) -> None:
    """On a real broker: incident, retraining, trial, promotion; accuracy is back; verify clean."""
    command = [sys.executable, "-m", "millstream", "demo", "--story", "drift", "--kafka", "real"]
    run = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "a model was retrained and promoted" in run.stdout
    assert "clean:" in run.stdout


def test_it_goes_on_until_the_accuracy_is_back() -> None:
    """A first model of few rows may be five points below; the next one comes."""
    assert is_back(GOOD)
    assert not is_back(replace(GOOD, accuracy=BEFORE + (0.5,) * 4 + (0.914,) * 8))


def test_a_good_story_has_no_fault() -> None:
    """What the demo wants to see."""
    assert list(faults_of(GOOD, EVENTS)) == []


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, labelled=EVENTS - 1),
        replace(GOOD, accuracy=BEFORE + (0.93,) * 12),
        replace(GOOD, accuracy=BEFORE + (0.5,) * 12),
        replace(GOOD, incidents=()),
        replace(GOOD, incidents=(("harmless_shift", "opened"),)),
        replace(GOOD, steps=STEPS),
        replace(GOOD, steps=STEPS[1:] + OVER),
        replace(GOOD, switches=SWITCHES[:1]),
        replace(GOOD, astray=1),
    ],
    ids=[
        "labels",
        "no_fall",
        "no_return",
        "no_incident",
        "verdict",
        "kept",
        "stage",
        "no_switch",
        "astray",
    ],
)
def test_each_fault_fails_the_story(bad: Seen) -> None:
    """Nothing that is asserted can be missing without the exit code 1."""
    assert list(faults_of(bad, EVENTS))
