"""The console's SQL, all of it, on a database of ours that is empty."""

from __future__ import annotations

import inspect
import uuid
from typing import Any

import pytest

from consumers.console.reach import Reach
from consumers.warehouse import Warehouse, migrate
from millstream.console import queries
from millstream.settings import WarehouseSettings
from tests.consumers.warehouses import stream_in

PARAMETERS: dict[str, Any] = {
    "topic": "t", "lowest": -1, "cursors": [1, 2], "database": "q", "first": 0, "step": 1_000,
    "measure": "psi", "ids": ["a"], "stage": "s", "error": "e", "version": "v", "schema": -1,
    "id": "x", "partition": 0, "offset": 0, "at": 1_700_000_000_000,
}  # fmt: skip
ARGUMENTS = {"db": "q", "table": "predictions", "by": "id", "columns": ["n"], "id_column": "id"}


def _all() -> list[tuple[str, str]]:
    made = [(name, text) for name, text in vars(queries).items() if name.endswith("_SQL")]
    for name, function in inspect.getmembers(queries, inspect.isfunction):
        if name.endswith("_sql"):
            wanted = inspect.signature(function).parameters
            made.append((name, function(**{n: ARGUMENTS[n] for n in wanted})))
    return [(name, text) for name, text in made if name != "BUCKET_SQL"]


@pytest.fixture(scope="module")
def database(served: WarehouseSettings, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tables and no rows."""
    name = f"q{uuid.uuid4().hex[:12]}"
    warehouse = Warehouse.connect(served)
    migrate(warehouse, stream_in(tmp_path_factory.mktemp("queries"), name))
    warehouse.close()
    return name


@pytest.mark.parametrize(("name", "sql"), _all(), ids=[name for name, _ in _all()])
def test_each_query_runs_on_tables_without_rows(
    reach: Reach, database: str, name: str, sql: str
) -> None:
    """And gives none, but for those that always have one, or tell of the tables."""
    rows = reach.rows(sql.replace("q.", f"{database}."), **PARAMETERS | {"database": database})
    always = {"drift_span_sql", "ROWS_SQL", "COLUMNS_SQL"}
    assert bool(rows) == (name in always)


def test_there_are_queries() -> None:
    """The test above has something to run."""
    assert len(_all()) > 25
