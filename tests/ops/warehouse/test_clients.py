"""Clients of others at the embedded server: ClickHouse's own for JavaScript and for Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import clickhouse_connect
import pytest

from consumers.warehouse import Warehouse
from millstream.settings import WarehouseSettings
from millstream.warehouse.caching import CONDITION_CACHE
from tests.consumers.analysts import World, fill, stream_called
from tests.ops.warehouse.conftest import Served

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "analysts" / "javascript"
INSTALLED = ROOT / ".run" / "js" / "analysts"


@pytest.fixture(scope="module")
def world(served: Served, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three days of loans in the server's database loans."""
    warehouse = Warehouse.connect(WarehouseSettings(url=served.url))
    try:
        return fill(warehouse, stream_called("loans", tmp_path_factory.mktemp("loans")))
    finally:
        warehouse.close()


@pytest.fixture(scope="module")
def javascript() -> Path:
    """The example with its client installed as its lock says; skips without Node, fails if CI."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("node and npm are missing", pytrace=False)
        pytest.skip("node and npm are missing")
    lock = INSTALLED / "package-lock.json"
    wanted = (EXAMPLE / "package-lock.json").read_bytes()
    if not (INSTALLED / "node_modules").is_dir() or lock.read_bytes() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(EXAMPLE / name, INSTALLED)
        run = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(run, cwd=INSTALLED, check=True, timeout=300)
    shutil.copy(EXAMPLE / "select.mjs", INSTALLED)
    return INSTALLED / "select.mjs"


def counted(world: World) -> dict[str, int]:
    """Version -> outcomes that came."""
    found: dict[str, int] = {}
    for each in world.labels.values():
        if each["status"] != "never_labelled":
            found[each["model_version"]] = found.get(each["model_version"], 0) + 1
    return found


def test_the_javascript_client_selects(javascript: Path, served: Served, world: World) -> None:
    """Views, a bound parameter, and an answer as a stream: the example, run as it stands."""
    ran = subprocess.run(
        ["node", str(javascript), "loans", "L-5"],
        env={**os.environ, "MILLSTREAM_WAREHOUSE_URL": served.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    labels: dict[str, int] = {}
    for row in told["performance"]:
        version = row["model_version"]
        labels[version] = labels.get(version, 0) + int(row["labels"])
    assert labels == counted(world)
    (answer,) = told["answer"]
    place = (5 % 2, 5 // 2)
    assert (answer["event_id"], answer["predicted"]) == ("L-5", world.answers[place]["label"])
    assert told["streamed"] == len(world.answers)


def test_the_javascript_client_is_told_why(javascript: Path, served: Served, world: World) -> None:
    """A database that is not there: the engine's own words, and no rows."""
    ran = subprocess.run(
        ["node", str(javascript), "nowhere", "L-5"],
        env={**os.environ, "MILLSTREAM_WAREHOUSE_URL": served.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode != 0
    assert "nowhere" in ran.stderr
    assert ran.stdout == ""


def test_clickhouse_connect_selects(served: Served, world: World) -> None:
    """Rows with their types, a bound parameter, Arrow, and nothing that may be changed."""
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=served.port, database="loans", settings={"readonly": "2"}
    )
    try:
        rows = client.query(
            "SELECT model_version, sum(labels) FROM performance_by_version_and_day GROUP BY 1"
        ).result_rows
        assert {str(version): int(labels) for version, labels in rows} == counted(world)
        found = client.query(
            "SELECT predicted, confidence FROM scored_events WHERE event_id = {id:String}",
            parameters={"id": "L-5"},
        ).first_row
        answer = world.answers[(5 % 2, 5 // 2)]
        assert found == (answer["label"], answer["confidence"])
        arrow = client.query_arrow("SELECT source_offset FROM predictions_once")
        assert arrow.num_rows == len(world.answers)
        with pytest.raises(clickhouse_connect.driver.exceptions.ClickHouseError):
            client.command("DROP TABLE labelled")
    finally:
        client.close()


def test_who_says_nothing_has_no_cache_that_loses_rows(served: Served) -> None:
    """Any client's default: the server's own profile."""
    client = clickhouse_connect.get_client(port=served.port, database="default")
    try:
        assert client.server_settings[CONDITION_CACHE].value == "0"
    finally:
        client.close()


def test_the_profile_for_a_server_says_the_same() -> None:
    """As ClickHouse's users.d has it."""
    profile = ElementTree.parse(ROOT / "ops" / "clickhouse" / "profile.xml").getroot()
    assert profile.findtext(f"profiles/default/{CONDITION_CACHE}") == "0"
