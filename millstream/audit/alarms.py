"""Damage as alarms: one for each place, raised again as it grows, resolved when it is gone.

A look that could not tell everything resolves nothing. One that could resolves what it no longer
finds: what was lost has been answered since, or was removed with the rest of its topic. What was
found in a sample stays until a person ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from millstream.alerts.alarm import Alarm, Severity, Status, alarm_id
from millstream.audit.ledger import Finding, Kind
from millstream.audit.report import finding_json

SOURCE = "verify"
SAMPLED: Final = frozenset({Kind.SCORE_DIFFERS, Kind.ROW_DIFFERS})
"""Found in a sample: another look may take other rows, so that not finding it says nothing."""
Place = tuple[str, str, str]
"""Kind of damage, topic or table, partition or nothing."""


class DamageAlarms:
    """What fires of one stream's audit. Time is an argument, in microseconds."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._known: dict[str, Alarm] = {}

    def recover(self, alarms: Iterable[Alarm]) -> None:
        """Go on from what NAME.alarms says, oldest first; other writers' alarms are left alone."""
        for alarm in alarms:
            if alarm.stream == self._stream and alarm.source == SOURCE:
                self._known[alarm.id] = alarm

    @property
    def firing(self) -> tuple[Alarm, ...]:
        """What fires now."""
        return tuple(alarm for alarm in self._known.values() if alarm.firing)

    def look(self, findings: Sequence[Finding], now_us: int) -> list[Alarm]:
        """All that a look found; the revisions that it made, to be written."""
        made = []
        for finding in findings:
            if finding.certain and (found := self._found(finding, now_us)) is not None:
                made.append(found)
        if all(finding.certain for finding in findings):
            there = {_place(finding) for finding in findings}
            made += [
                replace(
                    alarm,
                    status=Status.RESOLVED,
                    summary=f"verify finds it no longer: {alarm.summary}",
                    updated_us=now_us,
                    revision=alarm.revision + 1,
                )
                for alarm in self.firing
                if _place_of(alarm) not in there and alarm.cause not in SAMPLED
            ]
        self._known |= {alarm.id: alarm for alarm in made}
        return made

    def _found(self, finding: Finding, now_us: int) -> Alarm | None:
        """None where people know it already."""
        place = _place(finding)
        fires = next((alarm for alarm in self.firing if _place_of(alarm) == place), None)
        if fires is None:
            return self._fired(finding, now_us)
        if fires.summary == finding.text:
            return None
        return replace(
            fires,
            summary=finding.text,
            updated_us=now_us,
            evidence=finding_json(finding),
            revision=fires.revision + 1,
        )

    def _fired(self, finding: Finding, now_us: int) -> Alarm:
        """Its id comes of the place and the first offset, so that the same damage, found by another
        watch, is the same alarm."""
        labels = {"kind": finding.kind.value, "subject": finding.subject}
        if finding.partition is not None:
            labels["partition"] = str(finding.partition)
        first = labels | {"first_offset": str(finding.offsets[0] if finding.offsets else "")}
        rule = f"verify_{finding.kind.value}"
        number = alarm_id(self._stream, rule, first, None)
        before = self._known.get(number)
        return Alarm(
            id=number,
            stream=self._stream,
            rule=rule,
            severity=Severity.PAGE,
            status=Status.FIRING,
            summary=finding.text,
            cause=finding.kind.value,
            started_us=now_us,
            updated_us=now_us,
            evidence=finding_json(finding),
            labels=labels,
            revision=before.revision + 1 if before else 1,
            source=SOURCE,
        )


def _place(finding: Finding) -> Place:
    partition = "" if finding.partition is None else str(finding.partition)
    return finding.kind.value, finding.subject, partition


def _place_of(alarm: Alarm) -> Place:
    labels = alarm.labels
    return labels.get("kind", ""), labels.get("subject", ""), labels.get("partition", "")
