"""ClickHouse as the sink sees it: over HTTP and in the process (chDB).

chDB allows one folder at a time in a process: every test of a file that opens it uses this one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumers.warehouse import Warehouse
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve, stream_in


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    """How to reach a server over HTTP."""
    process, url = serve(tmp_path_factory.mktemp("served"))
    yield WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    """How to reach the one in the process. It stays open for a file's tests: whenever the last
    connection is closed, chDB leaves five threads and their files behind."""
    made = WarehouseSettings(url=f"chdb:{tmp_path_factory.mktemp('chdb')}/deep/db")
    kept = Warehouse.connect(made)
    yield made
    kept.close()


@pytest.fixture(scope="session")
def over_http(served: WarehouseSettings) -> Iterator[Warehouse]:
    """A client of that server: for tests to which one kind is enough."""
    made = Warehouse.connect(served)
    yield made
    made.close()


@pytest.fixture(params=["served", "in_process"])
def warehouse(request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """A client of each in turn."""
    made = Warehouse.connect(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """A stream whose database no other test has."""
    return stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}")


@pytest.fixture
def by_region(tmp_path: Path) -> Stream:
    """A stream with slices and groups by region, whose database no other test has."""
    made = stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}", {"name": "region", "type": "string"})
    text = made.path.read_text()
    made.path.write_text(text + '[watch]\nslices = ["region"]\n[fairness]\ngroups = ["region"]\n')
    return Stream.load(made.path)
