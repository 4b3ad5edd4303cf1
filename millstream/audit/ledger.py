"""What an audit found: each kind of finding, what it means, and whether it is certain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

SHOWN_MAX: Final = 20


class Kind(StrEnum):
    """What can be wrong, or could not be told. MEANING has a sentence for each."""

    LOST = "lost"
    DOUBLED = "doubled"
    ALIEN = "alien"
    UNREADABLE = "unreadable"
    MISPLACED = "misplaced"
    ORDER = "order"
    OFFSET = "offset"
    ROW_MISSING = "row_missing"
    ROW_DOUBLED = "row_doubled"
    ROW_EXTRA = "row_extra"
    ROW_DIFFERS = "row_differs"
    SCORE_DIFFERS = "score_differs"
    WRONG_RELEASE = "wrong_release"
    EVENT_EXPIRED = "event_expired"
    ANSWER_EXPIRED = "answer_expired"
    COMPACTED = "compacted"
    OPEN_TRANSACTION = "open_transaction"
    SCORER_STALLED = "scorer_stalled"
    SINK_STALLED = "sink_stalled"
    NOT_RESCORED = "not_rescored"


MEANING: Final[dict[Kind, str]] = {
    Kind.LOST: "events below the committed offset have no prediction and no dead letter",
    Kind.DOUBLED: "events have more than one prediction or dead letter",
    Kind.ALIEN: "predictions or dead letters name offsets that are no event",
    Kind.UNREADABLE: "records do not say which event they answer",
    Kind.MISPLACED: "answers are not on their event's partition",
    Kind.ORDER: "predictions come after that of a later event",
    Kind.OFFSET: "the scorer's committed offset does not fit its predictions",
    Kind.ROW_MISSING: "records have no row, though the sink has passed them",
    Kind.ROW_DOUBLED: "records have more than one row",
    Kind.ROW_EXTRA: "rows have no record",
    Kind.ROW_DIFFERS: "rows say something else than their records",
    Kind.SCORE_DIFFERS: "the model that these predictions name gives another answer",
    Kind.WRONG_RELEASE: "predictions are of a model that was not to answer these events",
    Kind.EVENT_EXPIRED: "Kafka has removed these offsets and ClickHouse has no event of them",
    Kind.ANSWER_EXPIRED: "events have no answer, but retention may have removed it",
    Kind.COMPACTED: "the topic is compacted: what it no longer holds cannot be told from loss",
    Kind.OPEN_TRANSACTION: "an open transaction hides what comes after this offset",
    Kind.SCORER_STALLED: "events wait for the scorer, which does not move: it may be stopped",
    Kind.SINK_STALLED: "records wait for the sink, which does not move: it may be stopped",
    Kind.NOT_RESCORED: "sampled predictions could not be scored again",
}
UNCERTAIN: Final = frozenset(
    {
        Kind.EVENT_EXPIRED,
        Kind.ANSWER_EXPIRED,
        Kind.COMPACTED,
        Kind.OPEN_TRANSACTION,
        Kind.SCORER_STALLED,
        Kind.SINK_STALLED,
        Kind.NOT_RESCORED,
    }
)
_SINGLE: Final = frozenset({Kind.COMPACTED, Kind.OPEN_TRANSACTION, Kind.OFFSET})


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of finding in one place.

    subject: the topic or table. partition: None where it is of no single one. total: how many
    offsets. offsets: the first SHOWN_MAX of them, in the order of discovery. last: the highest.
    why: what more is known of the first of them.
    """

    kind: Kind
    subject: str
    partition: int | None
    total: int
    offsets: tuple[int, ...]
    last: int | None
    why: str = ""

    @property
    def certain(self) -> bool:
        """Whether it is damage, not merely something that could not be told."""
        return self.kind not in UNCERTAIN

    @property
    def text(self) -> str:
        """One line for people."""
        place = self.subject if self.partition is None else f"{self.subject}-{self.partition}"
        shown = ", ".join(map(str, self.offsets))
        more = f" and {self.total - len(self.offsets):,} more" if self.more else ""
        listed = f"; offsets {shown}{more}" if self.offsets else ""
        why = f" ({self.why})" if self.why else ""
        number = "" if self.kind in _SINGLE else f"{self.total:,} "
        return f"{place}: {number}{MEANING[self.kind]}{why}{listed}"

    @property
    def more(self) -> bool:
        """Whether there are offsets beyond those that are listed."""
        return bool(self.offsets) and self.total > len(self.offsets)


Place = tuple[Kind, str, int | None]


class Ledger:
    """Findings by kind and place. Memory: SHOWN_MAX offsets a place, whatever the damage."""

    def __init__(self) -> None:
        self._found: dict[Place, Finding] = {}

    def add(
        self,
        kind: Kind,
        subject: str,
        partition: int | None,
        offsets: Collection[int] | npt.NDArray[np.int64],
        why: str = "",
    ) -> None:
        """Note these offsets; none is no finding."""
        numbers = np.fromiter(offsets, np.int64, len(offsets))
        if not len(numbers):
            return
        old = self._found.get((kind, subject, partition))
        if old is None:
            old = Finding(kind, subject, partition, 0, (), None, why)
        last = max(int(numbers.max()), -1 if old.last is None else old.last)
        room = SHOWN_MAX - len(old.offsets)
        self._found[(kind, subject, partition)] = replace(
            old,
            total=old.total + len(numbers),
            offsets=(*old.offsets, *numbers[:room].tolist()),
            last=last,
        )

    def count(
        self, kind: Kind, subject: str, partition: int | None, total: int, why: str = ""
    ) -> None:
        """Note a number of things that have no offset in the subject; 0 is no finding."""
        if total:
            old = self._found.get((kind, subject, partition))
            before = old.total if old else 0
            self._found[(kind, subject, partition)] = Finding(
                kind, subject, partition, before + total, (), None, why
            )

    def findings(self) -> list[Finding]:
        """Damage first, then what could not be told; each by kind and place."""
        kinds = list(Kind)
        return sorted(
            self._found.values(),
            key=lambda f: (
                not f.certain,
                kinds.index(f.kind),
                f.subject,
                -1 if f.partition is None else f.partition,
            ),
        )
