"""`python -m ops.bench.swap`: what a release costs those who wait for an answer, and all others.

One scorer, exactly once, events at a fixed rate; every few seconds a release goes to the other one
of two versions of a model, which is fetched, verified and warmed while the first answers. Latency
is taken in the window of each swap (from the release's writing until half a second behind the last
partition's switch) and right before it, a window of the same length. The same two windows are laid
between two swaps, where nothing happens: how far their ratio is from 1 is noise. Then throughput
with and without a release in force, in alternating pairs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from consumers.registry import Registry
from consumers.releases.log import ReleaseLog
from consumers.releases.releasing import release
from millstream.errors import DependencyUnavailable
from millstream.models.package import About, make_bundle
from millstream.models.reference import ModelReference
from millstream.models.registry import FolderRegistry
from millstream.releases.decide import Wanted
from millstream.releases.timeline import Timeline
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.bench.arena import Arena, Course
from ops.bench.contenders import EXACTLY
from ops.bench.data import SUBJECTS, features, train
from ops.bench.ground import Ground
from ops.bench.latency import WARM_UP_S, await_end, generating, prime, reading
from ops.bench.machine import describe, plain
from ops.bench.plan import Trial
from ops.bench.results import table
from ops.bench.session import PARTITIONS, STREAMS
from ops.bench.throughput import throughput

RESULTS = Path(__file__).parent / "results"
BEHIND_US = 500_000
"""A swap's window goes on so long behind its last switch."""
GOAL = 1.1
SETTLE_S = 10.0
"""A scorer that has just begun is still finding its batch and its commit interval."""
GRACE_S = 8.0
TRIAL_S_MAX = 60.0
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Swap:
    """One release under load. Milliseconds from schedule to read_committed read.

    took_ms: from its writing to the last partition's switch. events: in its window. placebo: p99 of
    a window between two swaps to the one before it.
    """

    version: str
    took_ms: float
    events: int
    p50: float
    p99: float
    p50_before: float
    p99_before: float
    placebo: float

    @property
    def ratio(self) -> float:
        """p99 of its window to that of the one before it."""
        return self.p99 / self.p99_before


def windows(
    scheduled: Times,
    arrived: Times,
    written: Sequence[int],
    switched: Sequence[Sequence[int]],
    earlier_us: int = 0,
) -> list[tuple[Times, Times]]:
    """For each release the latencies, in microseconds, in its window and in the one before it.

    scheduled, arrived: [n], microseconds. written: when each release was written; switched: when
    each of its partitions went over. earlier_us: both windows lie so much before the swap.

    >>> at = np.arange(0, 10_000_000, 1_000_000)
    >>> [(len(a), len(b)) for a, b in windows(at, at + 5, [5_000_000], [[5_200_000, 6_600_000]])]
    [(3, 2)]
    """
    found, latency = [], arrived - scheduled
    for begin, ends in zip(written, switched, strict=True):
        length = max(ends) + BEHIND_US - begin
        start = begin - earlier_us
        within = (scheduled >= start) & (scheduled < start + length)
        before = (scheduled >= start - length) & (scheduled < start)
        found.append((latency[within], latency[before]))
    return found


def _registered(course: Course, letter: str) -> tuple[Stream, FolderRegistry, list[ModelReference]]:
    """The stream, its registry, and two versions of one model."""
    path = course.folder / f"{EXACTLY}.toml"
    path.write_text(path.read_text("utf-8") + '\n[release]\npassport = "none"\n', "utf-8")
    stream = Stream.load(path)
    registry = FolderRegistry(stream.beside("models"))
    second = course.folder / "bundle-2"
    if not (second / "bundle.toml").exists():
        model, sample = train(SUBJECTS[letter])
        about = About(name=course.stream, version="2", created=datetime.now(UTC))
        make_bundle(second, model, features(SUBJECTS[letter].shape), sample, about)
    return stream, registry, [registry.add(f, {}) for f in (second, stream.bundle_path)]


def _released(course: Course) -> tuple[str, str]:
    """The topics without which a scorer follows no releases."""
    return f"{course.stream}.releases", f"{course.stream}.shadows"


class _Bench:
    """One ground, one stream."""

    def __init__(self, ground: Ground, folder: Path, letter: str, console: Console) -> None:
        self._ground = ground
        self._arena = Arena(ground, folder, STREAMS)
        self._letter = letter
        self._console = console
        self._kafka = KafkaSettings(bootstrap=ground.bootstrap)
        url = ground.environment()["MILLSTREAM_REGISTRY_URL"]
        self._registry = Registry(RegistrySettings(url=url))

    def swaps(self, rate: int, count: int, every_s: float) -> list[Swap]:
        """Releases under load."""
        course = self._arena.course(self._letter, live=True)
        topics = _released(course)
        self._ground.create(*topics)
        self._stream, self._models, self._versions = _registered(course, self._letter)
        scheduled, arrived, written = self._fed(course, rate, count, every_s)
        timeline = Timeline()
        with closing(ReleaseLog.open(self._stream, self._kafka, self._registry.schema)) as log:
            for entry in log.catch_up():
                timeline.add(entry)
        moments = [
            [s.at_us for s in timeline.switches if s.release.number == each.number]
            for each in timeline.releases
        ]
        if any(len(each) < PARTITIONS for each in moments):
            went = ", ".join(f"{len(each)} of {PARTITIONS}" for each in moments)
            raise DependencyUnavailable("the scorer", f"partitions that went over: {went}")
        found = []
        cut = windows(scheduled, arrived, written, moments)
        nothing = windows(scheduled, arrived, written, moments, int(every_s / 2 * 1e6))
        for (within, before), idle, each, begin, ends in zip(
            cut, nothing, timeline.releases, written, moments, strict=True
        ):
            p50, p99 = np.percentile(within, (50, 99)) / 1000
            was50, was99 = np.percentile(before, (50, 99)) / 1000
            placebo = np.percentile(idle[0], 99) / np.percentile(idle[1], 99)
            took = (max(ends) - begin) / 1000
            version = each.champion.version
            found.append(Swap(version, took, len(within), p50, p99, was50, was99, float(placebo)))
        self._ground.delete(*course.topics, *topics)
        return found

    def _fed(
        self, course: Course, rate: int, count: int, every_s: float
    ) -> tuple[Times, Times, list[int]]:
        """Events at their times; releases between them. When each event was due, when its answer
        came, and when each release was written; microseconds."""
        arena, written = self._arena, list[int]()
        whole_s = WARM_UP_S + SETTLE_S + every_s * (count + 1)
        trial = Trial("millstream", self._letter, EXACTLY, 1)
        with arena.running(course, trial) as (children, topic):
            prime(arena, course, topic, children)
            folder = arena.scratch()
            reader = reading(arena, folder, topic, int(rate * whole_s), whole_s + GRACE_S)
            generator = None
            try:
                reader.wait_until((folder / "ready").exists, timeout_s=30)
                generator = generating(arena, course, folder, rate, whole_s)
                begun = time.monotonic() + WARM_UP_S + SETTLE_S
                for number in range(count):
                    time.sleep(max(0.0, begun + (number + 1) * every_s - time.monotonic()))
                    self._release(self._versions[number % 2])
                    written.append(time.time_ns() // 1_000)
                    self._console.print(f"swap {number + 1} of {count}")
                await_end(generator, every_s + 60, children)
                await_end(reader, GRACE_S + 30, children)
            finally:
                reader.kill()
                if generator is not None:
                    generator.kill()
        scheduled, arrived = np.load(folder / "found.npy")
        return scheduled, arrived, written

    def _release(self, model: ModelReference) -> None:
        wanted = Wanted(uuid.uuid4().hex, model)
        release(self._stream, self._kafka, self._registry, self._models, wanted)

    def rates(self, events: int, pairs: int) -> list[tuple[float, float]]:
        """Events/s without a releases' topic, and with a release in force, alternating."""
        arena, ground = self._arena, self._ground
        course = arena.course(self._letter)
        self._stream, self._models, self._versions = _registered(course, self._letter)
        ground.publish(course.events, SUBJECTS[self._letter].shape, events, lambda count: None)
        found = []
        for number in range(pairs):
            rates = {}
            for released in (False, True) if number % 2 else (True, False):
                if released:
                    ground.create(*_released(course))
                    self._release(self._versions[0])
                else:
                    ground.delete(*_released(course))
                trial = Trial("millstream", self._letter, EXACTLY, number + 1)
                run = throughput(arena, course, trial, events, TRIAL_S_MAX)
                if run.failure is not None:
                    raise DependencyUnavailable("the scorer", run.failure)
                rates[released] = run.rate
                self._console.print(f"{'released' if released else 'plain'}: {run.rate:,.0f}/s")
            found.append((rates[False], rates[True]))
        return found


def report(
    found: list[Swap], pairs: list[tuple[float, float]], machine: str, given: Namespace
) -> str:
    """Markdown."""
    ratio = median(s.ratio for s in found)
    idle = [s.placebo for s in found]
    lines = [
        f"# Releases under load, {datetime.now(UTC):%Y-%m-%d}",
        machine,
        f"Model {given.subject.upper()}, {given.rate:,} events/s, exactly once, one scorer, "
        f"{PARTITIONS} partitions. A swap's window goes from the release's writing until "
        f"{BEHIND_US / 1e6:g} s behind the last partition's switch; before: as long, right before.",
        f"**p99 in a swap's window ÷ before it: median {ratio:.2f}** (wanted at most {GOAL:g}: "
        f"{'reached' if ratio <= GOAL else 'not reached'}); "
        f"p50: {median(s.p50 / s.p50_before for s in found):.2f}.",
        f"Where nothing happens, half-way between two swaps, the same ratio of p99 is "
        f"{median(idle):.2f} in the median ({min(idle):.2f} to {max(idle):.2f}): so much is noise.",
        table(
            ["swap", "to version", "until the last switch ms", "events", "p50", "p50 before",
             "p99", "p99 before", "p99 ÷ before", "nothing happens"],
            [
                [str(number), s.version, f"{s.took_ms:.0f}", f"{s.events:,}", f"{s.p50:.1f}",
                 f"{s.p50_before:.1f}", f"{s.p99:.1f}", f"{s.p99_before:.1f}",
                 f"{s.ratio:.2f}", f"{s.placebo:.2f}"]
                for number, s in enumerate(found, 1)
            ],
        ),
    ]  # fmt: skip
    if pairs:
        ratios = [after / before for before, after in pairs]
        lines += [
            f"**Throughput with a release in force ÷ without a releases' topic: median "
            f"{median(ratios):.3f}** ({min(ratios):.3f} to {max(ratios):.3f}), {len(pairs)} "
            f"alternating pairs over {given.events:,} events.",
            table(
                ["pair", "without, events/s", "with, events/s"],
                [[str(n), f"{a:,.0f}", f"{b:,.0f}"] for n, (a, b) in enumerate(pairs, 1)],
            ),
        ]
    return "\n\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measure, and write a report of its own."""
    parser = ArgumentParser(prog="python -m ops.bench.swap", description=__doc__)
    parser.add_argument("--subject", default="b", choices=sorted(SUBJECTS))
    parser.add_argument("--rate", type=int, default=10_000, help="events a second")
    parser.add_argument("--swaps", type=int, default=30)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two swaps")
    parser.add_argument("--events", type=int, default=400_000, help="of a throughput trial")
    parser.add_argument("--pairs", type=int, default=4, help="of throughput trials; 0: none")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    console, machine = Console(), describe()
    with (
        tempfile.TemporaryDirectory(prefix="millstream-swap-") as folder,
        Ground(Path(folder) / "ground", PARTITIONS) as ground,
    ):
        bench = _Bench(ground, Path(folder) / "runs", given.subject, console)
        found = bench.swaps(given.rate, given.swaps, given.every)
        pairs = bench.rates(given.events, given.pairs) if given.pairs else []
    load = " ".join(f"{value:.1f}" for value in machine.load)
    about = f"{machine.cpu}, {machine.cores} cores, load {load}; commit {machine.commit}."
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
    path = given.results / f"swap-{stamp}.md"
    path.write_text(plain(report(found, pairs, about, given)), "utf-8")
    kept: dict[str, Any] = {"machine": asdict(machine), "swaps": [asdict(s) for s in found]}
    kept["pairs"] = pairs
    path.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    console.print(str(path))


if __name__ == "__main__":
    main(sys.argv[1:])
