"""The models of one release, loaded: who answers, and who scores the same batch beside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.errors import BundleInvalid, Refusal
from millstream.models.bundle import Bundle
from millstream.models.cache import CachedSession
from millstream.models.overload import LadderSession
from millstream.models.session import Scored, Session
from millstream.releases.routing import route

Answering = Session | CachedSession | LadderSession
Mask = npt.NDArray[np.bool_]

BESIDE_US_MAX = 2_000_000
"""For one batch. Too low sends a shadow away at a hiccup; too high lets it hold up the answers."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lineup:
    """number: of the release; 0 is stream.toml's bundle. share: of the keys whose events the
    challenger answers. Raises BundleInvalid where the models do not answer the same question."""

    champion: Answering
    challenger: Session | None = None
    share: float = 0.0
    shadows: tuple[Session, ...] = ()
    number: int = 0

    def __post_init__(self) -> None:
        for other in self.others:
            ours, theirs = self.champion.bundle.card, other.bundle.card
            for part in ("kind", "labels", "positive"):
                if getattr(ours, part) != getattr(theirs, part):
                    raise BundleInvalid(
                        f"{theirs.name} {theirs.version}: {part} is {getattr(theirs, part)!r}, "
                        f"the champion has {getattr(ours, part)!r}",
                        "Models that are compared answer the same question with the same labels",
                    )

    @property
    def others(self) -> tuple[Session, ...]:
        """All but the champion."""
        return (*(() if self.challenger is None else (self.challenger,)), *self.shadows)

    @property
    def is_alone(self) -> bool:
        """Whether nobody scores but the champion, just now: under overload the others rest."""
        if self.challenger is None and not self.shadows:
            return True
        return isinstance(self.champion, LadderSession) and self.champion.step != "full"


@dataclass(frozen=True, slots=True)
class Voice:
    """What one model said of some rows of a batch. role: its own, or "" where it answered."""

    role: str
    bundle: Bundle
    scored: Scored


class Beside:
    """Scores a batch by all of a lineup. Whoever fails or is slow beside the champion is sent away
    until this process ends: nothing of it costs an answer.

    clock: microseconds.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._away: WeakSet[Session] = WeakSet()

    def answers(
        self,
        lineup: Lineup,
        columns: pa.RecordBatch,
        keys: Sequence[bytes | None],
        champion: Scored,
    ) -> list[Voice]:
        """The answers of a batch of n rows, whose keys are given, each row in one of them at most;
        then what the other of the two said."""
        count, bundle = columns.num_rows, lineup.champion.bundle
        challenger = lineup.challenger
        if challenger is None or not lineup.share:
            return [Voice("", bundle, champion)]
        scored = self._score(challenger, columns)
        if scored is None:
            return [Voice("", bundle, champion)]
        able = np.zeros(count, np.bool_)
        able[scored.rows] = True
        ours = route(keys, lineup.share, challenger.bundle.digest) & able
        return [
            Voice("", bundle, only(champion, ~ours)),
            Voice("", challenger.bundle, replace(only(scored, ours), refusals=())),
            Voice("champion", bundle, only(champion, ours)),
            Voice("challenger", challenger.bundle, only(scored, ~ours)),
        ]

    def shadows(self, lineup: Lineup, columns: pa.RecordBatch) -> list[Voice]:
        """What those say who answer nothing."""
        said: list[Voice] = []
        asked = [("shadow", shadow) for shadow in lineup.shadows]
        if lineup.challenger is not None and not lineup.share:
            asked.insert(0, ("challenger", lineup.challenger))
        for role, session in asked:
            scored = self._score(session, columns)
            if scored is not None:
                said.append(Voice(role, session.bundle, scored))
        return said

    def _score(self, session: Session, columns: pa.RecordBatch) -> Scored | None:
        if session in self._away:
            return None
        label, begun = f"{session.bundle.name}@{session.bundle.version}", self._clock()
        try:
            scored = session.score(columns)
        except Exception:  # noqa: BLE001 - whatever it is, the champion has answered
            _log.exception("%s failed beside the champion and scores nothing more here", label)
            self._away.add(session)
            return None
        took_us = self._clock() - begun
        if took_us > BESIDE_US_MAX:
            _log.error(
                "%s took %.1f s for %d rows beside the champion and scores nothing more here",
                *(label, took_us / 1e6, columns.num_rows),
            )
            self._away.add(session)
        return scored


def only(scored: Scored, keep: Mask) -> Scored:
    """The part of what was scored, or refused, of the batch's rows that are kept.

    keep: [rows of the batch].
    """
    if keep.all():
        return scored
    chosen = keep[scored.rows]
    mask = pa.array(chosen)
    by = scored.answered_by
    refusals: tuple[Refusal, ...] = tuple(r for r in scored.refusals if keep[r.row])
    parts: dict[str, Any] = {
        "rows": scored.rows[chosen],
        "scores": scored.scores[chosen],
        "score": scored.score[chosen],
        "label": scored.label.filter(mask),
        "confidence": scored.confidence[chosen],
        "refusals": refusals,
        "answered_by": by if isinstance(by, str) else by.filter(mask),
    }
    return replace(scored, **parts)
