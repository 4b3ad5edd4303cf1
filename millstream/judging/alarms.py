"""The alarm that a champion was worse than the one before it, and is taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from millstream.alerts.alarm import Alarm, Severity, Status, alarm_id
from millstream.judging.records import DecisionRecord

RULE: Final = "champion_rolled_back"


def fired(record: DecisionRecord, promotion: str) -> Alarm:
    """It fires from the decision on. promotion: id of the release that made it the champion."""
    decision, evidence = record.decision, record.decision.evidence
    labels = {"model": evidence.champion.label, "promotion": promotion}
    found = evidence.finding
    return Alarm(
        id=alarm_id(evidence.stream, RULE, labels, None),
        stream=evidence.stream,
        rule=RULE,
        severity=Severity.TICKET,
        status=Status.FIRING,
        summary=f"{evidence.champion.label} does worse than {evidence.challenger.label}, which is "
        f"released in its place: {decision.reason}",
        cause=RULE,
        started_us=record.decided_us,
        updated_us=record.decided_us,
        evidence={
            "decision": record.id,
            "rows": found.rows,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "champion_digest": evidence.champion.digest,
            "predecessor": evidence.challenger.label,
        },
        labels=labels,
        source="judge",
    )


def resolved(alarm: Alarm, at_us: int) -> Alarm:
    """No partition is answered by that champion any more."""
    status, revision = Status.RESOLVED, alarm.revision + 1
    return replace(alarm, status=status, revision=revision, updated_us=at_us)
