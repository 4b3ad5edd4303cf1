"""`python -m ops.bench.metrics`: what being watched costs a scorer, in pairs on a real broker.

First CPU time of the instruments themselves (watched.py), which others' load hardly moves. Then
rounds: each runs the same events through `millstream score` three times: not observed, with metrics
that are read every second, and with traces to a collector as well; every second round backwards.
A ratio is of one round. The collector is a server in this process, so its work is in the machine's
share that the scorer does not have: the CPU an event, which is the scorer's alone, says what the
scorer pays.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Final

from ops.bench.arena import Arena
from ops.bench.contenders import EXACTLY
from ops.bench.data import SUBJECTS, write_stream
from ops.bench.ground import Ground
from ops.bench.machine import describe, plain
from ops.bench.plan import Trial, alternate
from ops.bench.results import table
from ops.bench.session import PARTITIONS, STREAMS
from ops.bench.throughput import Run, throughput
from ops.bench.watched import OTHERS, Own, watched

RESULTS: Final = Path(__file__).parent / "results"
OFF, METRICS, TRACES = "not observed", "metrics", "metrics and traces"
MODES: Final = (OFF, METRICS, TRACES)
SCRAPE_S: Final = 1.0
"""Fifteen times as often as Prometheus's default."""
SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. scrapes: how often metrics were read meanwhile. spans: requests to the collector."""

    mode: str
    round: int
    rate: float
    program_us: float
    scrapes: int
    spans: int


class Collector:
    """Takes what it is sent, and counts the requests."""

    def __init__(self) -> None:
        self.requests = 0
        collector = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()


class Scraper:
    """Reads /metrics of every target in the folder every SCRAPE_S, as Prometheus would."""

    def __init__(self, folder: Path) -> None:
        self.scrapes = 0
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SCRAPE_S):
            for path in self._folder.glob("*.json"):
                with contextlib.suppress(OSError, ValueError):
                    (entry,) = json.loads(path.read_text("utf-8"))
                    url = f"http://{entry['targets'][0]}/metrics"
                    with urllib.request.urlopen(url, timeout=5) as answer:
                        answer.read()
                    self.scrapes += 1


@contextlib.contextmanager
def observed(mode: str, targets: Path, collector: Collector) -> Iterator[Scraper | None]:
    """The environment of programs that are started inside."""
    given: dict[str, str] = {}
    if mode != OFF:
        given |= {
            "MILLSTREAM_METRICS_PORT": "0", "MILLSTREAM_METRICS_TARGETS": str(targets),
        }  # fmt: skip
    if mode == TRACES:
        given["MILLSTREAM_TRACES_URL"] = collector.url
    os.environ.update(given)
    scraper = Scraper(targets) if mode != OFF else None
    try:
        yield scraper
    finally:
        if scraper is not None:
            scraper.close()
        for name in given:
            del os.environ[name]


def measure(
    letter: str, events: int, rounds: int, folder: Path
) -> tuple[list[Own], list[Measured]]:
    """The instruments' own time in each mode, and all rounds.

    Raises DependencyUnavailable or OperatorNeeded where the ground is missing.
    """
    subject = SUBJECTS[letter]
    write_stream(subject, STREAMS / subject.stream, subject.stream, PARTITIONS)
    own: list[Own] = []
    found: list[Measured] = []
    collector = Collector()
    try:
        with Ground(folder / "ground", PARTITIONS) as ground:
            arena = Arena(ground, folder / "runs", STREAMS)
            course = arena.course(letter)
            ground.publish(course.events, subject.shape, events, lambda _: None)
            for mode in MODES[1:]:
                with observed(mode, folder / f"targets-{MODES.index(mode)}", collector):
                    own.append(watched(arena, course, events, mode))
                sys.stderr.write(f"{own[-1]}\n")
            for number, mode in alternate(MODES, rounds):
                targets = folder / f"targets-{number}-{MODES.index(mode)}"
                before = collector.requests
                with observed(mode, targets, collector) as scraper:
                    trial = Trial("millstream", letter, EXACTLY, number)
                    run = throughput(arena, course, trial, events, SECONDS_MAX)
                found.append(_measured(mode, number, run, scraper, collector.requests - before))
                sys.stderr.write(f"{found[-1]}\n")
    finally:
        collector.close()
    return own, found


def _measured(mode: str, number: int, run: Run, scraper: Scraper | None, requests: int) -> Measured:
    if run.failure is not None:
        raise SystemExit(f"{mode}, round {number}: {run.failure}")
    scrapes = scraper.scrapes if scraper else 0
    if mode != OFF and not scrapes:
        raise SystemExit(f"{mode}, round {number}: nobody read the metrics")
    if mode == TRACES and not requests:
        raise SystemExit(f"{mode}, round {number}: no span came")
    return Measured(mode, number, run.rate, run.program_us, scrapes, requests)


def ratios(found: Sequence[Measured], mode: str, name: str) -> list[float]:
    """Of each round: this mode to not observed.

    >>> one = [Measured(OFF, 1, 200.0, 4.0, 0, 0), Measured(METRICS, 1, 100.0, 5.0, 1, 0)]
    >>> ratios(one, METRICS, "rate"), ratios(one, METRICS, "program_us")
    ([0.5], [1.25])
    """
    own = {each.round: getattr(each, name) for each in found if each.mode == mode}
    off = {each.round: getattr(each, name) for each in found if each.mode == OFF}
    return [own[number] / off[number] for number in sorted(own)]


def markdown(
    own: Sequence[Own], found: Sequence[Measured], letter: str, events: int, began: datetime
) -> str:
    """The report."""
    machine = describe()
    rounds = max(each.round for each in found)
    load = " ".join(f"{value:.1f}" for value in machine.load)
    head = [
        f"# What being watched costs, {began:%Y-%m-%d}",
        f"{machine.cpu}, {machine.cores} cores, {machine.system}; commit {machine.commit}; load "
        f"average after {load}.",
        f"Subject {letter.upper()} ({SUBJECTS[letter].model}), {events:,} events, exactly once, "
        f"{rounds} rounds; broker, scorer and collector share the cores. Ratios of one round to "
        "its own run that was not observed: median (lowest to highest).",
    ]
    rows = []
    for mode in MODES:
        mine = [each for each in found if each.mode == mode]
        rows.append(
            [
                mode,
                f"{median(each.rate for each in mine):,.0f}",
                _spread(ratios(found, mode, "rate")),
                f"{median(each.program_us for each in mine):.3f}",
                _spread(ratios(found, mode, "program_us")),
                f"{median(each.scrapes for each in mine):g}",
            ]
        )
    names = ["", "events/s", "ratio", "scorer's CPU µs/event", "ratio", "readings of /metrics"]
    return "\n\n".join([*head[:2], *_own(own, events), *head[2:], table(names, rows)]) + "\n"


def _own(own: Sequence[Own], events: int) -> Iterator[str]:
    yield "## CPU time of the instruments themselves"
    for each in own:
        rows = [
            [p.name, f"{p.us:.4f}", f"{p.us / each.process_us:.2%}", f"{p.calls:,}"]
            for p in sorted(each.places, key=lambda p: -p.us)
        ]
        yield f"### {each.mode}: {each.process_us:.3f} µs an event, the whole process"
        yield table(["", "µs/event", "share of the process", "calls"], rows)
        reading = [p for p in each.places if p.name == OTHERS[0][0]]
        yield (
            f"**All but readings of /metrics: {each.share():.2%} of the process's CPU.** "
            + "".join(f"A reading takes {p.us * events / p.calls / 1000:.1f} ms." for p in reading)
        )
    yield "## Rounds"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep the report as files of their own."""
    parser = ArgumentParser(prog="python -m ops.bench.metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--subject", choices=sorted(SUBJECTS), default="b")
    given = parser.parse_args(argv)
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder:
        own, found = measure(given.subject, given.events, given.rounds, Path(folder))
    text = plain(markdown(own, found, given.subject, given.events, began))
    name = f"metrics-{began:%Y-%m-%d-%H%M%S}"
    RESULTS.joinpath(f"{name}.md").write_text(text, "utf-8")
    RESULTS.joinpath(f"{name}.json").write_text(
        json.dumps([asdict(each) for each in own] + [asdict(each) for each in found], indent=1)
        + "\n",
        "utf-8",
    )
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
