"""The report of a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ops.bench.drift.plot import stream_plot
from ops.bench.drift.results import Found, write_results
from ops.bench.drift.score import Score
from ops.bench.drift.streams import Piece
from ops.bench.machine import Machine

MACHINE = Machine("a CPU", 2, 8.0, "Linux", "abc", (0.1, 0.2, 0.3), {"numpy": "2"})
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def scored(piece: Piece, alarms: list[int]) -> Score:
    """One seed."""
    score = Score()
    score.add([(piece, alarms)], 0.01)
    return score


def test_goals_are_compared_with_adwin_on_the_same_streams(tmp_path: Path) -> None:
    """A longer delay and a missed change are not reached; stationary streams have their own."""
    piece, still = (
        Piece(np.zeros(5_000, np.int8), ((3_000, 1),)),
        Piece(np.zeros(5_000, np.int8), ()),
    )
    found = Found(MACHINE, 1, 1, 0)
    found.scores = {
        "sine": {"Millstream": scored(piece, [3_050]), "ADWIN": scored(piece, [3_020])},
        "mixed": {"Millstream": scored(piece, []), "ADWIN": scored(piece, [3_020])},
        "bursty": {"Millstream": scored(still, []), "ADWIN": scored(still, [1, 2])},
    }
    found.plots = {"sine": stream_plot("sine", [piece], {"ADWIN": [[3_020]]})}
    path = write_results(found, tmp_path, NOW)
    text = path.read_text("utf-8")
    assert path.name == "drift-2026-01-02-030405.md"
    assert "| sine: mean delay | ≤ 20.0 (ADWIN) | 50.0 | **no** |" in text
    assert "| mixed: missed of 1 | 0 | 1 (ADWIN 0) | **no** |" in text
    assert "| bursty: false alarms per 10,000 | ≤ 2 | 0.00 (0.00 to 7.38) | yes |" in text
    assert "| ADWIN | 20.0 | 0 of 1 |" in text
    assert (tmp_path / "drift-2026-01-02-030405-sine.svg").exists()
    numbers = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert numbers["streams"]["sine"]["ADWIN"]["delays"] == [20]


@pytest.mark.parametrize("width", [1, 500])
def test_the_picture_shows_error_changes_and_alarms(width: int) -> None:
    """A red line for each change, a shade for a gradual one, a tick for each alarm."""
    errors = np.random.default_rng(1).integers(0, 2, 3_000).astype(np.int8)
    piece = Piece(errors, ((1_000, width),))
    text = stream_plot("a < b", [piece, piece], {"x": [[1_100], []], "y": [[5, 7], [9]]})
    name = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(text)
    lines = list(root.iter(f"{name}line"))
    assert sum(line.attrib["stroke"] == "#d62728" for line in lines) == 2
    assert sum(line.attrib["stroke"] == "#111" for line in lines) == 4
    assert len(list(root.iter(f"{name}rect"))) == (1 if width == 1 else 3)
    assert len(list(root.iter(f"{name}polyline"))) == 2
