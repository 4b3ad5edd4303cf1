"""What an audit says at its end: for people, as JSON, as metrics, as an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from millstream.audit.ledger import Finding, Kind


class Verdict(StrEnum):
    """CLEAN: proven. DAMAGED: something is lost, doubled or wrong. UNKNOWN: cannot tell."""

    CLEAN = "clean"
    DAMAGED = "damaged"
    UNKNOWN = "cannot tell"

    @property
    def exit_code(self) -> int:
        return {"clean": 0, "damaged": 1, "cannot tell": 2}[self.value]


@dataclass(frozen=True, slots=True)
class Line:
    """One partition in numbers.

    first, end: the event offsets that were judged are first..end-1 (Kafka still has those from
    `first`). committed: of the scorer's group; None where it has none. waiting: events that the
    scorer, which moves, has not come to. rows_waiting: the same of the sink, by table.
    """

    partition: int
    first: int
    end: int
    events: int
    predictions: int
    dead_letters: int
    committed: int | None
    waiting: int
    rows: dict[str, int]
    rows_waiting: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """A finished look. Times are ISO 8601, UTC; seconds is how long it took."""

    run: str
    stream: str
    started: str
    seconds: float
    versions: dict[str, str]
    config: dict[str, str]
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    compared: int
    rescored: int
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """Damage outweighs doubt."""
        if any(finding.certain for finding in self.findings):
            return Verdict.DAMAGED
        return Verdict.UNKNOWN if self.findings else Verdict.CLEAN

    def total(self, name: str) -> int:
        """Sum of one number over the partitions."""
        return sum(getattr(line, name) for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {
            "run": self.run,
            "stream": self.stream,
            "verdict": self.verdict.value,
            "exit_code": self.verdict.exit_code,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "versions": self.versions,
            "config": self.config,
            "events": self.total("events"),
            "predictions": self.total("predictions"),
            "dead_letters": self.total("dead_letters"),
            "waiting": self.total("waiting"),
            "contents_compared": self.compared,
            "rescored": self.rescored,
            "partitions": [asdict(line) for line in self.lines],
            "findings": [finding_json(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def as_metrics(self, now_s: float) -> str:
        """Prometheus' text format, for node_exporter's textfile collector."""
        stream = f'stream="{self.stream}"'
        lines = [
            *_metric("events", "gauge", "Events audited", [(stream, self.total("events"))]),
            *_metric(
                "answers",
                "gauge",
                "Predictions and dead letters audited",
                [
                    (f'{stream},kind="prediction"', self.total("predictions")),
                    (f'{stream},kind="dead_letter"', self.total("dead_letters")),
                ],
            ),
            *_metric(
                "waiting_events",
                "gauge",
                "Events above the committed offset without an answer",
                [(f'{stream},partition="{x.partition}"', x.waiting) for x in self.lines],
            ),
            *_metric(
                "findings",
                "gauge",
                "Offsets found damaged, or that could not be told, since the watch began",
                [(f'{stream},kind="{kind.value}"', _total(self.findings, kind)) for kind in Kind],
            ),
            *_metric(
                "verdict",
                "gauge",
                "0 clean, 1 damaged, 2 cannot tell",
                [(stream, self.verdict.exit_code)],
            ),
            *_metric(
                "last_look_timestamp_seconds",
                "gauge",
                "When the last look ended; a watch that stands still shows here",
                [(stream, now_s)],
            ),
        ]
        return "\n".join(lines) + "\n"


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding in JSON's types; `offsets` holds the first of `total`."""
    return {
        "kind": finding.kind.value,
        "certain": finding.certain,
        "subject": finding.subject,
        "partition": finding.partition,
        "total": finding.total,
        "offsets": list(finding.offsets),
        "last": finding.last,
        "text": finding.text,
    }


def _total(findings: Sequence[Finding], kind: Kind) -> int:
    return sum(finding.total for finding in findings if finding.kind is kind)


def _metric(name: str, kind: str, text: str, samples: Sequence[tuple[str, float]]) -> list[str]:
    full = f"millstream_audit_{name}"
    shown = [f"{full}{{{labels}}} {value}" for labels, value in samples]
    return [f"# HELP {full} {text}", f"# TYPE {full} {kind}", *shown]
