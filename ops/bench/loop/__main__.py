"""`make bench-loop`: prequential accuracy of the loop and of what it is compared with."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ops.bench.loop.contenders import CONTENDERS
from ops.bench.loop.models import Models
from ops.bench.loop.prequential import no_change, run
from ops.bench.loop.results import Found, write_results
from ops.bench.loop.streams import GOALS, REAL, load, names
from ops.bench.machine import describe
from ops.kafka.fetch import REPOSITORY

RESULTS = Path(__file__).parents[1] / "results"
DELAYS = (0, 500, 2_000)
NO_CHANGE = "no change"


def arguments(argv: list[str]) -> Namespace:
    """The command line."""
    parser = ArgumentParser(prog="python -m ops.bench.loop", description=__doc__)
    parser.add_argument(
        "--only", default="", help="streams, comma-separated; else those with goals"
    )
    parser.add_argument("--all", action="store_true", help="every stream, generated ones too")
    parser.add_argument("--delays", default=",".join(map(str, DELAYS)), help="events, with commas")
    parser.add_argument(
        "--data", type=Path, default=REPOSITORY.parent / "shared" / "data",
        help="folder with elec2/ and so on; streams that are not there are left out",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    return parser.parse_args(argv)


def chosen(given: Namespace) -> list[str]:
    """The streams to be run, of those that can be made here."""
    there = names(given.data)
    if given.only:
        return [name for name in given.only.split(",") if name in there]
    return [name for name in there if given.all or name in GOALS]


def bench(given: Namespace) -> Path:
    """Run everything and write the report."""
    found = Found(describe())
    found.absent = [name for name in REAL if name not in names(given.data)]
    streams, delays = chosen(given), [int(delay) for delay in given.delays.split(",")]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=len(streams) * len(delays) * len(CONTENDERS))
        for name in streams:
            stream = found.streams[name] = load(name, given.data)
            models = Models(stream)
            for delay in delays:
                runs = found.runs.setdefault(name, {}).setdefault(delay, {})
                for who, make in CONTENDERS.items():
                    bar.update(task, description=f"{name}, {delay} late, {who}")
                    runs[who] = run(models, make, delay)
                    bar.advance(task)
                runs[NO_CHANGE] = no_change(stream, delay)
    return write_results(found, given.results, datetime.now(UTC))


if __name__ == "__main__":
    sys.stdout.write(f"{bench(arguments(sys.argv[1:]))}\n")
