"""River's detectors by name: parameters checked, River's own answers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import river.drift
import river.drift.binary
from pydantic import TypeAdapter, ValidationError

from millstream.drift.rivers import NAMES, RiverDetector, RiverTable

drift: Any = river.drift
binary: Any = river.drift.binary
_ADAPTER: TypeAdapter[Any] = TypeAdapter(RiverTable)


def table(**values: Any) -> Any:
    """A checked [[watch.detectors]] table."""
    return _ADAPTER.validate_python(values)


def errors(seed: int, rows: int = 3_000) -> list[float]:
    """Errors whose rate changes in the middle."""
    rng = random.Random(seed)
    return [float(rng.random() < (0.1 if row < rows // 2 else 0.5)) for row in range(rows)]


@pytest.mark.parametrize(
    ("kind", "rivers_own"),
    [
        ("ADWIN", drift.ADWIN()),
        ("PageHinkley", drift.PageHinkley()),
        ("KSWIN", drift.KSWIN(seed=0)),
        ("DDM", binary.DDM()),
        ("EDDM", binary.EDDM()),
        ("HDDM_A", binary.HDDMA()),
        ("HDDM_W", binary.HDDMW()),
    ],
)
def test_each_says_what_rivers_own_says(kind: str, rivers_own: Any) -> None:
    """With its defaults, at every value, whatever the batches."""
    values = errors(3)
    wanted = []
    for row, value in enumerate(values):
        rivers_own.update(value)
        if rivers_own.drift_detected:
            wanted.append(row)
    detector = RiverDetector(table(type=kind))
    found = []
    for start in range(0, len(values), 70):
        raised = detector.update(np.array(values[start : start + 70]))
        found += [start + row for row in raised.drifts]
    assert found == wanted
    assert any(1_500 <= row < 2_200 for row in found), "the change was not found at all"
    assert detector.seen == len(values)


def test_all_seven_are_there() -> None:
    """The names that stream.toml may use."""
    assert set(NAMES) == {"ADWIN", "PageHinkley", "KSWIN", "DDM", "EDDM", "HDDM_A", "HDDM_W"}


def test_a_warning_is_told_apart_from_a_drift() -> None:
    """For the detectors that have one."""
    raised = RiverDetector(table(type="DDM")).update(np.array(errors(3)))
    assert raised.warnings
    assert not set(raised.warnings) & set(raised.drifts)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"type": "ADWN"}, r"no detector ADWN \(did you mean ADWIN\?\); known: ADWIN, "),
        ({"type": "HDDMA"}, r"did you mean HDDM_A\?"),
        ({}, "type is missing"),
        ({"type": "ADWIN", "dleta": 0.1}, r"ADWIN has no parameter dleta \(did you mean delta\?\)"),
        ({"type": "ADWIN", "delta": 2}, "less than 1"),
        ({"type": "KSWIN", "seed": None}, "valid integer"),
        ({"type": "KSWIN", "stat_size": 60}, "more than half of window_size"),
        ({"type": "PageHinkley", "mode": "sideways"}, "'up', 'down' or 'both'"),
        ({"type": "DDM", "on": "confidence"}, "takes errors only"),
        ({"type": "HDDM_W", "on": "loss"}, "values from 0 to 1"),
        ({"type": "EDDM", "alpha": 0.8}, "alpha is below beta"),
        ({"type": "ADWIN", "on": "eror"}, "'error', 'loss'"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], said: str) -> None:
    """A misspelt name or parameter with the nearest that there is."""
    with pytest.raises(ValidationError, match=said):
        table(**values)


def test_a_value_that_is_no_number_is_counted_and_left_out() -> None:
    """One NaN would blind a detector for good."""
    with_nans = np.array([value for one in errors(4) for value in (one, np.nan)])
    detector = RiverDetector(table(type="ADWIN"))
    raised = detector.update(with_nans)
    plain = RiverDetector(table(type="ADWIN")).update(np.array(errors(4)))
    assert [row // 2 for row in raised.drifts] == list(plain.drifts)
    assert detector.skipped == 3_000


def test_a_detector_is_called_by_its_type_and_signal_unless_named() -> None:
    """The name is in drift records and snapshots."""
    assert table(type="ADWIN", on="loss").id == "ADWIN_loss"
    assert table(type="ADWIN", name="quick", delta=0.1).id == "quick"
