"""An alarm: one revision of what a rule, an incident or the audit says to people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

ID_CHARS: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Severity(StrEnum):
    """page: wake someone. ticket: in working hours. info: to be read some day."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return {"info": 0, "ticket": 1, "page": 2}[self.value]


class Status(StrEnum):
    """Whether it still is so."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alarm:
    """As schemas/alarm.v1.avsc; times are microseconds since 1970, UTC.

    `evidence` holds JSON's types; `labels` texts.
    """

    id: str
    stream: str
    rule: str
    severity: Severity
    status: Status
    summary: str
    cause: str
    started_us: int
    updated_us: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: int = 1
    source: str = "rule"

    @property
    def firing(self) -> bool:
        return self.status is Status.FIRING

    def fields(self) -> dict[str, Any]:
        """Its values by the contract's names, times as microseconds, maps as JSON text."""
        return {
            "id": self.id,
            "stream": self.stream,
            "rule": self.rule,
            "severity": self.severity.value,
            "status": self.status.value,
            "summary": self.summary,
            "cause": self.cause,
            "evidence": json_text(self.evidence),
            "labels": json_text(self.labels),
            "started_at": self.started_us,
            "updated_at": self.updated_us,
            "revision": self.revision,
            "source": self.source,
        }

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Alarm:
        """From the contract's values. Raises ValueError, KeyError or TypeError where they are not.

        Times may be microseconds or datetimes.
        """
        return cls(
            id=fields["id"],
            stream=fields["stream"],
            rule=fields["rule"],
            severity=Severity(fields["severity"]),
            status=Status(fields["status"]),
            summary=fields["summary"],
            cause=fields["cause"],
            started_us=microseconds(fields["started_at"]),
            updated_us=microseconds(fields["updated_at"]),
            evidence=mapping(fields["evidence"]),
            labels={str(k): str(v) for k, v in mapping(fields["labels"]).items()},
            revision=int(fields["revision"]),
            source=fields["source"],
        )


def alarm_id(stream: str, rule: str, labels: Mapping[str, str], started_us: int | None) -> str:
    """The same alarm's id, wherever it is computed.

    started_us: None where the labels alone name what happened, as an incident's id does.

    >>> alarm_id("loans", "lag", {"b": "2", "a": "1"}, 5)
    '3b5fc6b4c573aa11e15e633362b332d8'
    """
    parts = [stream, rule, sorted(labels.items()), started_us]
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_CHARS]


def json_text(value: Mapping[str, Any]) -> str:
    """A JSON object; a number that JSON lacks, or a type, becomes text."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # not NaN, not infinite
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def mapping(value: Any) -> dict[str, Any]:
    """A map that came as JSON text, as a dict, or as pairs. Raises ValueError for anything else."""
    if isinstance(value, str):
        value = json.loads(value or "{}")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = dict(value)
    if not isinstance(value, Mapping):
        raise ValueError("not a map")
    return {str(name): one for name, one in value.items()}


def microseconds(value: Any) -> int:
    """A time as microseconds since 1970; a datetime without a zone is UTC."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _MICROSECOND
    return int(value)


def iso(us: int) -> str:
    """RFC 3339 in UTC, milliseconds; a time outside of a calendar's years is its nearest.

    >>> iso(1706745600123456)
    '2024-02-01T00:00:00.123Z'
    """
    bounded = min(max(us, -62_135_596_800_000_000), 253_402_300_799_999_999)
    time = _EPOCH + timedelta(microseconds=bounded)
    return time.strftime("%Y-%m-%dT%H:%M:%S.").zfill(20) + f"{time.microsecond // 1000:03d}Z"
