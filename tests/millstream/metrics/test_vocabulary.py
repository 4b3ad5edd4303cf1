"""The vocabulary: every name is one that Prometheus's conventions allow, and says what it means."""

from __future__ import annotations

import doctest
import re

import pytest

from millstream.alerts.alarm import Severity
from millstream.audit.ledger import Kind as Finding
from millstream.audit.report import Report
from millstream.drift.verdict import Verdict
from millstream.matching import Counts
from millstream.metrics import vocabulary
from millstream.metrics.vocabulary import (
    CONSTANT,
    STAGES,
    STATUSES,
    VERDICTS,
    VOCABULARY,
    Kind,
    Metric,
    of_program,
)
from millstream.retraining.stages import Outcome, Stage

METRICS = list(VOCABULARY.values())


def test_the_examples_hold() -> None:
    """As the docstrings say them."""
    assert doctest.testmod(vocabulary).failed == 0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_a_metric_is_named_as_prometheus_has_it(metric: Metric) -> None:
    """Our prefix, small letters, `_total` where and only where it is a counter, base units."""
    assert re.fullmatch(r"millstream_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert not re.search(r"_(ms|us|minutes|kb|mb|percent)(_|$)", metric.name)
    assert not set(metric.labels) & {*CONSTANT, "le", "job", "instance"}
    assert len(set(metric.labels)) == len(metric.labels)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_a_metric_says_what_it_is_and_what_a_rise_means(metric: Metric) -> None:
    """In words, on one line that a Markdown table can hold."""
    for text in (metric.text, metric.rise):
        assert text.strip()
        assert not set(text) & set("|\n")
    assert metric.programs


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_only_a_histogram_has_bounds_and_they_ascend(metric: Metric) -> None:
    """Strictly, without infinity."""
    assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.bounds) == sorted(set(metric.bounds))


def test_known_label_values_are_those_of_the_code() -> None:
    """A new stage, verdict or status must be declared, or its series would be refused."""
    assert tuple(Stage) == STAGES
    assert set(VERDICTS) == set(Verdict)
    assert set(STATUSES) <= set(Counts.__dataclass_fields__)
    attempts = VOCABULARY["millstream_retraining_attempts_total"]
    assert set(attempts.values["outcome"]) == set(Outcome)
    assert set(VOCABULARY["millstream_alerts_firing"].values["severity"]) == set(Severity)


def test_every_known_series_is_a_combination_of_known_values() -> None:
    """None where one label's values are not known; one with no label at all."""
    assert VOCABULARY["millstream_sink_rows_total"].known() == []
    assert VOCABULARY["millstream_batches_total"].known() == [()]
    assert VOCABULARY["millstream_rebalances_total"].known() == [("assigned",), ("revoked",)]


def test_the_audit_writes_what_is_declared() -> None:
    """`verify` makes its own text: its names and labels are those the vocabulary has of it
    alone."""
    report = Report("r", "loans", "2024-01-01T00:00:00Z", 1.0, {}, {}, (), (), 0, 0)
    text = report.as_metrics(1.0)
    named = dict(re.findall(r"# TYPE (\S+) (\S+)", text))
    alone = [metric for metric in of_program("verify") if metric.programs == ("verify",)]
    declared = {metric.name: metric.kind.value for metric in alone}
    assert named == declared
    for name, labels in re.findall(r"^(millstream_\w+)\{([^}]*)\}", text, re.M):
        found = set(re.findall(r"(\w+)=", labels))
        assert found == {"stream", *VOCABULARY[name].labels}
    kinds = set(re.findall(r'millstream_audit_findings\{stream="loans",kind="(\w+)"', text))
    assert kinds == {kind.value for kind in Finding}
