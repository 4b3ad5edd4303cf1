"""How many events the drift watch follows: measured whole, and in a report of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.watch import main


def test_a_report_has_every_number_of_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every event, prediction and label is counted, or the bench ends with an error."""
    options = "--events 6000 --batch 1500 --rounds 1 --features 2 30 --results"
    main([*options.split(), str(tmp_path)])
    said = capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    text = path.read_text("utf-8")
    assert text in said
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| 2 ")]
    rows += [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| 30 ")]
    assert [int(row[0]) for row in rows] == [2, 30]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
    assert "Goal: 100,000 with 30 features" in text
