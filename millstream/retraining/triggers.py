"""What asks for a retraining: each reading is judged with hysteresis, all of them with a cool-down.

A reading that is bad asks once; it must have been good again, by its band, before it asks anew. An
incident asks once, also when it came during a retraining or its cool-down; a retraining is about
all that have come by its beginning, whatever asked for it. A person always may.

The schedule of labels is the policy's: an attempt's records say in how many labels its next
challenge is due, and labels are counted from that attempt's end. So whoever reads the records
counts the same. A change that it hears between two attempts brings the next one forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from millstream.retraining.stages import Attempt, Trigger
from millstream.retraining.table import RetrainTable

INCIDENTS_MAX: Final = 1_000
"""Incidents that are remembered as told."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An incident in which the loss rose. since_us: event time of its beginning."""

    id: str
    verdict: str
    since_us: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Labelled rows so far, those among them that ClickHouse keeps no longer.

    labels: how many. marks: partition of NAME.labelled -> the last offset that was counted.

    >>> Counted.of(Counted(7, {0: 12}).facts)
    Counted(labels=7, marks={0: 12})
    """

    labels: int = 0
    marks: Mapping[int, int] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """For an attempt's last record."""
        marks = {str(partition): offset for partition, offset in self.marks.items()}
        return {"labels": self.labels, "marks": marks}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Counted:
        """Of an attempt's last record; nothing where it has no marks: all is counted anew."""
        if not facts.get("marks"):
            return cls()
        marks = {int(partition): int(offset) for partition, offset in facts["marks"].items()}
        return cls(int(facts["labels"]), marks)

    @classmethod
    def last(cls, attempts: Sequence[Attempt]) -> Counted:
        """At the end of the last attempt that is over."""
        over = [attempt.over for attempt in attempts if attempt.over is not None]
        return cls.of(over[-1].facts) if over else cls()


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known now. labels: labelled rows so far. accuracy: of the newest; business: the
    query's number; None where there is none. trained: labels when the champion was trained.
    first_us: when the oldest label was joined, None without one. change_us: event time from which
    on the policy hears a change in the champion's losses that no attempt was about."""

    now_us: int
    labels: int
    accuracy: float | None = None
    business: float | None = None
    trained: int = 0
    first_us: int | None = None
    change_us: int | None = None


@dataclass(frozen=True, slots=True)
class Fired:
    """One retraining is wanted, and why. due: by the policy's own count of labels, so that it need
    not be asked for a challenge. since_us: event time from which on it heard a change."""

    trigger: Trigger
    reason: str
    due: bool = False
    since_us: int | None = None


@dataclass(slots=True)
class _Hysteresis:
    """Bad is told once until it was good."""

    armed: bool = True

    def tells(self, bad: bool, good: bool) -> bool:
        told = bad and self.armed
        self.armed = (self.armed and not bad) or good
        return told


@dataclass(slots=True)
class Triggers:
    """Of one stream. ended_us, ended_labels: when the last attempt was over. due_in: labels behind
    it at which the next is due, None: as [retrain] says."""

    table: RetrainTable
    ended_us: int | None = None
    ended_labels: int = 0
    due_in: int | None = None
    _waiting: dict[str, Opened] = field(default_factory=dict)
    _told: dict[str, None] = field(default_factory=dict)
    _accuracy: _Hysteresis = field(default_factory=_Hysteresis)
    _business: _Hysteresis = field(default_factory=_Hysteresis)

    def recover(self, attempts: Iterable[Attempt]) -> None:
        """What earlier attempts were about, and when the last was over."""
        for attempt in attempts:
            for told in attempt.cause.get("incidents", ()):
                self._told[str(told)] = None
            if attempt.over is not None:
                labels = int(attempt.over.facts.get("labels", 0))
                self.over(attempt.over.at_us, labels, attempt.due_in)

    def opened(self, incident: Opened) -> None:
        """An incident, or one of its revisions."""
        if self.table.incident and incident.id not in self._told:
            self._waiting[incident.id] = incident

    @property
    def waiting(self) -> tuple[Opened, ...]:
        """What an attempt that begins now is about, in the order in which they came."""
        return tuple(self._waiting.values())

    def told(self, incidents: Sequence[Opened]) -> None:
        """An attempt about these has begun: none of them asks again."""
        for incident in incidents:
            self._waiting.pop(incident.id, None)
            self._told[incident.id] = None
        while len(self._told) > INCIDENTS_MAX:
            del self._told[next(iter(self._told))]

    def over(self, at_us: int, labels: int, due_in: int | None = None) -> None:
        """An attempt has ended. due_in: as its policy says, None where it says nothing."""
        self.ended_us, self.due_in = at_us, due_in
        self.ended_labels = max(labels, self.ended_labels)

    def fire(self, now: Readings) -> Fired | None:
        """The first that asks, the most urgent first; hysteresis goes on during a cool-down."""
        performance = self._performance(now)
        business = self._metric(now)
        if self._cools(now):
            if performance is not None:  # what is bad now asks again when it is over
                self._accuracy.armed = True
            if business is not None:
                self._business.armed = True
            return None
        if self._waiting:
            return Fired(Trigger.INCIDENT, _named(self.waiting))
        if performance is not None:
            return Fired(Trigger.PERFORMANCE, performance)
        if business is not None:
            return Fired(Trigger.BUSINESS, business)
        return self._due(now)

    def _due(self, now: Readings) -> Fired | None:
        """By volume, by labels, by time."""
        table, since = self.table, now.labels - self.ended_labels
        unseen = now.labels - now.trained
        if table.volume_labels and min(unseen, since) >= table.volume_labels:
            return Fired(Trigger.VOLUME, f"{unseen:,} labels since the champion was trained")
        if table.schedule_labels and now.change_us is not None:
            return Fired(
                Trigger.SCHEDULE, "the champion's losses have changed", True, now.change_us
            )
        every = table.schedule_labels
        if table.schedule_labels and since >= (every if self.due_in is None else self.due_in):
            said = f"{since:,} labels since the last retraining"
            return Fired(Trigger.SCHEDULE, said, due=True)
        # without one before it, time counts from the first label: a restart changes nothing
        since_us = now.first_us if self.ended_us is None else self.ended_us
        if not table.schedule_s or since_us is None:
            return None
        passed = (now.now_us - since_us) / 1e6
        if passed < table.schedule_s:
            return None
        what = "the first label" if self.ended_us is None else "the last retraining"
        return Fired(Trigger.SCHEDULE, f"{passed:,.0f} s since {what}")

    def _cools(self, now: Readings) -> bool:
        if self.ended_us is None:
            return False
        passed_us = max(now.now_us - self.ended_us, 0)  # the clock may have been put back
        soon = passed_us < self.table.cooldown_s * 1e6
        return soon or now.labels - self.ended_labels < self.table.cooldown_labels

    def _performance(self, now: Readings) -> str | None:
        least = self.table.accuracy_min
        if least is None or now.accuracy is None:
            return None
        bad, good = now.accuracy < least, now.accuracy >= least + self.table.accuracy_band
        if not self._accuracy.tells(bad, good):
            return None
        return f"accuracy {now.accuracy:.3f} is below {least:g}"

    def _metric(self, now: Readings) -> str | None:
        low, high, band = self.table.query_min, self.table.query_max, self.table.query_band
        value = now.business
        if value is None:
            return None
        bad = (low is not None and value < low) or (high is not None and value > high)
        good = (low is None or value >= low + band) and (high is None or value <= high - band)
        if not self._business.tells(bad, good):
            return None
        bounds = f"below {low:g}" if low is not None and value < low else f"above {high:g}"
        return f"the business metric is {value:g}, {bounds}"


def _named(incidents: Sequence[Opened]) -> str:
    """In one line."""
    first = incidents[0]
    more = f", and {len(incidents) - 1} more" if len(incidents) > 1 else ""
    return f"incident {first.id}: {first.verdict}{more}"
