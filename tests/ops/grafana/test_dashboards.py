"""Grafana's dashboards: every query asks for what there is, and runs."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from consumers.warehouse import Tables, Warehouse, migrate
from millstream.contracts import SCHEMAS, contract, topic_table
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Pending, Source
from millstream.warehouse.rows import row_makers
from ops.grafana.__main__ import files
from ops.grafana.models import PANELS as SQL_PANELS
from ops.grafana.models import models
from ops.grafana.operations import PANELS, operations
from ops.grafana.panels import WIDTH, Panel
from ops.prometheus.names import unknown
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, records_of, serve, stream_in
from tests.ops.prometheus.promtool import promtool

QUERIES = [(panel.title, query) for panel in PANELS for query, _ in panel.queries]
RATE_INTERVAL = "$__rate_interval"


@pytest.mark.parametrize("path", sorted(files()), ids=lambda path: str(path.name))
def test_a_file_is_as_it_is_made(path: Path) -> None:
    """Else run `python -m ops.grafana`."""
    assert path.read_text("utf-8") == files()[path]


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_query_asks_for_what_was_declared(title: str, query: str) -> None:
    """Metrics, labels and label values of the vocabulary."""
    assert unknown(query) == [], title


def test_a_legend_names_labels_that_its_query_keeps() -> None:
    """A label that the sum took away would be shown empty."""
    for panel in PANELS:
        for query, legend in panel.queries:
            for label in re.findall(r"{{(\w+)}}", legend):
                if label != "instance":
                    kept = re.search(r"by \(([^)]*)\)", query)
                    assert kept, (panel.title, legend)
                    assert label in kept[1].split(", "), (panel.title, legend)


def test_promtool_finds_no_fault_with_any_query(tmp_path: Path) -> None:
    """As rules of its own, Grafana's variables put in."""
    rules = []
    for number, (_, query) in enumerate(QUERIES):
        expr = query.replace(RATE_INTERVAL, "1m").replace("$stream", "loans")
        rules.append({"record": f"panel:{number}", "expr": expr})
    text = json.dumps({"groups": [{"name": "panels", "rules": rules}]})
    (tmp_path / "panels.yml").write_text(text, "utf-8")
    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", tmp_path / "panels.yml")


@pytest.mark.parametrize("made", [operations(), models()], ids=["operations", "models"])
def test_a_dashboard_holds_together(made: dict[str, Any]) -> None:
    """Numbers that differ, panels that do not overlap, sources that its variables name."""
    numbers = [panel["id"] for panel in made["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken
        taken |= cells
        assert panel["title"]
        assert panel["description"]
    named = {variable["name"] for variable in made["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(made["panels"])))
    assert used <= named
    assert used == named


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warehouse, Stream]]:
    """A stream's tables on a real engine, with the golden records of every contract as rows."""
    process, url = serve(tmp_path_factory.mktemp("served"))
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    warehouse = Warehouse.connect(settings)
    stream = stream_in(tmp_path_factory.mktemp("stream"), f"s{uuid.uuid4().hex[:12]}")
    migrate(warehouse, stream)
    tables = Tables(warehouse, stream.name)
    for topic in topic_table().values():
        found = sorted((SCHEMAS / "golden").glob(f"{topic.value}.v*.hex"))
        if topic.table is None or not found:
            continue
        values: list[bytes | None] = [
            bytes.fromhex(line) for line in found[-1].read_text("utf-8").split()
        ]
        name = topic.name(stream.name)
        text = contract(topic.value).text
        maker = row_makers(stream, lambda _, text=text: text, {topic.kind})[name]  # type: ignore[misc]
        pending = Pending(Source(topic.table, name, 0))
        pending.add(maker.rows(records_of(name, values)), 0.0)
        tables.insert(pending.cut(len(values)), 0)
    yield warehouse, stream
    warehouse.close()
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


def expanded(query: str, stream: str) -> str:
    """As Grafana's data source for ClickHouse expands its macros, over all of time."""
    query = query.replace("${stream}", stream)
    query = re.sub(
        r"\$__timeFilter\(([\w.]+)\)",
        r"\1 >= toDateTime('1971-01-01 00:00:00') AND \1 <= toDateTime('2105-01-01 00:00:00')",
        query,
    )
    return re.sub(
        r"\$__timeInterval\(([\w.]+)\)",
        r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)",
        query,
    )


@pytest.mark.parametrize("panel", SQL_PANELS, ids=lambda panel: str(panel.title))
def test_a_panel_of_sql_runs(panel: Panel, filled: tuple[Warehouse, Stream]) -> None:
    """On the tables as they are migrated, and finds rows where there are some to find."""
    warehouse, stream = filled
    ((query, _),) = panel.queries
    sql = expanded(query, stream.name)
    assert "$" not in sql
    rows = warehouse.query(sql)
    if panel.title not in WITHOUT_ROWS:
        assert rows, sql


WITHOUT_ROWS = {"Dead letters"}
"""A letter is no Avro record: there is no golden one."""


def test_a_chart_over_time_begins_with_its_time() -> None:
    """Grafana needs it, in order."""
    for panel in SQL_PANELS:
        if panel.kind == "timeseries":
            ((query, _),) = panel.queries
            assert query.startswith("SELECT $__timeInterval(")
            assert query.endswith("ORDER BY time")
            assert " AS time" in query
