"""The newest minutes of a stream, second by second: rates, and latency in narrow buckets.

ClickHouse counts predictions by the second at which they were scored and by the bucket of their
latency; this adds the counts up. A bucket is a sixteenth of a doubling, so that a percentile is off
by 2.2 % at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

STEPS: Final = 16
"""Buckets of a doubling."""
SPAN_S: Final = 300
STEP_S: Final = 5
"""A point of the curves."""
SETTLE_S: Final = 3
"""The newest seconds are left out of rates: their rows are still on the way to ClickHouse."""
RATE_S: Final = 10
LATENCY_S: Final = 60
PERCENTILES: Final = (0.5, 0.95, 0.99)

BUCKET_SQL: Final = (
    f"toInt32(floor(log2(greatest(dateDiff('microsecond', published_at, scored_at), 1)) * {STEPS}))"
)


@dataclass(slots=True)
class Second:
    """What was scored, and what was refused, in one second. latency: bucket -> predictions."""

    predictions: int = 0
    in_budget: int = 0
    refused: int = 0
    latency: Counter[int] = field(default_factory=Counter)


class Window:
    """Seconds by their number since 1970. Those older than SPAN_S are dropped by `trim`."""

    def __init__(self) -> None:
        self._seconds: dict[int, Second] = {}
        self.newest_s: int | None = None

    def scored(self, second: int, bucket: int, count: int, in_budget: int) -> None:
        """Count predictions of one second and latency bucket."""
        found = self._at(second)
        found.predictions += count
        found.in_budget += in_budget
        found.latency[bucket] += count
        self.newest_s = max(second, self.newest_s or 0)

    def refused(self, second: int, count: int) -> None:
        """Count dead letters of one second."""
        self._at(second).refused += count

    def trim(self, now_s: float) -> None:
        """Forget what is older than SPAN_S."""
        for second in [s for s in self._seconds if s < now_s - SPAN_S]:
            del self._seconds[second]

    def now(self, now_s: float) -> dict[str, Any]:
        """Rates a second over the last RATE_S, latency in ms over the last LATENCY_S.

        in_budget: the share of those predictions that kept the latency budget; None without any.
        """
        stop = int(now_s) - SETTLE_S + 1
        rates = list(self._between(stop - RATE_S, stop))
        late = list(self._between(int(now_s) - LATENCY_S, int(now_s) + 1))
        count = sum(each.predictions for each in late)
        return {
            "predictions_per_s": sum(each.predictions for each in rates) / RATE_S,
            "refused_per_s": sum(each.refused for each in rates) / RATE_S,
            "latency_ms": _latency(late),
            "in_budget": sum(each.in_budget for each in late) / count if count else None,
            "newest_s": self.newest_s,
        }

    def series(self, now_s: float) -> list[list[float | None]]:
        """Points of STEP_S, the oldest first: time in ms, predictions and refusals a second, then
        p50, p95 and p99 of the latency in ms (None where nothing was scored)."""
        stop = (int(now_s) - SETTLE_S + 1) // STEP_S * STEP_S
        points: list[list[float | None]] = []
        for start in range(stop - SPAN_S, stop, STEP_S):
            part = list(self._between(start, start + STEP_S))
            rates = [sum(getattr(s, n) for s in part) / STEP_S for n in ("predictions", "refused")]
            points.append([start * 1_000, *rates, *_latency(part)])
        return points

    def _at(self, second: int) -> Second:
        return self._seconds.setdefault(second, Second())

    def _between(self, start: int, stop: int) -> Iterable[Second]:
        return (self._seconds[s] for s in range(start, stop) if s in self._seconds)


def _latency(seconds: Iterable[Second]) -> list[float | None]:
    merged: Counter[int] = Counter()
    for each in seconds:
        merged.update(each.latency)
    return percentiles_ms(merged)


def percentiles_ms(buckets: Counter[int]) -> list[float | None]:
    """p50, p95 and p99 in ms of counted buckets; None where nothing was counted.

    >>> percentiles_ms(Counter({16 * 10: 98, 16 * 14: 2}))  # 1,024 us and 16,384 us
    [1.046, 1.046, 16.743]
    >>> percentiles_ms(Counter())
    [None, None, None]
    """
    total = sum(buckets.values())
    if not total:
        return [None] * len(PERCENTILES)
    made: list[float | None] = []
    ordered = sorted(buckets.items())
    for share in PERCENTILES:
        below = 0
        for bucket, count in ordered:
            below += count
            if below >= share * total:
                made.append(round(2 ** ((bucket + 0.5) / STEPS) / 1_000, 3))
                break
    return made
