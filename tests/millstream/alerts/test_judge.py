"""Numbers to readings, rule by rule."""

from __future__ import annotations

import doctest
import math
from typing import Any

import pytest

from millstream.alerts import judge as module
from millstream.alerts.alarm import Severity
from millstream.alerts.judge import burn_rate, lag, missing_labels, not_evaluated, threshold
from millstream.alerts.rules import BurnRateRule, LagRule, MissingLabelsRule, ThresholdRule
from millstream.errors import ContractMismatch

SQL = "SELECT 1 AS value"


def bound(**more: Any) -> ThresholdRule:
    return ThresholdRule(kind="threshold", name="t", sql=SQL, **more)


def test_the_examples_in_the_docstrings_hold() -> None:
    """To the letter."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (bound(above=10), 10.5, (True, False)),
        (bound(above=10), 10, (False, True)),
        (bound(above=10, clear=8), 9, (False, False)),
        (bound(above=10, clear=8), 8, (False, True)),
        (bound(below=10), 9, (True, False)),
        (bound(below=10, clear=12), 11, (False, False)),
        (bound(below=10, clear=12), 12, (False, True)),
        (bound(above=10), math.nan, (False, False)),
        (bound(above=10), None, (False, False)),
        (bound(above=10), "11.5", (True, False)),
        (bound(above=10), math.inf, (True, False)),
    ],
)
def test_a_bound_is_breached_cleared_or_neither(
    rule: ThresholdRule, value: Any, expected: tuple[bool, bool]
) -> None:
    """Between the two nothing changes; of NaN and NULL nothing is known."""
    (reading,) = threshold(rule, [{"value": value}])
    assert (reading.breached, reading.cleared) == expected


def test_each_row_is_a_subject_named_by_its_other_columns() -> None:
    """And the summary names it."""
    rows: list[dict[str, Any]] = [{"value": 11, "version": 3}, {"value": 1, "version": None}]
    first, second = threshold(bound(above=10, summary="Too late"), rows)
    assert first.labels == {"version": "3"}
    assert second.labels == {"version": ""}
    assert first.summary == "Too late [version=3]: 11 is above 10"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"n": 1}], "no column `value`"),
        ([{"value": "many"}], "no number"),
        ([{"value": 1}, {"value": 2}], "same labels"),
    ],
)
def test_a_query_that_does_not_fit_its_rule_is_named(rows: list[dict[str, Any]], said: str) -> None:
    """As the operator's to mend."""
    with pytest.raises(ContractMismatch, match=said):
        threshold(bound(above=1), rows)


def test_lag_is_summed_over_topics_and_partitions() -> None:
    """At the bound it is over; above it, it is not."""
    rule = LagRule(kind="lag", name="slow", above_records=10)
    reading = lag(rule, "loans", {"loans.events": {0: 6, 1: 4}, "loans.x": {0: 1}}, 1)
    assert (reading.breached, reading.cleared) == (True, False)
    assert reading.labels == {"program": "scorer", "group": "loans-scorer"}
    assert reading.evidence["records"] == 11
    assert reading.evidence["partitions_never_committed"] == 1
    assert lag(rule, "loans", {"loans.events": {0: 10}}).cleared


@pytest.mark.parametrize(
    ("predictions", "missing", "expected"),
    [
        (1000, 501, (True, False)),
        (1000, 500, (False, True)),
        (99, 99, (False, False)),
        (0, 0, (False, False)),
    ],
)
def test_missing_labels_are_a_share_of_enough_predictions(
    predictions: int, missing: int, expected: tuple[bool, bool]
) -> None:
    """Of too few nothing is said."""
    rule = MissingLabelsRule(kind="missing_labels", name="m", after_s=3600)
    reading = missing_labels(rule, predictions, missing)
    assert (reading.breached, reading.cleared) == expected


def counts(**bad: float) -> dict[float, tuple[float, float]]:
    """100,000 events an hour; bad: share of bad ones by window, such as s300."""
    windows = (300, 1_800, 3_600, 21_600, 259_200)
    made = {}
    for seconds in windows:
        events = 100_000 * seconds / 3600
        made[float(seconds)] = (events, events * bad.get(f"s{seconds}", 0.0))
    return made


@pytest.mark.parametrize(
    ("bad", "breached", "cleared", "severity"),
    [
        ({"s3600": 0.0145, "s300": 0.0145}, True, False, Severity.PAGE),
        ({"s3600": 0.0145, "s300": 0.0143}, False, True, Severity.TICKET),
        ({"s3600": 0.0143, "s300": 0.5}, False, False, Severity.TICKET),
        ({"s21600": 0.0061, "s1800": 0.0061}, True, False, Severity.PAGE),
        ({"s259200": 0.0011, "s21600": 0.0011}, True, False, Severity.TICKET),
        ({}, False, True, Severity.TICKET),
    ],
)
def test_the_budget_burns_when_both_windows_of_a_pair_say_so(
    bad: dict[str, float], breached: bool, cleared: bool, severity: Severity
) -> None:
    """The long one that it matters, the short one that it goes on; over when no short one says so.
    The figures are those of the workbook's table for 99.9 %."""
    rule = BurnRateRule(kind="burn_rate", name="slo", objective=0.999, indicator="latency")
    reading = burn_rate(rule, counts(**bad))
    assert (reading.breached, reading.cleared) == (breached, cleared)
    assert reading.severity is severity


def test_a_quiet_night_burns_nothing() -> None:
    """No events are no errors, and one bad event of three is too few where more are asked for."""
    rule = BurnRateRule(
        kind="burn_rate", name="slo", objective=0.999, indicator="latency", events_min=100
    )
    none = burn_rate(rule, dict.fromkeys(counts(), (0.0, 0.0)))
    assert (none.breached, none.cleared) == (False, True)
    assert not burn_rate(rule, dict.fromkeys(counts(), (3.0, 1.0))).breached
    assert burn_rate(rule, dict.fromkeys(counts(), (100.0, 33.0))).breached


def test_a_rule_that_cannot_be_looked_at_is_a_reading_of_its_own() -> None:
    """In one line, whatever the database says."""
    reading = not_evaluated(bound(above=1), "ClickHouse:\n  no\tanswer")
    assert reading.breached
    assert reading.summary == "rule t cannot be evaluated: ClickHouse: no answer"
