"""What is compared when a champion is challenged, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
Losses = npt.NDArray[np.float64]
Ranges = tuple[tuple[int, int], ...]
Kind = Literal["champion", "former", "new"]
Why = Literal["schedule", "cut", "since_cut", "asked"]
CHUNK_ROWS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer. ranges: places of the rows that it was, or is to be, fitted on."""

    name: str
    kind: Kind
    ranges: Ranges

    @property
    def end(self) -> int:
        """Behind the last row that it has seen."""
        return self.ranges[-1][1] if self.ranges else 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"ranges": [list(each) for each in self.ranges]}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Candidate:
        """From `as_json`."""
        ranges = tuple((int(a), int(b)) for a, b in stored["ranges"])
        return cls(stored["name"], stored["kind"], ranges)


LossesOf = Callable[[Candidate, int, int], Losses]
"""Losses of a model on the labelled rows with places in [begin, end): one each, in order."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate, compared on the rows from `begin` on.

    trial: what is fitted for the comparison; candidate: what answers if it wins. They are the same
    but where labels lag, see track.py.
    """

    candidate: Candidate
    trial: Candidate
    begin: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is to be compared with the champion, on rows up to `end`.

    number: counts from 1. rows: labelled rows held back; since_cut: labelled since the cut.
    gain_z: standard errors by which the winner must do better.
    """

    number: int
    why: Why
    champion: Candidate
    trials: tuple[Trial, ...]
    end: int
    rows: int
    since_cut: int
    gain_z: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A candidate beside the champion on the same rows: mean losses, and the gain's z."""

    trial: Trial
    rows: int
    loss: float
    champion_loss: float
    z: float

    @property
    def gain(self) -> float:
        """Loss per row that it would have saved."""
        return self.champion_loss - self.loss


@dataclass(frozen=True, slots=True)
class Decision:
    """winner: None where the champion stays. reason: one sentence for people."""

    challenge: Challenge
    winner: Compared | None
    compared: tuple[Compared, ...]
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Plain values: the evidence."""
        return {
            "number": self.challenge.number,
            "why": self.challenge.why,
            "champion": self.challenge.champion.as_json(),
            "reason": self.reason,
            "winner": None if self.winner is None else self.winner.trial.candidate.as_json(),
            "compared": [
                {
                    "candidate": one.trial.candidate.as_json(),
                    "rows": one.rows,
                    "loss": one.loss,
                    "champion_loss": one.champion_loss,
                    "z": one.z,
                }
                for one in self.compared
            ],
        }


def decide(challenge: Challenge, losses: LossesOf) -> Decision:
    """Compare everything; the winner saves most of those that pass the gate."""
    compared = [
        one for each in challenge.trials if (one := _compare(challenge, each, losses)) is not None
    ]
    good = [one for one in compared if one.z >= challenge.gain_z and one.gain > 0.0]
    best = max(good, key=lambda one: one.gain, default=None)
    if best is not None:
        said = (
            f"{best.trial.candidate.name} does better than {challenge.champion.name} by "
            f"{best.gain:.4f} a row ({best.z:.1f} standard errors) on {best.rows:,} rows held back"
        )
    elif compared:
        near = max(compared, key=lambda one: one.z)
        said = (
            f"no candidate does better by {challenge.gain_z:g} standard errors; "
            f"{near.trial.candidate.name} comes nearest: {near.gain:+.4f} a row "
            f"({near.z:.1f} standard errors) on {near.rows:,} rows"
        )
    else:
        said = "there is nothing to compare with the champion yet"
    return Decision(challenge, best, tuple(compared), said)


def _compare(challenge: Challenge, trial: Trial, losses: LossesOf) -> Compared | None:
    theirs = losses(trial.trial, trial.begin, challenge.end)
    if not len(theirs):
        return None
    ours = losses(challenge.champion, trial.begin, challenge.end)
    z = standard_errors(ours - theirs)
    return Compared(trial, len(theirs), float(theirs.mean()), float(ours.mean()), z)


def standard_errors(gains: Losses) -> float:
    """Their sum in standard errors above zero, as McNemar's test has it for losses of 0 and 1."""
    square = float(gains @ gains)
    return float(gains.sum()) / math.sqrt(square) if square else 0.0


class Rows:
    """Places of the labelled rows so far, in order; they never fall."""

    def __init__(self) -> None:
        self._places = np.empty(CHUNK_ROWS, np.int64)
        self.count = 0

    def add(self, places: Sequence[int] | Places) -> None:
        """Raises ValueError where a place is below the one before it."""
        new = np.asarray(places, np.int64)
        if not len(new):
            return
        last = int(self._places[self.count - 1]) if self.count else int(new[0])
        if int(new[0]) < last or (np.diff(new) < 0).any():
            raise ValueError("places of labelled rows fall")
        while self.count + len(new) > len(self._places):
            self._places = np.concatenate([self._places, np.empty_like(self._places)])
        self._places[self.count : self.count + len(new)] = new
        self.count += len(new)

    def row(self, place: int) -> int:
        """The first row at this place or behind it."""
        return int(np.searchsorted(self._places[: self.count], place))

    def place(self, row: int) -> int:
        """Of a row; behind the last one, behind its place."""
        if row < self.count:
            return int(self._places[row])
        return int(self._places[self.count - 1]) + 1 if self.count else 0


def newest(ranges: Ranges, rows: int) -> Ranges:
    """The newest so many rows of these, as ranges that do not touch.

    >>> newest(((0, 10), (8, 20), (30, 40)), 25)
    ((5, 20), (30, 40))
    """
    kept: list[tuple[int, int]] = []
    left = rows
    for begin, end in sorted(ranges, reverse=True):
        last = min(end, kept[-1][0]) if kept else end
        first = max(begin, last - left)
        if first >= last:
            continue
        left -= last - first
        if kept and kept[-1][0] == last:
            kept[-1] = (first, kept[-1][1])
        else:
            kept.append((first, last))
    return tuple(reversed(kept))


def size(ranges: Ranges) -> int:
    """How many there are in all.

    >>> size(((0, 10), (12, 15)))
    13
    """
    return sum(end - begin for begin, end in ranges)
