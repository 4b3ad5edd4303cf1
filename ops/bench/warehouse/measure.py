"""Seconds of each question, bytes of each table, what projections cost an insert."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass

import pyarrow as pa

from consumers.warehouse import Warehouse
from millstream.errors import MillstreamError
from millstream.sql.cookbook import cookbook
from millstream.stream import Stream

VIEWS = (
    *("performance_by_version_and_day", "calibration", "drift_by_feature", "model_timeline"),
    *("value_by_version", "latency", "label_delay", "data_quality"),
)
TRIES = 4
SECONDS_MAX = 120
MEMORY_MAX = 6_000_000_000
BLOCK_ROWS = 150_000
"""As the sink inserts."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One question. first_s: the first time it was asked; s, cpu_s: medians of the later times, by
    the clock and of all threads. rows: of the answer. failed: what ClickHouse said where it
    refused."""

    name: str
    kind: str
    first_s: float
    s: float
    cpu_s: float
    rows: int
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """A table, or a projection of one: rows, bytes on disk, parts."""

    name: str
    rows: int
    bytes: int
    parts: int


def questions(stream: Stream, last_day: str) -> list[tuple[str, str, str, dict[str, str]]]:
    """Kind, name, SQL and parameters of everything that is timed.

    Views that sum are asked for everything; scored_events, and recipes that read rows, for the last
    day; scored_events for its last hour too.
    """
    since = f"{last_day} 00:00:00"
    hour = f"SELECT * FROM scored_events WHERE published_at >= '{last_day} 23:00:00'"
    scored = f"SELECT * FROM scored_events WHERE published_at >= '{since}'"
    asked: list[tuple[str, str, str, dict[str, str]]] = [
        ("view", name, f"SELECT * FROM {name}", {}) for name in VIEWS
    ]
    asked += [
        ("view", "scored_events, the last hour", hour, {}),
        ("view", "scored_events, the last day", scored, {}),
        ("view", "scored_events, one event", _one_event("scored_events"), {}),
        ("view", "labelled_now, the last day", scored.replace("scored_events", "labelled_now"), {}),
    ]
    told = {"field": stream.features.order[0], "event_id": "L-77", "since": since}
    for recipe in cookbook().values():
        by_rows = any(each.kind == "DateTime" for each in recipe.parameters)
        names = {each.name for each in recipe.parameters}
        given = {name: value for name, value in told.items() if name in names}
        if not by_rows:
            given.pop("since", None)
        kind = "recipe, the last day" if by_rows else "recipe"
        asked.append((kind, recipe.name, recipe.sql, recipe.bind(given)))
    return asked


def _one_event(view: str) -> str:
    return f"SELECT * FROM {view} WHERE event_id = 'L-77'"


def timed(
    warehouse: Warehouse, kind: str, name: str, sql: str, parameters: dict[str, str]
) -> Timed:
    """Ask it; the answer is made whole and thrown away by ClickHouse itself."""
    settings = {
        "max_memory_usage": MEMORY_MAX,
        "max_execution_time": SECONDS_MAX,
        "max_threads": 2,
        "use_query_cache": 0,
    }
    seconds: list[float] = []
    busy: list[float] = []
    rows = 0
    try:
        for _ in range(TRIES):
            began, worked = time.perf_counter(), time.process_time()
            for _piece in warehouse.text(sql, "Null", parameters, settings):
                pass
            seconds.append(time.perf_counter() - began)
            busy.append(time.process_time() - worked)
            if seconds[0] > 20:
                break
        counted = f"SELECT count() FROM (\n{sql}\n)"
        body = b"".join(warehouse.text(counted, "TabSeparated", parameters, settings))
        rows = int(body or b"0")
    except MillstreamError as why:
        never = float("nan")
        return Timed(name, kind, never, never, never, 0, str(why)[:200])
    later, works = seconds[1:] or seconds, busy[1:] or busy
    return Timed(name, kind, seconds[0], statistics.median(later), statistics.median(works), rows)


def sizes(warehouse: Warehouse, database: str) -> list[Size]:
    """Tables, then projections, the largest first."""
    tables = warehouse.query(
        "SELECT table, sum(rows), sum(bytes_on_disk), count() FROM system.parts "
        "WHERE active AND database = {name:String} AND rows > 0 GROUP BY table ORDER BY 3 DESC",
        name=database,
    )
    projections = warehouse.query(
        "SELECT concat(table, ', projection ', name), sum(rows), sum(bytes_on_disk), count() "
        "FROM system.projection_parts WHERE active AND database = {name:String} "
        "GROUP BY table, name ORDER BY 3 DESC",
        name=database,
    )
    return [Size(*row) for row in (*tables, *projections)]


def columns(warehouse: Warehouse, database: str) -> list[tuple[str, str, float]]:
    """Table, column and bytes a row on disk, where it is more than one."""
    return [
        (str(table), str(name), float(size))
        for table, name, size in warehouse.query(
            "SELECT table, column, sum(column_data_compressed_bytes) / sum(rows) AS a_row "
            "FROM system.parts_columns WHERE active AND database = {name:String} "
            "AND table IN ('events', 'predictions', 'labelled') "
            "GROUP BY table, column HAVING a_row >= 1 ORDER BY table, a_row DESC",
            name=database,
        )
    ]


def settle(warehouse: Warehouse, database: str, wait_s: float) -> None:
    """Return once nothing is merged any more, or after so long."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        ((busy,),) = warehouse.query(
            "SELECT count() FROM system.merges WHERE database = {name:String}", name=database
        )
        if not busy:
            return
        time.sleep(1)


def memory_bytes() -> int:
    """The most that this process, which the engine is in, has had in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def insert_cost(warehouse: Warehouse, stream: Stream, pairs: int) -> dict[str, list[float]]:
    """Seconds of inserting a block of 150,000 rows as the sink does: with the projections and
    without, in turn. Table -> with, without."""
    found = {}
    for table in ("predictions", "labelled"):
        block = warehouse.table(f"SELECT * FROM {stream.name}.{table} LIMIT {BLOCK_ROWS}")
        for name in ("bench_with", "bench_without"):
            warehouse.command(f"DROP TABLE IF EXISTS {stream.name}.{name}")
            warehouse.command(f"CREATE TABLE {stream.name}.{name} AS {stream.name}.{table}")
        for (projection,) in warehouse.query(
            "SELECT name FROM system.projections WHERE database = {name:String} "
            "AND table = 'bench_without'",
            name=stream.name,
        ):
            warehouse.command(
                f"ALTER TABLE {stream.name}.bench_without DROP PROJECTION {projection}"
            )
        times: dict[str, list[float]] = {"bench_with": [], "bench_without": []}
        for turn in range(pairs):
            for name, seconds in times.items():
                seconds.append(_insert_s(warehouse, stream, name, block, f"{name}/{turn}"))
        for name, seconds in times.items():
            found[f"{table}, {name.removeprefix('bench_')}"] = seconds
            warehouse.command(f"DROP TABLE {stream.name}.{name}")
    return found


def _insert_s(
    warehouse: Warehouse, stream: Stream, table: str, block: pa.Table, token: str
) -> float:
    began = time.perf_counter()
    warehouse.insert(stream.name, table, block, token)
    return time.perf_counter() - began
