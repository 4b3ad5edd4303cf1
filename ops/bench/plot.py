"""Latency against rate as an SVG, both axes logarithmic. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 40, 50
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f",
           "#bcbd22", "#e377c2")  # fmt: skip

Line = Sequence[tuple[float, float, float]]
"""(rate in events/s, p50 in ms, p99 in ms), by rate."""


def latency_plot(lines: Mapping[str, Line]) -> str:
    """One colour a contender: p50 drawn through, p99 dashed. At least one line with a point."""
    points = [point for line in lines.values() for point in line]
    assert points, "nothing to plot"
    across = _Axis([rate for rate, _, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis([value for _, *both in points for value in both], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">produce to read_committed read, '
        "ms: p50 drawn through, p99 dashed</text>",
    ]
    for power in across.powers:
        x = across.place(10.0**power)
        parts.append(_grid(x, TOP, x, HEIGHT - BOTTOM))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{10.0**power:,.0f}", "middle"))
    for power in up.powers:
        y = up.place(10.0**power)
        parts.append(_grid(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g}", "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "events/s", "middle"))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        for place, dash in ((1, ""), (2, ' stroke-dasharray="5 4"')):
            path = [(across.place(point[0]), up.place(point[place])) for point in line]
            drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
            style = f'fill="none" stroke="{colour}" stroke-width="2"{dash}'
            parts.append(f'<polyline points="{drawn}" {style}/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in path]
        y = TOP + 10 + 18 * number
        left = WIDTH - RIGHT + 12
        parts.append(f'<rect x="{left}" y="{y - 9}" width="12" height="10" fill="{colour}"/>')
        parts.append(_text(left + 18, y, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """Powers of ten that hold all values, and where a value lies between two ends in pixels."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        positive = [max(value, 1e-3) for value in values]
        self._low = floor(log10(min(positive)))
        self._high = max(ceil(log10(max(positive))), self._low + 1)
        self._begin, self._end = begin, end
        self.powers = range(self._low, self._high + 1)

    def place(self, value: float) -> float:
        share = (log10(max(value, 1e-3)) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)


def _grid(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
