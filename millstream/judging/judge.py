"""Promote, reject, roll back, keep or hold: one decision from the rows that both models answered.

Error rates, each over the whole life of one comparison and however often it is looked at: a
challenger that is not better by more than the margin is promoted with a chance of alpha at most; a
champion that is not worse than its predecessor by more than the margin is rolled back with alpha at
most; the same for reject and keep before rows_max. What makes these figures hold, and where they
are measured instead of proven, says paired.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.judging import gates
from millstream.judging.evidence import Decision, Evidence, Gate, Role, Verdict
from millstream.judging.gates import Terms
from millstream.judging.paired import Finding, paired
from millstream.judging.pairs import Pairs, differences, rows_needed
from millstream.models.reference import ModelReference


def judge(
    stream: str,
    role: Role,
    champion: ModelReference,
    challenger: ModelReference,
    pairs: Pairs,
    terms: Terms,
    notes: tuple[str, ...] = (),
) -> Decision:
    """The decision on what is known now. pairs: since the challenger began to score, or since the
    champion took its predecessor's place; the second of each pair is the challenger, or the
    predecessor. Call it again with all rows when there are more. Of a new champion it is about the
    rows up to where it was proven: later rows change nothing, so that the same decision comes of
    every later look."""
    lost = differences(pairs, terms.loss, terms.value_scale)
    finding = paired(lost, terms.rule)
    if role is Role.PREDECESSOR and (proven := _first_proven(finding)) is not None:
        regression = pairs.champion.classes is None
        pairs = pairs.first(rows_needed(proven, regression, terms.value_scale))
        lost = lost[:proven]
        finding = paired(lost, terms.rule)
    measures = (gates.measured(pairs.champion, terms), gates.measured(pairs.challenger, terms))
    slices, parts = gates.sliced(pairs, lost, terms.rule)
    passed = (
        gates.rows(finding.rows, terms.rule),
        gates.scored(pairs),
        gates.quality(finding, terms.rule),
        slices,
        gates.fair(pairs, terms.fairness),
        gates.quick(pairs, terms.latency_budget_ms, terms.latency_rise_max),
        gates.calibrated(measures, terms.calibration_rise_max),
        gates.cheap(measures, terms.cost_rise_max),
    )
    times = pairs.champion.event_us
    evidence = Evidence(
        stream,
        role,
        champion,
        challenger,
        terms.loss,
        terms.rule,
        finding,
        passed,
        measures,
        parts,
        int(times.min()) if len(times) else None,
        int(times.max()) if len(times) else None,
        notes,
    )
    return Decision(*verdict(role, finding, passed), evidence)


def verdict(role: Role, finding: Finding, passed: Sequence[Gate]) -> tuple[Verdict, str]:
    """What is to be done, and why. The gates hold a challenger up; they keep no champion that is
    proven worse. A challenger that is proven worse stays so, whatever was proven before."""
    return _of_champion(finding) if role is Role.PREDECESSOR else _of_challenger(finding, passed)


def _of_challenger(finding: Finding, passed: Sequence[Gate]) -> tuple[Verdict, str]:
    failed = ", ".join(gate.name for gate in passed if not gate.passed)
    if finding.worse_at is not None:
        return Verdict.REJECT, f"the challenger is worse, proven after {finding.worse_at:,} rows"
    if finding.better_at is not None and not failed:
        return Verdict.PROMOTE, f"the challenger is better, proven after {finding.better_at:,} rows"
    if finding.exhausted:
        if finding.better_at is None:
            return Verdict.REJECT, f"not proven better within {finding.rows:,} rows"
        return Verdict.REJECT, f"better, but to the end it did not pass: {failed}"
    if finding.better_at is not None:
        return Verdict.HOLD, f"better, but it does not pass: {failed}"
    return Verdict.HOLD, f"neither is proven after {finding.rows:,} rows"


def _first_proven(finding: Finding) -> int | None:
    """Rows at which anything was first proven."""
    return min((at for at in (finding.better_at, finding.worse_at) if at is not None), default=None)


def _of_champion(finding: Finding) -> tuple[Verdict, str]:
    better, worse = finding.better_at, finding.worse_at
    if better is not None and (worse is None or better < worse):
        return Verdict.ROLL_BACK, f"its predecessor does better, proven after {better:,} rows"
    if worse is not None:
        return Verdict.KEEP, f"better than its predecessor, proven after {worse:,} rows"
    if finding.exhausted:
        return Verdict.KEEP, f"not proven worse than its predecessor within {finding.rows:,} rows"
    return Verdict.HOLD, f"neither is proven after {finding.rows:,} rows"
