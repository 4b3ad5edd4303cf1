"""The numbers of one program: what the vocabulary allows, and nothing else.

Written by the program's threads a few times a batch, read by the server's. A name, label or kind
that was not declared is a mistake of ours and asserted.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from millstream.metrics.vocabulary import VOCABULARY, Kind, Metric, of_program

SERIES_MAX = 1_000
"""Of one metric. Too low leaves numbers out; too high lets a label with ever new values fill the
memory of whoever reads them."""
DROPPED = "millstream_series_dropped_total"

Key = tuple[str, ...]
"""Label values, in the order of the metric's labels."""


@dataclass(slots=True)
class Buckets:
    """A histogram's: counts[i] of values up to bounds[i] and above the bound before; the last are
    those above all."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def cumulated(self) -> list[int]:
        """As Prometheus shows them: of values up to each bound, and of all."""
        sums = np.cumsum(self.counts)
        return [int(n) for n in sums]


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric, as it is now. values: of counters and gauges. buckets: of histograms."""

    metric: Metric
    values: Mapping[Key, float]
    buckets: Mapping[Key, Buckets]


class Store:
    """program: whose metrics; their known series begin at 0.

    >>> store = Store("scorer")
    >>> store.add("millstream_events_scored_total", 3, answered_by="full")
    >>> store.value("millstream_events_scored_total", answered_by="full")
    3.0
    >>> store.observe("millstream_batch_records", 12.0)
    >>> store.value("millstream_batch_records")
    1.0
    """

    def __init__(self, program: str) -> None:
        self._lock = threading.Lock()
        self._metrics = {metric.name: metric for metric in of_program(program)}
        assert self._metrics, f"no metric is of {program}"
        self._values: dict[str, dict[Key, float]] = {}
        self._buckets: dict[str, dict[Key, Buckets]] = {}
        for metric in self._metrics.values():
            known = metric.known()
            if metric.kind is Kind.HISTOGRAM:
                self._buckets[metric.name] = {key: Buckets(metric.bounds) for key in known}
            else:
                self._values[metric.name] = dict.fromkeys(known, 0.0)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """A counter grows."""
        assert amount >= 0, (name, amount)
        key = self._key(name, Kind.COUNTER, labels)
        with self._lock:
            found = self._values[name]
            if self._has_room(found, key):
                found[key] = found.get(key, 0.0) + amount

    def total(self, name: str, value: float, **labels: str) -> None:
        """What a counter that is kept elsewhere has come to; it never goes back."""
        key = self._key(name, Kind.COUNTER, labels)
        with self._lock:
            found = self._values[name]
            if self._has_room(found, key):
                found[key] = max(found.get(key, 0.0), float(value))

    def set(self, name: str, value: float, **labels: str) -> None:
        """A gauge stands there."""
        key = self._key(name, Kind.GAUGE, labels)
        with self._lock:
            found = self._values[name]
            if self._has_room(found, key):
                found[key] = float(value)

    def only(self, name: str, values: Mapping[Key, float]) -> None:
        """A gauge has these series and no others; keys are in the order of its labels."""
        metric = self._metrics[name]
        assert metric.kind is Kind.GAUGE, name
        assert all(len(key) == len(metric.labels) for key in values), (name, values)
        with self._lock:
            kept = dict(list(values.items())[:SERIES_MAX])
            self._values[name] = {**dict.fromkeys(metric.known(), 0.0), **kept}
            self._drop(len(values) - len(kept))

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One value of a histogram."""
        key = self._key(name, Kind.HISTOGRAM, labels)
        with self._lock:
            buckets = self._room_for(name, key)
            if buckets is not None:
                buckets.counts[bisect_left(buckets.bounds, value)] += 1
                buckets.total += value

    def observe_all(self, name: str, values: npt.NDArray[np.float64], **labels: str) -> None:
        """[n] values of a histogram."""
        key = self._key(name, Kind.HISTOGRAM, labels)
        # bound by bound: with so few of them four times as fast as a search for each value
        below = [int(np.count_nonzero(values <= bound)) for bound in self._metrics[name].bounds]
        counts = np.diff([0, *below, len(values)]).tolist()
        total = float(values.sum())
        with self._lock:
            buckets = self._room_for(name, key)
            if buckets is not None:
                buckets.counts = [a + b for a, b in zip(buckets.counts, counts, strict=True)]
                buckets.total += total

    def value(self, name: str, **labels: str) -> float:
        """Of a counter or gauge, 0 where it has no such series; how many, of a histogram."""
        metric = self._metrics[name]
        key = self._key(name, metric.kind, labels)
        with self._lock:
            if metric.kind is Kind.HISTOGRAM:
                buckets = self._buckets[name].get(key)
                return float(sum(buckets.counts)) if buckets else 0.0
            return self._values[name].get(key, 0.0)

    def readings(self) -> Iterator[Reading]:
        """Everything, each metric at one moment."""
        for name, metric in self._metrics.items():
            with self._lock:
                values = dict(self._values.get(name, {}))
                buckets = {
                    key: Buckets(each.bounds, list(each.counts), each.total)
                    for key, each in self._buckets.get(name, {}).items()
                }
            yield Reading(metric, values, buckets)

    def _key(self, name: str, kind: Kind, labels: Mapping[str, str]) -> Key:
        metric = self._metrics.get(name)
        assert metric is not None, f"{name} is not declared of this program: {VOCABULARY.get(name)}"
        assert metric.kind is kind, f"{name} is a {metric.kind}"
        assert len(labels) == len(metric.labels), f"{name} has labels {metric.labels}"
        return tuple(labels[label] for label in metric.labels)

    def _has_room(self, found: dict[Key, float], key: Key) -> bool:
        """Whether the series may be there; the lock is held."""
        if key in found or len(found) < SERIES_MAX:
            return True
        self._drop(1)
        return False

    def _drop(self, samples: int) -> None:
        self._values[DROPPED][()] += samples

    def _room_for(self, name: str, key: Key) -> Buckets | None:
        found = self._buckets[name]
        buckets = found.get(key)
        if buckets is None:
            if len(found) >= SERIES_MAX:
                self._drop(1)
                return None
            buckets = found[key] = Buckets(self._metrics[name].bounds)
        return buckets
