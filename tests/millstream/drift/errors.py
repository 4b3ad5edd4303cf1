"""Error streams for the tests of the monitor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.int8]


def independent(rate: float, events: int, seed: int) -> Bits:
    """Errors that know nothing of each other."""
    return (np.random.default_rng(seed).random(events) < rate).astype(np.int8)


def bursty(events: int, seed: int, quiet: float = 0.1, burst: float = 0.5) -> Bits:
    """Stationary: quiet for 300 events on average, a burst of 100, and so on."""
    random = np.random.default_rng(seed)
    rates = np.empty(events)
    at, inside = 0, False
    while at < events:
        length = int(random.geometric(1 / 100 if inside else 1 / 300))
        rates[at : at + length] = burst if inside else quiet
        at, inside = at + length, not inside
    return (random.random(events) < rates).astype(np.int8)


def shifted(before: float, after: float, at: int, events: int, seed: int) -> Bits:
    """Independent errors whose rate changes once."""
    return np.concatenate(
        [independent(before, at, seed), independent(after, events - at, seed + 1_000)]
    )
