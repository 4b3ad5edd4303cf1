"""One soak: a bed, a load, a plan of faults, and the account at the end."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from consumers.warehouse import Warehouse
from millstream.errors import DependencyUnavailable
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from ops.demo.loans import write_stream
from ops.faults.bed import Bed
from ops.faults.load import Load
from ops.faults.memory import peak_mb
from ops.soak.account import Account, verify
from ops.soak.faults import WAREHOUSE, Troublemaker
from ops.soak.plan import Fault, counted, plan

SCORERS = 2
POISON_EVERY = 1_000
PATIENCE_S = 180.0
"""After the load, while not one row more arrives: then verify says what is missing."""
TICK_S = 0.2
ENVIRONMENT = {
    "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
    "MILLSTREAM_SCORER_TRANSACTION_TIMEOUT_MS": "10000",
    "MILLSTREAM_SCORER_CALL_S_MAX": "20",
    "MILLSTREAM_WAREHOUSE_TIMEOUT_S": "10",
}
"""Bounds near the length of the faults, so that the faults pass some of them."""


class Interrupted(Exception):
    """Ctrl-C."""


class Soak:
    """said: told a line of progress about every TICK_S."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        seconds: float,
        rate: float,
        stop: threading.Event,
        said: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._seed, self._seconds, self._rate = seed, seconds, rate
        self._stop = stop
        self._said = said
        self._peaks: dict[str, float] = {}

    def run(self) -> Account:
        """Raises Interrupted, or DependencyUnavailable where a server did not come back."""
        self._said("starting")
        stream = Stream.load(write_stream(self._folder / "loans"))
        bed = Bed(stream, self._folder, SCORERS, ENVIRONMENT, heap_mb=768)
        with bed:
            load = bed.load(self._rate, poison_every=POISON_EVERY)
            trouble = Troublemaker(bed, threading.Event())
            load.start()
            try:
                began = time.monotonic()
                self._trouble(bed, load, trouble)
                seconds = time.monotonic() - began
            finally:
                trouble.finish()
            self._drain(bed, load)
            return self._account(bed, load, trouble, seconds)

    def _trouble(self, bed: Bed, load: Load, trouble: Troublemaker) -> None:
        """Load and faults, for the seconds asked."""
        deeds = plan(self._seed, self._seconds, [*bed.stack.programs, WAREHOUSE])
        began = time.monotonic()
        while (now_s := time.monotonic() - began) < self._seconds:
            while deeds and deeds[0].at_s <= now_s:
                trouble.do(deeds.pop(0))
            self._tick(bed)
            if trouble.error is not None:
                raise trouble.error
            busy = ", ".join(trouble.busy())
            self._said(
                f"{now_s:.0f} of {self._seconds:.0f} s, {load.published:,} events, "
                f"{len(trouble.done)} faults {busy}"
            )

    def _drain(self, bed: Bed, load: Load) -> None:
        """Until ClickHouse has everything, or nothing moves for PATIENCE_S."""
        ending = threading.Thread(target=load.end, name="end of load", daemon=True)
        ending.start()
        while ending.is_alive():
            self._said("the load ends")
            self._tick(bed)
        load.stop()
        warehouse = Warehouse.connect(WarehouseSettings(url=bed.warehouse_url))
        try:
            rows, moved = (-1, -1), time.monotonic()
            while rows[0] < load.published or rows[1] < load.published:
                self._tick(bed)
                seen = _rows(warehouse, bed.stream.name)
                if seen != rows:
                    rows, moved = seen, time.monotonic()
                self._said(f"{rows[1]:,} of {load.published:,} events are answered in ClickHouse")
                if time.monotonic() - moved > PATIENCE_S:
                    return
        finally:
            warehouse.close()

    def _tick(self, bed: Bed) -> None:
        if self._stop.wait(TICK_S):
            raise Interrupted
        bed.stack.tend()
        for name, running in bed.stack.programs.items():
            if running.child is not None:
                self._see(name, running.child.pid)
        for name, server in ((WAREHOUSE, bed.clickhouse), ("broker", bed.broker)):
            pid = server.running_pid
            if pid is not None:
                self._see(name, pid)

    def _see(self, name: str, pid: int) -> None:
        self._peaks[name] = max(self._peaks.get(name, 0.0), peak_mb(pid))

    def _account(self, bed: Bed, load: Load, trouble: Troublemaker, seconds: float) -> Account:
        self._said("millstream verify")
        report = verify(
            bed.stream.path,
            bed.bootstrap,
            f"http://127.0.0.1:{bed.registry_server.port}",
            bed.warehouse_url,
            os.environ,
        )
        kills = Counter(deed.target for deed in trouble.done if deed.fault is Fault.KILL)
        return Account(
            seed=self._seed,
            seconds=seconds,
            rate=self._rate,
            published=load.published,
            poisoned=load.poisoned,
            report=report,
            faults=counted(trouble.done),
            kills=dict(sorted(kills.items())),
            peaks_mb=dict(sorted(self._peaks.items())),
            starts={name: p.starts for name, p in bed.stack.programs.items()},
        )


def _rows(warehouse: Warehouse, stream: str) -> tuple[int, int]:
    """Rows of events, and of their answers."""
    try:
        ((events, answers),) = warehouse.query(
            f"SELECT (SELECT count() FROM {stream}.events), "
            f"(SELECT count() FROM {stream}.predictions) + "
            f"(SELECT count() FROM {stream}.dead_letters)"
        )
    except DependencyUnavailable:
        return -1, -1
    return int(events), int(answers)
