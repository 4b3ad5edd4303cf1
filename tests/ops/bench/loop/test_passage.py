"""A small stream through real Kafka and every program."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.loop.passage import Passage
from ops.bench.loop.pieces import Setting
from tests.ops.bench.loop.test_prequential import flipping


@pytest.mark.broker
@pytest.mark.usefixtures("kafka_jars")
def test_the_loop_follows_a_change_through_kafka(tmp_path: Path) -> None:
    """Each answer as it was given, with labels 50 events late; the first model keeps its errors;
    verify is clean."""
    data = flipping(2_000, 1_000)
    piece = Passage(data, tmp_path, 50, Setting(step=150, schedule=150)).run()
    first = data.warm_up
    assert piece.clean
    assert (piece.counted.differing, len(piece.counted.right)) == (0, 2_000 - first)
    assert piece.counted.answered_first >= 1_000 - first
    assert piece.frozen.accuracy < piece.loop.accuracy
    assert piece.counted.right[-100:].mean() > 0.8
    assert any(at > 1_000 - first for at in piece.swaps)
    assert piece.facts["failures"] == []
    assert sum(piece.facts["outcomes"].values()) == piece.facts["retrainings"]
