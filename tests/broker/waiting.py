"""A whole Millstream on the session's Kafka, for one stream at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from consumers.warehouse import Warehouse
from ops.stack import Stack

WAIT_S = 120.0


def wait_for(stack: Stack, done: Callable[[], bool], what: str) -> None:
    """Tend the stack until `done`; a stack that makes no progress fails with its logs' ends."""
    deadline = time.monotonic() + WAIT_S
    while not done():
        stack.tend()
        if time.monotonic() > deadline:
            logs = {name: p.child.tail(20) for name, p in stack.programs.items() if p.child}
            raise AssertionError(f"{what} did not come to be in {WAIT_S:.0f} s: {logs}")
        time.sleep(0.2)


def wait_for_rows(stack: Stack, warehouse: Warehouse, tables: dict[str, int]) -> None:
    """Until every table (database.table) has at least so many rows."""
    wait_for(
        stack,
        lambda: all(count(warehouse, table) >= rows for table, rows in tables.items()),
        f"rows {tables}",
    )


def count(warehouse: Warehouse, table: str) -> int:
    """Rows of database.table."""
    return int(warehouse.query(f"SELECT count() FROM {table}")[0][0])
