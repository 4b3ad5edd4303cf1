"""What a false-alarm budget means for a user's own stream, before anything goes live.

The history's errors are played again in blocks (moving-block bootstrap, Künsch 1989), so that they
keep their bursts; nothing changes in them but where a shift is planted. Counted is what the monitor
then says: false alarms a week, and how long a shift of a given size takes to be found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millstream.drift.budget import WEEK_S
from millstream.drift.evidence import Evidence

Floats = npt.NDArray[np.float64]

SHIFTS: Final = (0.02, 0.05, 0.1, 0.2, -0.05)
"""Additions to the error rate."""
EVENTS_MIN: Final = 1_000
BATCH: Final = 50
BLOCK_EVENTS_MIN: Final = 200


@dataclass(frozen=True, slots=True)
class Delay:
    """How one size of shift fares: shares and events; None where too few runs found it."""

    shift: float
    found: float
    median_events: float | None
    p90_events: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the monitor would have said. Rates are of the history's own events and time.

    false_alarms_per_week: with the interval in which the truth lies with 95 % (Poisson, as many
    events as were played). curve: mean error of each of 200 parts of the history. history_alarms:
    the event indexes at which the history itself raises an alarm.
    """

    events: int
    error_rate: float
    events_per_week: float
    block_events: int
    run_events: float
    runs: int
    false_alarms_per_week: float
    interval: tuple[float, float]
    delays: tuple[Delay, ...]
    curve: tuple[float, ...]
    history_alarms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played. block_events: 0 takes events^(2/3), which holds bursts and is repeated."""

    false_alarms_per_week: float = 1.0
    runs: int = 40
    shifts: Sequence[float] = SHIFTS
    block_events: int = 0
    seed: int = 0


def calibrate(
    errors: Floats,
    events_per_week: float,
    plan: Plan,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Play a history.

    errors: float64 [n >= 1,000], 0 or 1, or losses in [0, 1], in order. events_per_week: its rate.
    told: called with how many runs are done, of how many. Raises ValueError on other values.
    """
    _check(errors, events_per_week, plan)
    random = np.random.default_rng(plan.seed)
    run_events = max(events_per_week / plan.false_alarms_per_week, 200.0)
    block = plan.block_events or max(round(len(errors) ** (2 / 3)), BLOCK_EVENTS_MIN)
    total = plan.runs * (1 + len(plan.shifts))
    done = 0
    counts: list[int] = []
    for _ in range(plan.runs):
        counts.append(len(alarms(_resample(errors, block, len(errors), random), run_events)))
        done += 1
        told(done, total)
    delays = []
    for shift in plan.shifts:
        times = []
        for _ in range(plan.runs):
            times.append(_time_to_find(errors, block, shift, run_events, random))
            done += 1
            told(done, total)
        delays.append(_delay(shift, times))
    played = plan.runs * len(errors) / events_per_week  # weeks
    low, high = _poisson(sum(counts))
    return Calibration(
        len(errors),
        float(errors.mean()),
        events_per_week,
        block,
        run_events,
        plan.runs,
        sum(counts) / played,
        (low / played, high / played),
        tuple(delays),
        tuple(float(part.mean()) for part in np.array_split(errors, min(200, len(errors)))),
        tuple(alarms(errors, run_events)),
    )


def events_per_week(events: int, seconds: float) -> float:
    """The rate of so many events within so long."""
    return events * WEEK_S / seconds


def alarms(errors: Floats, run_events: float) -> list[int]:
    """Indexes of the events at whose batch the error signal raises an alarm."""
    evidence = Evidence()
    found = []
    for start in range(0, len(errors), BATCH):
        part = errors[start : start + BATCH]
        wrong = float(part.sum())
        if evidence.update((wrong, len(part) - wrong), 1.0 / run_events) >= 1.0:
            found.append(start + len(part) - 1)
            evidence.restart()
    return found


def _check(errors: Floats, rate: float, plan: Plan) -> None:
    if len(errors) < EVENTS_MIN:
        raise ValueError(f"a history of {len(errors)} events is too short; {EVENTS_MIN} are needed")
    if not (np.isfinite(errors).all() and errors.min() >= 0.0 and errors.max() <= 1.0):
        raise ValueError("errors must be 0 or 1, or losses within 0 and 1")
    if not rate > 0.0 or not plan.false_alarms_per_week > 0.0 or plan.runs < 1:
        raise ValueError("the rate of events, the false alarms a week and the runs must be above 0")


def _resample(errors: Floats, block: int, events: int, random: np.random.Generator) -> Floats:
    """Blocks from anywhere in the history, the end joined to the beginning."""
    starts = random.integers(len(errors), size=-(-events // block))
    places = (starts[:, None] + np.arange(block)).ravel()[:events] % len(errors)
    found: Floats = errors[places]
    return found


def _shifted(errors: Floats, shift: float, random: np.random.Generator) -> Floats:
    """Errors whose rate is higher by the shift (or lower): right ones become wrong."""
    rate = float(errors.mean())
    if shift >= 0:
        chance = min(shift / max(1.0 - rate, 1e-9), 1.0)
        return np.where(random.random(len(errors)) < chance, 1.0, errors)
    chance = min(-shift / max(rate, 1e-9), 1.0)
    return np.where(random.random(len(errors)) < chance, 0.0, errors)


def _time_to_find(
    errors: Floats, block: int, shift: float, run_events: float, random: np.random.Generator
) -> int | None:
    """Events from a planted shift to the first alarm behind it; None: not in a history's length."""
    change = len(errors) // 2
    before = _resample(errors, block, change, random)
    after = _shifted(_resample(errors, block, len(errors), random), shift, random)
    found = [at for at in alarms(np.concatenate([before, after]), run_events) if at >= change]
    return found[0] - change if found else None


def _delay(shift: float, times: Sequence[int | None]) -> Delay:
    ordered = sorted(float("inf") if time is None else float(time) for time in times)
    found = sum(time is not None for time in times) / len(times)
    quantiles = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.9)]
    half, most = (None if value == float("inf") else value for value in quantiles)
    return Delay(shift, found, half, most)


def _poisson(count: int) -> tuple[float, float]:
    """95 % interval of a Poisson mean (Byar's approximation to the exact one)."""

    def bound(value: int, z: float) -> float:
        root: float = 1.0 - 1.0 / (9.0 * value) + z / (3.0 * value**0.5)
        return value * root * root * root

    low = bound(count, -1.96) if count else 0.0
    return low, bound(count + 1, 1.96) if count else 3.7


def as_json(found: Calibration) -> dict[str, Any]:
    """Plain values."""
    from dataclasses import asdict  # noqa: PLC0415 - one use

    return asdict(found)
