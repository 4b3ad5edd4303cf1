"""Does a plan's deeds to a bed: short ones at once, those that take a while in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from millstream.errors import MillstreamError
from ops.faults.bed import Bed
from ops.kafka.service import Service
from ops.soak.plan import LASTS_S, Deed, Fault

WAREHOUSE = "warehouse"
RESET_EVERY_S = 0.5


class Troublemaker:
    """done: what was done so far. error: why a server could not be started again, if so.

    A server that is being restarted is not killed once more: such a deed is left out, and `skipped`
    counts it. So is a program that is down already.
    """

    def __init__(self, bed: Bed, stop: threading.Event) -> None:
        self._bed = bed
        self._stop = stop
        self._threads: dict[str, threading.Thread] = {}
        self.done: list[Deed] = []
        self.skipped = 0
        self.error: MillstreamError | None = None

    def do(self, deed: Deed) -> None:
        """Begin this deed."""
        if deed.fault is Fault.KILL and deed.target != WAREHOUSE:
            child = self._bed.stack.programs[deed.target].child
            if child is None or not child.alive():
                self.skipped += 1
                return
            self._bed.stack.kill(deed.target)
            self.done.append(deed)
            return
        place, work = self._work(deed)
        busy = self._threads.get(place)
        if busy is not None and busy.is_alive():
            self.skipped += 1
            return
        self.done.append(deed)
        thread = threading.Thread(target=self._guarded, args=(work,), name=deed.fault, daemon=True)
        self._threads[place] = thread
        thread.start()

    def finish(self) -> None:
        """Wait for what is under way, and mend every line."""
        self._stop.set()
        for thread in self._threads.values():
            thread.join()
        self._bed.mend()

    def busy(self) -> list[str]:
        """What is under way now."""
        return [thread.name for thread in self._threads.values() if thread.is_alive()]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except MillstreamError as why:
            self.error = why

    def _work(self, deed: Deed) -> tuple[str, Callable[[], None]]:
        """Where a deed takes place, and what it is."""
        bed = self._bed
        if deed.fault is Fault.KILL:
            return WAREHOUSE, lambda: _kill_and_restart(bed.clickhouse)
        if deed.fault is Fault.BROKER_KILL:
            return "broker", lambda: _kill_and_restart(bed.broker)
        if deed.fault is Fault.BROKER_RESTART:
            return "broker", bed.broker.restart
        return "network", lambda: self._disturb(deed.fault)

    def _disturb(self, fault: Fault) -> None:
        lines = self._bed.kafka
        end = time.monotonic() + LASTS_S[fault]
        if fault is Fault.LATENCY:
            lines.slow(0.1, 0.05)
        elif fault is Fault.PARTITION:
            lines.part()
        try:
            while time.monotonic() < end and not self._stop.wait(RESET_EVERY_S):
                if fault is Fault.RESETS:
                    lines.reset()
        finally:
            lines.mend()


def _kill_and_restart(server: Service) -> None:
    server.kill()
    server.restart()
