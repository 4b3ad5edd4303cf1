"""Each alert rule, by promtool: series on which it fires, and series on which it does not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.prometheus.__main__ import DOCS
from ops.prometheus.render import RUNBOOK, rules_yaml
from ops.prometheus.rules import ALERTS
from tests.ops.prometheus.promtool import promtool

Series = dict[str, str]
"""Selector -> values in promtool's notation, one for each step."""


@dataclass(frozen=True)
class Case:
    """fires, calm: series. step: of them. at: when it is asked."""

    fires: Series
    calm: tuple[Series, ...]
    at: str = "60m"
    step: str = "1m"


def of(metric: str, program: str = "scorer", **labels: str) -> str:
    """A series of the stream loans."""
    every = {"stream": "loans", "program": program, "slot": "0", **labels}
    return metric + "{" + ",".join(f'{k}="{v}"' for k, v in every.items()) + "}"


def up(metric: str) -> str:
    """A series that a scrape makes."""
    return metric + '{job="millstream",instance="loans/scorer/0"}'


LATE, ALL = "millstream_events_late_total", "millstream_event_latency_seconds_count"
BEGAN = "millstream_retraining_stage_began_timestamp_seconds"
TURN = "millstream_loop_turn_timestamp_seconds"
COMMITS = "millstream_transaction_call_seconds_bucket"
TAKEN = "millstream_records_consumed_total"
SCORED = "millstream_events_scored_total"


def _commits(below_1s: str, below_10s: str) -> Series:
    return {
        of(COMMITS, call="commit", le="1"): below_1s,
        of(COMMITS, call="commit", le="10"): below_10s,
        of(COMMITS, call="commit", le="+Inf"): below_10s,
    }


def _waits(lag: str, taken: str) -> Series:
    return {
        of("millstream_lag_records", topic="events", partition="0"): lag,
        of(TAKEN, topic="events"): taken,
    }


def _audit(verdict: str) -> Series:
    return {'millstream_audit_verdict{stream="loans"}': verdict}


CASES = {
    "MillstreamDown": Case({up("up"): "0x60"}, ({up("up"): "1x60"}, {up("up"): "1x58 0 0"})),
    "MillstreamRestarting": Case(
        {up("process_start_time_seconds"): "0+60x60"},
        ({up("process_start_time_seconds"): "0x50 1x4 2x6"},),
    ),
    "MillstreamStuck": Case(
        {of(TURN): "0x60"},
        (
            {of(TURN): "0+60x60"},
            {of(TURN, "retrain"): "0x60", of(BEGAN, "retrain"): "60x60"},
        ),
    ),
    "MillstreamNotReady": Case(
        {of("millstream_ready"): "0x60"},
        ({of("millstream_ready"): "1x60"}, {of("millstream_ready"): "1x55 0x5"}),
    ),
    "MillstreamBehind": Case(
        _waits("1000x60", "0x60"),
        (_waits("1000x60", "0+600x60"), _waits("100x60", "0x60")),
    ),
    "MillstreamLateFast": Case(
        {of(LATE): "0+20x240", of(ALL): "0+100x240"},
        (
            {of(LATE): "0+10x240", of(ALL): "0+100x240"},
            {of(LATE): "0+20x200 4000x40", of(ALL): "0+100x240"},
            {of(LATE): "0x240", of(ALL): "0x240"},
        ),
        at="4h",
    ),
    "MillstreamLateSteady": Case(
        {of(LATE): "0+80x100", of(ALL): "0+1000x100"},
        ({of(LATE): "0+50x100", of(ALL): "0+1000x100"},),
        at="8h",
        step="5m",
    ),
    "MillstreamLateSlowly": Case(
        {of(LATE): "0+20x1000", of(ALL): "0+1000x1000"},
        ({of(LATE): "0+5x1000", of(ALL): "0+1000x1000"},),
        at="80h",
        step="5m",
    ),
    "MillstreamRefusing": Case(
        {
            of("millstream_events_refused_total", stage="decode", error="x"): "0+10x60",
            of(ALL): "0+100x60",
        },
        (
            {
                of("millstream_events_refused_total", stage="decode", error="x"): "0+4x60",
                of(ALL): "0+100x60",
            },
        ),
    ),
    "MillstreamAborting": Case(
        {of("millstream_transactions_total", end="aborted"): "0+1x60"},
        (
            {of("millstream_transactions_total", end="aborted"): "0x58 1x3"},
            {of("millstream_transactions_total", end="committed"): "0+100x60"},
        ),
    ),
    "MillstreamCommitsSlow": Case(
        _commits("0+90x60", "0+100x60"), (_commits("0+100x60", "0+100x60"),)
    ),
    "MillstreamDegraded": Case(
        {of(SCORED, answered_by="cheaper"): "0+1x60"},
        ({of(SCORED, answered_by="cheaper"): "5x60", of(SCORED, answered_by="full"): "0+9x60"},),
    ),
    "MillstreamSilent": Case(
        {of(TAKEN, topic="events"): "0+100x120 12000x120"},
        (
            {of(TAKEN, topic="events"): "0+100x240"},
            {of(TAKEN, topic="events"): "0x240"},
        ),
        at="160m",
    ),
    "MillstreamSinkPaused": Case(
        {of("millstream_sink_paused", "sink"): "1x60"},
        (
            {of("millstream_sink_paused", "sink"): "0x60"},
            {of("millstream_sink_paused", "sink"): "0x57 1x3"},
        ),
    ),
    "MillstreamJoinGivesUp": Case(
        {of("millstream_join_given_up_total", "join", side="outcome"): "0x30 7x30"},
        ({of("millstream_join_given_up_total", "join", side="outcome"): "7x60"},),
    ),
    "MillstreamIncidentOpen": Case(
        {of("millstream_watch_open_incidents", "watch", verdict="concept_change"): "1x60"},
        (
            {of("millstream_watch_open_incidents", "watch", verdict="harmless_shift"): "1x60"},
            {of("millstream_watch_open_incidents", "watch", verdict="concept_change"): "0x60"},
        ),
    ),
    "MillstreamRetrainingFailed": Case(
        {of("millstream_retraining_attempts_total", "retrain", outcome="failed"): "0x30 1x30"},
        ({of("millstream_retraining_attempts_total", "retrain", outcome="kept"): "0x30 1x30"},),
    ),
    "MillstreamRetrainingLong": Case(
        {of(BEGAN, "retrain"): "60x500"},
        ({of(BEGAN, "retrain"): "0x500"}, {of(BEGAN, "retrain"): "18000x500"}),
        at="8h",
    ),
    "MillstreamNobodyTold": Case(
        {
            of("millstream_alerts_notices_total", "alerts", channel="mail", result="given_up"): (
                "0x30 1x30"
            )
        },
        (
            {
                of("millstream_alerts_notices_total", "alerts", channel="mail", result="told"): (
                    "0+1x60"
                )
            },
        ),
    ),
    "MillstreamRulesFailing": Case(
        {of("millstream_alerts_rules_failed_total", "alerts"): "0+1x60"},
        ({of("millstream_alerts_rules_failed_total", "alerts"): "9x60"},),
    ),
    "MillstreamDamaged": Case(_audit("1x60"), (_audit("0x60"), _audit("2x60"))),
}


def test_every_rule_has_its_cases() -> None:
    """None was forgotten, none is left over."""
    assert set(CASES) == {alert.name for alert in ALERTS}


def _group(name: str, case: Case, series: Series, firing: int) -> dict[str, Any]:
    """promtool's: how many alerts of this name fire. A query of nothing has no sample."""
    query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    samples = [{"labels": "{}", "value": firing}] if firing else []
    return {
        "name": f"{name} {'fires' if firing else 'is calm'}",
        "interval": case.step,
        "input_series": [{"series": k, "values": v} for k, v in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": case.at, "exp_samples": samples}],
    }


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_rule_fires_when_it_should_and_not_else(name: str, tmp_path: Path) -> None:
    """Once on its series, not on those beside it: other labels, a hiccup, a quiet night."""
    case = CASES[name]
    groups = [_group(name, case, case.fires, 1)]
    groups += [_group(name, case, series, 0) for series in case.calm]
    (tmp_path / "rules.yml").write_text(rules_yaml(every=case.step), "utf-8")
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": case.step, "tests": groups}
    (tmp_path / "tests.yml").write_text(json.dumps(tests), "utf-8")  # JSON is YAML
    promtool("test", "rules", tmp_path / "tests.yml")


def test_every_alert_has_its_heading_in_the_docs() -> None:
    """Where its `runbook` annotation points."""
    text = DOCS.read_text("utf-8")
    assert str(DOCS).endswith(RUNBOOK)
    for alert in ALERTS:
        assert f"\n### {alert.name}\n" in text
        assert alert.act in text
