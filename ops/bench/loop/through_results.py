"""What went through Kafka, as Markdown, JSON and pictures; nothing is overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ops.bench.loop.contenders import ADWIN, EVERY, EVERY_LABELS, FROZEN, OURS
from ops.bench.loop.models import PARAMETERS
from ops.bench.loop.pieces import Piece
from ops.bench.loop.plot import loop_plot
from ops.bench.loop.prequential import Run, no_change
from ops.bench.loop.streams import GOALS, WARM_UP, Stream
from ops.bench.machine import Machine, plain
from ops.bench.results import table

NO_CHANGE: Final = "no change"
THROUGH: Final = "the loop through Kafka"
Alone = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""Stream -> delay -> who -> figures of the bench in one process."""


def newest_alone(folder: Path) -> tuple[str, Alone]:
    """The newest run of the bench in one process that lies there with all four streams, by name;
    empty without one."""
    for path in sorted(folder.glob("loop-2*.json"), reverse=True):
        streams: Alone = json.loads(path.read_text("utf-8"))["streams"]
        if all(name in streams for name in GOALS):
            return path.stem, streams
    return "", {}


def write_through(
    pieces: Sequence[Piece],
    streams: Mapping[str, Stream],
    machine: Machine,
    folder: Path,
    now: datetime,
) -> Path:
    """Write the report; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"loop-kafka-{now:%Y-%m-%d-%H%M%S}"
    alone = newest_alone(folder)
    for piece in pieces:
        data = streams[piece.stream]
        runs = {THROUGH: piece.loop, FROZEN: piece.frozen}
        runs[NO_CHANGE] = no_change(data, piece.delay)
        title = f"{piece.stream} through Kafka, outcomes {piece.delay:,} events late"
        drawn = loop_plot(title, data.warm_up, data.changes, runs)
        (folder / _picture(name, piece)).write_text(drawn, "utf-8")
    told = {
        "machine": machine.cpu,
        "commit": machine.commit,
        "model": PARAMETERS,
        "alone": alone[0],
        "pieces": [_numbers(piece, streams[piece.stream]) for piece in pieces],
    }
    (folder / f"{name}.json").write_text(plain(json.dumps(told, indent=1)) + "\n", "utf-8")
    path = folder / f"{name}.md"
    text = "\n\n".join(_markdown(pieces, streams, machine, name, alone))
    path.write_text(plain(text) + "\n", "utf-8")
    return path


def _picture(name: str, piece: Piece) -> str:
    said = piece.setting.said.replace(", ", "-").replace(" ", "-")
    return f"{name}-{piece.stream}-{piece.delay}-{said}.svg"


def _numbers(piece: Piece, data: Stream) -> dict[str, Any]:
    return {
        "stream": piece.stream,
        "delay": piece.delay,
        "setting": asdict(piece.setting),
        "accuracy": piece.loop.accuracy,
        "frozen": piece.frozen.accuracy,
        "no_change": no_change(data, piece.delay).accuracy,
        "events": len(piece.counted.right),
        "answered_first": piece.counted.answered_first,
        "differing": piece.counted.differing,
        "swaps": list(piece.swaps),
        "clean": piece.clean,
        **piece.facts,
    }


def _markdown(
    pieces: Sequence[Piece],
    streams: Mapping[str, Stream],
    machine: Machine,
    name: str,
    alone: tuple[str, Alone],
) -> Iterator[str]:
    yield f"# The loop through Kafka, prequentially, {name.removeprefix('loop-kafka-')[:10]}"
    yield f"{machine.cpu}, {machine.cores} cores; commit {machine.commit}."
    yield from _how(pieces)
    yield "## Goals, outcomes at once"
    yield table(["stream", "wanted", "measured", "swaps", "reached"], list(_goals(pieces)))
    yield "## Accuracy in per cent (swaps)"
    yield _accuracies(pieces, streams, alone[1])
    if alone[0]:
        yield (
            f"The last three columns are the newest run in one process, [{alone[0]}]({alone[0]}.md)"
            ": there the policy is looked at every 10 labels, and a winner answers at once."
        )
    yield "## What happened"
    yield _happened(pieces)
    yield from _faults(pieces)
    for piece in pieces:
        yield f"![{piece.stream}, {piece.delay} late]({_picture(name, piece)})"


def _how(pieces: Sequence[Piece]) -> Iterator[str]:
    yield (
        "Apache Kafka, ClickHouse (chDB), scorer, join, watch, sink and retrainer are the programs "
        "that users run, each a process. A stream has one partition, so that row i has offset i; "
        f"its first {WARM_UP:.0%} are known at the start and not counted. An outcome is published "
        "when the event so many later was sent. Each answer is counted as it stands in "
        "`labelled_now`: what the model of that moment said at that offset, against its outcome. "
        "Frozen is the first model's own session on the same events. One stream.toml for all: "
        + _setting(pieces)
        + "; models are LightGBM's with "
        + ", ".join(f"{key} {value}" for key, value in PARAMETERS.items())
        + "."
    )
    if any(not piece.setting.rate for piece in pieces):
        steps = sorted({piece.setting.step for piece in pieces if not piece.setting.rate})
        yield (
            f"**Standing**: {' or '.join(map(str, steps))} events are sent at a time, one model "
            "answers them; the policy counts labels, a retraining takes seconds; so nothing is "
            "published while the retrainer is at a stage that computes, or has a reason and has "
            "not begun, and behind a decision single events are sent until the scorer has "
            "switched. **N a second**: nothing waits for anything; what a retraining takes is "
            "that many events late."
        )
    if any(piece.setting.trial for piece in pieces):
        yield (
            "**On trial**: with `shadow = true`: a winner is shadowed, judged and tried as a "
            "canary before it answers, each on labels that come meanwhile."
        )


def _setting(pieces: Sequence[Piece]) -> str:
    found = sorted({piece.setting.schedule for piece in pieces})
    labels = " or ".join(str(number) for number in found)
    said = "`rows_max = 25000`, `shadow = false` unless said, `inputs = false`"
    return f"`schedule_labels = {labels}`, {said}"


def _goals(pieces: Sequence[Piece]) -> Iterator[list[str]]:
    for piece in pieces:
        goal = GOALS.get(piece.stream)
        if goal is None or piece.delay:
            continue
        often = len(piece.counted.right) // EVERY_LABELS
        reached = piece.loop.accuracy >= goal and len(piece.swaps) < often and piece.clean
        yield [
            f"{piece.stream}, {piece.setting.said}",
            f">= {goal}, fewer than {often} swaps, clean",
            f"{piece.loop.accuracy:.2f}",
            str(len(piece.swaps)),
            "yes" if reached else "**no**",
        ]


def _accuracies(pieces: Sequence[Piece], streams: Mapping[str, Stream], alone: Alone) -> str:
    others = (OURS, ADWIN, EVERY)
    head = ["stream", "events late", "fed", THROUGH, FROZEN, NO_CHANGE]
    rows = []
    for piece in pieces:
        known = alone.get(piece.stream, {}).get(str(piece.delay), {})
        rows.append(
            [
                piece.stream,
                f"{piece.delay:,}",
                piece.setting.said,
                _cell(piece.loop),
                _cell(piece.frozen),
                _cell(no_change(streams[piece.stream], piece.delay)),
                *(_known(known[who]) if who in known else "" for who in others),
            ]
        )
    return table([*head, *(f"{who}, one process" for who in others)], rows)


def _cell(run: Run) -> str:
    return f"{run.accuracy:.1f} ({len(run.swaps)})" if run.swaps else f"{run.accuracy:.1f}"


def _known(figures: Mapping[str, Any]) -> str:
    return f"{figures['accuracy']:.1f} ({len(figures['swaps'])})"


def _happened(pieces: Sequence[Piece]) -> str:
    head = ["stream", "late", "fed", "retrainings", "began by", "incidents", "seconds of stages"]
    head += ["events alone", "seconds in all", "verify"]
    rows = [
        [
            piece.stream,
            f"{piece.delay:,}",
            piece.setting.said,
            _counts(piece.facts["outcomes"]),
            _counts(piece.facts["triggers"]),
            str(piece.facts["incidents"]),
            ", ".join(f"{stage} {took:g}" for stage, took in piece.facts["stage_s"].items()),
            str(piece.facts["trickled"]),
            f"{piece.facts['seconds']:,.0f}",
            "clean" if piece.clean else "**not clean**",
        ]
        for piece in pieces
    ]
    return table(head, rows)


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(found.items())) or "none"


def _faults(pieces: Sequence[Piece]) -> Iterator[str]:
    """What is not as it should be, each said."""
    for piece in pieces:
        who = f"{piece.stream}, {piece.delay:,} late, {piece.setting.said}"
        if piece.counted.differing:
            yield (
                f"{who}: **{piece.counted.differing:,} of {piece.counted.answered_first:,}** "
                "answers of the first model are not its own session's."
            )
        if piece.facts["missed"]:
            yield (
                f"{who}: {piece.facts['missed']} times the retrainer had a reason and did not "
                "begin in time; it was fed on."
            )
        for reason in piece.facts["failures"]:
            yield f"{who}: a retraining failed: {reason}"
    agreed = [piece for piece in pieces if not piece.counted.differing]
    if agreed:
        answers = sum(piece.counted.answered_first for piece in agreed)
        yield (
            f"In {len(agreed)} of {len(pieces)} runs all answers of the first model ({answers:,}) "
            "are those that its own session gives."
        )
