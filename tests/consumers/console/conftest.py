"""One planted stream for all tests of the console, on the server that tests/consumers shares."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from consumers.console.reach import Reach
from consumers.warehouse import Warehouse
from millstream.settings import ConsoleSettings, WarehouseSettings
from tests.consumers.console.planted import Planted, plant


@pytest.fixture(scope="session")
def planted(served: WarehouseSettings, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """What the tests read; none changes it."""
    warehouse = Warehouse.connect(served)
    try:
        folder = tmp_path_factory.mktemp("planted") / "loans"
        return plant(warehouse, folder, f"c{uuid.uuid4().hex[:12]}", time.time_ns() // 1_000)
    finally:
        warehouse.close()


@pytest.fixture
def reach(served: WarehouseSettings) -> Iterator[Reach]:
    """The console's way to that server."""
    made = Reach(served, ConsoleSettings())
    yield made
    made.close()
