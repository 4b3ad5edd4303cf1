"""`make bench-drift`: delay, missed changes, false alarms and speed of every detector."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ops.bench.drift import blind, streams
from ops.bench.drift.detectors import DETECTORS, SLOW, alarms
from ops.bench.drift.hot_path import monitor_rate
from ops.bench.drift.plot import stream_plot
from ops.bench.drift.results import Found, write_results
from ops.bench.drift.score import Score
from ops.bench.drift.streams import Piece
from ops.bench.machine import describe
from ops.kafka.fetch import REPOSITORY

RESULTS = Path(__file__).parents[1] / "results"
CACHE = REPOSITORY / ".run" / "bench" / "drift"


def arguments(argv: list[str]) -> Namespace:
    """The command line."""
    parser = ArgumentParser(prog="python -m ops.bench.drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 seeds, without the slow detector")
    parser.add_argument("--seeds", type=int, help="of streams with changes; else 20")
    parser.add_argument("--stationary-seeds", type=int, help="of those without; else 50")
    parser.add_argument("--slow-seeds", type=int, help=f"of {SLOW}; else 1")
    parser.add_argument(
        "--blind", action="store_true", help="streams on which no constant was chosen instead"
    )
    parser.add_argument("--only", default="", help="some streams, comma-separated beginnings")
    parser.add_argument(
        "--data", type=Path, default=REPOSITORY.parent / "shared" / "data",
        help="folder with insects/ and nsl_kdd/; streams that are not there are left out",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    return parser.parse_args(argv)


def cached(name: str, seed: int, data: Path | None) -> list[Piece]:
    """The pieces of a stream, from an earlier run where nothing that makes them has changed."""
    files = [Path(str(made.__file__)).read_bytes() for made in (streams, blind)]
    made_by = b"".join(files) + f"{name} {seed}".encode()
    path = CACHE / f"{hashlib.sha256(made_by).hexdigest()[:24]}.npz"
    if path.exists():
        with np.load(path) as saved:
            return [
                Piece(saved[f"e{i}"], tuple((int(at), int(w)) for at, w in saved[f"c{i}"]))
                for i in range(len(saved.files) // 2)
            ]
    pieces = streams.pieces(name, seed, data)
    arrays: dict[str, Any] = {}
    for i, piece in enumerate(pieces):
        arrays[f"e{i}"] = piece.errors
        arrays[f"c{i}"] = np.array(piece.changes, np.int64).reshape(-1, 2)
    CACHE.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(part, **arrays)
    part.replace(path)
    return pieces


def trials(found: Found, names: list[str], still: list[str]) -> Iterator[tuple[str, int, str]]:
    """(stream, seed, detector) of everything that is to be run."""
    for name in [*names, *still]:
        for seed in range(found.stationary_seeds if name in still else found.seeds):
            for detector in DETECTORS:
                if detector != SLOW or seed < found.slow_seeds:
                    yield name, seed, detector


def bench(given: Namespace) -> Path:
    """Run everything and write the report."""
    data = given.data if given.data.is_dir() else None
    found = Found(
        describe(),
        given.seeds or (3 if given.quick else 20),
        given.stationary_seeds or (10 if given.quick else 50),
        given.slow_seeds if given.slow_seeds is not None else (0 if given.quick else 1),
    )
    wanted = tuple(part for part in given.only.split(",") if part)
    found.blind = given.blind
    both = (streams.names(data), streams.stationary())
    names, still = (
        [name for name in some if not wanted or name.startswith(wanted)]
        for some in (streams.blind_names() if given.blind else both)
    )
    if not given.blind:
        found.absent = [name for name in streams.REAL if name not in streams.names(data)]
    plan = list(trials(found, names, still))
    with _bar() as bar:
        task = bar.add_task("", total=len(plan))
        drawn: dict[str, list[list[int]]] = {}
        now: tuple[str, int] | None = None
        pieces: list[Piece] = []
        for name, seed, detector in plan:
            bar.update(task, description=f"{name}, seed {seed}, {detector}")
            if now != (name, seed):
                pieces, now, drawn = cached(name, seed, data), (name, seed), {}
            begun = time.process_time()
            raised = [alarms(detector, piece.errors) for piece in pieces]
            spent = time.process_time() - begun
            score = found.scores.setdefault(name, {}).setdefault(detector, Score())
            score.add(list(zip(pieces, raised, strict=True)), spent)
            drawn[detector] = raised
            if seed == 0:
                found.plots[name] = stream_plot(name, pieces, drawn)
            bar.advance(task)
    found.monitor_rates = {size: monitor_rate(size) for size in (100, 1_000, 10_000)}
    return write_results(found, given.results, datetime.now(UTC))


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


if __name__ == "__main__":
    # LightGBM's wrapper warns of feature names that plain arrays do not have
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    sys.stdout.write(f"{bench(arguments(sys.argv[1:]))}\n")
