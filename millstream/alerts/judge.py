"""Numbers to readings: what each kind of rule makes of what was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.alerts.alarm import Severity
from millstream.alerts.rules import (
    BurnRateRule,
    BurnWindow,
    LagRule,
    MissingLabelsRule,
    Rule,
    ThresholdRule,
)
from millstream.errors import ContractMismatch

LABEL_CHARS_MAX = 200
SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """One subject of a rule at one time.

    breached: so bad that it may fire. cleared: so good that it may be resolved; between the two
    nothing changes, nor where both are false because nothing is known.
    """

    labels: Mapping[str, str]
    breached: bool
    cleared: bool
    summary: str
    cause: str
    severity: Severity
    evidence: Mapping[str, Any] = field(default_factory=dict)


def threshold(rule: ThresholdRule, rows: Sequence[Mapping[str, Any]]) -> list[Reading]:
    """A reading for each row. Raises ContractMismatch where a row has no number called value, or
    two rows have the same labels."""
    readings: dict[tuple[tuple[str, str], ...], Reading] = {}
    for row in rows:
        labels = {n: _label(v) for n, v in row.items() if n != "value"}
        value = _number(rule, row)
        reading = _bounded(rule, labels, value)
        if readings.setdefault(tuple(sorted(labels.items())), reading) is not reading:
            raise ContractMismatch(
                f"rule {rule.name}: two rows of its query have the same labels",
                "Group them, or select a column that tells them apart",
            )
    return list(readings.values())


def _bounded(rule: ThresholdRule, labels: dict[str, str], value: float | None) -> Reading:
    breached = cleared = False
    evidence: dict[str, Any] = {"value": value}
    if rule.above is not None:
        clear = rule.above if rule.clear is None else rule.clear
        evidence |= {"above": rule.above, "clear": clear}
        said = f"is above {rule.above:g}"
        if value is not None:
            breached, cleared = value > rule.above, value <= clear
    else:
        assert rule.below is not None, rule.name
        clear = rule.below if rule.clear is None else rule.clear
        evidence |= {"below": rule.below, "clear": clear}
        said = f"is below {rule.below:g}"
        if value is not None:
            breached, cleared = value < rule.below, value >= clear
    shown = "nothing is known" if value is None else f"{value:g}"
    text = f"{shown} {said}" if breached else f"now {shown}"
    return Reading(
        labels, breached, cleared, _said(rule, labels, text), "threshold", rule.severity, evidence
    )


def lag(
    rule: LagRule, stream: str, waiting: Mapping[str, Mapping[int, int]], never: int = 0
) -> Reading:
    """waiting: topic -> partition -> records between committed offset and end. never: partitions
    where the group has committed nothing, so that everything that is there waits."""
    by_topic = {topic: sum(parts.values()) for topic, parts in waiting.items()}
    total = sum(by_topic.values())
    breached = total > rule.above_records
    labels = {"program": rule.program, "group": rule.group_of(stream)}
    evidence = {
        "records": total,
        "above_records": rule.above_records,
        "topics": by_topic,
        "partitions_never_committed": never,
    }
    text = f"{total:,} records wait for {rule.program}"
    text += f", above {rule.above_records:,}" if breached else ""
    return Reading(
        labels, breached, not breached, _said(rule, {}, text), "lag", rule.severity, evidence
    )


def missing_labels(rule: MissingLabelsRule, predictions: int, missing: int) -> Reading:
    """predictions: those in the window; missing: those of them without an outcome."""
    evidence = {
        "predictions": predictions,
        "missing": missing,
        "above": rule.above,
        "after_s": rule.after_s,
        "window_s": rule.window_s,
    }
    enough = predictions >= rule.predictions_min
    share = missing / predictions if predictions else 0.0
    breached = enough and share > rule.above
    text = (
        f"{share:.1%} of {predictions:,} predictions have no outcome after {_span(rule.after_s)}"
        if enough
        else f"only {predictions:,} predictions to judge by"
    )
    return Reading(
        {},
        breached,
        enough and not breached,
        _said(rule, {}, text),
        "missing_labels",
        rule.severity,
        evidence,
    )


def burn_rate(rule: BurnRateRule, counts: Mapping[float, tuple[float, float]]) -> Reading:
    """counts: seconds -> (events, bad ones) of the last so many seconds, for each window.

    The rate is bad / events / (1 - objective): 1 spends the budget exactly by the end of its
    period. It fires where both windows of a pair reach the pair's factor, with the worst severity
    of these; it is over when no short window does. A window without events burns nothing.
    """
    rates = {seconds: _rate(rule, *pair) for seconds, pair in counts.items()}
    reached = [w for w in rule.windows if _burns(rule, w, counts, rates)]
    still = [w for w in rule.windows if rates[w.short_s] >= w.factor]
    worst = max(reached, key=lambda w: (w.severity.rank, w.factor), default=None)
    shown = worst or max(rule.windows, key=lambda w: rates[w.short_s] / w.factor)
    text = (
        f"the error budget of {rule.objective:g} burns {rates[shown.long_s]:.1f} times too fast "
        f"over {_span(shown.long_s)} and {rates[shown.short_s]:.1f} times over "
        f"{_span(shown.short_s)}"
    )
    evidence = {
        "objective": rule.objective,
        "windows": [
            {
                "seconds": seconds,
                "events": counts[seconds][0],
                "bad": counts[seconds][1],
                "rate": round(rates[seconds], 4),
            }
            for seconds in sorted(counts)
        ],
    }
    labels = {"indicator": rule.indicator or "sql"}
    severity = worst.severity if worst else rule.severity
    return Reading(
        labels, worst is not None, not still, _said(rule, {}, text), "burn_rate", severity, evidence
    )


def _burns(
    rule: BurnRateRule,
    window: BurnWindow,
    counts: Mapping[float, tuple[float, float]],
    rates: Mapping[float, float],
) -> bool:
    enough = counts[window.short_s][0] >= rule.events_min
    return enough and min(rates[window.long_s], rates[window.short_s]) >= window.factor


def _rate(rule: BurnRateRule, events: float, bad: float) -> float:
    return bad / events / (1 - rule.objective) if events > 0 else 0.0


def not_evaluated(rule: Rule, why: str) -> Reading:
    """A rule that could not be looked at is an alarm too: its silence would look like health."""
    return Reading(
        {"evaluation": "failed"},
        breached=True,
        cleared=False,
        summary=f"rule {rule.name} cannot be evaluated: {_one_line(why)}",
        cause="not_evaluated",
        severity=Severity.TICKET,
        evidence={"why": why},
    )


def _number(rule: ThresholdRule, row: Mapping[str, Any]) -> float | None:
    if "value" not in row:
        raise ContractMismatch(
            f"rule {rule.name}: its query has no column `value`", "Write SELECT ... AS value"
        )
    try:
        value = None if row["value"] is None else float(row["value"])
    except (TypeError, ValueError):
        raise ContractMismatch(
            f"rule {rule.name}: its query's `value` is no number", "Select a number AS value"
        ) from None
    return None if value is None or math.isnan(value) else value


def _label(value: Any) -> str:
    return "" if value is None else str(value)[:LABEL_CHARS_MAX]


def _said(rule: Rule, labels: Mapping[str, str], text: str) -> str:
    which = " ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return _one_line(f"{rule.summary or rule.name}{f' [{which}]' if which else ''}: {text}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:1_000]


def _span(seconds: float) -> str:
    """A length of time for people.

    >>> [_span(s) for s in (5, 300, 21_600, 259_200, 5_400)]
    ['5 s', '5 min', '6 h', '3 d', '90 min']
    """
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
