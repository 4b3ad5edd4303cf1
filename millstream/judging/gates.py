"""What a challenger must pass besides being better: slices, fairness, latency, calibration, cost.

They judge what is measured so far, again at each look. Only slices are tested for chance; the
others compare two numbers of the same rows, whose noise is largely the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from typing import Final

import numpy as np

from millstream.drift.segments import e_bh
from millstream.judging.evidence import Gate, SliceFinding
from millstream.judging.paired import Finding, Rule, Trace
from millstream.judging.pairs import Loss, Pairs
from millstream.performance import metrics
from millstream.performance.answers import Answers
from millstream.performance.fairness import Gap, fairness, favourable
from millstream.performance.metrics import Floats, Measures
from millstream.performance.windows import latency_ms
from millstream.stream import FairnessTable, Stream

SLICES_RATE: Final = 0.1
"""Share of the slices named worse that may be named wrongly: e-BH, as for drifting segments."""

REFUSED_MAX: Final = 0.001
"""Share of events that only the challenger refuses."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of a challenger: a stream's [judge], [costs], [fairness] and latency budget."""

    rule: Rule = field(default_factory=Rule)
    loss: Loss = "error"
    value_scale: float | None = None
    calibration_rise_max: float = 0.02
    cost_rise_max: float = 0.0
    latency_rise_max: float = 0.1
    latency_budget_ms: float = 250.0
    false_positive: float = 1.0
    false_negative: float = 1.0
    matrix: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fairness: FairnessTable = field(default_factory=FairnessTable)

    @classmethod
    def of(cls, stream: Stream) -> Terms:
        """Those of a stream."""
        table = stream.judge
        return cls(
            Rule(table.alpha, table.margin, table.rows_min, table.rows_max),
            table.loss,
            table.value_scale,
            table.calibration_rise_max,
            table.cost_rise_max,
            table.latency_rise_max,
            stream.serving.latency_budget_ms,
            stream.costs.false_positive,
            stream.costs.false_negative,
            stream.costs.matrix,
            stream.fairness,
        )


def measured(answers: Answers, terms: Terms) -> Measures:
    """What one model's answers were worth."""
    classes = answers.classes
    if classes is None:
        return metrics.regression(answers.true_value, answers.value)
    costs = metrics.cost_table(classes, terms.false_positive, terms.false_negative, terms.matrix)
    return metrics.classification(answers.truth, answers.predicted, answers.raw, classes, costs)


def scored(pairs: Pairs) -> Gate:
    """The challenger scores what the champion does: what it refuses would be a dead letter. Events
    whose labels are still to come count on both sides."""
    share = pairs.refused / max(pairs.refused + max(pairs.scored, len(pairs)), 1)
    return Gate(
        "answers",
        f"{pairs.refused:,} events refused that the champion scores",
        f"<= {REFUSED_MAX:.1%} of them",
        share <= REFUSED_MAX,
        share,
        REFUSED_MAX,
    )


def quality(finding: Finding, rule: Rule) -> Gate:
    """Proven better by more than the margin, ever."""
    limit = 1.0 / rule.alpha
    place = "" if finding.better_at is None else f", proven after {finding.better_at:,} rows"
    return Gate(
        "quality",
        f"evidence {finding.e_better:.3g}{place}",
        f">= {limit:.3g} from {rule.rows_min:,} rows on",
        finding.better_at is not None,
        finding.e_better,
        limit,
    )


def sliced(pairs: Pairs, differences: Floats, rule: Rule) -> tuple[Gate, tuple[SliceFinding, ...]]:
    """No slice is proven worse by more than the margin. differences: of the last rows of pairs."""
    first = len(pairs) - len(differences)
    e_values: dict[str, float] = {}
    kept: dict[str, Floats] = {}
    for name, values in pairs.champion.slices.items():
        for value in sorted(set(values[first:].tolist())):
            part = kept[f"{name}={value}"] = differences[values[first:] == value]
            e_values[f"{name}={value}"] = exp(min(Trace(-part, rule.margin).last, 700.0))
    named = set(e_bh(e_values, SLICES_RATE))
    found = tuple(
        SliceFinding(name, len(part), float(part.mean()), e_values[name], name in named)
        for name, part in kept.items()
    )
    said = ", ".join(sorted(named)) or (f"none of {len(found)}" if found else "no slices")
    limit = f"none proven worse, {SLICES_RATE:.0%} false names"
    return Gate("slices", said, limit, not named, float(len(named)), 0.0), found


def fair(pairs: Pairs, table: FairnessTable) -> Gate:
    """No gap beyond its limit that is not the champion's already, and no smaller there."""
    ours, theirs = (_gaps(side, table) for side in (pairs.champion, pairs.challenger))
    known = {_place(gap): _size(gap) for gap in ours if gap.alarm}
    worse = [
        gap for gap in theirs if gap.alarm and known.get(_place(gap), 0.0) < _size(gap) - 1e-12
    ]
    said = ", ".join(f"{gap.kind} {gap.field}={gap.group} {gap.value:.3f}" for gap in worse)
    thin = sum(gap.value is None for gap in theirs)
    limits = f"parity {table.parity_gap_max:g}, impact {table.impact_min:g}, "
    return Gate(
        "fairness",
        said or ("no gap beyond its limit that the champion has not" if theirs else "no groups"),
        f"{limits}true positives {table.true_positive_gap_max:g}",
        not worse,
        float(len(worse)),
        0.0,
        f"{thin} of {len(theirs)} comparisons have too few rows" if thin else "",
    )


def quick(pairs: Pairs, budget_ms: float, rise_max: float) -> Gate:
    """The 99th percentile from published to scored is in budget, or hardly above the champion's."""
    times = [latency_ms(side.published_us, side.scored_us) for side in _sides(pairs)]
    if times[0] is None or times[1] is None:
        return Gate("latency", "no rows", f"p99 <= {budget_ms:g} ms", passed=False)
    limit = max(budget_ms, times[0][1] * (1.0 + rise_max))
    return Gate(
        "latency",
        f"p99 {times[1][1]:.1f} ms (champion {times[0][1]:.1f})",
        f"<= {limit:.1f} ms",
        times[1][1] <= limit,
        times[1][1],
        limit,
    )


def calibrated(measures: tuple[Measures, Measures], rise_max: float) -> Gate:
    """Confidence comes true about as well as the champion's."""
    ours, theirs = (one.calibration_error for one in measures)
    if ours is None or theirs is None:
        return Gate("calibration", "no probabilities", f"rise <= {rise_max:g}", passed=True)
    return Gate(
        "calibration",
        f"ECE {theirs:.4f} (champion {ours:.4f})",
        f"<= {ours + rise_max:.4f}",
        theirs <= ours + rise_max,
        theirs,
        ours + rise_max,
    )


def cheap(measures: tuple[Measures, Measures], rise_max: float) -> Gate:
    """A decision costs no more than the champion's, in the stream's own unit."""
    ours, theirs = (one.cost for one in measures)
    if ours is None or theirs is None:
        return Gate("cost", "no costs of these labels", f"rise <= {rise_max:g}", passed=True)
    limit = ours * (1.0 + rise_max)
    return Gate(
        "cost",
        f"{theirs:.4f} a decision (champion {ours:.4f})",
        f"<= {limit:.4f}",
        theirs <= limit + 1e-12,
        theirs,
        limit,
    )


def rows(count: int, rule: Rule) -> Gate:
    """Enough rows to decide at all."""
    least = rule.rows_min
    return Gate("rows", f"{count:,}", f">= {least:,}", count >= least, float(count), float(least))


def _gaps(answers: Answers, table: FairnessTable) -> list[Gap]:
    good = None if answers.classes is None else favourable(answers.classes, table)
    if good is None or not answers.groups:
        return []
    known = np.ones(len(answers), bool)
    return fairness(answers.groups, answers.predicted == good, answers.truth == good, known, table)


def _place(gap: Gap) -> tuple[str, str, frozenset[str]]:
    """The same for both models, though each may favour another group."""
    return gap.kind, gap.field, frozenset((gap.group, gap.against))


def _size(gap: Gap) -> float:
    assert gap.value is not None  # it alarms
    return 1.0 - gap.value if gap.kind == "impact" else abs(gap.value)


def _sides(pairs: Pairs) -> tuple[Answers, Answers]:
    return pairs.champion, pairs.challenger
