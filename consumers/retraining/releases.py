"""What an attempt does to its stream's releases: its candidate beside the champion, for some of the
keys, for all; and let go again, whatever ended the attempt.

Each has an id made of the attempt's, so one that was written by a process that is dead is found.
Whoever releases meanwhile has the last word: what is no longer beside the champion is not promoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.registry import Registry
from consumers.releases import releasing
from consumers.releases.log import ReleaseLog
from millstream.errors import OperatorNeeded
from millstream.models.reference import ModelReference
from millstream.models.registry import ModelRegistry
from millstream.releases.decide import Wanted
from millstream.releases.release import Release
from millstream.releases.timeline import Timeline
from millstream.retraining.stages import Attempt, Outcome
from millstream.settings import KafkaSettings
from millstream.stream import Stream

SHADOW: Final = "shadow"
CANARY: Final = "canary"
PROMOTE: Final = "promote"
REJECT: Final = "reject"
RETRAINER: Final = "retrainer"
"""Who decides its releases."""


@dataclass(frozen=True, slots=True)
class Step:
    """One release of an attempt. model: None leaves the champion alone; share: as in Wanted.
    shadows: None leaves those that there are. against: digest of the champion that the model was
    compared with before it was beside one."""

    what: str
    model: ModelReference | None
    share: float | None = None
    shadows: tuple[ModelReference, ...] | None = None
    reason: str = ""
    evidence: Mapping[str, Any] | None = None
    against: str | None = None


class Releases:
    """Those of one stream. Remembers what was released, and what by the attempt in hand: one
    thread."""

    def __init__(
        self,
        stream: Stream,
        kafka: KafkaSettings,
        registry: Registry,
        models: ModelRegistry,
        now_us: Callable[[], int],
    ) -> None:
        self._stream = stream
        self._kafka = kafka
        self._registry = registry
        self._models = models
        self._now_us = now_us
        self._attempt = ""
        self._made: dict[str, Release] = {}  # of this attempt, by what they were for
        self._timeline = Timeline()
        self._log: ReleaseLog | None = None

    def close(self) -> None:
        """Leave the broker."""
        if self._log is not None:
            self._log.close()

    def champion(self) -> ModelReference:
        """Who answers now: the newest release's, else stream.toml's. Raises OperatorNeeded where
        there is nobody."""
        newest = self._newest()
        if newest is not None:
            return newest.champion
        own = releasing.own_reference(self._stream, self._models)
        if own is None:
            raise OperatorNeeded(
                f"{self._stream.name} has no champion to compare with",
                "Give stream.toml a bundle, or release a model",
            )
        return own

    def made(self, attempt: Attempt, what: str) -> Release | None:
        """What the attempt has released for this, in whatever process."""
        if self._attempt != attempt.id:
            head = f"{attempt.id}-"
            ours = [one for one in self._heard().releases if one.id.startswith(head)]
            self._attempt, self._made = attempt.id, {one.id.removeprefix(head): one for one in ours}
        return self._made.get(what)

    def make(self, attempt: Attempt, step: Step) -> Release | None:
        """Release it; what was released before is returned as it was. None where somebody was
        quicker, while its models were fetched: see `overtaken`; or a shadow has a
        `rival`. Raises as releasing.release."""
        known = self.made(attempt, step.what)
        if known is not None:
            return known
        seen, shadows = self._newest(), step.shadows
        if step.what == SHADOW and self.rival() is not None:
            return None
        if shadows is None:
            shadows = () if seen is None else seen.shadows
        wanted = Wanted(
            f"{attempt.id}-{step.what}",
            step.model,
            step.share,
            shadows,
            reason=step.reason or attempt.reason,
            evidence={"retraining": attempt.id, "number": attempt.number, **(step.evidence or {})},
            decided_by=RETRAINER,
            decided_us=self._now_us(),
        )
        beside = self._beside(attempt)

        def displaced(newest: Release) -> bool:
            if beside is not None:
                return newest.challenger is None or not newest.challenger.means(beside)
            if step.what == SHADOW and newest.challenger is not None:
                return seen is None or newest.number != seen.number  # no `rival` yet
            itself = step.model is not None and newest.champion.means(step.model)
            return not itself and step.against not in {None, newest.champion.digest}

        made = releasing.release(
            self._stream, self._kafka, self._registry, self._models, wanted, unless=displaced
        )
        if made.id != wanted.id:
            return None
        self._made[step.what] = made
        return made

    def rival(self) -> Release | None:
        """The release, of those heard so far, that put a challenger on trial which is there still,
        unless a retraining did."""
        put: Release | None = None
        for one in reversed(self._timeline.releases):
            before = put.challenger if put else one.challenger
            if before is None or one.challenger is None or not one.challenger.means(before):
                break
            put = one
        return None if put is None or put.decided_by == RETRAINER else put

    def overtaken(self, attempt: Attempt) -> Release | None:
        """The newest release, where the attempt's candidate was beside the champion and is not."""
        beside = self._beside(attempt)
        newest = None if beside is None else self._newest()
        if beside is None or newest is None or newest.challenger is None:
            return newest
        return None if newest.challenger.means(beside) else newest

    def let_go(self, attempt: Attempt, outcome: Outcome, reason: str) -> None:
        """The champion answers without it, unless that is so already. Raises as `make`."""
        if self._beside(attempt) is None or self.overtaken(attempt) is not None:
            return
        self.make(attempt, Step(REJECT, None, reason=reason, evidence={"outcome": outcome.value}))

    def _beside(self, attempt: Attempt) -> ModelReference | None:
        """The candidate, if the attempt has put it beside the champion."""
        made = self.made(attempt, CANARY) or self.made(attempt, SHADOW)
        return None if made is None else made.challenger

    def _newest(self) -> Release | None:
        return self._heard().newest

    def _heard(self) -> Timeline:
        """With everything that is committed by now."""
        if self._log is None:
            self._log = ReleaseLog.open(self._stream, self._kafka, self._registry.schema)
        for entry in self._log.catch_up():
            self._timeline.add(entry)
        return self._timeline
