"""A calibration as an SVG: the history with its alarms, and how long shifts take. Pure."""

from __future__ import annotations

from html import escape
from typing import Final

from millstream.drift.calibrate import Calibration

WIDTH: Final = 860
LEFT, RIGHT = 110, 110
CURVE: Final = 150
ROW: Final = 24


def calibration_plot(found: Calibration) -> str:
    """The error over the history, its own alarms in red, and bars of the events to find a shift."""
    top, floor = 52, 52 + CURVE
    height = floor + 60 + ROW * len(found.delays) + 16
    high = max(*found.curve, 1e-3)
    low, most = found.interval
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 18, f"{found.events:,} events, error {found.error_rate:.2%}; false alarms a "
              f"week {found.false_alarms_per_week:.2f} ({low:.2f} to {most:.2f})"),
        _text(LEFT, 38, "history: error rate, and the alarms it raises itself (red)"),
    ]  # fmt: skip
    for share in (0.0, 0.5, 1.0):
        y = floor - CURVE * share
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#ddd"))
        parts.append(_text(LEFT - 8, y + 4, f"{high * share:.1%}", "end"))
    last = max(len(found.curve) - 1, 1)
    points = " ".join(
        f"{LEFT + (WIDTH - LEFT - RIGHT) * place / last:.1f},{floor - CURVE * rate / high:.1f}"
        for place, rate in enumerate(found.curve)
    )
    parts.append(f'<polyline points="{points}" fill="none" stroke="#1f77b4"/>')
    for at in found.history_alarms:
        x = LEFT + (WIDTH - LEFT - RIGHT) * at / found.events
        parts.append(_line(x, top, x, floor, "#d62728"))
    parts.append(
        _text(LEFT, floor + 34, "shift of the error: events to find it, half of the time (90 %)")
    )
    longest = (
        max((d.p90_events or d.median_events or 0.0 for d in found.delays), default=0.0) or 1.0
    )
    for row, delay in enumerate(found.delays):
        y = floor + 50 + ROW * row
        parts.append(_text(LEFT - 8, y + 12, f"{100 * delay.shift:+g} points", "end"))
        if delay.median_events is None:
            parts.append(_text(LEFT + 4, y + 12, f"found in {delay.found:.0%} of the runs"))
            continue
        wide = (WIDTH - LEFT - RIGHT) * delay.median_events / longest
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{max(wide, 1.0):.1f}" height="16" fill="#1f77b4"/>'
        )
        end = wide
        if delay.p90_events is not None:
            end = (WIDTH - LEFT - RIGHT) * delay.p90_events / longest
            parts.append(_line(LEFT + wide, y + 8, LEFT + end, y + 8, "#1f77b4"))
        most_events = "" if delay.p90_events is None else f" ({delay.p90_events:,.0f})"
        parts.append(_text(LEFT + end + 6, y + 12, f"{delay.median_events:,.0f}{most_events}"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'
