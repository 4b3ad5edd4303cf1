"""What answers a stream: the loop, and what it is compared with.

Each contender is asked, with every batch of labels, for the model that answers from now on: the
ranges of rows that it is fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from river import drift

from millstream.retraining.challenge import Candidate, Losses, Ranges
from millstream.retraining.policy import Policy
from millstream.retraining.track import PolicySettings
from ops.bench.loop.models import Models

OURS: Final = "the loop"
FROZEN: Final = "frozen"
ADWIN: Final = "refit on ADWIN's alarm"
EVERY: Final = "refit every 500 labels"
EVERY_LABELS: Final = 500
EVERY_ROWS: Final = 4_000
ADWIN_ROWS: Final = 500


class Contender(Protocol):
    """labelled, answered: how many rows have labels, and how many were answered."""

    def step(self, labelled: int, answered: int) -> Ranges: ...


class Frozen:
    """The first model for ever."""

    def __init__(self, models: Models) -> None:
        self._ranges: Ranges = ((0, models.stream.warm_up),)

    def step(self, labelled: int, answered: int) -> Ranges:
        return self._ranges


class Every:
    """Another model every 500 labels, fitted on the newest 4,000."""

    def __init__(self, models: Models) -> None:
        self._ranges: Ranges = ((0, models.stream.warm_up),)
        self._due = models.stream.warm_up + EVERY_LABELS

    def step(self, labelled: int, answered: int) -> Ranges:
        if labelled >= self._due:
            self._due = labelled + EVERY_LABELS
            self._ranges = ((max(labelled - EVERY_ROWS, 0), labelled),)
        return self._ranges


class Adwin:
    """ADWIN listens to the model's errors; behind an alarm, the next 500 labelled rows make the
    next model."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._ranges: Ranges = ((0, models.stream.warm_up),)
        self._heard = models.stream.warm_up
        self._detector: Any = _adwin()
        self._alarm: int | None = None

    def step(self, labelled: int, answered: int) -> Ranges:
        for place, loss in enumerate(
            self._models.wrong(self._ranges, self._heard, labelled), self._heard
        ):
            self._detector.update(loss)
            if self._detector.drift_detected and self._alarm is None:
                self._alarm = place
        self._heard = labelled
        if self._alarm is not None and labelled - self._alarm >= ADWIN_ROWS:
            self._ranges = ((self._alarm, labelled),)
            self._alarm, self._detector = None, _adwin()
        return self._ranges


def _adwin() -> Any:
    return drift.ADWIN()  # type: ignore[no-untyped-call]


class Loop:
    """millstream/retraining/policy.py; a winner answers with the next event."""

    def __init__(self, models: Models, settings: PolicySettings | None = None) -> None:
        warm_up = models.stream.warm_up
        self._models = models
        self.policy = Policy(Candidate("the first", "champion", ((0, warm_up),)), settings)
        self.policy.take(np.arange(warm_up))
        self._labelled = warm_up

    def step(self, labelled: int, answered: int) -> Ranges:
        self.policy.take(np.arange(self._labelled, labelled))
        self._labelled = labelled
        self.policy.look(self._losses, answered, answered - labelled)
        return self.policy.wanted.ranges

    def _losses(self, candidate: Candidate, begin: int, end: int) -> Losses:
        return self._models.wrong(candidate.ranges, begin, end)


CONTENDERS: Final[dict[str, Callable[[Models], Contender]]] = {
    OURS: Loop,
    FROZEN: Frozen,
    ADWIN: Adwin,
    EVERY: Every,
}
