"""The watchdog: it stops a run that stays, and no other."""

from __future__ import annotations

import threading

import onnxruntime as ort
import pytest

from millstream.models.graph import ORT_ERRORS
from millstream.models.watchdog import Watchdog
from tests.millstream.models.graphs import batch, endless


def test_a_run_that_ends_is_not_stopped() -> None:
    """Any number of short runs leaves the options as they were."""
    watchdog = Watchdog(30.0)
    options = watchdog.options
    for _ in range(1000):
        watchdog.begin()
        assert watchdog.end() is False
    assert watchdog.options is options
    watchdog.close()


def test_a_run_that_stays_is_stopped_and_the_next_gets_fresh_options() -> None:
    """ONNX Runtime gives up within the limit and a half; the stop is told once."""
    session = ort.InferenceSession(
        endless().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = batch(a=[101.0]).to_tensor().to_numpy()
    watchdog = Watchdog(0.1)
    watchdog.begin()
    stopped_options = watchdog.options
    with pytest.raises(ORT_ERRORS):
        session.run(None, {"x": rows}, watchdog.options)
    assert watchdog.end() is True
    assert watchdog.options is not stopped_options
    watchdog.begin()
    assert session.run(None, {"x": rows - 100}, watchdog.options)[0].tolist() == [[1.0]]
    assert watchdog.end() is False
    watchdog.close()


def test_no_thread_before_the_first_run() -> None:
    """A session that never scores costs no thread; closing twice is allowed."""
    before = threading.active_count()
    watchdog = Watchdog(1.0)
    assert threading.active_count() == before
    watchdog.begin()
    assert threading.active_count() == before + 1
    watchdog.close()
    watchdog.close()
    assert threading.active_count() == before
