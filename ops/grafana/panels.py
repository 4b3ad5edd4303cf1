"""What a dashboard is made of, in Grafana's JSON (schema version 39, Grafana 10.4 and later)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

PROMETHEUS: Final = {"type": "prometheus", "uid": "${prometheus}"}
CLICKHOUSE: Final = {"type": "grafana-clickhouse-datasource", "uid": "${clickhouse}"}
WIDTH: Final = 24
"""Columns of Grafana's grid."""
HEIGHT: Final = 8


@dataclass(frozen=True, slots=True)
class Panel:
    """queries: PromQL with a legend each, or one of SQL. unit: Grafana's id of it.

    rows: how high it is drawn, in HEIGHTs. columns: of WIDTH.
    """

    title: str
    about: str
    queries: Sequence[tuple[str, str]]
    kind: Literal["timeseries", "stat", "table", "heatmap"] = "timeseries"
    unit: str = "short"
    columns: int = 8
    source: Literal["prometheus", "clickhouse"] = "prometheus"
    stacked: bool = False
    lowest: float | None = 0.0
    thresholds: Sequence[tuple[float | None, str]] = field(default=((None, "green"),))


def sql(title: str, about: str, query: str, **more: Any) -> Panel:
    """One of ClickHouse."""
    return Panel(title, about, [(query, "")], source="clickhouse", **more)


def dashboard(uid: str, title: str, about: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """The whole, its panels from left to right and down."""
    shown, x, y = [], 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.columns > WIDTH:
            x, y = 0, y + HEIGHT
        place = {"h": HEIGHT, "w": panel.columns, "x": x, "y": y}
        shown.append(_panel(panel, number, place))
        x += panel.columns
    sources: set[str] = {panel.source for panel in panels}
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["millstream"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s" if sources == {"prometheus"} else "1m",
        "time": {"from": "now-1h" if sources == {"prometheus"} else "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": _variables(sources)},
        "panels": shown,
    }


def _variables(sources: set[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in sorted(sources):
        kind = PROMETHEUS["type"] if name == "prometheus" else CLICKHOUSE["type"]
        found.append({"name": name, "type": "datasource", "query": kind, "label": name.title()})
    if "prometheus" in sources:
        query = "label_values(millstream_ready, stream)"
        found.append(
            {
                "name": "stream",
                "label": "Stream",
                "type": "query",
                "datasource": PROMETHEUS,
                "query": {"query": query, "refId": "stream"},
                "definition": query,
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "current": {"text": "All", "value": "$__all"},
            }
        )
    else:
        query = "SELECT DISTINCT database FROM system.tables WHERE name = 'predictions'"
        found.append(
            {
                "name": "stream",
                "label": "Stream",
                "type": "query",
                "datasource": CLICKHOUSE,
                "query": query,
                "refresh": 1,
            }
        )
    return found


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    is_sql = panel.source == "clickhouse"
    targets = [
        _sql_target(query, panel.kind) if is_sql else _target(query, legend, index, panel.kind)
        for index, (query, legend) in enumerate(panel.queries)
    ]
    steps = [{"value": value, "color": color} for value, color in panel.thresholds]
    defaults: dict[str, Any] = {
        "unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps},
    }  # fmt: skip
    if panel.lowest is not None:
        defaults["min"] = panel.lowest
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {"fillOpacity": 20 if panel.stacked else 0, "stacking": stacking}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": CLICKHOUSE if is_sql else PROMETHEUS,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}}
        if panel.kind == "timeseries"
        else {},
        "targets": targets,
    }


def _target(expr: str, legend: str, index: int, kind: str) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": PROMETHEUS,
        "expr": expr,
        "legendFormat": legend,
        "instant": kind == "stat",
        "range": kind != "stat",
        **({"format": "heatmap"} if kind == "heatmap" else {}),
    }


def _sql_target(query: str, kind: str) -> dict[str, Any]:
    is_table = kind == "table"
    return {
        "refId": "A",
        "datasource": CLICKHOUSE,
        "editorType": "sql",
        "queryType": "table" if is_table else "timeseries",
        "format": 1 if is_table else 0,
        "rawSql": query,
    }
