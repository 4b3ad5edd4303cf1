"""One stream as an SVG: the accuracy of everything that answered it, true changes, swaps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np

from ops.bench.drift.plot import line
from ops.bench.loop.prequential import Bools, Run

WIDTH: Final = 900
LEFT, RIGHT, TOP = 50, 190, 34
CURVE: Final = 260
WINDOW: Final = 500
POINTS: Final = 400
COLOURS: Final = ("#1f77b4", "#7f7f7f", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b")


def loop_plot(title: str, warm_up: int, changes: Sequence[int], runs: Mapping[str, Run]) -> str:
    """runs: who -> run, the loop first: its swaps are drawn below. changes: rows of the stream."""
    events = len(next(iter(runs.values())).right)
    floor = TOP + CURVE
    height = floor + 40

    def across(row: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (row - warm_up) / events

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="16" font-size="13">{escape(title)}: accuracy over {WINDOW} events; '
        "true changes red; swaps of the loop below</text>",
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = floor - CURVE * share
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, "#ddd"))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    parts += [
        line(across(at), TOP, across(at), floor, "#d62728")
        for at in changes
        if warm_up <= at < warm_up + events
    ]
    for number, (name, made) in enumerate(runs.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{across(warm_up + at):.1f},{floor - CURVE * share:.1f}"
            for at, share in _curve(made.right)
        )
        wide = "2" if number == 0 else "1"
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{wide}"/>'
        )
        y = TOP + 14 + 16 * number
        parts.append(line(WIDTH - RIGHT + 10, y - 4, WIDTH - RIGHT + 26, y - 4, colour))
        parts.append(
            f'<text x="{WIDTH - RIGHT + 30}" y="{y}">{escape(name)} {made.accuracy:.1f}</text>'
        )
    swaps = next(iter(runs.values())).swaps
    parts += [line(across(at), floor + 8, across(at), floor + 24, "#1f77b4") for at in swaps]
    return "\n".join([*parts, "</svg>", ""])


def _curve(right: Bools) -> list[tuple[int, float]]:
    """(event, mean of the WINDOW up to it), thinned to about POINTS."""
    sums = np.concatenate([[0], np.cumsum(right, dtype=np.int64)])
    window = min(WINDOW, len(right))
    ends = np.arange(window, len(right) + 1, max(len(right) // POINTS, 1))
    return list(
        zip(ends.tolist(), ((sums[ends] - sums[ends - window]) / window).tolist(), strict=True)
    )
