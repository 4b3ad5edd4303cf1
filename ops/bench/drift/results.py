"""A run as Markdown, JSON and a picture for each stream: files of their own, never overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ops.bench.drift.detectors import OURS, SLOW
from ops.bench.drift.score import SETTLE_EVENTS, Score
from ops.bench.drift.streams import BURSTS, STATIONARY_EVENTS
from ops.bench.machine import Machine, plain
from ops.bench.results import table

MISSING = "-"


@dataclass(slots=True)
class Found:
    """What one run measured. scores: stream -> detector -> score."""

    machine: Machine
    seeds: int
    stationary_seeds: int
    slow_seeds: int
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    plots: dict[str, str] = field(default_factory=dict)
    monitor_rates: dict[int, float] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    blind: bool = False


def write_results(found: Found, folder: Path, now: datetime) -> Path:
    """Write them; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"drift-{'blind-' if found.blind else ''}{now:%Y-%m-%d-%H%M%S}"
    for stream, text in found.plots.items():
        (folder / _picture(name, stream)).write_text(text, "utf-8")
    (folder / f"{name}.json").write_text(plain(json.dumps(_numbers(found), indent=1)) + "\n")
    path = folder / f"{name}.md"
    path.write_text(plain("\n\n".join(_markdown(found, name)) + "\n"), "utf-8")
    return path


def _picture(name: str, stream: str) -> str:
    return f"{name}-{stream.replace(', ', '-').replace(' ', '-').replace('%', '')}.svg"


def _numbers(found: Found) -> dict[str, Any]:
    return {
        "machine": found.machine.cpu,
        "commit": found.machine.commit,
        "seeds": found.seeds,
        "stationary_seeds": found.stationary_seeds,
        "slow_seeds": found.slow_seeds,
        "monitor_events_per_second": found.monitor_rates,
        "streams": {
            stream: {
                detector: {
                    "delay": score.delay,
                    "delays": score.delays,
                    "missed": score.missed,
                    "false_per_10000": score.rate,
                    "interval": score.interval(),
                    "false": score.false,
                    "events": score.events,
                    "events_per_second": score.events_per_second,
                }
                for detector, score in scores.items()
            }
            for stream, scores in found.scores.items()
        },
    }


def _markdown(found: Found, name: str) -> Iterator[str]:
    machine = found.machine
    yield f"# Drift detection, {name.removeprefix('drift-').removeprefix('blind-')[:10]}"
    load = " ".join(f"{value:.1f}" for value in machine.load)
    yield (
        f"{machine.cpu}, {machine.cores} cores, load {load}; commit {machine.commit}; River "
        f"{version('river')}, numpy {machine.versions['numpy']}."
    )
    yield (
        f"{found.seeds} seeds of each stream with changes (model and rows drawn anew), "
        f"{found.stationary_seeds} of each stationary one ({STATIONARY_EVENTS:,} events each). "
        f"{SLOW} is slow: {found.slow_seeds} seeds. River's detectors with their defaults; "
        f"Millstream with its own: one setting for all streams. Delay: mean events from a change "
        f"to the first alarm. Alarms within {SETTLE_EVENTS:,} events behind a found change count "
        "as that change's. Intervals are 95 %: the wider of a bootstrap over seeds and Poisson's."
    )
    if found.blind:
        yield (
            "**Blind**: none of the monitor's constants was chosen on any of these streams "
            "(ops/bench/drift/blind.py). The goals are those of the others, and bind nobody here."
        )
    yield "## Goals"
    yield table(["goal", "wanted", "measured", "reached"], list(_goals(found)))
    yield from _changes(found, name)
    yield from _stationary(found, name)
    if found.monitor_rates:
        yield "## The monitor's hot path"
        yield (
            "Errors, confidence and ten score bins of a version, counted and judged; events a "
            "second of CPU, by batch: "
            + ", ".join(f"{size:,}: {rate:,.0f}" for size, rate in found.monitor_rates.items())
            + ". It keeps counts only, so the number of features changes nothing."
        )
    if found.absent:
        yield "Not here, for want of the data folder: " + ", ".join(found.absent) + "."


def _goals(found: Found) -> Iterator[list[str]]:
    for stream, scores in found.scores.items():
        ours, adwin = scores.get(OURS), scores.get("ADWIN")
        if ours is None:
            continue
        if ours.delays or ours.missed:
            if adwin is not None and ours.delay is not None and adwin.delay is not None:
                reached = ours.delay <= adwin.delay
                yield [
                    f"{stream}: mean delay", f"≤ {adwin.delay:.1f} (ADWIN)", f"{ours.delay:.1f}",
                    _said(reached),
                ]  # fmt: skip
            changes = len(ours.delays) + ours.missed
            theirs = f" (ADWIN {adwin.missed})" if adwin is not None else ""
            yield [
                f"{stream}: missed of {changes:,}", "0", f"{ours.missed}{theirs}",
                _said(ours.missed == 0),
            ]  # fmt: skip
        else:
            wanted = 2.0 if stream in BURSTS else 0.2
            yield [
                f"{stream}: false alarms per 10,000", f"≤ {wanted:g}",
                f"{ours.rate:.2f} ({_interval(ours)})", _said(ours.rate <= wanted),
            ]  # fmt: skip
    for size, rate in found.monitor_rates.items():
        if size >= 1_000:
            yield [
                f"monitor, batches of {size:,}: events/s", "≥ 100,000", f"{rate:,.0f}",
                _said(rate >= 100_000),
            ]  # fmt: skip


def _said(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _interval(score: Score) -> str:
    low, high = score.interval()
    return f"{low:.2f} to {high:.2f}"


def _changes(found: Found, name: str) -> Iterator[str]:
    for stream, scores in found.scores.items():
        if not any(score.delays or score.missed for score in scores.values()):
            continue
        yield f"## {stream}"
        rows = []
        for detector, score in scores.items():
            changes = len(score.delays) + score.missed
            rows.append(
                [
                    detector,
                    MISSING if score.delay is None else f"{score.delay:,.1f}",
                    f"{score.missed} of {changes}",
                    f"{score.rate:.2f}",
                    _interval(score),
                    f"{score.events_per_second:,.0f}",
                ]
            )
        yield table(["", "delay", "missed", "false per 10,000", "interval", "events/s"], rows)
        if stream in found.plots:
            yield f"![{stream}]({_picture(name, stream)})"


def _stationary(found: Found, name: str) -> Iterator[str]:
    still: Mapping[str, Mapping[str, Score]] = {
        stream: scores
        for stream, scores in found.scores.items()
        if not any(score.delays or score.missed for score in scores.values())
    }
    if not still:
        return
    yield "## Nothing changes: false alarms per 10,000 events (interval)"
    for stream, (quiet, burst, calm, long) in BURSTS.items():
        if stream in still:
            yield (
                f"{stream}: errors of {quiet:.0%}, and of {burst:.0%} in bursts of {long} events "
                f"on average, {calm} between them."
            )
    detectors = list(next(iter(still.values())))
    rows = [
        [
            detector,
            *(f"{scores[detector].rate:.2f} ({_interval(scores[detector])})"
              for scores in still.values()),
        ]
        for detector in detectors
    ]  # fmt: skip
    yield table(["", *still], rows)
    for stream in still:
        if stream in found.plots:
            yield f"![{stream}]({_picture(name, stream)})"
