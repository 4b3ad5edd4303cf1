"""What an audit says at its end: for people, as JSON, as metrics, as an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from millstream.audit.ledger import Finding, Kind
from millstream.metrics.vocabulary import VOCABULARY


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

    def samples(self, now_s: float) -> dict[str, dict[tuple[str, ...], float]]:
        """Metric -> label values, in the vocabulary's order -> value.

        now_s: when the look ended, seconds since 1970.
        """
        return {
            "millstream_audit_events": {(): self.total("events")},
            "millstream_audit_answers": {
                ("prediction",): self.total("predictions"),
                ("dead_letter",): self.total("dead_letters"),
            },
            "millstream_audit_waiting_events": {(str(x.partition),): x.waiting for x in self.lines},
            "millstream_audit_findings": {(k.value,): _total(self.findings, k) for k in Kind},
            "millstream_audit_verdict": {(): self.verdict.exit_code},
            "millstream_audit_last_look_timestamp_seconds": {(): now_s},
        }

    def as_metrics(self, now_s: float) -> str:
        """Prometheus' text format, for node_exporter's textfile collector."""
        lines = []
        for name, values in self.samples(now_s).items():
            metric = VOCABULARY[name]
            lines += [f"# HELP {name} {metric.text}", f"# TYPE {name} {metric.kind}"]
            for key, value in values.items():
                labels = zip(("stream", *metric.labels), (self.stream, *key), strict=True)
                shown = ",".join(f'{label}="{of}"' for label, of in labels)
                lines.append(f"{name}{{{shown}}} {value}")
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
