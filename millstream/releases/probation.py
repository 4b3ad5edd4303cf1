"""A new champion on probation: the one before it scores beside it, until a judge has decided.

    promotion ──► begin ──► keep    it has done no worse: the one before is let go
                    └─────► back    it has done worse: the one before is the champion again

All three are releases like any other, whose ids are made of the promotion's: so the timeline alone
tells how far a probation has come, and who was killed can repeat what he did. Nothing of it changes
who is on trial: a challenger and other shadows stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from millstream.models.reference import ModelReference
from millstream.releases.release import AT_ONCE, ID_CHARS_MAX, Kind, Release
from millstream.releases.timeline import Timeline

JUDGE: Final = "judge"
"""Who decides these releases."""


class Move(StrEnum):
    """What a release does to a probation."""

    BEGIN = "begin"
    KEEP = "keep"
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Probation:
    """Of the champion of the newest release.

    promotion: the release that made it the champion. predecessor: who was it before. began: the
    release since which that one scores beside it; None: not yet. is_over: kept or rolled back.
    """

    promotion: Release
    predecessor: ModelReference
    began: Release | None
    is_over: bool

    @property
    def champion(self) -> ModelReference:
        """Who is on probation."""
        return self.promotion.champion

    @property
    def is_on(self) -> bool:
        """Begun, and not over."""
        return self.began is not None and not self.is_over


@dataclass(frozen=True, slots=True)
class Said:
    """What people are told of a move. at_us: microseconds since 1970."""

    reason: str
    evidence: Mapping[str, Any]
    at_us: int


def probation(timeline: Timeline, base: ModelReference | None) -> Probation | None:
    """That of the newest release's champion; None where it has none: it answered from the
    beginning on, or came back by a rollback. base: the bundle of stream.toml."""
    releases = timeline.releases
    if not releases:
        return None
    champion, first = releases[-1].champion, len(releases) - 1
    while first and releases[first - 1].champion.means(champion):
        first -= 1
    promotion = releases[first]
    predecessor = releases[first - 1].champion if first else base
    if predecessor is None or predecessor.means(champion) or promotion.kind is Kind.ROLLBACK:
        return None
    known = {release.id: release for release in releases}
    is_over = any(move_id(promotion, move) in known for move in (Move.KEEP, Move.BACK))
    return Probation(promotion, predecessor, known.get(move_id(promotion, Move.BEGIN)), is_over)


def beside(timeline: Timeline, base: ModelReference | None) -> tuple[ModelReference, ...]:
    """Who scores beside the newest champion because it is on probation: one or none."""
    now = probation(timeline, base)
    return (now.predecessor,) if now is not None and now.is_on else ()


def move_id(promotion: Release, move: Move) -> str:
    """The id of the release that makes this move."""
    name, ending = promotion.id, f"-{move}"
    if len(name) + len(ending) > ID_CHARS_MAX:
        name = hashlib.sha256(name.encode()).hexdigest()[: ID_CHARS_MAX - len(ending)]
    return name + ending


def moved(
    timeline: Timeline, base: ModelReference | None, promotion: Release, move: Move, said: Said
) -> Release:
    """The release that makes the move; the newest one as it is, where that can no longer be: the
    promotion's champion answers no more, or its probation is not where the move begins."""
    newest, now = timeline.newest, probation(timeline, base)
    assert newest is not None, promotion.id
    if now is None or now.promotion.id != promotion.id:
        return newest
    if now.is_over or (now.began is None) is not (move is Move.BEGIN) or _on_trial(newest, now):
        return newest
    champion, challenger, share = newest.champion, newest.challenger, newest.canary_share
    kind = Kind.CANARY if challenger else Kind.RELEASE
    shadows = tuple(each for each in newest.shadows if not each.means(now.predecessor))
    if move is Move.BEGIN:
        shadows += (now.predecessor,)
    elif move is Move.BACK:
        # who was tried beside a champion that is worse has shown nothing against this one yet
        champion, share, kind = now.predecessor, 0.0, Kind.ROLLBACK
    return replace(
        newest,
        id=move_id(promotion, move),
        number=newest.number + 1,
        kind=kind,
        champion=champion,
        canary_share=share,
        shadows=shadows,
        effective=AT_ONCE,
        reason=said.reason,
        evidence=said.evidence,
        decided_by=JUDGE,
        decided_us=said.at_us,
    )


def _on_trial(newest: Release, now: Probation) -> bool:
    """Whether the one before is the challenger: it is judged as that, and has one role only."""
    return newest.challenger is not None and newest.challenger.means(now.predecessor)
