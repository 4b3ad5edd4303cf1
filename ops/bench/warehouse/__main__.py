"""`python -m ops.bench.warehouse --rows 100000000`: the views and the cookbook over many rows."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from consumers.warehouse import Warehouse
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from ops.bench.machine import describe
from ops.bench.warehouse.generate import DAYS, FIRST_US, Amounts, generate, say
from ops.bench.warehouse.measure import (
    columns,
    insert_cost,
    questions,
    settle,
    sizes,
    timed,
)
from ops.bench.warehouse.results import Found, write_results
from ops.kafka.fetch import REPOSITORY

RESULTS = Path(__file__).parents[1] / "results"
FOLDER = REPOSITORY / ".run" / "bench" / "warehouse"
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
    """Fill, ask, write. 2 where the disk has no room."""
    given = arguments(argv)
    room = shutil.disk_usage(REPOSITORY).free
    if room < given.rows * BYTES_A_ROW:
        need = given.rows * BYTES_A_ROW
        say(f"{given.rows:,} rows need {need / 1e9:.0f} GB, {room / 1e9:.0f} are free")
        return 2
    machine = describe()
    stream = Stream.load(REPOSITORY / "examples" / "loans" / "stream.toml")
    is_there = given.keep and (given.folder / "rows").exists()
    if not is_there:
        shutil.rmtree(given.folder, ignore_errors=True)
    warehouse = Warehouse.connect(WarehouseSettings(url=f"chdb:{given.folder / 'db'}"))
    try:
        began, rows = time.monotonic(), {}
        if not is_there:
            rows = generate(warehouse, stream, Amounts(given.rows, given.corrected), say)
            (given.folder / "rows").write_text(f"{given.rows}")
        found = Found(machine, rows, time.monotonic() - began, given.corrected)
        settle(warehouse, stream.name, given.settle_s)
        found.sizes = sizes(warehouse, stream.name)
        found.rows = rows or {s.name: s.rows for s in found.sizes if "," not in s.name}
        found.columns = columns(warehouse, stream.name)
        if given.inserts:
            found.inserts = insert_cost(warehouse, stream, given.inserts)
        warehouse.enter(stream.name, may_write=False)
        last = datetime.fromtimestamp(FIRST_US / 1e6, UTC) + timedelta(days=DAYS - 1)
        for kind, name, sql, parameters in questions(stream, f"{last:%Y-%m-%d}"):
            found.timed.append(timed(warehouse, kind, name, sql, parameters))
            each = found.timed[-1]
            say(f"{each.name}: {each.s:.3f} s, {each.cpu_s:.3f} of CPU {each.failed}")
    finally:
        warehouse.close()
        if not given.keep:
            shutil.rmtree(given.folder, ignore_errors=True)
    say(str(write_results(found, given.results, datetime.now(UTC))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
