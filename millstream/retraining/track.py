"""One way to follow a stream: a champion, those before it, and when it is challenged by whom.

The narrow track believes in change. Its own detector listens to the champion's losses, begins with
those on the rows that it won on, and so hears also a change that comes soon after; a cut, by it or
by a monitor's alarm, is where the present concept began. It fits on the rows since the cut, on the
newer half of them (a gradual change leaves old rows behind its cut), on longer windows, and, where
a former champion has come back, on that one's rows and those since.

The wide track knows no cut: only the longer windows, over whatever concepts they span. Where labels
lag behind, a window's trial ends so much earlier: it is judged as it would have been used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from millstream.drift.detector import EDetector
from millstream.retraining.challenge import (
    Candidate,
    Challenge,
    Decision,
    Losses,
    LossesOf,
    Ranges,
    Rows,
    Trial,
    Why,
    newest,
    size,
)

FORMER_ROWS_MIN: Final = 30
"""A former champion is compared on at least so many rows."""
STEP_MIN: Final = 20
"""Labels between two challenges at least."""
LISTEN_ROWS: Final = 10
"""Losses that the detector takes at once."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What a policy is told. The defaults are for all streams."""

    every_labels: int = 500
    """Labels between two challenges. Too low fits for nothing; too high is late."""
    held_rows: int = 500
    """The newest rows, on which candidates are compared. Too low lets chance in; too high keeps
    what is new from them."""
    windows: tuple[int, ...] = (4_000, 20_000)
    """Newest rows that a candidate is fitted on, whether there was a cut or not."""
    rows_max: int = 20_000
    """No candidate is fitted on more."""
    formers: int = 16
    """Former champions that stay candidates. Too low forgets concepts; too high is slow."""
    gain_z: float = 2.0
    """Standard errors by which a winner does better. Too low swaps for nothing; too high waits."""
    cut_gain_z: float = 1.5
    """The same while the rows since a cut are fewer than three times `held_rows`."""
    held_share: float = 1 / 3
    """Of the rows since a cut, held back while they are few."""
    growth: float = 1.5
    """The rows since a cut grow so before the next challenge."""
    fit_rows_min: int = 60
    """A candidate is fitted on at least so many rows."""
    run_events: float = 200_000.0
    """Events between two false alarms of the policy's own detector."""
    wide_gain_z: float = 1.0
    """`gain_z` of the wide track."""
    guard_lag_rows: int = 100
    """The wide track runs where labels lag by so many events. Too low fits for nothing."""
    guard_rows: int = 12_000
    """Labelled rows on which the two tracks are compared. Too low flips; too high is late."""
    guard_z: float = 3.0
    """Standard errors by which one track must have done better than the one that answers."""
    guard_gain: float = 0.03
    """And by so much a row: losses come in bursts, which standard errors take for proof. Too low
    leaves the narrow track by chance; too high stays with it where it is wrong."""

    @property
    def often_gain_z(self) -> float:
        """`gain_z`, more where challenges are closer than `held_rows`: each row is then held back
        for several, and all of them together let chance in as rarely (Bonferroni)."""
        if self.every_labels >= self.held_rows:
            return self.gain_z
        chance = NormalDist().cdf(-self.gain_z) * self.every_labels / self.held_rows
        return -NormalDist().inv_cdf(chance)


class Track:
    """See the module. rows: shared, filled by the policy. wide: which of the two."""

    def __init__(
        self, rows: Rows, champion: Candidate, settings: PolicySettings, *, wide: bool
    ) -> None:
        self._rows = rows
        self._settings = settings
        self.wide = wide
        self.champion = Candidate(champion.name, "champion", champion.ranges)
        self.formers: list[Candidate] = []
        self.cut: int | None = None
        """Place where the present concept began, as far as is known."""
        self.history: list[tuple[int, Candidate]] = [(0, self.champion)]
        """From which place on which champion answers, or would."""
        self._home: Ranges = ()
        self._number = 0
        self._due: int | None = None
        self._why: Why = "schedule"
        self._detector = EDetector(settings.run_events)
        self.heard = max(champion.end, rows.place(rows.count))
        """Place from which on rows are not heard yet."""

    @property
    def due_in(self) -> int:
        """Labels until the next challenge is due."""
        return max(self._begun() - self._rows.count, 0)

    @property
    def is_due(self) -> bool:
        """Whether a challenge is."""
        return self.due_in == 0

    def passed(self, labels: int) -> None:
        """So many came since the last challenge, whichever of them are among the rows."""
        self._due = self._begun() - labels

    def begin(self) -> None:
        """The first challenge is due `every_labels` from here on, wherever the champion's rows end:
        their times need not be the stream's."""
        self._begun()

    def cut_at(self, place: int) -> None:
        """A change began there: the next challenge is due now."""
        self.cut = place if self.cut is None else max(place, self.cut)
        self._home = ()
        self._due, self._why = self._rows.count, "cut"

    def listen(self, losses: LossesOf) -> int | None:
        """Hear how the champion does on the rows that came since; the place of a change in them."""
        first, last = self._rows.row(self.heard), self._rows.count
        last -= (last - first) % LISTEN_ROWS
        last = self._rows.row(self._rows.place(last))  # none of those of one place, or all
        if self.wide or last <= first:
            return None
        end = self._rows.place(last)
        heard = losses(self.champion, self._rows.place(first), end)
        self.heard = end
        found = self._hear(heard)
        if found is None:
            return None
        self.cut_at(self._rows.place(max(first + found, 0)))
        return self.cut

    def _begun(self) -> int:
        if self._due is None:
            self._due = self._rows.count + self._settings.every_labels
        return self._due

    def _hear(self, losses: Losses) -> int | None:
        """Index of the loss with which a change began, below 0 if before these; None: no change."""
        found = None
        for at in range(0, len(losses), LISTEN_ROWS):
            some = losses[at : at + LISTEN_ROWS]
            self._detector.update_counts(float(some.sum()), len(some))
            if self._detector.drift_detected and self._detector.change is not None:
                found = at + len(some) - round(self._detector.change.since_events)
        return found

    def challenge(self, lag: int, why: Why | None = None) -> Challenge:
        """The next one, due or not; the one behind it becomes due later.

        lag: events that were answered since the newest labelled one.
        """
        settings, count = self._settings, self._rows.count
        since = count - (0 if self.cut is None else self._rows.row(self.cut))
        # a cut that no row lies behind yet says nothing of those that are there
        behind = self.cut is not None and since > 0
        settling = behind and since < 3 * settings.held_rows
        said = why or self._why
        self._number += 1
        grown = int(since * (settings.growth - 1.0)) if behind else count
        self._due = count + max(STEP_MIN, min(settings.every_labels, grown))
        self._why = "since_cut" if settling else "schedule"
        held = min(settings.held_rows, count // 2)
        if behind:
            held = min(held, max(int(since * settings.held_share), STEP_MIN))
        trials = self._wide(count - held, lag) if self.wide else self._narrow(count - held)
        gain_z = settings.cut_gain_z if settling else settings.often_gain_z
        return Challenge(
            self._number,
            said,
            self.champion,
            tuple(trials),
            self._rows.place(count),
            held,
            since,
            settings.wide_gain_z if self.wide else gain_z,
        )

    def adopt(self, decision: Decision, losses: LossesOf, answered: int) -> None:
        """The decision's winner is the champion of what is answered from that place on."""
        assert decision.winner is not None, "nobody won"
        winner = decision.winner.trial.candidate
        if winner.kind == "former":
            self._home = winner.ranges
        self.formers = [one for one in self.formers if one.ranges != winner.ranges]
        self.formers.append(Candidate(self.champion.name, "former", self.champion.ranges))
        del self.formers[: -self._settings.formers]
        self.champion = Candidate(winner.name, "champion", winner.ranges)
        self.history.append((answered, self.champion))
        end = decision.challenge.end
        self._detector = EDetector(self._settings.run_events)
        if not self.wide:
            self._hear(losses(self.champion, max(decision.winner.trial.begin, self.cut or 0), end))
        self.heard = end

    def refuse(self, answered: int, back_to: str = "") -> None:
        """The champion was not released, or was rolled back: the one before it goes on, or the
        former that is called so. It is not a candidate again; all else is as it was."""
        places = [n for n, one in enumerate(self.formers) if back_to in ("", one.name)]
        if places:
            before = self.formers.pop(places[-1])
            self.champion = Candidate(before.name, "champion", before.ranges)
            self.history.append((answered, self.champion))
            self._detector = EDetector(self._settings.run_events)

    def losses(self, begin: int, end: int, losses: LossesOf) -> Losses:
        """Losses of [begin, end) as this track answered it, or would have."""
        parts = []
        for number, (first, champion) in enumerate(self.history):
            later = self.history[number + 1][0] if number + 1 < len(self.history) else end
            a, b = max(first, begin), min(later, end)
            if a < b:
                parts.append(losses(champion, a, b))
        return np.concatenate(parts) if parts else np.empty(0)

    def forget(self, place: int) -> None:
        """What answered before this place is not asked for again."""
        while len(self.history) > 1 and self.history[1][0] <= place:
            del self.history[0]

    def _narrow(self, first: int) -> list[Trial]:
        """New candidates, shortest first, then former champions."""
        settings, rows = self._settings, self._rows
        found: dict[Ranges, str] = {}
        if self.cut is not None:
            cut = rows.row(self.cut)
            since, half = ((cut, first),), (((cut + first) // 2, first),)
            if size(half) >= settings.fit_rows_min:
                found[newest(half, settings.rows_max)] = "newer half since the cut"
            if size(since) >= settings.fit_rows_min:
                found.setdefault(newest(since, settings.rows_max), "since the cut")
                if self._home:
                    home = tuple((rows.row(a), rows.row(b)) for a, b in self._home)
                    both = newest((*home, *since), settings.rows_max)
                    found.setdefault(both, "since the cut and as before")
        for window in settings.windows:
            found.setdefault(newest(((0, first),), window), f"newest {window:,}")
        held_from = max(rows.place(first), self.champion.end)
        trials = []
        for ranges, name in found.items():
            if size(ranges) >= settings.fit_rows_min:
                new = self._new(name, ranges)
                if new.ranges != self.champion.ranges:
                    trials.append(Trial(new, new, held_from))
        return [*trials, *self._former()]

    def _former(self) -> list[Trial]:
        """Those that were fitted before the rows on which they can be compared."""
        rows = self._rows
        begin = max(
            rows.place(max(rows.count - self._settings.held_rows, 0)),
            self.champion.end,
            self.cut or 0,
        )
        if rows.count - rows.row(begin) < FORMER_ROWS_MIN:
            return []
        return [Trial(one, one, begin) for one in self.formers if one.end <= begin]

    def _wide(self, first: int, lag: int) -> list[Trial]:
        rows, end = self._rows, self._rows.count
        trials = []
        for window in self._settings.windows:
            tried = newest(((0, max(first - lag, 0)),), window)
            if size(tried) < self._settings.fit_rows_min:
                continue
            name = f"newest {window:,}, wide"
            trial = self._new(name + " on trial", tried)
            begin = max(rows.place(first), self.champion.end)
            trials.append(Trial(self._new(name, newest(((0, end),), window)), trial, begin))
        return trials

    def _new(self, name: str, ranges: Ranges) -> Candidate:
        place = self._rows.place
        ranges = tuple((place(a), place(b)) for a, b in ranges)
        return Candidate(f"{name} ({self._number})", "new", ranges)

    def state(self) -> dict[str, Any]:
        """Everything but the rows, as JSON."""
        return {
            "champion": self.champion.as_json(),
            "formers": [one.as_json() for one in self.formers],
            "cut": self.cut,
            "history": [[place, one.as_json()] for place, one in self.history],
            "home": [list(each) for each in self._home],
            "number": self._number,
            "due_in": None if self._due is None else self._due - self._rows.count,
            "why": self._why,
            "detector": self._detector.state(),
            "heard": self.heard,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`, with the rows that were there then."""
        self.champion = Candidate.of(state["champion"])
        self.formers = [Candidate.of(one) for one in state["formers"]]
        self.cut = state["cut"]
        self.history = [(place, Candidate.of(one)) for place, one in state["history"]]
        self._home = tuple((int(a), int(b)) for a, b in state["home"])
        self._number, self._why = state["number"], state["why"]
        due_in = state["due_in"]
        if due_in is not None:  # the setting may be another by now
            self._due = self._rows.count + min(due_in, self._settings.every_labels)
        self._detector = EDetector.from_state(state["detector"])
        self.heard = state["heard"]
