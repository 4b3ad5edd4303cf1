"""`make bench-loop-kafka`: prequential accuracy of the loop through real Kafka.

Each stream and delay is a run of its own, kept in .run/bench-loop-kafka: what is there already is
not run again, and the report is made of everything that is there.
"""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from millstream.errors import MillstreamError
from ops.bench.loop.passage import Passage
from ops.bench.loop.pieces import Piece, Setting, file_of, read, save
from ops.bench.loop.streams import GOALS, load, names
from ops.bench.loop.through_results import write_through
from ops.bench.machine import describe
from ops.kafka.fetch import REPOSITORY

RESULTS: Final = Path(__file__).parents[1] / "results"
FOLDER: Final = REPOSITORY / ".run" / "bench-loop-kafka"
SCHEDULE_LABELS: Final = 500
"""As a stream.toml has it that says nothing."""
STEP: Final = 50
"""One model answers them all, so the accuracy lost behind a change grows with it, as the time that
a run takes grows with less."""
SAID_EVERY: Final = 2_000
STREAMS: Final = ",".join(GOALS)


def arguments(argv: list[str]) -> Namespace:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m ops.bench.loop.through",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--streams", default=STREAMS, help="with commas (%(default)s)")
    parser.add_argument("--delays", default="0", help="events, with commas (%(default)s)")
    parser.add_argument(
        "--rate", type=float, default=0.0,
        help="events a second, whatever the retrainer does; else time stands still for it",
    )  # fmt: skip
    parser.add_argument("--trial", action="store_true", help="with shadow, judge and canary")
    parser.add_argument(
        "--schedule", type=int, default=SCHEDULE_LABELS, help="labels (%(default)s)"
    )
    parser.add_argument("--step", type=int, default=STEP, help="events at once (%(default)s)")
    parser.add_argument("--again", action="store_true", help="run what was run before, too")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args(argv)
    if given.rate < 0 or given.schedule < 1 or given.step < 1:
        parser.error("--rate, --schedule and --step are above 0")
    return given


def bench(given: Namespace, console: Console) -> int:
    """Run what is missing, write the report; 1 where a run failed or verify was not clean."""
    setting = Setting(given.step, given.schedule, given.rate, given.trial)
    delays = [int(delay) for delay in given.delays.split(",")]
    there, failed = names(given.data), False
    for delay in [] if given.report else delays:
        for name in given.streams.split(","):
            path = file_of(given.folder / "pieces", name, delay, setting)
            if name not in there:
                console.print(f"{name} is neither in {given.data} nor generated")
                failed = True
            elif given.again or not path.exists():
                failed |= not _one(given, name, delay, setting, console)
    pieces = sorted(
        (read(path) for path in (given.folder / "pieces").glob("*.json")),
        key=lambda piece: (list(GOALS).index(piece.stream), piece.delay, piece.setting.said),
    )
    if not pieces:
        console.print("nothing was run")
        return 1
    streams = {name: load(name, given.data) for name in {piece.stream for piece in pieces}}
    console.print(str(write_through(pieces, streams, describe(), given.results, datetime.now(UTC))))
    return int(failed or not all(piece.clean for piece in pieces))


def _one(given: Namespace, name: str, delay: int, setting: Setting, console: Console) -> bool:
    """One run, kept; whether it came to its end."""
    data, label = load(name, given.data), f"{name}, {delay:,} late, {setting.said}"
    folder = given.folder / f"{name}-{delay}"
    try:
        piece = Passage(data, folder, delay, setting, _progress(console, label, len(data))).run()
    except MillstreamError as why:
        console.print(f"{label}: {why}; logs: {folder / 'run' / 'logs'}", markup=False)
        return False
    save(piece, given.folder / "pieces")
    console.print(_line(label, piece), markup=False)
    return True


def _line(label: str, piece: Piece) -> str:
    return (
        f"{label}: {piece.loop.accuracy:.2f} with {len(piece.swaps)} swaps, frozen "
        f"{piece.frozen.accuracy:.2f}; {piece.facts['retrainings']} retrainings in "
        f"{piece.facts['seconds']:,.0f} s; verify {'clean' if piece.clean else 'NOT clean'}"
    )


def _progress(console: Console, label: str, rows: int) -> Callable[[str, int], None]:
    """A line now and then."""
    last = ("", -SAID_EVERY)

    def said(text: str, sent: int) -> None:
        nonlocal last
        if text != last[0] or sent - last[1] >= SAID_EVERY:
            last = (text, sent)
            console.print(f"{label}: {text}, {sent:,} of {rows:,}", markup=False)

    return said


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit code."""
    logging.basicConfig(level=logging.ERROR)
    return bench(arguments(sys.argv[1:] if argv is None else argv), Console(highlight=False))


if __name__ == "__main__":
    sys.exit(main())
