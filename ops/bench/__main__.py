"""`make bench`: Millstream and its peers on one broker and the same data, alternating."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from millstream.errors import MillstreamError, OperatorNeeded, SettingsInvalid
from ops.bench.contenders import CONTENDERS
from ops.bench.data import SUBJECTS
from ops.bench.machine import describe
from ops.bench.results import write_results
from ops.bench.session import MEASURES, Plan, measure
from ops.bench.summary import Found

RESULTS = Path(__file__).parent / "results"


def arguments(argv: list[str]) -> Namespace:
    """The command line; what is not given is None."""
    parser = ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="200,000 events, once, under three minutes"
    )
    parser.add_argument("--events", type=int, help="a stream; else 1,000,000")
    parser.add_argument("--rounds", type=int, help="of each contender; else 3")
    parser.add_argument("--subjects", help="a trees, b MLP, m mixed fields; else abm")
    parser.add_argument("--only", help=f"some of {','.join(CONTENDERS)}")
    parser.add_argument("--measure", help=f"some of {','.join(MEASURES)}")
    parser.add_argument("--seconds", type=float, help="at each rate of latency; else 8")
    parser.add_argument("--minutes", type=float, help="what has not begun by then is left out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    return parser.parse_args(argv)


def bench(given: Namespace) -> None:
    """Run the benchmark and write its report, named after the time, beside the earlier ones."""
    plan = Plan.quick() if given.quick else Plan.full()
    plan = plan.changed(
        events=given.events,
        rounds=given.rounds,
        subjects=_known(list(given.subjects or ""), SUBJECTS, "--subjects"),
        only=_known((given.only or "").split(","), CONTENDERS, "--only"),
        measures=_known((given.measure or "").split(","), MEASURES, "--measure"),
        seconds=given.seconds,
        minutes=given.minutes,
    )
    console = Console()
    logging.basicConfig(level=logging.ERROR)
    found = Found(describe(), plan.events, plan.rounds, plan.seconds, plan.is_quick)
    folder = Path(tempfile.mkdtemp(prefix="millstream-bench-"))
    try:
        measure(plan, found, folder, console)
    finally:
        found.load_end = os.getloadavg()
        if found.runs or found.latencies or found.sweep or found.limits or found.steps:
            path = write_results(found, given.results, datetime.now(UTC))
            console.print(f"written: {path}")
            text = path.read_text("utf-8")
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        shutil.rmtree(folder, ignore_errors=True)


def _known(given: list[str], known: Iterable[str], option: str) -> tuple[str, ...] | None:
    """What was chosen, None for nothing. Raises SettingsInvalid for what is not known."""
    chosen = tuple(name for name in given if name)
    names = list(known)
    for name in chosen:
        if name not in names:
            raise SettingsInvalid(f"{option} names {name}", f"Choose of {', '.join(names)}")
    return chosen or None


if __name__ == "__main__":
    try:
        bench(arguments(sys.argv[1:]))
    except OperatorNeeded as why:
        sys.stderr.write(f"bench: {why.problem}\n  {why.remedy}\n")
        sys.exit(why.exit_code)
    except MillstreamError as why:
        sys.stderr.write(f"bench: {why}\n")
        sys.exit(why.exit_code)
