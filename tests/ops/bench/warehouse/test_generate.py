"""The rows that the warehouse bench is made of, and what it asks."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from consumers.warehouse import Warehouse
from millstream.settings import WarehouseSettings
from ops.bench.machine import describe
from ops.bench.warehouse.generate import Amounts, generate
from ops.bench.warehouse.measure import columns, insert_cost, questions, sizes, timed
from ops.bench.warehouse.results import Found, write_results
from tests.consumers.analysts import stream_called
from tests.ops.warehouse.conftest import Served, served  # noqa: F401 - a fixture


def test_a_small_run_fills_asks_and_writes(served: Served, tmp_path: Path) -> None:  # noqa: F811
    """Every row where it was promised, each once or corrected; every question answered; a page."""
    stream = stream_called(f"g{uuid.uuid4().hex[:12]}", tmp_path)
    warehouse = Warehouse.connect(WarehouseSettings(url=served.url))
    try:
        rows = generate(warehouse, stream, Amounts(20_000, 1_000), lambda *_: None)
        assert rows["predictions"] == 20_000
        assert rows["labelled"] == 19_000 + 190
        counts = [
            warehouse.query(f"SELECT count() FROM {stream.name}.{view}")[0][0]
            for view in ("labelled_now", "labelled_excess", "predictions_excess")
        ]
        assert counts == [19_000, 0, 0]  # a correction takes back by itself what it corrects
        ((matched,),) = warehouse.query(
            f"SELECT countIf(salary > 0) FROM {stream.name}.scored_events"
        )
        assert matched == rows["events"] == 4_000
        found = Found(describe(), rows, 1.0, 1_000)
        found.sizes, found.columns = sizes(warehouse, stream.name), columns(warehouse, stream.name)
        found.inserts = insert_cost(warehouse, stream, 1)
        warehouse.enter(stream.name, may_write=False)
        asked = questions(stream, "2024-04-09")
        found.timed = [timed(warehouse, *each) for each in asked]
    finally:
        warehouse.close()
    assert [each for each in found.timed if each.failed] == []
    page = write_results(found, tmp_path / "results", datetime(2026, 1, 2, tzinfo=UTC)).read_text()
    for name in ("performance_by_version_and_day", "TB a year", "predictions, without"):
        assert name in page
