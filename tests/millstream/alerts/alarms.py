"""Alarms for tests, and a time to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millstream.alerts.alarm import Alarm, Severity, Status, alarm_id

NOON = 1_706_788_800_000_000
SECOND = 1_000_000


def alarm(number: int = 1, revision: int = 1, status: Status = Status.FIRING, **more: Any) -> Alarm:
    """The `number`-th alarm of rule `lag`; every revision has the same id."""
    labels: Mapping[str, str] = more.pop("labels", {"program": f"p{number}"})
    rule = more.pop("rule", "lag")
    values: dict[str, Any] = {
        "stream": "loans",
        "severity": Severity.TICKET,
        "summary": f"{rule} {number} is {status.value}",
        "cause": "lag",
        "started_us": NOON,
        "updated_us": NOON + revision - 1,
        "evidence": {"records": 7},
    }
    return Alarm(
        id=alarm_id("loans", rule, labels, NOON),
        rule=rule,
        labels=labels,
        revision=revision,
        status=status,
        **(values | more),
    )
