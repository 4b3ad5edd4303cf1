"""Numbers from measurements: medians, percentiles, ratios, rates over a window. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

WARM_UP_SHARE = 0.2
WARM_UP_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Point:
    """One look at a run: seconds since it was started, and answers committed by then."""

    at_s: float
    committed: int


@dataclass(frozen=True, slots=True)
class Window:
    """The steady part of a run."""

    first: Point
    last: Point

    @property
    def events(self) -> int:
        """Answers committed in it."""
        return self.last.committed - self.first.committed

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.last.at_s - self.first.at_s

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def is_warm(start: Point, now: Point, events: int) -> bool:
    """Whether start-up is over: a fifth of the events, or 5 s after the first answer.

    >>> is_warm(Point(1.0, 10), Point(2.0, 200), 1_000)
    True
    >>> is_warm(Point(1.0, 10), Point(2.0, 199), 1_000)
    False
    """
    return (
        now.committed >= WARM_UP_SHARE * events or now.at_s - start.at_s >= WARM_UP_S_MAX
    ) and now.committed > start.committed


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs with the lowest and the highest."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0, runs=3)
        """
        return cls(median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in milliseconds, each one that was observed."""

    p50: float
    p99: float
    p999: float
    highest: float
    count: int


def percentiles(latencies_us: npt.NDArray[np.int64]) -> Percentiles:
    """Of at least one latency in microseconds: the smallest that so many do not exceed.

    >>> percentiles(np.arange(1, 1001) * 1000)
    Percentiles(p50=500.0, p99=990.0, p999=999.0, highest=1000.0, count=1000)
    """
    ordered = np.sort(latencies_us)
    count = len(ordered)
    assert count, "no latency was observed"

    def at(share: float) -> float:
        place = max(int(np.ceil(round(share * count, 9))) - 1, 0)
        return float(ordered[place]) / 1000

    return Percentiles(at(0.5), at(0.99), at(0.999), float(ordered[-1]) / 1000, count)


def steady(
    scheduled_us: npt.NDArray[np.int64],
    arrived_us: npt.NDArray[np.int64],
    begins_us: int,
) -> npt.NDArray[np.int64]:
    """Latencies of the events that were scheduled from `begins_us` on.

    They count from the time at which an event was to be sent, not from when it was: a stall of
    the generator or of the contender is felt by every event that it held up.
    """
    kept = scheduled_us >= begins_us
    latencies: npt.NDArray[np.int64] = (arrived_us - scheduled_us)[kept]
    return latencies


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Ours over theirs; None where one is missing or nothing.

    >>> ratio(6.0, 2.0), ratio(6.0, None), ratio(6.0, 0.0)
    (3.0, None, None)
    """
    return None if not ours or not theirs else ours / theirs
