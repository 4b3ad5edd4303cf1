"""The next release: what is asked for, on top of what was decided so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millstream.errors import ContractMismatch
from millstream.models.reference import ModelReference
from millstream.releases.probation import beside
from millstream.releases.release import AT_ONCE, Effective, Kind, Release
from millstream.releases.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a release shall change.

    id: the same again is the same release. model: None leaves the champion. canary_share: None
    makes the model the champion; else it is the challenger of the present one, for this share of
    the keys (0: it only scores). shadows: all of them; those before are let go, but for the one
    that scores beside a champion on probation, as long as that one is the champion.
    """

    id: str
    model: ModelReference | None = None
    canary_share: float | None = None
    shadows: tuple[ModelReference, ...] = ()
    effective: Effective = AT_ONCE
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    decided_by: str = ""
    decided_us: int = 0


def next_release(
    timeline: Timeline, stream: str, base: ModelReference | None, wanted: Wanted
) -> Release:
    """The release that does what is wanted. base: the bundle of stream.toml, None if it cannot be
    read. Raises ContractMismatch where it cannot be done."""
    now = timeline.newest
    champion = now.champion if now else base
    kind, challenger, share = Kind.RELEASE, None, 0.0
    if wanted.model is not None and wanted.canary_share is None:
        if now is not None and now.challenger is not None and now.challenger.means(wanted.model):
            kind = Kind.PROMOTE
        champion = wanted.model
    elif wanted.model is not None:
        kind, challenger, share = Kind.CANARY, wanted.model, wanted.canary_share or 0.0
    if champion is None:
        raise _no_champion(stream)
    shadows: list[ModelReference] = []
    staying = beside(timeline, base) if now and now.champion.means(champion) else ()
    for shadow in (*wanted.shadows, *staying):
        roles = [champion, *(() if challenger is None else (challenger,)), *shadows]
        if not any(shadow.means(role) for role in roles):
            shadows.append(shadow)
    return _made(timeline, stream, wanted, kind, champion, challenger, share, tuple(shadows))


def rollback(
    timeline: Timeline, stream: str, base: ModelReference | None, wanted: Wanted
) -> Release:
    """Back: of a release with a challenger or shadows to its champion alone, else to the champion
    before. Who only scores beside a champion on probation is no such shadow; it stays beside the
    champion that stays. Raises ContractMismatch where there is nothing before."""
    now, former = timeline.newest, _champions(timeline, base)
    if now is None:
        raise ContractMismatch(f"{stream} has no release", "There is nothing to roll back")
    staying: tuple[ModelReference, ...] = ()
    watching = beside(timeline, base)
    tried = [s for s in now.shadows if not any(s.means(w) for w in watching)]
    if now.challenger is not None or tried:
        back, staying = now.champion, watching
    elif len(former) > 1 and former[-2] is not None:
        back = former[-2]
    else:
        raise ContractMismatch(
            f"no champion answered {stream} before {now.champion.label}",
            "Release the model that shall answer: millstream release STREAM.TOML NAME@VERSION",
        )
    return _made(timeline, stream, wanted, Kind.ROLLBACK, back, None, 0.0, staying)


def _champions(timeline: Timeline, base: ModelReference | None) -> list[ModelReference | None]:
    """The champions that led to the present one; a rollback takes back what came in between."""
    found: list[ModelReference | None] = [base]
    for release in timeline.releases:
        places = [at for at, m in enumerate(found) if m and m.means(release.champion)]
        if release.kind is Kind.ROLLBACK and places:
            del found[places[-1] + 1 :]
        elif not places or places[-1] != len(found) - 1:
            found.append(release.champion)
    return found


def _made(  # noqa: PLR0913, PLR0917 - the parts of a release
    timeline: Timeline,
    stream: str,
    wanted: Wanted,
    kind: Kind,
    champion: ModelReference,
    challenger: ModelReference | None,
    share: float,
    shadows: tuple[ModelReference, ...],
) -> Release:
    newest = timeline.newest
    return Release(
        wanted.id,
        newest.number + 1 if newest else 1,
        stream,
        kind,
        champion,
        challenger,
        share,
        shadows,
        wanted.effective,
        wanted.reason,
        wanted.evidence,
        wanted.decided_by,
        wanted.decided_us,
    )


def _no_champion(stream: str) -> ContractMismatch:
    return ContractMismatch(
        f"the bundle of {stream} in stream.toml cannot be read, and nothing was released",
        "Release a champion first: millstream release STREAM.TOML NAME@VERSION",
    )
