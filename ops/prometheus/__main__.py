"""`python -m ops.prometheus`: write the rules, the configuration, and the tables of the docs."""

from __future__ import annotations

from pathlib import Path

from millstream.metrics.vocabulary import VOCABULARY, Metric
from ops.prometheus.render import prometheus_yaml, rules_yaml
from ops.prometheus.rules import ALERTS

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs" / "METRICS.md"
BEGIN, END = "<!-- {}: made by `python -m ops.prometheus` -->", "<!-- end of {} -->"


def files() -> dict[Path, str]:
    """Every file that is made, and what it is to hold."""
    docs = DOCS.read_text("utf-8")
    for name, lines in (("metrics", metric_table()), ("alerts", alert_text())):
        docs = _between(docs, name, lines)
    return {
        HERE / "alerts.yml": rules_yaml(),
        HERE / "prometheus.yml": prometheus_yaml(),
        DOCS: docs,
    }


def metric_table() -> list[str]:
    """Each metric in a line."""
    rows = ["| metric | of | labels | what it is | a rise |", "|---|---|---|---|---|"]
    return rows + [_row(metric) for metric in VOCABULARY.values()]


def alert_text() -> list[str]:
    """Each alert under a heading of its own: when, and what to do."""
    lines = []
    for alert in ALERTS:
        lines += [
            f"### {alert.name}",
            "",
            f"**{alert.severity}**, when this holds for {alert.hold}: `{alert.expr}`",
            "",
            alert.act,
            "",
        ]
    return lines[:-1]


def _row(metric: Metric) -> str:
    shown = ", ".join(f"`{label}`" for label in metric.labels) or " "
    programs = ", ".join(metric.programs)
    return (
        f"| `{metric.name}` {metric.kind} | {programs} | {shown} | {metric.text} | {metric.rise} |"
    )


def _between(text: str, name: str, lines: list[str]) -> str:
    begin, end = BEGIN.format(name), END.format(name)
    before, found, rest = text.partition(begin)
    assert found and end in rest, f"docs/METRICS.md has no {begin}"
    after = rest[rest.index(end) :]
    return "\n".join([f"{before}{begin}", "", *lines, "", after])


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, "utf-8")
