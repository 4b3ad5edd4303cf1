"""One stream as an SVG: its error rate, the true changes, and every detector's alarms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np

from ops.bench.drift.streams import Errors, Piece

WIDTH: Final = 900
LEFT, RIGHT, TOP = 120, 15, 34
CURVE: Final = 170
ROW: Final = 17
WINDOW: Final = 100
POINTS: Final = 800


def stream_plot(
    name: str, pieces: Sequence[Piece], alarms: Mapping[str, Sequence[Sequence[int]]]
) -> str:
    """The pieces of one seed side by side; alarms: detector -> those of each piece."""
    starts = np.cumsum([0, *(len(piece.errors) for piece in pieces)])
    total = int(starts[-1])
    floor = TOP + CURVE
    height = floor + 26 + ROW * len(alarms) + 14

    def across(event: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * event / total

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="16" font-size="13">{escape(name)}: error over {WINDOW} events, '
        "true changes (red), alarms below; a new detector behind each dotted line</text>",
    ]
    for share in (0.0, 0.5, 1.0):
        y = floor - CURVE * share
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, "#ddd"))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    for start, piece in zip(starts[:-1].tolist(), pieces, strict=True):
        if start:
            parts.append(line(across(start), TOP, across(start), height - 14, "#999", "2 3"))
        for at, width in piece.changes:
            x = across(start + at)
            if width > 1:
                parts.append(
                    f'<rect x="{x:.1f}" y="{TOP}" width="{across(start + at + width) - x:.1f}" '
                    f'height="{height - 14 - TOP}" fill="#d62728" opacity="0.12"/>'
                )
            parts.append(line(x, TOP, x, height - 14, "#d62728"))
        drawn = " ".join(
            f"{across(start + at):.1f},{floor - CURVE * rate:.1f}"
            for at, rate in _curve(piece.errors, total)
        )
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="#1f77b4"/>')
    for row, (detector, found) in enumerate(alarms.items()):
        y = floor + 26 + ROW * row
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{escape(detector)}</text>'
        )
        for start, places in zip(starts[:-1].tolist(), found, strict=True):
            parts += [
                line(across(start + at), y - 6, across(start + at), y + 6, "#111") for at in places
            ]
    return "\n".join([*parts, "</svg>", ""])


def _curve(errors: Errors, total: int) -> list[tuple[int, float]]:
    """(event, mean of the WINDOW up to it), thinned to about POINTS over the whole picture."""
    sums = np.concatenate([[0], np.cumsum(errors, dtype=np.int64)])
    step = max(total // POINTS, 1)
    ends = np.arange(min(WINDOW, len(errors)), len(errors) + 1, step)
    begins = np.maximum(ends - WINDOW, 0)
    rates = (sums[ends] - sums[begins]) / (ends - begins)
    return list(zip(ends.tolist(), rates.tolist(), strict=True))


def line(x: float, y: float, to_x: float, to_y: float, colour: str, dash: str = "") -> str:
    """Of a picture, in its points."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{colour}"{dashed}/>'
    )
