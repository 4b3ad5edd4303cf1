"""Readings and incidents to alarms: fire late enough, resolve late enough, say each thing once.

One series is one subject of one rule:

    CLEAR -----breached-----> PENDING --for for_s, cool-down over--> FIRING
      ^                          |                                  |    ^
      |<------not breached-------+                          cleared |    | not cleared
      |                                                             v    |
      +<------cleared for resolve_s, then cool_down_s------------ RECOVERING

Between breached and cleared (the hysteresis of `clear`) and where nothing is known, FIRING stays.
Pure: time is an argument, in microseconds. The alarms that are firing are all that must survive a
restart; `recover` has them from the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

from millstream.alerts.alarm import Alarm, Severity, Status, alarm_id
from millstream.alerts.incident import Incident
from millstream.alerts.judge import Reading, not_evaluated
from millstream.alerts.rules import SERIES_MAX, AlertsTable, DetectorRule, Rule

NOT_EVALUATED_S = 300.0
"""How long a rule must fail before it is said: shorter than a restart of ClickHouse is noise."""
CLOSED_MAX = 10_000
"""Incidents that are remembered as over, so that one read again is not opened again."""


class Phase(StrEnum):
    """Where a series is."""

    CLEAR = "clear"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"


_MOVES = {
    (Phase.CLEAR, Phase.PENDING),
    (Phase.PENDING, Phase.CLEAR),
    (Phase.PENDING, Phase.FIRING),
    (Phase.FIRING, Phase.RECOVERING),
    (Phase.RECOVERING, Phase.FIRING),
    (Phase.RECOVERING, Phase.CLEAR),
}
Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class Series:
    """One subject of one rule. quiet_until_us: it does not fire before."""

    phase: Phase = Phase.CLEAR
    since_us: int = 0
    quiet_until_us: int = 0
    alarm: Alarm | None = None

    def move(self, to: Phase, now_us: int) -> None:
        assert (self.phase, to) in _MOVES, f"{self.phase} to {to}"
        self.phase, self.since_us = to, now_us


class Engine:
    """All series of one stream's rules."""

    def __init__(self, stream: str, table: AlertsTable) -> None:
        self._stream = stream
        self._rules = {rule.name: rule for rule in table.rules}
        self._detectors = [rule for rule in table.rules if isinstance(rule, DetectorRule)]
        self._series: dict[Key, Series] = {}
        self._incidents: dict[str, Alarm] = {}  # incident's id -> its firing alarm
        self._closed: dict[str, None] = {}  # incidents' ids, the one that ended last at the end
        self._now_us = 0
        self.dropped = 0
        """Series that were not followed, since their rule has SERIES_MAX others."""

    def observe(self, rule: Rule, readings: Sequence[Reading], now_us: int) -> list[Alarm]:
        """The rule was looked at: what changed. A series that it no longer reports is cleared."""
        now_us = self._tick(now_us)
        given = {_key(rule.name, reading.labels): reading for reading in readings}
        mine = [key for key in self._series if key[0] == rule.name]
        room = SERIES_MAX - len(mine)
        changes = []
        for key in mine:
            reading = given.pop(key, None) or _gone(rule, dict(key[1]))
            changes += self._step(key, rule, reading, now_us)
        for key, reading in given.items():
            if not reading.breached:
                continue
            if room <= 0:
                self.dropped += 1
                continue
            room -= 1
            changes += self._step(key, rule, reading, now_us)
        return changes

    def failed(self, rule: Rule, why: str, now_us: int) -> list[Alarm]:
        """The rule could not be looked at: its series stay as they are, and that is said."""
        reading = not_evaluated(rule, why)
        patient = rule.model_copy(update={"for_s": max(rule.for_s, NOT_EVALUATED_S)})
        return self._step(_key(rule.name, reading.labels), patient, reading, self._tick(now_us))

    def incident(self, incident: Incident, now_us: int) -> list[Alarm]:
        """An incident was opened, updated or resolved: at most one change.

        Its alarm's id comes of the incident's alone, and one that is over stays over: read again,
        it changes nothing.
        """
        now_us = self._tick(now_us)
        known = self._incidents.get(incident.id)
        rule = next((r for r in self._detectors if incident.verdict in r.verdicts), None)
        if known is None:
            if rule is None or incident.resolved or incident.id in self._closed:
                return []
            opened = self._incidents[incident.id] = self._opened(incident, rule, now_us)
            return [opened]
        if incident.resolved or rule is None:
            return [self._close(incident.id, incident.summary, now_us)]
        severity = max(known.severity, rule.severity, key=lambda s: s.rank)
        if (severity, incident.verdict) == (known.severity, known.cause):
            return []
        changed = replace(
            known,
            severity=severity,
            cause=incident.verdict,
            summary=incident.summary,
            evidence=_evidence_of(incident),
            updated_us=now_us,
            revision=known.revision + 1,
        )
        self._incidents[incident.id] = changed
        return [changed]

    def retire(self, now_us: int) -> list[Alarm]:
        """Resolve what fires by rules that stream.toml no longer has."""
        now_us = self._tick(now_us)
        why = "the rule is no longer in stream.toml"
        changes = []
        for key in [key for key in self._series if key[0] not in self._rules]:
            alarm = self._series.pop(key).alarm
            changes += [_resolved(alarm, why, now_us)] if alarm else []
        for name in [n for n, a in self._incidents.items() if a.rule not in self._rules]:
            changes.append(self._close(name, why, now_us))
        return changes

    def recover(self, alarms: Iterable[Alarm]) -> None:
        """Go on from what NAME.alarms says, oldest first; other writers' alarms are left alone."""
        for alarm in alarms:
            kind, _, name = alarm.source.partition("/")
            if alarm.stream != self._stream or kind not in {"rule", "incident"}:
                continue
            self._now_us = max(self._now_us, alarm.updated_us)
            if kind == "incident":
                self._incidents.pop(name, None)
                if alarm.firing:
                    self._incidents[name] = alarm
                else:
                    self._remember_closed(name)
                continue
            key = _key(alarm.rule, alarm.labels)
            if alarm.firing:
                self._series[key] = Series(Phase.FIRING, alarm.updated_us, 0, alarm)
            else:
                rule = self._rules.get(alarm.rule)
                cool_us = _us(rule.cool_down_s) if rule else 0
                self._series[key] = Series(
                    Phase.CLEAR, alarm.updated_us, alarm.updated_us + cool_us
                )

    @property
    def firing(self) -> list[Alarm]:
        """What fires now, by rules and incidents."""
        return [s.alarm for s in self._series.values() if s.alarm] + [*self._incidents.values()]

    def _tick(self, now_us: int) -> int:
        """A clock that was set back does not make time run backwards here."""
        self._now_us = max(self._now_us, now_us)
        return self._now_us

    def _step(self, key: Key, rule: Rule, reading: Reading, now_us: int) -> list[Alarm]:
        """One series, one look: at most one change."""
        series = self._series.setdefault(key, Series())
        change: Alarm | None = None
        if series.phase is Phase.CLEAR and reading.breached:
            series.move(Phase.PENDING, now_us)
        if series.phase is Phase.PENDING:
            if not reading.breached:
                series.move(Phase.CLEAR, now_us)
            elif now_us >= max(series.since_us + _us(rule.for_s), series.quiet_until_us):
                series.move(Phase.FIRING, now_us)
                change = series.alarm = self._fired(rule.name, reading, now_us)
        elif series.phase is Phase.FIRING and not reading.cleared:
            change = self._worse(series, reading, now_us)
        elif series.phase is Phase.FIRING:
            series.move(Phase.RECOVERING, now_us)
        if series.phase is Phase.RECOVERING:
            if not reading.cleared:
                series.move(Phase.FIRING, now_us)
            elif now_us >= series.since_us + _us(rule.resolve_s):
                assert series.alarm is not None, key
                change = _resolved(series.alarm, reading.summary, now_us, reading.evidence)
                series.alarm = None
                series.quiet_until_us = now_us + _us(rule.cool_down_s)
                series.move(Phase.CLEAR, now_us)
        if series.phase is Phase.CLEAR and now_us >= series.quiet_until_us:
            del self._series[key]
        return [change] if change else []

    def _worse(self, series: Series, reading: Reading, now_us: int) -> Alarm | None:
        """A new revision where the severity rose; nothing else is worth telling again."""
        alarm = series.alarm
        assert alarm is not None
        if not reading.breached or reading.severity.rank <= alarm.severity.rank:
            return None
        series.alarm = replace(
            alarm,
            severity=reading.severity,
            summary=reading.summary,
            evidence=reading.evidence,
            updated_us=now_us,
            revision=alarm.revision + 1,
        )
        return series.alarm

    def _fired(self, rule: str, reading: Reading, now_us: int) -> Alarm:
        return Alarm(
            id=alarm_id(self._stream, rule, reading.labels, now_us),
            stream=self._stream,
            rule=rule,
            severity=reading.severity,
            status=Status.FIRING,
            summary=reading.summary,
            cause=reading.cause,
            started_us=now_us,
            updated_us=now_us,
            evidence=reading.evidence,
            labels=reading.labels,
        )

    def _opened(self, incident: Incident, rule: DetectorRule, now_us: int) -> Alarm:
        labels = {"incident": incident.id, "verdict": incident.verdict}
        said = f"{rule.summary}: {incident.summary}" if rule.summary else incident.summary
        return Alarm(
            id=alarm_id(self._stream, "incident", {"incident": incident.id}, None),
            stream=self._stream,
            rule=rule.name,
            severity=rule.severity,
            status=Status.FIRING,
            summary=said,
            cause=incident.verdict,
            started_us=now_us if incident.started_us is None else incident.started_us,
            updated_us=now_us,
            evidence=_evidence_of(incident),
            labels=labels,
            source=f"incident/{incident.id}",
        )

    def _close(self, name: str, why: str, now_us: int) -> Alarm:
        alarm = _resolved(self._incidents.pop(name), why, now_us)
        self._remember_closed(name)
        return alarm

    def _remember_closed(self, name: str) -> None:
        self._closed.pop(name, None)
        self._closed[name] = None
        while len(self._closed) > CLOSED_MAX:
            del self._closed[next(iter(self._closed))]


def _resolved(
    alarm: Alarm, why: str, now_us: int, evidence: Mapping[str, Any] | None = None
) -> Alarm:
    return replace(
        alarm,
        status=Status.RESOLVED,
        summary=why,
        evidence=alarm.evidence if evidence is None else evidence,
        updated_us=now_us,
        revision=alarm.revision + 1,
    )


def _gone(rule: Rule, labels: Mapping[str, str]) -> Reading:
    """What was reported before and is not any more."""
    said = f"{rule.summary or rule.name}: no longer reported"
    return Reading(labels, False, True, said, rule.kind, Severity.INFO)


def _evidence_of(incident: Incident) -> dict[str, Any]:
    named = {"features": list(incident.features), "slices": list(incident.slices)}
    return {**incident.more, **named, "cause": incident.cause, **incident.evidence}


def _key(rule: str, labels: Mapping[str, str]) -> Key:
    return rule, tuple(sorted(labels.items()))


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
