"""The three records of NAME.releases: a release, its switch on one partition, its failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from millstream.alerts.alarm import json_text, mapping, microseconds
from millstream.errors import ContractMismatch
from millstream.models.reference import ModelReference

ID_CHARS_MAX = 64


class Kind(StrEnum):
    """Why there is a release."""

    RELEASE = "release"
    CANARY = "canary"  # a challenger answers a share of the keys, or none yet
    PROMOTE = "promote"  # what was the challenger is the champion
    ROLLBACK = "rollback"  # a former champion is the champion again


@dataclass(frozen=True, slots=True)
class Effective:
    """From where on: at once, unless one of the two is given.

    offsets: the first offset answered so, for each partition in order. time_us: each partition
    switches at its first event that happened then or later.
    """

    offsets: tuple[int, ...] = ()
    time_us: int | None = None

    @property
    def word(self) -> str:
        """As the contract has it."""
        if self.offsets:
            return "offsets"
        return "at_once" if self.time_us is None else "time"


AT_ONCE = Effective()


@dataclass(frozen=True, slots=True)
class Release:
    """The whole assignment of roles from a point on; not a change of the one before.

    Raises ContractMismatch where its parts contradict each other.
    """

    id: str
    number: int
    stream: str
    kind: Kind
    champion: ModelReference
    challenger: ModelReference | None = None
    canary_share: float = 0.0
    shadows: tuple[ModelReference, ...] = ()
    effective: Effective = AT_ONCE
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    decided_by: str = ""
    decided_us: int = 0

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise ContractMismatch(
                f"release {self.number} of {self.stream}: {wrong}", "Give it so that it can be done"
            )

    def _wrong(self) -> str:
        names = [(model.label, model.digest) for model in self.models]
        if self.number < 1:
            return "numbers begin at 1"
        if not self.id or len(self.id) > ID_CHARS_MAX or "/" in self.id:
            return f"{self.id[:ID_CHARS_MAX]!r} is no id: 1 to {ID_CHARS_MAX} characters, no /"
        if not 0 <= self.canary_share <= 1:
            return f"the canary share is {self.canary_share}, it goes from 0 to 1"
        if self.canary_share and self.challenger is None:
            return "a canary share needs a challenger"
        if len(set(names)) < len(names):
            return "one model has two roles"
        return ""

    @property
    def models(self) -> tuple[ModelReference, ...]:
        """Every model that it names, the champion first."""
        challenger = () if self.challenger is None else (self.challenger,)
        return (self.champion, *challenger, *self.shadows)

    @property
    def answering(self) -> tuple[ModelReference, ...]:
        """Those that may answer."""
        return self.models[: 2 if self.canary_share else 1]

    @property
    def key(self) -> str:
        """Its Kafka key."""
        return self.id

    @property
    def partition(self) -> int:
        """Where its record goes: all releases to one partition, so that they are in order."""
        return 0

    def fields(self) -> dict[str, Any]:
        """By the contract's names; times are microseconds since 1970."""
        challenger = self.challenger
        return {
            "record": "release",
            "id": self.id,
            "number": self.number,
            "stream": self.stream,
            "kind": self.kind.value,
            "said_at": self.decided_us,
            "said_by": self.decided_by,
            **{f"champion_{name}": text for name, text in self.champion.as_dict().items()},
            **{
                f"challenger_{name}": getattr(challenger, name, "")
                for name in ("name", "version", "digest", "location")
            },
            "canary_share": self.canary_share,
            **{
                f"shadow_{name}s": [getattr(shadow, name) for shadow in self.shadows]
                for name in ("name", "version", "digest", "location")
            },
            "effective": self.effective.word,
            "from_offsets": list(self.effective.offsets),
            "from_time": self.effective.time_us,
            "reason": self.reason,
            "evidence": json_text(self.evidence),
            "source_partition": -1,
            "first_offset": -1,
            "late": False,
            "before_version": "",
            "before_digest": "",
            "error": "",
            "is_over": False,
        }

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Release:
        """From the contract's values. Raises ValueError, KeyError or a MillstreamError."""
        shadows = zip(
            *(fields[f"shadow_{name}s"] for name in ("name", "version", "digest", "location")),
            strict=True,
        )
        time = fields["from_time"]
        return cls(
            id=fields["id"],
            number=int(fields["number"]),
            stream=fields["stream"],
            kind=Kind(fields["kind"]),
            champion=_reference(fields, "champion"),
            challenger=_reference(fields, "challenger") if fields["challenger_name"] else None,
            canary_share=float(fields["canary_share"]),
            shadows=tuple(ModelReference(*each) for each in shadows),
            effective=Effective(
                tuple(fields["from_offsets"]), None if time is None else microseconds(time)
            ),
            reason=fields["reason"],
            evidence=mapping(fields["evidence"]),
            decided_by=fields["said_by"],
            decided_us=microseconds(fields["said_at"]),
        )


@dataclass(frozen=True, slots=True)
class Switch:
    """From `first_offset` of this partition on the release answers. Written with those answers.

    late: later than the release asked for. before: version and digest of the champion until then.
    """

    release: Release
    partition: int
    first_offset: int
    late: bool = False
    before: tuple[str, str] = ("", "")
    scorer: str = ""
    at_us: int = 0

    @property
    def key(self) -> str:
        """Its Kafka key."""
        return f"{self.release.id}/{self.partition}"

    def fields(self) -> dict[str, Any]:
        """By the contract's names."""
        return self.release.fields() | {
            "record": "switch",
            "said_at": self.at_us,
            "said_by": self.scorer,
            "source_partition": self.partition,
            "first_offset": self.first_offset,
            "late": self.late,
            "before_version": self.before[0],
            "before_digest": self.before[1],
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A scorer could not load a model of the release: what answered before goes on.

    over: it loaded after all, or another release took over.
    """

    release: Release
    scorer: str
    error: str
    over: bool = False
    at_us: int = 0

    @property
    def key(self) -> str:
        """Its Kafka key."""
        return f"{self.release.id}/failed/{self.scorer}"

    @property
    def partition(self) -> int:
        """Beside the releases."""
        return 0

    def fields(self) -> dict[str, Any]:
        """By the contract's names."""
        return self.release.fields() | {
            "record": "failed",
            "said_at": self.at_us,
            "said_by": self.scorer,
            "error": self.error,
            "is_over": self.over,
        }


Entry = Release | Switch | Failure


def entry_of(fields: Mapping[str, Any]) -> Entry:
    """A record of the topic by its contract's values. Raises as Release.of."""
    word = fields["record"]
    if word == "release":
        return Release.of(fields)
    # who decided the release, and when, is in its own record only
    release = Release.of(dict(fields) | {"said_by": "", "said_at": 0})
    at_us, by = microseconds(fields["said_at"]), fields["said_by"]
    if word == "switch":
        before = (fields["before_version"], fields["before_digest"])
        return Switch(
            release,
            int(fields["source_partition"]),
            int(fields["first_offset"]),
            bool(fields["late"]),
            before,
            by,
            at_us,
        )
    if word == "failed":
        return Failure(release, by, fields["error"], bool(fields["is_over"]), at_us)
    raise ValueError(f"a record {word!r} is not known")


def _reference(fields: Mapping[str, Any], role: str) -> ModelReference:
    return ModelReference(
        *(fields[f"{role}_{name}"] for name in ("name", "version", "digest", "location"))
    )
