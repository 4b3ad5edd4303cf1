"""The state of one partition: what waits for an outcome, and the rule by which the two meet.

Time is the stream's own. The predictions' clock is the highest timestamp among the predictions so
far, the outcomes' clock likewise, and a record's time is its clock when it was read: so it follows
from its own log alone, whatever was read of the other one. By these times:

- An outcome is *in time* for a prediction of its id if they lie at most the wait apart; the older
  prediction has it, if there are two.
- Among the outcomes in time, in the order of their log: the first labels the prediction (version
  1), a different one with a later `known_at` corrects it (version + 1), a different one that is not
  later is *stale*, the same one again is *same* (its later `known_at` holds from then on).
- A prediction is *over* once the outcomes' clock is more than the wait behind it; without a label
  it is never labelled then.
- A prediction of an id is *repeated*, and ignored, if one was taken at most wait + recall before.
- An outcome for which no prediction came in time is *late* if one lay at most wait + recall before
  it, else an *orphan*; which of them is said once the predictions' clock is past it by the wait.

So the outputs are a function of the two logs: the order in which they are read does not matter.
Two things are outside of it, and are kept in the state's chunks for whoever goes on: a clock that
was moved because its log had been read to its end (`move_clocks`), and the bound `held_max`: above
it the oldest predictions are over before their time (*given up*), and so are the oldest outcomes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeAlias

BEFORE_ALL = -(2**62)
"""A clock of which nothing is known."""
RECALL_US_MAX = 86_400_000_000
"""How long a prediction that is over is remembered, to tell late outcomes from orphans."""

Truth: TypeAlias = tuple[str | None, float | None]
"""An outcome's label and value."""


@dataclass(slots=True)
class Counts:
    """What became of the records; each prediction and each outcome is counted once per line.

    Of predictions: repeated, labelled, never_labelled (given_up among them), refused.
    Of outcomes: labelled, corrected, same, stale, late, orphans (outcomes_given_up among them),
    refused. The rest are held.
    """

    predictions: int = 0
    outcomes: int = 0
    labelled: int = 0
    corrected: int = 0
    never_labelled: int = 0
    repeated: int = 0
    same: int = 0
    stale: int = 0
    late: int = 0
    orphans: int = 0
    given_up: int = 0
    outcomes_given_up: int = 0
    predictions_refused: int = 0
    outcomes_refused: int = 0

    def add(self, other: Counts) -> None:
        for field in fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Held:
    """A prediction that may still be labelled or corrected."""

    __slots__ = ("at", "event_id", "known_at", "truth", "value", "version")

    def __init__(self, event_id: str, value: bytes, at: int) -> None:
        self.event_id = event_id
        self.value = value
        self.at = at
        self.version = 0
        self.truth: Truth = (None, None)
        self.known_at = 0


class _Waiting:
    """An outcome without a prediction in time."""

    __slots__ = ("at", "event_id", "is_done", "is_late", "known_at", "truth")

    def __init__(self, event_id: str, truth: Truth, known_at: int, at: int, is_late: bool) -> None:
        self.event_id = event_id
        self.truth = truth
        self.known_at = known_at
        self.at = at
        self.is_late = is_late
        self.is_done = False


Emitted: TypeAlias = tuple[bytes, int, Truth, int]
"""Prediction's value, version, truth, known_at. A truth of nothing: never labelled."""


class PartitionState:
    """Predictions and outcomes of one partition.

    wait_us: how long an outcome may take. held_max: predictions, and outcomes, held at most.
    emitted: what came of the records since it was last cleared, in order.
    """

    def __init__(self, wait_us: int, held_max: int) -> None:
        self.wait_us = wait_us
        self.recall_us = min(wait_us, RECALL_US_MAX)
        self.held_max = held_max
        self.prediction_clock = BEFORE_ALL
        self.outcome_clock = BEFORE_ALL
        self.emitted: list[Emitted] = []
        self.counts = Counts()
        self._held: dict[str, Held] = {}
        self._order: deque[Held] = deque()  # every held one, by time
        self._aside: dict[str, list[Held]] = {}  # held ones whose id was used again
        self._over: dict[str, int] = {}  # id -> time of its last prediction that is over
        self._over_order: deque[tuple[int, str]] = deque()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._waiting_order: deque[_Waiting] = deque()  # with some that are done
        self._waiting_count = 0

    @property
    def held(self) -> int:
        """Predictions that may still be labelled or corrected."""
        return len(self._order)

    @property
    def waiting(self) -> int:
        """Outcomes that wait for their prediction."""
        return self._waiting_count

    def predict(self, ids: list[str], values: list[bytes], times: list[int]) -> list[int]:
        """Predictions in the order of their log; times: Kafka timestamps in microseconds.

        The rows of those that are repeated, ascending.
        """
        repeated: list[int] = []
        clock, held, over, waiting = self.prediction_clock, self._held, self._over, self._waiting
        order = self._order
        for row, (event_id, value, time) in enumerate(zip(ids, values, times, strict=True)):
            clock = max(clock, time)
            if event_id in held or event_id in over:
                if self._repeats(event_id, clock):
                    repeated.append(row)
                    continue
                if event_id in held:
                    self._aside.setdefault(event_id, []).append(held[event_id])
            entry = Held(event_id, value, clock)
            held[event_id] = entry
            order.append(entry)
            if event_id in waiting:
                self._meet(entry)
        self.prediction_clock = clock
        self.counts.predictions += len(ids)
        self.counts.repeated += len(repeated)
        return repeated

    def learn(
        self, ids: list[str], truths: Iterable[Truth], known: list[int], times: list[int]
    ) -> None:
        """Outcomes in the order of their log; known: `known_at`; times as in `predict`."""
        clock, held, wait = self.outcome_clock, self._held, self.wait_us
        for event_id, truth, known_at, time in zip(ids, truths, known, times, strict=True):
            clock = max(clock, time)
            entry = held.get(event_id)
            if entry is not None and not self._aside and abs(clock - entry.at) <= wait:
                self._apply(entry, truth, known_at)
            else:
                self._place(event_id, truth, known_at, clock)
        self.outcome_clock = clock
        self.counts.outcomes += len(ids)

    def move_clocks(self, prediction_clock: int, outcome_clock: int) -> None:
        """Time went on to here although no record says so; a clock never goes back."""
        self.prediction_clock = max(self.prediction_clock, prediction_clock)
        self.outcome_clock = max(self.outcome_clock, outcome_clock)

    def settle(self) -> None:
        """Decide what the clocks have decided; called after each batch."""
        order, wait = self._order, self.wait_us
        while order and order[0].at + wait < self.outcome_clock:
            self._close(order.popleft())
        while len(order) > self.held_max:
            self.counts.given_up += order[0].version == 0
            self._close(order.popleft())
        self._drop_waiting()
        passed = min(self.prediction_clock, self.outcome_clock) - wait - self.recall_us
        over = self._over_order
        while over and (over[0][0] < passed or len(over) > self.held_max):
            at, event_id = over.popleft()
            if self._over.get(event_id) == at:
                del self._over[event_id]

    def _apply(self, entry: Held, truth: Truth, known_at: int) -> None:
        """An outcome in time."""
        if not entry.version:
            self.counts.labelled += 1
        elif truth == entry.truth:
            self.counts.same += 1
            entry.known_at = max(entry.known_at, known_at)
            return
        elif known_at <= entry.known_at:
            self.counts.stale += 1
            return
        else:
            self.counts.corrected += 1
        entry.version += 1
        entry.truth, entry.known_at = truth, known_at
        self.emitted.append((entry.value, entry.version, truth, known_at))

    def _place(self, event_id: str, truth: Truth, known_at: int, at: int) -> None:
        """An outcome that the newest prediction of its id does not simply take."""
        predictions = [*self._aside.get(event_id, ())]
        if event_id in self._held:
            predictions.append(self._held[event_id])
        for entry in predictions:
            if abs(at - entry.at) <= self.wait_us:
                self._apply(entry, truth, known_at)
                return
        times = [entry.at for entry in predictions]
        if event_id in self._over:
            times.append(self._over[event_id])
        is_late = any(self._is_late(at, time) for time in times)
        item = _Waiting(event_id, truth, known_at, at, is_late)
        self._waiting.setdefault(event_id, []).append(item)
        self._waiting_order.append(item)
        self._waiting_count += 1

    def _is_late(self, at: int, prediction_at: int) -> bool:
        """One in time comes here only where its prediction was given up."""
        return -self.wait_us <= at - prediction_at <= self.wait_us + self.recall_us

    def _meet(self, entry: Held) -> None:
        """A prediction that comes after outcomes of its id."""
        left = []
        for item in self._waiting[entry.event_id]:
            if abs(item.at - entry.at) <= self.wait_us:
                self._apply(entry, item.truth, item.known_at)
                item.is_done = True
                self._waiting_count -= 1
            else:
                item.is_late = item.is_late or self._is_late(item.at, entry.at)
                left.append(item)
        if left:
            self._waiting[entry.event_id] = left
        else:
            del self._waiting[entry.event_id]

    def _repeats(self, event_id: str, at: int) -> bool:
        times = [self._over.get(event_id, BEFORE_ALL)]
        if event_id in self._held:
            times.append(self._held[event_id].at)
        return at - max(times) <= self.wait_us + self.recall_us

    def _close(self, entry: Held) -> None:
        """It is over: remembered by its id and time alone."""
        if not entry.version:
            self.counts.never_labelled += 1
            self.emitted.append((entry.value, 1, (None, None), 0))
        event_id = entry.event_id
        if self._held.get(event_id) is entry:
            del self._held[event_id]
        else:
            self._aside[event_id].remove(entry)
            if not self._aside[event_id]:
                del self._aside[event_id]
        self._over[event_id] = entry.at
        self._over_order.append((entry.at, event_id))

    def _drop_waiting(self) -> None:
        order, passed = self._waiting_order, self.prediction_clock - self.wait_us
        while order and (
            order[0].is_done or order[0].at < passed or self._waiting_count > self.held_max
        ):
            item = order.popleft()
            if item.is_done:
                continue
            self.counts.outcomes_given_up += item.at >= passed
            self.counts.late += item.is_late
            self.counts.orphans += not item.is_late
            self._waiting_count -= 1
            found = self._waiting[item.event_id]
            found.remove(item)
            if not found:
                del self._waiting[item.event_id]
        if len(order) > 1_000 + 2 * self._waiting_count:
            self._waiting_order = deque(item for item in order if not item.is_done)
