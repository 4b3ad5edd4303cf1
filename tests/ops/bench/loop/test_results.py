"""The report of a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ops.bench.loop.prequential import Run
from ops.bench.loop.results import Found, write_results
from ops.bench.loop.streams import Stream
from ops.bench.machine import Machine

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MACHINE = Machine("a CPU", 2, 8.0, "Linux", "abc", (0.1, 0.2, 0.3), {})


def found(right: float, swaps: int) -> Found:
    """elec2 with a loop that is right so often, and something simple that is right of 80 %."""
    made = Found(MACHINE)
    made.streams["elec2"] = Stream(
        "elec2", np.zeros((2_000, 1)), np.zeros(2_000, np.int64), ("a",), (1_000,)
    )
    loop = Run(np.arange(1_700) < 1_700 * right, tuple(range(swaps)))
    made.runs["elec2"] = {0: {"the loop": loop, "no change": Run(np.arange(1_700) < 1_360, ())}}
    return made


def test_a_goal_is_reached_by_accuracy_and_few_swaps(tmp_path: Path) -> None:
    """Both are asked for."""
    assert "| 77.00 | 1 | yes |" in write_results(found(0.77, 1), tmp_path / "a", NOW).read_text()
    assert (
        "| 77.00 | 3 | **no** |" in write_results(found(0.77, 3), tmp_path / "b", NOW).read_text()
    )
    assert (
        "| 76.00 | 0 | **no** |" in write_results(found(0.76, 0), tmp_path / "c", NOW).read_text()
    )


def test_what_did_better_is_said(tmp_path: Path) -> None:
    """By name and figure."""
    text = write_results(found(0.77, 1), tmp_path, NOW).read_text()
    assert "better than 77.0 is no change (80.0)" in text


def test_figures_and_pictures_lie_beside_it(tmp_path: Path) -> None:
    """One of each stream and delay, drawn as XML."""
    write_results(found(0.77, 1), tmp_path, NOW)
    told = json.loads((tmp_path / "loop-2026-01-02-030405.json").read_text())
    assert told["streams"]["elec2"]["0"]["the loop"]["swaps"] == [0]
    ElementTree.parse(tmp_path / "loop-2026-01-02-030405-elec2.svg")
