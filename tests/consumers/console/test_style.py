"""The console's colours: WCAG 2.2 AA contrast of every pair that occurs, in light and in dark."""

from __future__ import annotations

import re

import pytest

from consumers.console.app import STATIC

TEXT_MIN, SHAPE_MIN = 4.5, 3.0
_PAIR = re.compile(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)")
TEXTS = [
    (ink, ground)
    for ink in ("ink", "muted", "accent", "good", "warn", "bad")
    for ground in ("bg", "panel", "sunk")
] + [("on-accent", "accent"), ("panel", "bad")]
SHAPES = [
    *((shape, "panel") for shape in ("control", "accent", "s1", "s2", "s3", "bad", "good", "warn")),
    ("accent", "bg"),
    ("accent", "sunk"),
    ("bad", "h0"),
]
STEPS = [("h0", "h1"), ("h1", "h2"), ("h2", "h3"), ("h3", "h4")]


def _colours() -> dict[str, tuple[str, str]]:
    """Variable -> its value in light and in dark."""
    text = (STATIC / "style.css").read_text("utf-8")
    return {name: (light, dark) for name, light, dark in _PAIR.findall(text)}


def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_what_wcag_says() -> None:
    """Black on white is 21 to 1; its own examples."""
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXTS, ids=[f"{a}-on-{b}" for a, b in TEXTS])
def test_text_is_readable(ink: str, ground: str, theme: int) -> None:
    """4.5 to 1 at least."""
    colours = _colours()
    assert _contrast(colours[ink][theme], colours[ground][theme]) >= TEXT_MIN


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("shape", "ground"), SHAPES, ids=[f"{a}-on-{b}" for a, b in SHAPES])
def test_lines_and_controls_are_seen(shape: str, ground: str, theme: int) -> None:
    """3 to 1 at least: curves, borders of inputs, the ring of what has the focus."""
    colours = _colours()
    assert _contrast(colours[shape][theme], colours[ground][theme]) >= SHAPE_MIN


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_each_shade_of_the_heat_map_is_told_from_the_next(theme: int) -> None:
    """They go one way, each by a fifth at least; the numbers are in a table beside it."""
    colours = _colours()
    shades = [_luminance(colours[f"h{i}"][theme]) for i in range(5)]
    assert shades == sorted(shades, reverse=theme == 0)
    for one, other in STEPS:
        assert _contrast(colours[one][theme], colours[other][theme]) >= 1.2


def test_no_colour_stands_outside_of_the_variables() -> None:
    """Else the tests above would not see it."""
    text = _PAIR.sub("", (STATIC / "style.css").read_text("utf-8"))
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?![\w-])(?=\s*[;,)])", text) == []
    scripts = [f for f in STATIC.rglob("*.js") if "vendor" not in f.parts]
    assert [f.name for f in scripts if re.search(r"\"#[0-9a-fA-F]{3,8}\"", f.read_text())] == []
