"""Ratios, goals and the bottleneck's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.bench.figures import percentiles
from ops.bench.latency import Latency
from ops.bench.machine import Machine
from ops.bench.plan import Trial
from ops.bench.results import markdown, plot_lines, write_results
from ops.bench.stages import Step
from ops.bench.summary import Found, Goal, bottleneck, goals, overhead_us, paired_ratio
from ops.bench.throughput import Run
from ops.bench.usage import Spent

EXACTLY = "exactly_once"


def _found() -> Found:
    return Found(Machine("cpu", 2, 4.0, "Linux", "abc", (0.1, 0.2, 0.3), {}), 100, 2, 3.0, False)


def _run(contender: str, number: int, rate: float, subject: str = "b") -> Run:
    return Run(
        Trial(contender, subject, EXACTLY, number),
        rate=rate,
        window_events=10,
        program_us=100 / rate,
    )


def _latency(
    contender: str, latency_ms: int, share: float = 1.0, guarantee: str = EXACTLY
) -> Latency:
    found = percentiles(np.array([latency_ms * 1000]))
    return Latency(Trial(contender, "b", guarantee, 1), 10_000, found, share)


def test_ratios_are_taken_within_a_round() -> None:
    """A round that was slow for both does not bend them; a failed partner is left out."""
    ours = [_run("millstream", 1, 100.0), _run("millstream", 2, 10.0), _run("millstream", 3, 7.0)]
    theirs = [_run("echo", 1, 50.0), _run("echo", 2, 5.0)]
    assert paired_ratio(ours, theirs) == 2.0
    assert paired_ratio(ours, []) is None


def test_failed_runs_do_not_count() -> None:
    """Neither for the median nor for a goal."""
    found = _found()
    found.runs = [_run("echo", 1, 100.0), Run(Trial("echo", "b", EXACTLY, 2), failure="it ended")]
    spread = found.rate("echo", "b", EXACTLY)
    assert spread is not None
    assert (spread.median, spread.runs) == (100.0, 1)


def test_a_run_that_was_cut_early_judges_no_goal() -> None:
    """What a JVM does in its first seconds is not its speed."""
    cut = Run(Trial("streams-2", "b", EXACTLY, 1), rate=1.0, cut=True, window_s=3.0)
    found = _found()
    found.runs = [_run("millstream", 1, 300.0), cut]
    assert (
        next(g for g in goals(found) if g.text.startswith("B: Millstream exactly")).reached is None
    )
    found.runs = [_run("millstream", 1, 300.0), replace(cut, window_s=25.0)]
    assert next(g for g in goals(found) if g.text.startswith("B: Millstream exactly")).reached


def test_a_goal_is_reached_missed_or_not_measured() -> None:
    """Nothing that was not measured is called reached."""
    assert Goal("x", 2.0, 2.0).reached is True
    assert Goal("x", 2.0, 1.9).reached is False
    assert Goal("x", 2.0, 1.9, at_most=True).reached is True
    assert Goal("x", 2.0, None).reached is None
    assert all(goal.reached is None for goal in goals(_found()))


def test_latency_goals_compare_within_the_run() -> None:
    """With the better of Kafka Streams' thread counts; who left answers out has missed it."""
    found = _found()
    found.latencies = [
        _latency("millstream", 20),
        _latency("streams-1", 80),
        _latency("streams-2", 90),
    ]
    p50 = next(goal for goal in goals(found) if goal.text.startswith("p50 at 10,000/s ÷"))
    assert (p50.measured, p50.reached) == (0.25, True)
    found.latencies[0] = _latency("millstream", 20, share=0.9)
    p50 = next(goal for goal in goals(found) if goal.text.startswith("p50 at 10,000/s ÷"))
    assert p50.reached is False


def test_faster_than_nothing_is_not_believed() -> None:
    """Where the floor is slower than what stands on it, the machine was too busy to say."""
    found = _found()
    found.latencies = [
        _latency("millstream", 5, guarantee="at_least_once"),
        _latency("floor", 50, guarantee="at_least_once"),
    ]
    goal = next(goal for goal in goals(found) if "above the floor" in goal.text)
    assert goal.reached is None


@pytest.mark.parametrize(
    ("busiest", "idle", "others", "said"),
    [
        (0.97, 0.4, 0.0, "one thread: 'python'"),
        (0.6, 0.02, 0.0, "the machine's cores: none was idle"),
        (0.3, 0.02, 1.2, "shared with others"),
        (0.3, 1.2, 0.0, "waiting"),
    ],
)
def test_the_bottleneck_is_named(busiest: float, idle: float, others: float, said: str) -> None:
    """By what was busy and what was idle."""
    spent = Spent(10.0, 0.9, 0.4, others, idle, "python", busiest)
    steps = [Step("model", 1.0, 0.5, 3), Step("decode", 1.0, 0.2, 3)]
    line = bottleneck(spent, steps, 2)
    assert said in line
    assert "largest step is model, 0.50" in line
    assert overhead_us(steps) == 0.2


def test_a_report_is_whole_and_never_overwrites(tmp_path: Path) -> None:
    """Tables, failures and absent peers are in it; a second run is a second file."""
    from datetime import UTC, datetime

    found = _found()
    found.runs = [_run("millstream", 1, 300.0), _run("streams-2", 1, 100.0)]
    found.runs.append(Run(Trial("quix", "b", EXACTLY, 1), failure="it ended\nTraceback"))
    found.latencies = [_latency("millstream", 20)]
    found.absent = {"bytewax": "bytewax cannot be installed"}
    first = write_results(found, tmp_path, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    write_results(found, tmp_path, datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    assert len(list(tmp_path.glob("*.md"))) == len(list(tmp_path.glob("*.json"))) == 2
    text = first.read_text("utf-8")
    assert "| Kafka Streams, two threads | 3.00 | 3.00 | 100 |" in text
    assert "bytewax cannot be installed" in text
    assert "Traceback" in text
    assert list(plot_lines(found)) == ["Millstream, exactly once"]
    assert markdown(found, "2026-01-02", False)
