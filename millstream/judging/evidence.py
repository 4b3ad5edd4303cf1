"""What a decision between two models stands on: gates, measures and slices; as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from millstream.judging.paired import Finding, Rule
from millstream.judging.pairs import Loss
from millstream.models.reference import ModelReference
from millstream.performance.metrics import Measures


class Role(StrEnum):
    """What the second model is to the first, which answers."""

    CHALLENGER = "challenger"  # it may take the champion's place
    PREDECESSOR = "predecessor"  # the champion took its place, and may have to give it back


class Verdict(StrEnum):
    """What is to be done. promote, reject: of a challenger. roll_back, keep: of a new champion."""

    PROMOTE = "promote"
    REJECT = "reject"
    ROLL_BACK = "roll_back"
    KEEP = "keep"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition. found, limit: for people; value, bound: the same as numbers, where they are
    numbers. note: what they do not say."""

    name: str
    found: str
    limit: str
    passed: bool
    value: float | None = None
    bound: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """One slice, such as "region=north". difference: mean; above 0 the challenger does better.
    e_worse: evidence that it does worse by more than the margin. worse: named by e-BH."""

    slice: str
    rows: int
    difference: float
    e_worse: float
    worse: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """first_us, last_us: event times of the oldest and newest row; None of no rows."""

    stream: str
    role: Role
    champion: ModelReference
    challenger: ModelReference
    loss: Loss
    rule: Rule
    finding: Finding
    gates: tuple[Gate, ...]
    measures: tuple[Measures, Measures]
    slices: tuple[SliceFinding, ...]
    first_us: int | None
    last_us: int | None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {
            "role": self.role.value,
            "champion": self.champion.as_dict(),
            "challenger": self.challenger.as_dict(),
            "measures": {
                "champion": self.measures[0].as_json(),
                "challenger": self.measures[1].as_json(),
            },
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, why in one sentence, and its evidence."""

    verdict: Verdict
    reason: str
    evidence: Evidence

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the gates that did not pass."""
        return tuple(gate.name for gate in self.evidence.gates if not gate.passed)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        verdict = {"verdict": self.verdict.value, "reason": self.reason}
        return verdict | self.evidence.as_json()

    def table(self) -> str:
        """For a terminal."""
        return _text(self, _aligned)

    def markdown(self) -> str:
        """For a file: GitHub's tables."""
        return _text(self, _piped)


def _text(decision: Decision, table: Any) -> str:
    evidence = decision.evidence
    heading = "# " if table is _piped else ""
    verdict = decision.verdict.value.replace("_", " ")
    second = "against its predecessor" if evidence.role is Role.PREDECESSOR else "against"
    lines = [
        f"{heading}{evidence.stream}: {verdict}: {decision.reason}",
        "",
        f"{evidence.champion.label} {second} {evidence.challenger.label}, on "
        f"{evidence.finding.rows:,} labelled rows{_period(evidence)}.",
        _said(evidence),
        "",
        *table(
            ("gate", "found", "limit", "passed"),
            [(g.name, g.found, g.limit, "yes" if g.passed else "NO") for g in evidence.gates],
        ),
        "",
        *table(("measure", "champion", evidence.role.value), _measures(evidence)),
    ]
    if evidence.slices:
        rows = [
            (s.slice, f"{s.rows:,}", f"{s.difference:+.4f}", _evidence(s.e_worse),
             "yes" if s.worse else "no")
            for s in evidence.slices
        ]  # fmt: skip
        lines += ["", *table(("slice", "rows", "difference", "evidence", "worse"), rows)]
    notes = [f"{g.name}: {g.note}" for g in evidence.gates if g.note]
    lines += [f"{'- ' if heading else 'note: '}{note}" for note in (*notes, *evidence.notes)]
    return "\n".join(lines) + "\n"


def _said(evidence: Evidence) -> str:
    found, rule = evidence.finding, evidence.rule
    scatter = (
        f"; neighbouring rows depend on each other (dispersion {found.dispersion:.1f})"
        if found.dependent
        else ""
    )
    return (
        f"Difference of {evidence.loss.replace('_', ' ')}: {found.difference:+.4f}, "
        f"{1 - 2 * rule.alpha:.0%} interval {found.low:+.4f} to {found.high:+.4f} at any time"
        f"{scatter}. Chance of a wrong verdict of each kind: {rule.alpha:.1%} at most."
    )


def _period(evidence: Evidence) -> str:
    if evidence.first_us is None or evidence.last_us is None:
        return ""
    first, last = (
        datetime.fromtimestamp(time / 1e6, UTC) for time in (evidence.first_us, evidence.last_us)
    )
    return f", {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _measures(evidence: Evidence) -> list[tuple[str, str, str]]:
    one, two = (measures.as_json() for measures in evidence.measures)
    return [
        (name.replace("_", " "), _number(one.get(name)), _number(two.get(name)))
        for name in dict.fromkeys((*one, *two))
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _evidence(value: float) -> str:
    return f"{value:.2f}" if value < 1_000 else f"{value:.1e}"


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    every = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[place]) for row in every) for place in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _piped(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
