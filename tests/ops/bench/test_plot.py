"""The plot of latency against rate."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ops.bench.plot import HEIGHT, WIDTH, latency_plot

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_every_line_is_drawn_inside_the_picture() -> None:
    """Two strokes and a name for each contender, whatever is in the name."""
    lines = {"a < b & c": [(10.0, 1.0, 5.0), (1e5, 0.0, 9e4)], "one point": [(1e3, 2.0, 3.0)]}
    root = ElementTree.fromstring(latency_plot(lines))
    drawn = root.findall(f"{NAMESPACE}polyline")
    assert len(drawn) == 4
    for line in drawn:
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    texts = [element.text for element in root.findall(f"{NAMESPACE}text")]
    assert "a < b & c" in texts


def test_slower_is_higher() -> None:
    """p99 lies above p50."""
    root = ElementTree.fromstring(latency_plot({"x": [(10.0, 1.0, 50.0)]}))
    p50, p99 = (line.attrib["points"] for line in root.findall(f"{NAMESPACE}polyline"))
    assert float(p99.split(",")[1]) < float(p50.split(",")[1])


def test_nothing_to_plot_is_no_plot() -> None:
    """It does not draw empty axes."""
    with pytest.raises(AssertionError):
        latency_plot({})
