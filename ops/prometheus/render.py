"""Rules as the YAML that Prometheus reads; every text is quoted as JSON, which YAML understands."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ops.prometheus.rules import ALERTS, RECORDED, Alert, Recorded

HEAD = "# Made by `python -m ops.prometheus`; do not edit.\n"
RUNBOOK = "docs/METRICS.md"


def rules_yaml(
    alerts: Iterable[Alert] = ALERTS, recorded: Iterable[Recorded] = RECORDED, every: str = "15s"
) -> str:
    """A rule file. every: how often they are evaluated."""
    lines = [f"{HEAD}groups:", *_group("millstream-recorded", every)]
    for each in recorded:
        lines += [f"      - record: {each.name}", f"        expr: {_text(each.expr)}"]
    lines += _group("millstream-alerts", every)
    for alert in alerts:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {_text(alert.expr)}",
            f"        for: {alert.hold}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {_text(alert.summary)}",
            f"          act: {_text(alert.act)}",
            f"          runbook: {_text(f'{RUNBOOK}#{alert.name.lower()}')}",
        ]
    return "\n".join(lines) + "\n"


def prometheus_yaml(
    targets: str = "metrics",
    rules: str = "alerts.yml",
    alertmanager: str = "127.0.0.1:9093",
    every: str = "15s",
) -> str:
    """A whole configuration for one machine. targets: the folder of MILLSTREAM_METRICS_TARGETS."""
    return (
        f"{HEAD}"
        f"global:\n  scrape_interval: {every}\n  evaluation_interval: {every}\n"
        f"rule_files:\n  - {_text(rules)}\n"
        "alerting:\n  alertmanagers:\n    - static_configs:\n"
        f"        - targets: [{_text(alertmanager)}]\n"
        "scrape_configs:\n  - job_name: millstream\n    file_sd_configs:\n"
        f"      - files: [{_text(targets + '/*.json')}]\n        refresh_interval: {every}\n"
    )


def _group(name: str, every: str) -> list[str]:
    return [f"  - name: {name}", f"    interval: {every}", "    rules:"]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
