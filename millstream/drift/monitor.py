"""The drift monitor: counts of each model version in, alarms with their cause out.

Each model version is judged by what it predicted itself: a new one begins a reference of its own,
and an outcome that comes late is counted for the version that predicted. All signals of a version
are averaged into one decision; all versions share one false-alarm budget, which is used up by
events, so that two versions that share the events share the budget too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from millstream.drift.budget import Budget
from millstream.drift.evidence import Change
from millstream.drift.signals import WEIGHTS, Counts, Signal, counts_for, evidence_for

STATE_VERSION: Final = 1
VERSIONS_MAX: Final = 16
"""Model versions that are remembered; the one that was silent longest is forgotten."""
INVOLVED: Final = 0.1
"""Signals with this part of the decision begin anew after an alarm; the others go on."""


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """What a monitor is told.

    false_alarms_per_week: the one dial. score_bins: of the score histogram; 0: scores are not
    watched. confidence: whether confidences are watched (regression has none). block_events:
    smaller batches are collected until there are so many; large ones are taken as they are.
    """

    false_alarms_per_week: float = 1.0
    score_bins: int = 10
    confidence: bool = True
    block_events: int = 8

    def signals(self) -> dict[Signal, float]:
        """Signal -> its weight; they sum to 1."""
        kept = {
            signal: weight
            for signal, weight in WEIGHTS.items()
            if not (signal is Signal.SCORES and self.score_bins < 2)
            and not (signal is Signal.CONFIDENCE and not self.confidence)
        }
        return {signal: weight / sum(kept.values()) for signal, weight in kept.items()}


@dataclass(frozen=True, slots=True)
class Alarm:
    """A decision that something changed for one model version.

    number: counts the alarms of this monitor from 1. at_us: time of the batch that raised it.
    live: False where another version has been released since. cause: the signal with most of the
    evidence. level: evidence in budgets, 1 or more. since_us, since_events: when the change
    probably began, and how many events of the cause ago. before, after: shares of the cause's
    categories (error: [wrong, right]; confidence: [mean, 1 - mean]; scores: the bins).
    evidence: signal -> its part of the level.
    """

    number: int
    version: str
    at_us: int
    live: bool
    cause: Signal
    level: float
    since_us: int
    since_events: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    evidence: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class _Version:
    """The evidence about one model version."""

    def __init__(self, settings: MonitorSettings) -> None:
        self.signals = {
            signal: evidence_for(signal, settings.score_bins, settings.block_events)
            for signal in settings.signals()
        }
        self.turn = 0


class Monitor:
    """Every model version of one stream. Pure: time comes with the counts."""

    def __init__(self, settings: MonitorSettings | None = None) -> None:
        self.settings = settings or MonitorSettings()
        self._weights = self.settings.signals()
        self._budgets = {
            kind: Budget(self.settings.false_alarms_per_week) for kind in ("labelled", "predicted")
        }
        self._versions: dict[str, _Version] = {}
        self._champion: str | None = None
        self._turn = 0
        self.alarms = 0
        """How many were raised so far."""

    def released(self, version: str) -> None:
        """From now on alarms of other versions are not live."""
        self._champion = version

    def take(self, version: str, counts: Counts, at_us: int) -> Alarm | None:
        """Count a batch of one model version for the version that predicted, and decide.

        at_us: time of its newest record. Returns the alarm that it raised, if any.
        """
        self._turn += 1
        known = self._versions.get(version)
        if known is None:
            known = self._open(version)
        known.turn = self._turn
        if counts.labelled:
            self._budgets["labelled"].seen(counts.labelled, at_us)
        if counts.predicted:
            self._budgets["predicted"].seen(counts.predicted, at_us)
        parts: dict[Signal, float] = {}
        for signal, evidence in known.signals.items():
            taken = counts_for(signal, counts)
            if taken:
                evidence.update(taken, self._share(signal), float(at_us))
            parts[signal] = self._weights[signal] * evidence.level
        level = sum(parts.values())
        return self._alarm(version, known, parts, at_us) if level >= 1.0 else None

    def _share(self, signal: Signal) -> float:
        return self._budgets["labelled" if signal is Signal.ERROR else "predicted"].share

    def _open(self, version: str) -> _Version:
        if len(self._versions) >= VERSIONS_MAX:
            silent = min(self._versions, key=lambda name: self._versions[name].turn)
            del self._versions[silent]
        self._versions[version] = _Version(self.settings)
        return self._versions[version]

    def _alarm(
        self, version: str, known: _Version, parts: dict[Signal, float], at_us: int
    ) -> Alarm:
        cause = max(parts, key=lambda signal: parts[signal])
        level = sum(parts.values())
        change: Change = known.signals[cause].change()
        for signal, part in parts.items():
            if part >= INVOLVED * level:
                known.signals[signal].restart()
        self.alarms += 1
        return Alarm(
            self.alarms,
            version,
            at_us,
            self._champion in (None, version),
            cause,
            level,
            int(change.at_us),
            int(change.since_events),
            change.before,
            change.after,
            {signal.value: part for signal, part in parts.items()},
        )

    def level(self, version: str) -> float:
        """Evidence about a version now; 1 raises an alarm, 0 where it is not known."""
        known = self._versions.get(version)
        if known is None:
            return 0.0
        return sum(self._weights[signal] * e.level for signal, e in known.signals.items())

    def run_events(self) -> dict[str, float]:
        """Events between two false alarms that the budget asks for: labelled and predicted."""
        return {kind: budget.run_events for kind, budget in self._budgets.items()}

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers and text for JSON."""
        return {
            "format": STATE_VERSION,
            "settings": asdict(self.settings),
            "champion": self._champion,
            "turn": self._turn,
            "alarms": self.alarms,
            "budgets": {kind: budget.state() for kind, budget in self._budgets.items()},
            "versions": {
                name: {
                    "turn": known.turn,
                    "signals": {s.value: e.state() for s, e in known.signals.items()},
                }
                for name, known in self._versions.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Monitor:
        """A monitor that goes on from `state()` to the same bit. Raises ValueError if unknown."""
        if state.get("format") != STATE_VERSION:
            raise ValueError(f"a monitor's state of format {state.get('format')} is not known")
        made = cls(MonitorSettings(**state["settings"]))
        made._champion, made._turn = state["champion"], state["turn"]
        made.alarms = state["alarms"]
        for kind, budget in made._budgets.items():
            budget.restore(state["budgets"][kind])
        for name, saved in state["versions"].items():
            known = made._open(name)
            known.turn = saved["turn"]
            for signal, evidence in known.signals.items():
                evidence.restore(saved["signals"][signal.value])
        return made
