"""How many prediction rows a second one sink process writes to the embedded ClickHouse."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from consumers.warehouse import Warehouse, migrate
from millstream.errors import DependencyUnavailable
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from ops.bench.arena import Arena, Course
from ops.bench.contenders import AT_LEAST
from ops.bench.data import SUBJECTS, write_stream
from ops.bench.figures import Point, Window, is_warm
from ops.bench.ground import fast_producer
from ops.bench.usage import Spent, between, look, peak_mib
from ops.process import Child

STREAM = "bench_sink"
SINK_S_MAX = 90.0


@dataclass(frozen=True, slots=True)
class SinkRun:
    """rate: prediction rows a second in the steady window. spent.program is the sink's share;
    the warehouse's is in spent.broker's place: it is the sink's dependency here."""

    rate: float = 0.0
    rows: int = 0
    sink_us: float = 0.0
    warehouse_us: float = 0.0
    peak_mib: float = 0.0
    spent: Spent | None = None
    failure: str | None = None


def sink_rate(arena: Arena, course: Course, streams: Path) -> SinkRun:
    """Of the predictions that stand in the course's topic now. Never raises."""
    folder = arena.scratch()
    try:
        subject = SUBJECTS[course.letter]
        place = streams / STREAM
        if not (place / "bundle").exists():
            place.mkdir(parents=True, exist_ok=True)
            shutil.copytree(course.folder / "bundle", place / "bundle")
        files = write_stream(subject, place, STREAM, arena.ground.partitions)
        path = files[AT_LEAST]
        copied = Course(place, STREAM, course.letter)
        arena.ground.create(*copied.topics)
        arena.ground.register(copied.events, subject.shape)
        rows = _copy(arena, course.predictions, copied.predictions)
        arena.ground.forget_group(f"{STREAM}-sink")
        return _measure(arena, path, folder, rows)
    except Exception as why:  # noqa: BLE001 - the rest of the benchmark goes on
        return SinkRun(failure=str(why))


def _copy(arena: Arena, source: str, target: str) -> int:
    producer = fast_producer(arena.ground.bootstrap)
    count = 0
    for records in arena.ground.read(source):
        for record in records:
            while True:
                try:
                    producer.produce(target, record.value(), record.key(), record.partition() or 0)
                    break
                except BufferError:
                    producer.poll(0.05)
        count += len(records)
    if producer.flush(60):
        raise DependencyUnavailable("Kafka", f"{target} did not take its records in 60 s")
    return count


def _measure(arena: Arena, path: Path, folder: Path, rows: int) -> SinkRun:
    env = arena.ground.environment()
    program = [sys.executable, "-m", "millstream"]
    ready = folder / "warehouse"
    served = [*program, "warehouse", str(folder / "clickhouse"), "--port", "0"]
    server = Child(
        "warehouse", [*served, "--ready-file", str(ready)], log=folder / "warehouse.log", env=env
    )
    sink: Child | None = None
    warehouse: Warehouse | None = None
    try:
        server.wait_until(ready.exists, timeout_s=60)
        url = ready.read_text("utf-8").strip().rstrip("/")
        warehouse = Warehouse.connect(WarehouseSettings(url=url))
        migrate(warehouse, Stream.load(path))
        argv = [*program, "sink", str(path)]
        sink = Child(
            "sink", argv, log=folder / "sink.log", env=env | {"MILLSTREAM_WAREHOUSE_URL": url}
        )
        return _watch(warehouse, sink, server, rows)
    finally:
        if sink is not None:
            sink.stop(timeout_s=15)
        if warehouse is not None:
            with contextlib.suppress(Exception):
                warehouse.close()
        server.stop(timeout_s=15)


def _watch(warehouse: Warehouse, sink: Child, server: Child, rows: int) -> SinkRun:
    began = time.monotonic()
    first = warm = None
    while True:
        ((found,),) = warehouse.query(f"SELECT count() FROM {STREAM}.predictions")
        now = Point(time.monotonic() - began, int(found))
        if now.committed and first is None:
            first = now
        if first is not None and warm is None and is_warm(first, now, rows):
            warm = (now, look([sink.pid], server.pid))
        if now.committed >= rows:
            break
        if not sink.alive() or now.at_s > SINK_S_MAX:
            raise DependencyUnavailable("sink", f"{now.committed:,} of {rows:,}\n{sink.tail(8)}")
        time.sleep(0.05)
    if warm is None:
        raise DependencyUnavailable("sink", "it was over before it was warm: take more events")
    window = Window(warm[0], now)
    if window.events <= 0:
        raise DependencyUnavailable("sink", "it was over before it was warm: take more events")
    spent = between(warm[1], look([sink.pid], server.pid))
    each = 1e6 * spent.seconds / window.events
    return SinkRun(
        window.rate, rows, spent.program * each, spent.broker * each, peak_mib([sink.pid]), spent
    )
