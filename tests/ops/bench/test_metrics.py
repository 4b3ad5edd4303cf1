"""The bench of what being watched costs: its arithmetic, and that it cannot pass for nothing."""

from __future__ import annotations

import doctest
import os
import urllib.request
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest

from ops.bench import metrics, watched
from ops.bench.metrics import METRICS, MODES, OFF, TRACES, Collector, Measured, markdown, observed
from ops.bench.plan import Trial
from ops.bench.throughput import Run
from ops.bench.watched import LOOP, OTHERS, Medians, Own, Place

RUN = Run(Trial("millstream", "b", "exactly_once", 1), rate=5.0, program_us=2.0)


def test_the_examples_hold() -> None:
    """As the docstrings say them."""
    assert doctest.testmod(metrics).failed == 0
    assert doctest.testmod(watched).failed == 0


def test_one_call_that_was_interrupted_does_not_count() -> None:
    """The garbage collector's turn falls into whichever place is there."""
    clocks = Medians()
    lengths = iter([2_000, 2_000, 2_000, 400_000])
    timed = clocks.around("x", lambda: sum(range(next(lengths))))
    for _ in range(4):
        timed()
    usual, largest = clocks.usual()["x"] / 4, max(clocks.each["x"])
    assert usual < largest / 4
    assert sum(clocks.each["x"]) == clocks.cpu["x"]


@pytest.mark.parametrize(("name", "module", "path"), [*LOOP, *OTHERS])
def test_a_place_that_is_timed_is_there(name: str, module: str, path: str) -> None:
    """Else its time would be missing from the sum."""
    owner, _, function = path.partition(".")
    assert function in vars(getattr(import_module(module), owner)), name


def test_each_mode_is_compared_with_its_own_round() -> None:
    """Not with the median of all: others' load moves from round to round."""
    found: list[Measured] = []
    for number, base in ((1, 100.0), (2, 50.0), (3, 200.0)):
        rates = (base, 0.99 * base, 0.9 * base)
        found += [Measured(m, number, r, 1 / r, 1, 1) for m, r in zip(MODES, rates, strict=True)]
    own = [Own(METRICS, 4.0, (Place("a reading of /metrics", 1.0, 5), Place("x", 0.02, 7)))]
    text = markdown(own, found, "b", 10, datetime(2026, 1, 1, tzinfo=UTC))
    assert "| metrics | 99 | 0.990 (0.990 to 0.990) |" in text
    assert "| metrics and traces | 90 | 0.900 (0.900 to 0.900) |" in text
    assert "**All but readings of /metrics: 0.50% of the process's CPU.**" in text


@pytest.mark.parametrize(("mode", "requests"), [(METRICS, 0), (TRACES, 0)])
def test_a_run_that_nobody_watched_is_no_result(mode: str, requests: int) -> None:
    """Else metrics that are off would cost nothing."""
    with pytest.raises(SystemExit, match="nobody read"):
        metrics._measured(mode, 1, RUN, None, requests)
    assert metrics._measured(OFF, 1, RUN, None, 0).rate == 5.0


def test_the_environment_is_of_the_mode_alone(tmp_path: Path) -> None:
    """And gone afterwards; the collector counts what comes."""
    collector = Collector()
    try:
        for mode, names in ((OFF, 0), (METRICS, 2), (TRACES, 3)):
            with observed(mode, tmp_path, collector):
                given = [
                    n
                    for n in os.environ
                    if n.startswith(("MILLSTREAM_METRICS", "MILLSTREAM_TRACES"))
                ]
                assert len(given) == names
        with urllib.request.urlopen(collector.url, b"x", timeout=10) as answer:
            assert answer.status == 200
        assert collector.requests == 1
    finally:
        collector.close()
    assert not [n for n in os.environ if n.startswith("MILLSTREAM_METRICS")]
