"""The detectors: River's with their defaults, and Millstream's with its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from river import drift

from millstream.drift.detector import EDetector
from ops.bench.drift.streams import Errors

OURS: Final = "Millstream"
COUNTED: Final = "Millstream, counts of 50"
BATCH: Final = 50
SLOW: Final = "KSWIN"
"""Some 850 µs an event: fewer seeds."""

RIVER: Final[dict[str, Callable[[], Any]]] = {
    "ADWIN": drift.ADWIN,
    "Page-Hinkley": drift.PageHinkley,
    "DDM": drift.binary.DDM,
    "EDDM": drift.binary.EDDM,
    "HDDM_A": drift.binary.HDDMA,
    "HDDM_W": drift.binary.HDDMW,
    SLOW: lambda: drift.KSWIN(seed=1),
}
DETECTORS: Final = (OURS, COUNTED, *RIVER)


def alarms(name: str, errors: Errors) -> list[int]:
    """Indexes of the events at which a fresh detector raised an alarm."""
    if name == COUNTED:
        return _counted(errors)
    detector = EDetector() if name == OURS else RIVER[name]()
    found = []
    for place, error in enumerate(errors.tolist()):
        detector.update(error)
        if detector.drift_detected:
            found.append(place)
    return found


def _counted(errors: Errors) -> list[int]:
    detector = EDetector()
    found = []
    for start in range(0, len(errors), BATCH):
        part = errors[start : start + BATCH]
        detector.update_counts(float(np.sum(part)), len(part))
        if detector.drift_detected:
            found.append(start + len(part) - 1)
    return found
