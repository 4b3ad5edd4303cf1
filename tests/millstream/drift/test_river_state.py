"""What is inside of River's detectors, and that nothing of it is lost."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from millstream.drift.river_state import from_state, state_of
from millstream.drift.rivers import NAMES, RiverDetector
from tests.millstream.drift.test_rivers import table

_PARAMETERS: dict[str, dict[str, Any]] = {
    "HDDM_A": {"two_sided_test": True},
    "HDDM_W": {"two_sided_test": True},
    "KSWIN": {"seed": 7, "window_size": 60, "stat_size": 20},
    "PageHinkley": {"mode": "up", "threshold": 20.0},
}


def _values(seed: int, rows: int) -> list[float]:
    """Errors whose rate changes every 400 events."""
    rng = random.Random(seed)
    return [float(rng.random() < (0.1, 0.5)[row // 400 % 2]) for row in range(rows)]


def _whole(detector: RiverDetector) -> str:
    return json.dumps(state_of(detector), sort_keys=True)


@pytest.mark.parametrize("kind", NAMES)
def test_restored_at_random_offsets_it_says_what_an_unbroken_run_says(kind: str) -> None:
    """The same drifts and warnings, and in the end the same state, however often it was killed."""
    rows = 1_200 if kind == "KSWIN" else 6_000
    named = table(type=kind, **_PARAMETERS.get(kind, {}))
    values = _values(11, rows)
    unbroken = RiverDetector(named)
    wanted = unbroken.update(values)
    assert wanted.drifts, "there is nothing to compare"
    rng = np.random.default_rng(5)
    for _ in range(3):
        kills = sorted(rng.choice(rows, 15, replace=False).tolist())
        detector, start = RiverDetector(named), 0
        drifts: list[int] = []
        warnings: list[int] = []
        for end in [*kills, rows]:
            raised = detector.update(values[start:end])
            drifts += [start + row for row in raised.drifts]
            warnings += [start + row for row in raised.warnings]
            detector = from_state(named, json.loads(json.dumps(state_of(detector))))
            start = end
        assert (tuple(drifts), tuple(warnings)) == (wanted.drifts, wanted.warnings)
        assert _whole(detector) == _whole(unbroken)


@pytest.mark.parametrize("kind", NAMES)
def test_killed_right_after_a_drift_it_resets_all_the_same(kind: str) -> None:
    """The reset comes with the next value: the flag is part of the state."""
    named = table(type=kind)
    values = _values(2, 1_200)
    first = RiverDetector(named).update(values).drifts[0]
    detector = RiverDetector(named)
    detector.update(values[: first + 1])
    again = from_state(named, state_of(detector))
    assert again.river.drift_detected
    rest = values[first + 1 :]
    assert again.update(rest) == detector.update(rest)
    assert _whole(again) == _whole(detector)


@pytest.mark.parametrize("kind", NAMES)
def test_every_attribute_of_a_detector_is_in_its_state_or_is_a_parameter(kind: str) -> None:
    """A River with one attribute more would be restored without it: this says so."""
    detector = RiverDetector(table(type=kind))
    detector.update(_values(1, 300))
    known = {*state_of(detector), *detector.table.parameters()}
    elsewhere = {
        "ADWIN": {"_helper"},
        "PageHinkley": {"_test_drift"},
        "KSWIN": {"_rng"},
        "EDDM": {"_error_distances"},
    }
    assert set(vars(detector.river)) - known == elsewhere.get(kind, set())
