"""The report of what went through Kafka."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ops.bench.loop.pieces import Counted, Piece, Setting
from ops.bench.loop.streams import GOALS, Stream
from ops.bench.loop.through_results import newest_alone, write_through
from ops.bench.machine import Machine

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MACHINE = Machine("a CPU", 2, 8.0, "Linux", "abc", (0.1, 0.2, 0.3), {})
DATA = Stream("elec2", np.zeros((2_000, 1)), np.zeros(2_000, np.int64), ("a",), (1_000,))
FACTS: dict[str, Any] = {
    "outcomes": {"promoted": 1, "kept": 2},
    "triggers": {"schedule": 3},
    "incidents": 1,
    "stage_s": {"collect": 0.5},
    "trickled": 4,
    "missed": 0,
    "failures": [],
    "seconds": 100.0,
}


def piece(right: float, swaps: int, *, clean: bool = True, **facts: object) -> Piece:
    """elec2 at once, right so often, where the first model is right of a half."""
    counted = Counted(np.arange(1_700) < 1_700 * right, np.arange(1_700) < 850, 100, 0)
    made = {**FACTS, **facts}
    return Piece("elec2", 0, Setting(100, 100), counted, tuple(range(swaps)), clean, made)


def report(tmp_path: Path, made: Piece) -> str:
    """Its Markdown."""
    return write_through([made], {"elec2": DATA}, MACHINE, tmp_path, NOW).read_text()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (piece(0.77, 1), "| 77.00 | 1 | yes |"),
        (piece(0.77, 3), "| 77.00 | 3 | **no** |"),
        (piece(0.76, 1), "| 76.00 | 1 | **no** |"),
        (piece(0.77, 1, clean=False), "| 77.00 | 1 | **no** |"),
    ],
)
def test_a_goal_is_reached_by_accuracy_few_swaps_and_a_clean_audit(
    made: Piece, said: str, tmp_path: Path
) -> None:
    """All three are asked for."""
    assert said in report(tmp_path, made)


def test_the_bench_in_one_process_stands_beside_it(tmp_path: Path) -> None:
    """The newest run that has all streams with goals; none where there is none."""
    assert newest_alone(tmp_path) == ("", {})
    who = {name: {"accuracy": 70.0 + n, "swaps": [1]} for n, name in enumerate(["the loop"])}
    whole = {"streams": {name: {"0": who} for name in GOALS}}
    (tmp_path / "loop-2026-01-01-000000.json").write_text(json.dumps(whole))
    (tmp_path / "loop-2026-01-02-000000.json").write_text(json.dumps({"streams": {"sine": {}}}))
    assert newest_alone(tmp_path)[0] == "loop-2026-01-01-000000"
    assert "| standing | 77.0 (1) | 50.0 | 100.0 | 70.0 (1) |" in report(tmp_path, piece(0.77, 1))


def test_what_went_wrong_is_said(tmp_path: Path) -> None:
    """Failed attempts with their reasons, and reasons that were passed over."""
    wrong = piece(0.77, 1, failures=["train: no rows"], missed=2)
    text = report(tmp_path, wrong)
    assert "a retraining failed: train: no rows" in text
    assert "2 times the retrainer had a reason" in text
    assert "all answers of the first model (100)" in text


def test_figures_and_pictures_lie_beside_it(tmp_path: Path) -> None:
    """One picture of each run, drawn as XML."""
    report(tmp_path, piece(0.77, 1))
    told = json.loads((tmp_path / "loop-kafka-2026-01-02-030405.json").read_text())
    assert told["pieces"][0]["accuracy"] == pytest.approx(77.0)
    ElementTree.parse(tmp_path / "loop-kafka-2026-01-02-030405-elec2-0-standing.svg")
