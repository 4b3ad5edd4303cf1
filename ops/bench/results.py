"""A run's results as Markdown, JSON and a plot: files of their own, never overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import median

from ops.bench.contenders import AT_LEAST, CONTENDERS, EXACTLY
from ops.bench.data import SUBJECTS
from ops.bench.figures import Spread
from ops.bench.latency import FLOOR, KEPT_UP, Latency
from ops.bench.machine import plain
from ops.bench.plot import Line, latency_plot
from ops.bench.summary import (
    QUIET_CORES,
    Found,
    bottleneck,
    goals,
    latency_median,
    overhead_us,
    paired_ratio,
)
from ops.bench.throughput import Run

GUARANTEES = {EXACTLY: "exactly once", AT_LEAST: "at least once"}


def write_results(found: Found, folder: Path, now: datetime) -> Path:
    """Write them, named after the time; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{now:%Y-%m-%d-%H%M%S}{'-quick' if found.quick else ''}"
    lines = plot_lines(found)
    if lines:
        (folder / f"{name}.svg").write_text(latency_plot(lines), "utf-8")
    (folder / f"{name}.json").write_text(plain(json.dumps(asdict(found), indent=1)) + "\n", "utf-8")
    path = folder / f"{name}.md"
    path.write_text(plain(markdown(found, name, bool(lines))), "utf-8")
    return path


def markdown(found: Found, name: str, plotted: bool) -> str:
    """The whole report."""
    parts = [f"# Benchmark of {name[:10]}", *_heading(found), *_goal_table(found)]
    for letter in SUBJECTS:
        parts += _throughput(found, letter)
    parts += _latency_tables(found)
    if plotted:
        parts.append(f"![latency against rate]({name}.svg)")
    for letter in SUBJECTS:
        parts += _steps(found, letter)
        parts += _limit_table(found, letter)
    parts += [*_sink(found), *_missing(found)]
    return "\n\n".join(parts) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column to the left."""
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def _heading(found: Found) -> Iterator[str]:
    machine = found.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    yield (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}; "
        f"commit {machine.commit}; {versions}."
    )
    load = " ".join(f"{value:.1f}" for value in machine.load)
    after = " ".join(f"{value:.1f}" for value in found.load_end)
    others = found.others()
    yield (
        f"Load average before {load}, after {after}. While contenders ran, others used "
        f"{others:.2f} cores (median), the benchmark's own watching included: "
        + (
            "a quiet machine."
            if others <= QUIET_CORES
            else "**not a quiet machine: believe the ratios, not the rates.**"
        )
    )
    rounds = "one run, no median" if found.rounds == 1 else f"medians of {found.rounds} runs"
    yield (
        f"{found.events:,} events a stream, {rounds}; broker, contender and ClickHouse share the "
        "cores." + (" Quick: a JVM is still warming up for most of its run." if found.quick else "")
    )
    for letter in SUBJECTS:
        runs = found.good("millstream", letter, EXACTLY)
        if runs:
            runs.sort(key=lambda run: run.rate)
            spent = runs[len(runs) // 2].spent
            said = bottleneck(spent, found.steps.get(letter, []), machine.cores)
            yield f"Bottleneck of {letter.upper()}: {said}."


def _goal_table(found: Found) -> Iterator[str]:
    rows = []
    for goal in goals(found):
        sign = "≤" if goal.at_most else "≥"
        measured = "-" if goal.measured is None else f"{goal.measured:,.2f}"
        verdict = {None: "not measured", True: "yes", False: "**no**"}[goal.reached]
        rows.append([goal.text, f"{sign} {goal.wanted:,g}", measured, verdict])
    yield "## Goals"
    yield table(["goal", "wanted", "measured", "reached"], rows)


def _throughput(found: Found, letter: str) -> Iterator[str]:
    subject = SUBJECTS[letter]
    if not any(run.trial.subject == letter for run in found.runs):
        return
    yield f"## Throughput, {letter.upper()}: {subject.shape}, {subject.model}"
    for guarantee, title in GUARANTEES.items():
        ours = found.good("millstream", letter, guarantee)
        rows = []
        for contender in CONTENDERS.values():
            runs = found.good(contender.name, letter, guarantee)
            if not runs:
                continue
            rate = Spread.of([run.rate for run in runs])
            share = paired_ratio(ours, runs)
            rows.append(
                [
                    contender.title + (" (cut)" if any(run.cut for run in runs) else ""),
                    "-" if share is None else f"{share:.2f}",
                    _times(runs, ours),
                    f"{rate.median:,.0f}",
                    f"{rate.low:,.0f} to {rate.high:,.0f}",
                    f"{median(run.program_us for run in runs):.2f}",
                    f"{median(run.broker_us for run in runs):.2f}",
                    f"{max(run.peak_mib for run in runs):,.0f}",
                    f"{median(run.start_s for run in runs):.1f}",
                ]
            )
        if rows:
            yield f"### {title.capitalize()}"
            head = [
                "",
                "Millstream ÷ it",
                "its CPU ÷ Millstream's",
                "events/s",
                "lowest to highest",
                "its CPU µs/event",
            ]
            yield table([*head, "broker's CPU µs/event", "peak MiB", "start s"], rows)


def _times(runs: list[Run], ours: list[Run]) -> str:
    """CPU an event of one contender in that of Millstream: what others' load bends least."""
    if not ours:
        return "-"
    own = median(run.program_us for run in ours)
    return f"{median(run.program_us for run in runs) / own:.2f}" if own else "-"


def _latency_tables(found: Found) -> Iterator[str]:
    if not found.latencies:
        return
    letter = found.latencies[0].trial.subject
    yield f"## Latency, {letter.upper()}: produce to read_committed read, ms"
    yield (
        "From the time at which the event was to be sent. late: how far the generator was behind "
        "at worst, which the percentiles contain. Shares below 100 % did not keep up."
    )
    yield table(
        ["", "events/s", "p50", "p99", "p99.9", "answered", "late ms", "CPU µs/event", "broker's"],
        list(_latency_rows(found.latencies)),
    )
    if found.sweep:
        yield "### Millstream, exactly once, from few events to many"
        yield table(
            ["", "events/s", "p50", "p99", "p99.9", "answered", "late ms", "CPU µs/event",
             "broker's"],
            list(_latency_rows(found.sweep)),
        )  # fmt: skip


def _latency_rows(latencies: list[Latency]) -> Iterator[list[str]]:
    seen: dict[tuple[str, str, int], list[Latency]] = {}
    for each in latencies:
        seen.setdefault((each.trial.contender, each.trial.guarantee, each.rate), []).append(each)
    for (contender, guarantee, rate), runs in seen.items():
        title = "floor: nothing between" if contender == FLOOR else _title(contender, guarantee)
        good = [run for run in runs if run.found is not None]
        cells = [title, f"{rate:,}"]
        if not good:
            yield [*cells, *(["failed"] * 3), *(["-"] * 4)]
            continue
        for take in (lambda each: each.p50, lambda each: each.p99, lambda each: each.p999):
            value = latency_median(runs, contender, guarantee, rate, take)
            cells.append("-" if value is None else f"{value:,.1f}")
        cells.append(f"{min(run.share for run in good):.1%}")
        cells.append(f"{max(run.late_ms for run in good):,.0f}")
        spent = [run.spent for run in good if run.spent is not None]
        cells.append("-" if contender == FLOOR else _us([s.program for s in spent], rate))
        cells.append(_us([s.broker for s in spent], rate))
        yield cells


def _us(cores: list[float], rate: int) -> str:
    return f"{1e6 * median(cores) / rate:.1f}" if cores else "-"


def _title(contender: str, guarantee: str) -> str:
    return f"{CONTENDERS[contender].title}, {GUARANTEES[guarantee]}"


def plot_lines(found: Found) -> dict[str, Line]:
    """Medians by contender and guarantee, those that answered everything only."""
    made: dict[str, Line] = {}
    latencies = [*found.latencies, *found.sweep]
    for contender, guarantee in dict.fromkeys(
        (e.trial.contender, e.trial.guarantee) for e in latencies
    ):
        points = []
        for rate in sorted({each.rate for each in latencies}):
            kept = [each for each in latencies if each.share >= KEPT_UP]
            low = latency_median(kept, contender, guarantee, rate, lambda each: each.p50)
            high = latency_median(kept, contender, guarantee, rate, lambda each: each.p99)
            if low is not None and high is not None:
                points.append((float(rate), low, high))
        if points:
            made["floor" if contender == FLOOR else _title(contender, guarantee)] = points
    return made


def _steps(found: Found, letter: str) -> Iterator[str]:
    steps = found.steps.get(letter)
    if not steps:
        return
    yield f"## Where an event's time goes in our loop, {letter.upper()}, exactly once"
    rows = [
        [step.name, f"{step.cpu_us:.3f}", f"{step.wall_us:.3f}", f"{step.calls:,}"]
        for step in steps
    ]
    total = sum(step.cpu_us for step in steps)
    rows.append(["**all**", f"{total:.3f}", f"{sum(step.wall_us for step in steps):.3f}", ""])
    rows.append(["**all but the model**", f"{overhead_us(steps):.3f}", "", ""])
    yield (
        "CPU of the loop's thread (librdkafka's own threads are not in it), and wall time, which "
        "holds waits for the broker."
    )
    yield table(["step", "CPU µs/event", "wall µs/event", "calls"], rows)
    if found.absent_steps:
        yield f"Not found in the program: {', '.join(found.absent_steps)}."


def _limit_table(found: Found, letter: str) -> Iterator[str]:
    limits = found.limits.get(letter)
    if not limits:
        return
    yield f"## One thing alone, {letter.upper()}: CPU µs a row by batch size"
    sizes = list(limits[0].us)
    rows = [[limit.name, *(f"{limit.us[size]:.3f}" for size in sizes)] for limit in limits]
    yield table(["", *(f"{size:,}" for size in sizes)], rows)


def _sink(found: Found) -> Iterator[str]:
    if found.sink is None:
        return
    yield "## Sink into the embedded ClickHouse (another process)"
    if found.sink.failure is not None:
        yield f"failed: {found.sink.failure}"
        return
    sink = found.sink
    yield (
        f"{sink.rate:,.0f} prediction rows/s of {sink.rows:,}; {sink.sink_us:.2f} µs CPU a row in "
        f"the sink, {sink.warehouse_us:.2f} in ClickHouse; peak {sink.peak_mib:,.0f} MiB."
    )


def _missing(found: Found) -> Iterator[str]:
    lines = [f"- {CONTENDERS[name].title}: {why}" for name, why in found.absent.items()]
    if lines:
        yield "## Not here"
        yield "\n".join(lines)
    failed = [
        f"- {_title(run.trial.contender, run.trial.guarantee)}, {run.trial.subject.upper()}, "
        f"round {run.trial.round}:\n\n```\n{run.failure}\n```"
        for run in found.runs
        if run.failure is not None
    ]
    failed += [
        f"- latency of {each.trial.contender}, {GUARANTEES[each.trial.guarantee]}, "
        f"at {each.rate:,}/s:\n\n```\n{each.failure}\n```"
        for each in [*found.latencies, *found.sweep]
        if each.failure is not None
    ]
    if failed:
        yield "## Failed"
        yield "\n".join(failed)
    if found.skipped:
        yield "## Left out for lack of time"
        yield "\n".join(f"- {what}" for what in found.skipped)
