"""A decision as a record of NAME.decisions: the contract's fields, for `alerts.wire.Writer`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from millstream.alerts.alarm import json_text
from millstream.judging.evidence import Decision


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision, and when it was made: microseconds since 1970."""

    decision: Decision
    decided_us: int

    @property
    def id(self) -> str:
        """The same for the same decision on the same rows: 64 hexadecimal digits."""
        evidence = self.decision.evidence
        parts = (
            evidence.stream,
            evidence.role.value,
            evidence.champion.digest,
            evidence.challenger.digest,
            self.decision.verdict.value,
            str(evidence.finding.rows),
            f"{evidence.first_us} {evidence.last_us}",
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def fields(self) -> dict[str, Any]:
        """By the names of schemas/decision.v1.avsc."""
        decision, evidence = self.decision, self.decision.evidence
        found, rule = evidence.finding, evidence.rule
        return {
            "id": self.id,
            "stream": evidence.stream,
            "verdict": decision.verdict.value,
            "role": evidence.role.value,
            "champion": evidence.champion.name,
            "champion_version": evidence.champion.version,
            "champion_digest": evidence.champion.digest,
            "challenger": evidence.challenger.name,
            "challenger_version": evidence.challenger.version,
            "challenger_digest": evidence.challenger.digest,
            "rows": found.rows,
            "loss": evidence.loss,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "e_better": found.e_better,
            "e_worse": found.e_worse,
            "dispersion": found.dispersion,
            "alpha": rule.alpha,
            "margin": rule.margin,
            "failed_gates": list(decision.failed),
            "reason": decision.reason,
            "evidence": json_text(decision.as_json()),
            "markdown": decision.markdown(),
            "decided_at": self.decided_us,
        }
