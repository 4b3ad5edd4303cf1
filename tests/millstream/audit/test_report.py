"""Verdict, exit code, JSON and metrics of a report."""

from __future__ import annotations

import json

import pytest

from millstream.audit.ledger import Finding, Kind
from millstream.audit.report import Line, Report

LOST = Finding(Kind.LOST, "s.events", 0, 2, (3, 4), 4)
STALLED = Finding(Kind.SCORER_STALLED, "s.events", 0, 5, (), None)


def report(*findings: Finding) -> Report:
    line = Line(0, 0, 9, 8, 7, 1, 9, 0, {"events": 8}, {"events": 0})
    return Report(
        run="r",
        stream="s",
        started="2024-01-01T00:00:00+00:00",
        seconds=1.5,
        versions={"millstream": "1"},
        config={"stream.toml": "sha256:0"},
        lines=(line, line),
        findings=findings,
        compared=7,
        rescored=1,
    )


@pytest.mark.parametrize(
    ("findings", "code"), [((), 0), ((LOST,), 1), ((STALLED,), 2), ((STALLED, LOST), 1)]
)
def test_damage_outweighs_doubt_outweighs_nothing(findings: tuple[Finding, ...], code: int) -> None:
    """0 clean, 1 damaged, 2 cannot tell."""
    assert report(*findings).verdict.exit_code == code


def test_json_has_the_numbers_and_the_findings() -> None:
    """It can be written as JSON, and totals are sums of the partitions."""
    told = json.loads(json.dumps(report(LOST).as_json()))
    assert (told["verdict"], told["exit_code"], told["events"]) == ("damaged", 1, 16)
    assert told["findings"][0]["offsets"] == [3, 4]
    assert told["partitions"][0]["committed"] == 9


def test_metrics_are_prometheus_text_with_every_kind() -> None:
    """One sample a kind, also where nothing was found: an alert needs a series to watch."""
    text = report(LOST).as_metrics(5.0)
    assert 'millstream_audit_findings{stream="s",kind="lost"} 2\n' in text
    assert 'millstream_audit_findings{stream="s",kind="doubled"} 0\n' in text
    assert 'millstream_audit_last_look_timestamp_seconds{stream="s"} 5.0\n' in text
    assert text.count("# TYPE") == 6
