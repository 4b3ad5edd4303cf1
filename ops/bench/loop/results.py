"""A run as Markdown, JSON and a picture for each stream: files of their own, never overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from millstream.retraining.track import PolicySettings
from ops.bench.loop.contenders import ADWIN_ROWS, EVERY_LABELS, EVERY_ROWS, OURS
from ops.bench.loop.models import PARAMETERS
from ops.bench.loop.plot import loop_plot
from ops.bench.loop.prequential import STEP, Run
from ops.bench.loop.streams import GOALS, WARM_UP, Stream
from ops.bench.machine import Machine, plain
from ops.bench.results import table


@dataclass(slots=True)
class Found:
    """What was measured. runs: stream -> delay -> who -> run."""

    machine: Machine
    streams: dict[str, Stream] = field(default_factory=dict)
    runs: dict[str, dict[int, dict[str, Run]]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def write_results(found: Found, folder: Path, now: datetime) -> Path:
    """Write them; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"loop-{now:%Y-%m-%d-%H%M%S}"
    for stream, delays in found.runs.items():
        data = found.streams[stream]
        for delay, runs in delays.items():
            title = f"{stream}, outcomes {delay:,} events late" if delay else stream
            drawn = loop_plot(title, data.warm_up, data.changes, runs)
            (folder / _picture(name, stream, delay)).write_text(drawn, "utf-8")
    (folder / f"{name}.json").write_text(plain(json.dumps(_numbers(found), indent=1)) + "\n")
    path = folder / f"{name}.md"
    path.write_text(plain("\n\n".join(_markdown(found, name)) + "\n"), "utf-8")
    return path


def _picture(name: str, stream: str, delay: int) -> str:
    return f"{name}-{stream}{f'-late-{delay}' if delay else ''}.svg"


def _numbers(found: Found) -> dict[str, Any]:
    return {
        "machine": found.machine.cpu,
        "commit": found.machine.commit,
        "settings": asdict(PolicySettings()),
        "model": PARAMETERS,
        "streams": {
            stream: {
                str(delay): {
                    who: {
                        "accuracy": run.accuracy,
                        "events": len(run.right),
                        "swaps": list(run.swaps),
                        "fits": run.fits,
                        "fit_s": run.fit_s,
                    }
                    for who, run in runs.items()
                }
                for delay, runs in delays.items()
            }
            for stream, delays in found.runs.items()
        },
    }


def _markdown(found: Found, name: str) -> Iterator[str]:
    machine = found.machine
    yield f"# The loop, prequentially, {name.removeprefix('loop-')[:10]}"
    yield (
        f"{machine.cpu}, {machine.cores} cores; commit {machine.commit}; LightGBM "
        f"{version('lightgbm')}, River {version('river')}. One setting of the policy "
        "(millstream/retraining/track.py) for all streams, its defaults."
    )
    yield (
        f"Every event is answered before its outcome is known; with an outcome that is d events "
        f"late, what was answered d events ago is known. The first {WARM_UP:.0%} of a stream are "
        f"known at the start, and not counted. Labels are looked at every {STEP} events. Models "
        "are LightGBM's with "
        + ", ".join(f"{key} {value}" for key, value in PARAMETERS.items())
        + f". {EVERY_LABELS} labels: always the newest {EVERY_ROWS:,} rows. ADWIN: the "
        f"{ADWIN_ROWS} rows behind its alarm. No-change: the newest label that is known. This is "
        "the policy in one process, without Kafka; a winner answers from the next event on."
    )
    yield "## Goals, outcomes at once"
    yield table(["stream", "wanted", "measured", "swaps", "reached"], list(_goals(found)))
    yield "## Accuracy in per cent (swaps)"
    rows = [
        [stream, f"{delay:,}", *(_cell(run) for run in runs.values())]
        for stream, delays in found.runs.items()
        for delay, runs in delays.items()
    ]
    first = next(iter(next(iter(found.runs.values())).values()))
    yield table(["stream", "events late", *first], rows)
    yield from _limits(found)
    for stream, delays in found.runs.items():
        for delay in delays:
            yield f"![{stream}, {delay} late]({_picture(name, stream, delay)})"


def _cell(run: Run) -> str:
    return f"{run.accuracy:.1f} ({len(run.swaps)})" if run.swaps else f"{run.accuracy:.1f}"


def _goals(found: Found) -> Iterator[list[str]]:
    for stream, goal in GOALS.items():
        run = found.runs.get(stream, {}).get(0, {}).get(OURS)
        if run is None:
            continue
        often = len(run.right) // EVERY_LABELS
        reached = run.accuracy >= goal and len(run.swaps) < often
        yield [
            stream,
            f">= {goal}, fewer than {often} swaps",
            f"{run.accuracy:.2f}",
            str(len(run.swaps)),
            "yes" if reached else "**no**",
        ]


def _limits(found: Found) -> Iterator[str]:
    """What is worse than something simpler: it is said, not averaged away."""
    for stream, delays in found.runs.items():
        for delay, runs in delays.items():
            ours = runs[OURS].accuracy
            better = [
                f"{who} ({run.accuracy:.1f})"
                for who, run in runs.items()
                if who != OURS and run.accuracy > ours
            ]
            if better:
                yield (
                    f"{stream}, {delay:,} events late: better than {ours:.1f} is "
                    + ", ".join(better)
                    + "."
                )
    if found.absent:
        yield "Not here, for want of the data folder: " + ", ".join(found.absent) + "."
