"""The e-detector as a River detector."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, cast

import numpy as np
import pytest
from river import base, drift, dummy

from millstream.drift.detector import EDetector
from tests.millstream.drift.errors import bursty, independent, shifted

ADWIN: Any = drift.ADWIN


def drifts(detector: Any, errors: list[int]) -> list[int]:
    """Where it says so."""
    found = []
    for place, error in enumerate(errors):
        detector.update(error)
        if detector.drift_detected:
            found.append(place)
    return found


def test_it_is_a_river_detector() -> None:
    """Clones with its parameters, is silent at first, and tells once for each change."""
    detector = EDetector(run_events=20_000, clock=4, grace_period=50)
    assert isinstance(detector, base.DriftDetector)
    assert not detector.drift_detected
    found = drifts(detector, shifted(0.1, 0.5, 1_000, 3_000, 1).tolist())
    assert len(found) == 1
    assert 1_000 < found[0] < 1_060
    fresh = detector.clone()
    assert (fresh.run_events, fresh.clock, fresh.grace_period) == (20_000, 4, 50)
    assert drifts(fresh, shifted(0.1, 0.5, 1_000, 3_000, 1).tolist()) == found


def test_it_retrains_a_river_classifier() -> None:
    """In the place of River's own in a pipeline."""
    model: Any = drift.DriftRetrainingClassifier(
        model=dummy.PriorClassifier(),
        drift_detector=cast(Any, EDetector()),
        train_in_background=False,
    )
    for number in range(3_000):
        model.predict_one({"x": 1.0})
        model.learn_one({"x": 1.0}, number % 4 == 0 if number < 2_000 else number % 4 != 0)
    assert model.predict_one({"x": 1.0}) is True


def test_bursts_are_no_drift() -> None:
    """On 20 bursty stationary streams of 10,000 events at most 2 false alarms each on average."""
    ours = sum(len(_counted(bursty(10_000, seed))) for seed in range(20)) / 20
    adwin = sum(len(drifts(ADWIN(), bursty(10_000, s).tolist())) for s in range(4)) / 4
    assert ours <= 2.0
    assert adwin > 10.0


def test_independent_errors_raise_no_more_alarms_than_asked_for() -> None:
    """Rare and frequent ones: at most one in each 50,000 events."""
    found = [_counted(independent(rate, 100_000, 7)) for rate in (0.01, 0.05, 0.1, 0.4)]
    assert sum(map(len, found)) <= 8


@pytest.mark.parametrize(
    ("before", "after"), [(0.27, 0.75), (0.01, 0.2), (0.75, 0.35), (0.05, 0.5)]
)
def test_it_is_quicker_than_adwin(before: float, after: float) -> None:
    """On average over ten streams, each change found."""
    ours, theirs = [], []
    for seed in range(10):
        errors = shifted(before, after, 3_000, 4_000, seed).tolist()
        ours.append(next(at for at in drifts(EDetector(), errors) if at >= 3_000))
        theirs.append(next(at for at in drifts(ADWIN(), errors) if at >= 3_000))
    assert np.mean(ours) <= np.mean(theirs)


def _counted(errors: np.ndarray) -> list[int]:
    detector, found = EDetector(), []
    for start in range(0, len(errors), 40):
        part = errors[start : start + 40]
        detector.update_counts(int(part.sum()), len(part))
        if detector.drift_detected:
            found.append(start)
    return found


@pytest.mark.parametrize("x", [-0.1, 1.1, float("nan")])
def test_what_is_no_error_is_refused(x: float) -> None:
    """And leaves the state as it was."""
    detector = EDetector()
    before = detector.state()
    with pytest.raises(ValueError, match="not in"):
        detector.update(x)
    with pytest.raises(ValueError, match="errors in"):
        detector.update_counts(3, 2)
    assert detector.state() == before


def test_settings_that_make_no_sense_are_refused() -> None:
    """With what they are."""
    with pytest.raises(ValueError, match="run_events is 1"):
        EDetector(run_events=1.0)
    with pytest.raises(ValueError, match="at least 1"):
        EDetector(clock=0)


def test_state_copy_and_pickle_go_on_alike() -> None:
    """From a random place, through JSON too."""
    errors = shifted(0.2, 0.5, 600, 1_000, 3).tolist()
    detector = EDetector()
    for error in errors[:317]:
        detector.update(error)
    others = [
        EDetector.from_state(json.loads(json.dumps(detector.state()))),
        copy.deepcopy(detector),
        pickle.loads(pickle.dumps(detector)),
    ]
    found = drifts(detector, errors[317:])
    assert found
    for other in others:
        assert drifts(other, errors[317:]) == found
        assert other.state() == detector.state()
    with pytest.raises(ValueError, match="format 9"):
        EDetector.from_state({**detector.state(), "format": 9})
