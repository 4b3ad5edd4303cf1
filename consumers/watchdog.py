"""Ends the process when a call that must return does not.

librdkafka's transaction calls can ignore their time-out (#5511, #5456). A hung scorer holds its
partitions and an open transaction; a dead one is started again and has neither.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consumers.metrics.instruments import current

EXIT_CODE = 70

_log = logging.getLogger(__name__)


def _exit(code: int) -> None:
    os._exit(code)


class Watchdog:
    """bound_s: seconds a watched call may last. leave: what ends the process."""

    def __init__(
        self,
        bound_s: float,
        clock: Callable[[], float] = time.monotonic,
        leave: Callable[[int], None] = _exit,
    ) -> None:
        self._bound_s = bound_s
        self._clock = clock
        self._leave = leave
        self._watched: tuple[str, float] | None = None
        self._instruments = current()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """The calls inside must end within the bound. The program's instruments hear of them."""
        began, failed = self._clock(), True
        self._watched = (call, began)
        try:
            yield
            failed = False
        finally:
            self._watched = None
            self._instruments.called(call, self._clock() - began, failed)

    def look(self) -> None:
        """End the process if the watched call is over its bound."""
        watched = self._watched
        lasts_s = self._clock() - watched[1] if watched else 0.0
        self._instruments.lasting(lasts_s)
        if watched and lasts_s > self._bound_s:
            _log.error(
                "%s has not returned for %.0f s: the process leaves and must be started again; "
                "its open transaction is aborted then",
                watched[0],
                self._bound_s,
            )
            self._leave(EXIT_CODE)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(0.5):
            self.look()
