"""Which model should answer: fed with labelled rows, it says when to challenge, and who won.

Two tracks (track.py) follow the stream side by side. The narrow one answers; what it knows of a
change is right as long as labels come sooner than the next change. The guard is the wide one: where
labels lag, both are kept, each with the champions that it would have had at each event, and the one
that did better on the newest labelled events answers. So nothing need be known of how long a
concept lasts: if labels take as long as one, the narrow track's answers show it.

The rules were chosen on five streams with one setting, docs/RETRAINING.md has the measurements.
Pure: places of rows are any numbers that do not fall (event times, say); fitting and scoring is the
caller's, who hands in losses when asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from millstream.retraining.challenge import (
    Candidate,
    Decision,
    LossesOf,
    Places,
    Rows,
    Why,
    decide,
)
from millstream.retraining.track import PolicySettings, Track

STATE_VERSION: Final = 1


class Policy:
    """One stream's policy. champion: the model that answers, and the rows that it was fitted on."""

    def __init__(self, champion: Candidate, settings: PolicySettings | None = None) -> None:
        self.settings = settings or PolicySettings()
        self.rows = Rows()
        self._tracks = [
            Track(self.rows, champion, self.settings, wide=wide) for wide in (False, True)
        ]
        self._answers = 0
        self._reviewed = 0
        self._blocks: deque[tuple[int, float, float]] = deque()  # rows, gain, sum of squares

    @property
    def wanted(self) -> Candidate:
        """The model that should answer now."""
        return self._tracks[self._answers].champion

    @property
    def cut(self) -> int | None:
        """Place where the present concept began, as far as is known."""
        return self._tracks[0].cut

    @property
    def formers(self) -> tuple[Candidate, ...]:
        """Champions that can come back: their models must be kept."""
        both = {one.name: one for track in self._tracks for one in track.formers}
        return tuple(both.values())

    @property
    def known(self) -> tuple[Candidate, ...]:
        """Both tracks' champions and formers."""
        return (*self.formers, *(track.champion for track in self._tracks))

    def due_in(self, lag: int) -> int:
        """Labels until the next challenge is due. lag: as in `look`."""
        return min(track.due_in for track in self._awake(lag))

    def passed(self, labels: int) -> None:
        """So many came since the last challenge. For a policy that goes on from a state, or begins,
        with rows some of which are newer than that: which ones, places do not tell."""
        for track in self._tracks:
            track.passed(labels)

    def listen(self, losses: LossesOf) -> int | None:
        """Between two looks: hear the champion's losses on the rows that came. Where a change is in
        them, its place; then a challenge is due now."""
        return self._tracks[0].listen(losses)

    @property
    def heard(self) -> int:
        """Place from which on rows are not heard yet."""
        return self._tracks[0].heard

    def take(self, places: Sequence[int] | Places, cut: int | None = None) -> None:
        """Labelled rows, in order. cut: the place where a monitor's alarm says that a change began.

        Raises ValueError where a place is below the one before it.
        """
        self.rows.add(places)
        if cut is not None:
            self._tracks[0].cut_at(cut)

    def look(
        self, losses: LossesOf, answered: int, lag: int, why: Why | None = None
    ) -> tuple[Decision, ...]:
        """Listen, challenge where that is due, and move the guard; then `wanted` may be another.

        answered: place behind the newest event that was answered. lag: events answered since the
        newest labelled one. why: challenge now, for this reason.
        """
        decisions = []
        for track in self._tracks:
            track.begin()
        lags = lag >= self.settings.guard_lag_rows
        for track in self._awake(lag):
            track.listen(losses)
            if track.is_due or why is not None:
                decision = decide(track.challenge(lag, why), losses)
                if decision.winner is not None:
                    track.adopt(decision, losses, answered)
                decisions.append(decision)
        if lags and decisions:
            self._guard(losses)
        elif not lags:
            self._answers = 0
            self._blocks.clear()
            self._reviewed = self.rows.place(self.rows.count)
            for track in self._tracks:
                track.forget(self._reviewed)
        return tuple(decisions)

    def refuse(self, answered: int, back_to: str = "") -> None:
        """What is wanted was not released, or was rolled back: the one before it is wanted again,
        or the former that is called so. What is refused is no candidate; the other formers, the cut
        and the labels until the next challenge stay."""
        self._tracks[self._answers].refuse(answered, back_to)

    def _awake(self, lag: int) -> list[Track]:
        return self._tracks[: 2 if lag >= self.settings.guard_lag_rows else 1]

    def _guard(self, losses: LossesOf) -> None:
        """Which track did better on the events that were labelled since, as each answered them."""
        end = self.rows.place(self.rows.count)
        narrow, wide = (track.losses(self._reviewed, end, losses) for track in self._tracks)
        gains = narrow - wide
        self._blocks.append((len(gains), float(gains.sum()), float(gains @ gains)))
        self._reviewed = end
        for track in self._tracks:
            track.forget(end)
        while sum(rows for rows, _, _ in self._blocks) > self.settings.guard_rows:
            self._blocks.popleft()
        rows, gain, square = (sum(block[n] for block in self._blocks) for n in (0, 1, 2))
        z = gain / square**0.5 if square else 0.0
        if z >= self.settings.guard_z and gain >= self.settings.guard_gain * rows:
            self._answers = 1
        elif z <= -self.settings.guard_z:
            self._answers = 0

    def state(self) -> dict[str, Any]:
        """Everything but the rows, as JSON."""
        return {
            "format": STATE_VERSION,
            "settings": asdict(self.settings),
            "tracks": [track.state() for track in self._tracks],
            "answers": self._answers,
            "reviewed": self._reviewed,
            "blocks": [list(block) for block in self._blocks],
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], places: Iterable[int], every_labels: int | None = None
    ) -> Policy:
        """Go on from `state()`. places: of the labelled rows that it had taken; with newer ones,
        see `passed`. every_labels: in place of the one that it had.

        Raises ValueError where the state is of another format.
        """
        if state.get("format") != STATE_VERSION:
            raise ValueError(f"a policy's state of format {state.get('format')} is not known")
        given = {**state["settings"], "windows": tuple(state["settings"]["windows"])}
        if every_labels is not None:
            given["every_labels"] = every_labels
        champion = Candidate.of(state["tracks"][0]["champion"])
        made = cls(champion, PolicySettings(**given))
        made.rows.add(list(places))
        for track, saved in zip(made._tracks, state["tracks"], strict=True):
            track.restore(saved)
        made._answers, made._reviewed = state["answers"], state["reviewed"]
        made._blocks.extend((int(n), float(a), float(b)) for n, a, b in state["blocks"])
        return made
