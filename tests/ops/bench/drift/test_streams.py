"""Error streams with known changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ops.bench.drift.detectors import COUNTED, OURS, alarms
from ops.bench.drift.streams import BURSTY, GENERATED, REAL, names, pieces, stationary


def test_streams_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    """The generated ones always are."""
    assert names(None) == list(GENERATED)
    (tmp_path / "nsl_kdd").mkdir()
    (tmp_path / REAL["nsl_kdd"][0]).touch()
    assert names(tmp_path) == ["nsl_kdd", *GENERATED]


def test_a_generated_stream_changes_where_it_says() -> None:
    """Half of a concept is held back, so the change lies at about half of its rows."""
    made = pieces("mixed", 0, None)
    assert len(made) == 2
    for piece in made:
        ((change, width),) = piece.changes
        assert 1_800 < change < 2_200
        assert width == 1
        before, after = piece.errors[:change], piece.errors[change:]
        assert after.mean() > before.mean() + 0.3
        assert len(after) == 4_000


@pytest.mark.parametrize("name", stationary())
def test_stationary_streams_keep_their_mean(name: str) -> None:
    """Whatever the bursts; and the same seed draws the same."""
    errors = np.concatenate([pieces(name, seed, None)[0].errors for seed in range(20)])
    if name in BURSTY:
        quiet, burst, calm, long = BURSTY[name]
        wanted = (quiet * calm + burst * long) / (calm + long)
    else:
        wanted = float(name.split()[1].rstrip("%")) / 100
    assert errors.mean() == pytest.approx(wanted, rel=0.15)
    assert (pieces(name, 3, None)[0].errors == pieces(name, 3, None)[0].errors).all()


@pytest.mark.parametrize("detector", [OURS, COUNTED, "ADWIN", "HDDM_W"])
def test_detectors_find_a_plain_change(detector: str) -> None:
    """Each, with an index behind it."""
    random = np.random.default_rng(1)
    errors = np.concatenate([random.random(1_000) < 0.1, random.random(500) < 0.9])
    found = alarms(detector, errors.astype(np.int8))
    assert found
    assert 1_000 <= found[-1] < 1_100
