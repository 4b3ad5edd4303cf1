"""What an incident says, as far as an alert needs it (schemas/incident.v1.avsc)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millstream.alerts.alarm import mapping, microseconds

_KNOWN = ("id", "stream", "verdict", "status", "cause", "features", "slices", "evidence")


@dataclass(frozen=True, slots=True)
class Incident:
    """features, slices: names of what is affected. more: its other fields, as JSON's types."""

    id: str
    stream: str
    verdict: str
    resolved: bool
    cause: str
    features: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    started_us: int | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Incident:
        """From the contract's values. Raises ValueError, KeyError or TypeError where they are not.

        A field that a later version adds goes to `more`.
        """
        more = {name: value for name, value in fields.items() if name not in _KNOWN}
        started = more.get("opened_at", more.get("first_time"))
        return cls(
            id=str(fields["id"]),
            stream=str(fields["stream"]),
            verdict=str(fields["verdict"]),
            resolved=str(fields["status"]) == "resolved",
            cause=str(fields["cause"]),
            features=tuple(str(name) for name in fields.get("features") or ()),
            slices=tuple(str(name) for name in fields.get("slices") or ()),
            evidence=mapping(fields.get("evidence") or {}),
            more={n: v for n, v in more.items() if isinstance(v, str | int | float)},
            started_us=None if started is None else microseconds(started),
        )

    @property
    def summary(self) -> str:
        """One line for people."""
        named = [
            f"{what} {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            for what, names in (("features", self.features), ("slices", self.slices))
            if names
        ]
        text = f"{self.verdict.replace('_', ' ')}: {self.cause}"
        return " ".join(f"{text}{'; ' if named else ''}{'; '.join(named)}".split())[:1_000]
