"""Which metrics and labels a PromQL expression asks for, as far as the vocabulary must know them.

No parser: `promtool check rules` says whether it is PromQL at all.
"""

from __future__ import annotations

import re
from typing import Final

from millstream.metrics.vocabulary import CONSTANT, FOREIGN, VOCABULARY, Metric
from ops.prometheus.rules import RECORDED

OF_PROMETHEUS: Final = {"job", "instance", "le"}
"""Labels that a scrape or a histogram adds."""
_METRIC: Final = re.compile(r"\b(?:millstream_\w+|process_\w+|up\b|stream:[\w:]+)")
_SELECTOR: Final = re.compile(r"(\b[a-z][\w:]*)\s*\{([^}]*)\}")
_MATCHER: Final = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING: Final = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
_QUOTED: Final = re.compile(r'"[^"]*"')


def unknown(expr: str) -> list[str]:
    """Every name in it that nobody declared: metrics, labels, label values.

    >>> unknown('rate(millstream_batches_total{program="scorer"}[5m])')
    []
    >>> unknown('millstream_batchs_total{slot="0"}')
    ['metric millstream_batchs_total']
    >>> unknown('sum by (table) (millstream_batches_total{end="x"})')
    ['label end of millstream_batches_total', 'label table']
    """
    found = []
    plain = _QUOTED.sub('""', expr)
    metrics = {name: _metric(name) for name in _METRIC.findall(plain)}
    recorded = {each.name for each in RECORDED}
    for name, metric in metrics.items():
        if metric is None and name not in FOREIGN and name not in recorded:
            found.append(f"metric {name}")
    for name, matchers in _SELECTOR.findall(expr):
        metric = metrics.get(name)
        for label, _, value in _MATCHER.findall(matchers):
            found += _unknown_matcher(name, metric, label, value)
    known = OF_PROMETHEUS | set(CONSTANT)
    for metric in metrics.values():
        known |= set(metric.labels) if metric else set()
    for labels in _GROUPING.findall(plain):
        for label in labels.split(","):
            if label.strip() and label.strip() not in known:
                found.append(f"label {label.strip()}")
    return found


def _metric(name: str) -> Metric | None:
    """The one that this name is a series of."""
    for metric in VOCABULARY.values():
        if name in metric.series:
            return metric
    return None


def _unknown_matcher(name: str, metric: Metric | None, label: str, value: str) -> list[str]:
    labels = set(CONSTANT) | OF_PROMETHEUS | (set(metric.labels) if metric else set())
    if label not in labels:
        return [f"label {label} of {name}"]
    if metric is None or value.startswith("$"):
        return []
    values = metric.programs if label == "program" else metric.values.get(label)
    if values is None:
        return []
    wrong = [each for each in value.split("|") if each not in values and each != ".*"]
    return [f"{label}={each} of {name}" for each in wrong]
