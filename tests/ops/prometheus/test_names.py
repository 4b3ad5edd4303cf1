"""What the rules and dashboards ask for is what was declared: a misspelt name is found."""

from __future__ import annotations

import doctest

import pytest

from ops.prometheus import names
from ops.prometheus.names import unknown
from ops.prometheus.rules import ALERTS, RECORDED, Alert, Recorded


def test_the_examples_hold() -> None:
    """As the docstrings say them."""
    assert doctest.testmod(names).failed == 0


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDED], ids=lambda rule: str(rule.name))
def test_a_rule_asks_for_what_there_is(rule: Alert | Recorded) -> None:
    """Metrics, labels and label values."""
    assert unknown(rule.expr) == []


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("millstream_batches_totl", "metric millstream_batches_totl"),
        ("rate(millstream_batch_seconds[5m])", "metric millstream_batch_seconds"),
        ("millstream_batch_seconds_bucket_sum", "metric millstream_batch_seconds_bucket_sum"),
        ('millstream_ready{strem="x"}', "label strem of millstream_ready"),
        ('millstream_sink_paused{program="scorer"}', "program=scorer of millstream_sink_paused"),
        (
            'millstream_transactions_total{end="abortd"}',
            "end=abortd of millstream_transactions_total",
        ),
        (
            'millstream_events_scored_total{answered_by=~"full|cheap"}',
            "answered_by=cheap of millstream_events_scored_total",
        ),
        ("sum by (tabel) (millstream_sink_rows_total)", "label tabel"),
        ("stream:millstream_late:ratio_rate2h", "metric stream:millstream_late:ratio_rate2h"),
        ("process_cpu_seconds", "metric process_cpu_seconds"),
    ],
)
def test_what_nobody_declared_is_found(expr: str, found: str) -> None:
    """Wherever it stands."""
    assert found in unknown(expr)
