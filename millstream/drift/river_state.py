"""What is inside of River's detectors, as JSON and back: no pickle is written, none is read.

Six of the seven are rebuilt from their attributes. Two keep numbers in objects of compiled code
(ADWIN's buckets, HDDM_W's means): those give and take bytes that are no pickle, exact to the bit.
Bytes from elsewhere never get here: a snapshot is checked first (snapshot.py).
"""

from __future__ import annotations

import base64
import random
from array import array
from collections import deque
from typing import Any

from millstream.drift.rivers import RiverDetector, RiverTable

_FLAGS = ("_drift_detected", "_warning_detected")
_PLAIN: dict[str, tuple[str, ...]] = {
    "ADWIN": (),
    "PageHinkley": ("_sum_increase", "_sum_decrease", "_min_increase", "_max_decrease"),
    "KSWIN": ("p_value", "n"),
    "DDM": ("_p_min", "_s_min", "_ps_min"),
    "EDDM": ("_n", "_last_error", "_n_errors", "_p2s_prime_max"),
    "HDDM_A": (),
    "HDDM_W": ("_incr_cutpoint", "_decr_cutpoint"),
}
_MEANS = {"PageHinkley": ("_x_mean",), "DDM": ("_p",), "HDDM_A": ("_x_min", "_x_max", "_z")}
_SAMPLES = ("_total", "_s1_decr", "_s1_incr", "_s2_decr", "_s2_incr")


def state_of(detector: RiverDetector) -> dict[str, Any]:
    """Everything in it that changes, as JSON (with infinities, as Python's json writes them)."""
    kind, river = detector.table.kind, detector.river
    made: dict[str, Any] = {"seen": detector.seen, "skipped": detector.skipped}
    for name in (*_FLAGS, *_PLAIN[kind]):
        if hasattr(river, name):
            made[name] = _number(getattr(river, name))
    for name in _MEANS.get(kind, ()):
        mean = getattr(river, name)
        made[name] = [mean.n, mean.get()]
    if kind == "ADWIN":
        made["buckets"] = _text(river._helper.__getstate__())
    elif kind == "EDDM":
        spread = river._error_distances
        made["spread"] = [spread.mean.n, spread.mean.get(), spread._S]
    elif kind == "KSWIN":
        version, words, gauss = river._rng.getstate()
        assert gauss is None, "KSWIN drew from a normal distribution"
        made["window"] = [_number(value) for value in river.window]
        made["random"] = [version, _text(array("Q", words).tobytes())]
    elif kind == "HDDM_W":
        for name in _SAMPLES:
            sample = getattr(river, name)
            mean = sample._ewma._ewmean.__getstate__()
            made[name] = [_text(mean), sample._is_init, sample._ibc]
    return made


def from_state(table: RiverTable, state: dict[str, Any]) -> RiverDetector:
    """A detector that goes on as the one whose `state_of` it was; same parameters, same River.

    Raises KeyError, TypeError or ValueError where it is not such a state.
    """
    detector = RiverDetector(table)
    kind, river = table.kind, detector.river
    detector.seen, detector.skipped = int(state["seen"]), int(state["skipped"])
    for name in (*_FLAGS, *_PLAIN[kind]):
        if hasattr(river, name):
            setattr(river, name, state[name])
    for name in _MEANS.get(kind, ()):
        mean = getattr(river, name)
        mean.n, mean._mean = state[name]
    if kind == "ADWIN":
        river._helper.__setstate__(_bytes(state["buckets"]))
    elif kind == "EDDM":
        spread = river._error_distances
        spread.mean.n, spread.mean._mean, spread._S = state["spread"]
    elif kind == "KSWIN":
        version, text = state["random"]
        words = array("Q")
        words.frombytes(_bytes(text))
        river._rng = random.Random()  # noqa: S311 - no secret
        river._rng.setstate((version, tuple(words), None))
        river.window = deque(state["window"], maxlen=river.window_size)
    elif kind == "HDDM_W":
        for name in _SAMPLES:
            sample = getattr(river, name)
            text, sample._is_init, sample._ibc = state[name]
            sample._ewma._ewmean.__setstate__(_bytes(text))
    return detector


def _number(value: Any) -> Any:
    """A NumPy number as Python's own; bool, int, float and None as they are."""
    return value.item() if hasattr(value, "item") else value


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
