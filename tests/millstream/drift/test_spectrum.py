"""How much more than independent trials a stream scatters."""

from __future__ import annotations

import json

import numpy as np
import pytest

from millstream.drift.spectrum import EARLY_EVENTS, Spectrum
from tests.millstream.drift.errors import Bits, bursty, independent, shifted

SCALES = np.array([16.0, 64.0, 256.0])


def learnt(errors: Bits, cut_at: int | None = None) -> Spectrum:
    """A spectrum that saw them in blocks of 8."""
    spectrum = Spectrum()
    for start in range(0, len(errors) - 7, 8):
        if start == cut_at:
            spectrum.cut()
        wrong = float(errors[start : start + 8].sum())
        spectrum.add(8.0, (wrong, 8.0 - wrong))
    return spectrum


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5])
def test_independent_events_scatter_as_themselves(rate: float) -> None:
    """At every scale, give or take the noise of some hundred differences."""
    found = np.mean([learnt(independent(rate, 8_000, s)).of(SCALES) for s in range(6)], axis=0)
    assert (found >= 1.0).all()
    assert (found < 1.3).all()


def test_bursts_scatter_more_over_longer_windows() -> None:
    """Against the variance of the window's mean in a long run of the same stream."""
    errors = bursty(1_024_000, 1)
    rate = float(errors.mean())
    true = []
    for scale in (16, 64, 256):
        sums = errors.reshape(-1, scale).sum(axis=1)
        true.append(sums.var() / (scale * rate * (1 - rate)))
    found = np.mean([learnt(bursty(20_000, seed)).of(SCALES) for seed in range(10)], axis=0)
    assert found == pytest.approx(true, rel=0.3)


def test_a_single_change_hardly_counts_as_scatter() -> None:
    """Errors went from 10 % to 60 %; windows that find the next such change hardly widen."""
    moved = learnt(shifted(0.1, 0.6, 2_004, 4_000, 3), cut_at=2_000).of(SCALES)
    assert moved[0] < 1.5
    assert moved[1] < 2.5


def test_it_goes_on_from_its_state_to_the_bit() -> None:
    """Through JSON, at any block."""
    errors = bursty(1_200, 5)
    whole = learnt(errors)
    for stop in (8, 64, 200, 744):
        first = learnt(errors[:stop])
        second = Spectrum()
        second.restore(json.loads(json.dumps(first.state())))
        for start in range(stop, len(errors) - 7, 8):
            wrong = float(errors[start : start + 8].sum())
            second.add(8.0, (wrong, 8.0 - wrong))
        assert second.state() == whole.state()
        assert (second.of(SCALES) == whole.of(SCALES)).all()


def test_no_errors_at_all_are_no_reason_to_fail() -> None:
    """Nothing scatters where nothing happens."""
    early = 1 + EARLY_EVENTS / 800
    assert learnt(np.zeros(800, np.int8)).of(SCALES) == pytest.approx([early] * 3)
