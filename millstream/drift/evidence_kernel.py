"""The compiled sum over all starts: see evidence.py, which says what is summed."""

from __future__ import annotations

from math import exp, log, log1p, log2
from typing import Any

import numpy as np
from numba import types

from millstream.columnar.compiled import kernel, part

_F1, _F2, _I1 = types.float64[::1], types.float64[:, ::1], types.int64[::1]
_F, _I = types.float64, types.int64


@part
def _log_gamma(x: Any) -> Any:
    product = x * (x + 1.0) * (x + 2.0) * (x + 3.0) * (x + 4.0) * (x + 5.0)
    z = x + 6.0
    inverse = 1.0 / z
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    return (z - 0.5) * log(z) - z + 0.9189385332046727 + series - log(product)


@part
def _between(at: Any, scales: Any, values: Any) -> Any:
    """As np.interp."""
    last = len(scales) - 1
    if at <= scales[0]:
        return values[0]
    if at >= scales[last]:
        return values[last]
    place = 1
    while scales[place] < at:
        place += 1
    low = scales[place - 1]
    slope = (values[place] - values[place - 1]) / (scales[place] - low)
    return slope * (at - low) + values[place - 1]


@part
def _factor(before: Any, since: Any, shifts: Any, half: Any, free_norm: Any, open_: Any) -> Any:
    """log Bayes factor of effective counts [k]."""
    k = len(before)
    sums = np.zeros(3)
    logs = np.zeros(3)
    for place in range(k):
        one, two = before[place], since[place]
        sums[0] += one
        sums[1] += two
        sums[2] += one + two
        logs[0] += _log_gamma(one + half)
        logs[1] += _log_gamma(two + half)
        logs[2] += _log_gamma(one + two + half)
    for place in range(3):
        logs[place] -= _log_gamma(sums[place] + half * k)
    null = logs[2] - logs[0]
    free = logs[1] - free_norm
    if k > 2:
        return free - null
    middle = log((before[0] + half) / (before[1] + half))
    fixed = np.empty(len(shifts))
    top = free
    for place in range(len(shifts)):
        logit = middle + shifts[place]
        hits = -log1p(exp(-logit))
        fixed[place] = since[0] * hits + since[1] * (hits - logit)
        top = max(top, fixed[place])
    mixed = 0.0
    for place in range(len(shifts)):
        mixed += exp(fixed[place] - top)
    mixed *= (1.0 - open_) / len(shifts)
    return top + log(mixed + open_ * exp(free - top)) - null


@kernel(_F(_F2, _I, _F, _F1, _F1, _F, _F, _F1, _F, _F, _F, _I1))
def judge(  # noqa: PLR0913, PLR0917 - a kernel takes plain values
    table: Any, rows: Any, reference: Any, scales: Any, values: Any, little: Any, worth: Any,
    shifts: Any, half: Any, free_norm: Any, open_: Any, best: Any,
) -> Any:  # fmt: skip
    """The level; best[0] becomes the start with most of it, where there is any.

    little: what dispersions are multiplied with. The others as in evidence.py.
    """
    k = table.shape[0] - 5
    before, since, totals, counts = np.empty(k), np.empty(k), np.zeros(k), np.zeros(k)
    events = 0.0
    for row in range(rows):
        events += table[2, row]
        for place in range(k):
            totals[place] += table[5 + place, row]
    level, most, passed = 0.0, -1.0, 0.0
    for row in range(rows - 1):
        passed += table[2, row]
        for place in range(k):
            counts[place] += table[5 + place, row]
        if passed < reference:
            continue
        near = _between(log2(max(passed, 1.0)), scales, values) * little
        far = _between(log2(max(events - passed, 1.0)), scales, values) * little
        one = two = 0.0
        for place in range(k):
            before[place] = counts[place] / near
            since[place] = (totals[place] - counts[place]) / far
            one += before[place]
            two += since[place]
        apart = 0.0
        for place in range(k):
            off = before[place] / one - since[place] / two
            apart += off * off * (one + two) / (before[place] + since[place] + 1e-9)
        if apart * (one * two / (one + two)) <= worth:
            continue
        factor = _factor(before, since, shifts, half, free_norm, open_)
        found = table[3, row + 1] * exp(min(factor, 600.0))
        level += found
        if found > most:
            most = found
            best[0] = row + 1
    return level
