"""`python -m ops.bench.warehouse --rows 100000000`: the views and the cookbook over many rows."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from consumers.warehouse import Warehouse
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from ops.bench.machine import describe
from ops.bench.warehouse.generate import DAYS, FIRST_US, Amounts, generate
from ops.bench.warehouse.measure import (
    Timed,
    columns,
    insert_cost,
    memory_bytes,
    questions,
    settle,
    sizes,
    timed,
)
from ops.bench.warehouse.results import Found, write_results
from ops.kafka.fetch import REPOSITORY

RESULTS = Path(__file__).parents[1] / "results"
FOLDER = REPOSITORY / ".run" / "bench" / "warehouse"
TOLD_ROWS = 10_000_000
"""A line where nobody sees a bar."""
BYTES_A_ROW = 250
"""Room that a prediction needs with its label, a fifth of its event, and merges under way."""


def arguments(argv: list[str]) -> Namespace:
    """The command line."""
    parser = ArgumentParser(prog="python -m ops.bench.warehouse", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="predictions (%(default)s)")
    parser.add_argument(
        "--corrected", type=int, default=100, help="of 100,000 labels (%(default)s)"
    )
    parser.add_argument("--settle-s", type=float, default=120, help="wait for merges (%(default)s)")
    parser.add_argument("--inserts", type=int, default=7, help="pairs of inserts (%(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="made anew")
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder; use it if it is there"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Fill, ask, write. 2 where the disk has no room; 130 after Ctrl-C, which leaves nothing."""
    given = arguments(argv)
    # a shell starts what it puts into the background with this signal ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console(stderr=True)
    given.folder.parent.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(given.folder.parent).free
    if room < given.rows * BYTES_A_ROW:
        need = given.rows * BYTES_A_ROW
        console.print(f"{given.rows:,} rows need {need / 1e9:.0f} GB, {room / 1e9:.0f} are free")
        return 2
    is_there = given.keep and (given.folder / "rows").exists()
    if not is_there:
        shutil.rmtree(given.folder, ignore_errors=True)
    try:
        found = _measured(given, is_there, console)
    except KeyboardInterrupt:
        console.print("stopped; no result was written")
        return 130
    finally:
        if not given.keep:
            shutil.rmtree(given.folder, ignore_errors=True)
    console.print(str(write_results(found, given.results, datetime.now(UTC))), soft_wrap=True)
    return 0


def _measured(given: Namespace, is_there: bool, console: Console) -> Found:
    """Everything, with its progress on the console."""
    machine = describe()
    stream = Stream.load(REPOSITORY / "examples" / "loans" / "stream.toml")
    warehouse = Warehouse.connect(WarehouseSettings(url=f"chdb:{given.folder / 'db'}"))
    columns_shown = (
        *(TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    try:
        with Progress(*columns_shown, console=console) as shown:
            found = Found(machine, {}, 0.0, given.corrected)
            if not is_there:
                began = time.monotonic()
                found.rows = _filled(warehouse, stream, given, shown)
                found.load_s = time.monotonic() - began
                (given.folder / "rows").write_text(f"{given.rows}")
                found.memory["the load"] = memory_bytes()
            settle(warehouse, stream.name, given.settle_s)
            found.sizes = sizes(warehouse, stream.name)
            found.rows = found.rows or {s.name: s.rows for s in found.sizes if "," not in s.name}
            found.columns = columns(warehouse, stream.name)
            if given.inserts:
                found.inserts = insert_cost(warehouse, stream, given.inserts)
            warehouse.enter(stream.name, may_write=False)
            found.timed = _asked(warehouse, stream, shown)
            found.memory["the questions"] = memory_bytes()
    finally:
        warehouse.close()
    return found


def _filled(
    warehouse: Warehouse, stream: Stream, given: Namespace, shown: Progress
) -> dict[str, int]:
    task = shown.add_task("rows", total=None)
    before = 0

    def told(table: str, done: int, total: int) -> None:
        nonlocal before
        shown.update(task, description=f"rows of {table}", completed=done, total=total)
        if done // TOLD_ROWS > before // TOLD_ROWS and not shown.console.is_terminal:
            shown.console.print(f"{done:,} of {total:,} rows, now {table}")
        before = done

    return generate(warehouse, stream, Amounts(given.rows, given.corrected), told)


def _asked(warehouse: Warehouse, stream: Stream, shown: Progress) -> list[Timed]:
    last = datetime.fromtimestamp(FIRST_US / 1e6, UTC) + timedelta(days=DAYS - 1)
    asked = questions(stream, f"{last:%Y-%m-%d}")
    task = shown.add_task("questions", total=len(asked))
    found = []
    for kind, name, sql, parameters in asked:
        shown.update(task, description=name[:32])
        each = timed(warehouse, kind, name, sql, parameters)
        found.append(each)
        shown.console.print(f"{each.name}: {each.s:.3f} s, {each.cpu_s:.3f} of CPU {each.failed}")
        shown.advance(task)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
