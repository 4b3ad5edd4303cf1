"""What the trials say: ratios within a run, what limits us, and the goals. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import Any

from ops.bench.contenders import AT_LEAST, EXACTLY
from ops.bench.figures import Spread
from ops.bench.latency import KEPT_UP, Latency
from ops.bench.machine import Machine
from ops.bench.sinks import SinkRun
from ops.bench.stages import Limit, Step
from ops.bench.throughput import Run
from ops.bench.usage import Spent

BUSY = 0.85
QUIET_CORES = 0.15
"""Cores that others may use before the machine is called shared."""
NOISE_MS = 1.0
MODEL_STEP = "model"


@dataclass(slots=True)
class Found:
    """Everything that one `python -m ops.bench` measured. absent: contender -> why not here."""

    machine: Machine
    events: int
    rounds: int
    seconds: float
    quick: bool
    runs: list[Run] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    sweep: list[Latency] = field(default_factory=list)
    steps: dict[str, list[Step]] = field(default_factory=dict)
    absent_steps: list[str] = field(default_factory=list)
    limits: dict[str, list[Limit]] = field(default_factory=dict)
    sink: SinkRun | None = None
    absent: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    load_end: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def good(self, contender: str, subject: str, guarantee: str) -> list[Run]:
        """The runs that count."""
        wanted = (contender, subject, guarantee)
        return [
            run
            for run in self.runs
            if run.failure is None
            and (run.trial.contender, run.trial.subject, run.trial.guarantee) == wanted
        ]

    def rate(self, contender: str, subject: str, guarantee: str) -> Spread | None:
        """Events a second; None where nothing was measured."""
        runs = self.good(contender, subject, guarantee)
        return Spread.of([run.rate for run in runs]) if runs else None

    def others(self) -> float:
        """Median of the cores that were used by neither contender nor broker while one ran."""
        known = [run.spent.others for run in self.runs if run.spent is not None]
        return median(known) if known else 0.0


def paired_ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float | None:
    """Median over the rounds of our rate over theirs; what drifts between rounds cancels out."""
    by_round = {run.trial.round: run.rate for run in theirs}
    ratios = [
        run.rate / by_round[run.trial.round]
        for run in ours
        if by_round.get(run.trial.round, 0.0) > 0
    ]
    return median(ratios) if ratios else None


def bottleneck(spent: Spent | None, steps: Sequence[Step], cores: int) -> str:
    """One sentence: what limits Millstream, and how that is known."""
    if spent is None:
        return "not known: no run of Millstream came to its end"
    shares = (
        f"program {spent.program:.2f}, broker {spent.broker:.2f}, others {spent.others:.2f}, "
        f"idle {spent.idle:.2f} of {cores} cores"
    )
    largest = next((step for step in steps if step.cpu_us > 0), None)
    where = f"; its largest step is {largest.name}, {largest.cpu_us:.2f} µs" if largest else ""
    if spent.busiest >= BUSY:
        return (
            f"one thread: '{spent.busiest_thread}' was on a core {spent.busiest:.0%} of the time "
            f"({shares}){where}"
        )
    if spent.idle < 0.1 * cores:
        whose = (
            "the machine's cores, shared with others"
            if spent.others > QUIET_CORES
            else ("the machine's cores")
        )
        return (
            f"{whose}: none was idle, and the busiest thread got {spent.busiest:.0%} of one "
            f"({shares}){where}"
        )
    return (
        f"waiting: cores were idle and the busiest thread used {spent.busiest:.0%} of one "
        f"({shares}){where}"
    )


def overhead_us(steps: Iterable[Step]) -> float | None:
    """CPU of our own loop an event, all but the model."""
    known = [step.cpu_us for step in steps if step.name != MODEL_STEP]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the goals: what was wanted, and what was measured (None: it was not)."""

    text: str
    wanted: float
    measured: float | None
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        """None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


def goals(found: Found) -> list[Goal]:
    """The goals of the project, measured within this run."""
    made: list[Goal] = []
    for letter, streams, quix, faust in (("a", 3.0, 8.0, 40.0), ("b", 4.5, 12.0, 80.0)):
        ours = _sound(found, "millstream", letter, EXACTLY)
        name = letter.upper()
        for title, wanted, theirs in (
            ("Kafka Streams exactly once, two threads", streams, ("streams-2", EXACTLY)),
            ("Quix exactly once", quix, ("quix", EXACTLY)),
            ("Faust, the faster way", faust, None),
        ):
            peer = (
                _best(found, ("faust", "faust-take"), letter, AT_LEAST)
                if theirs is None
                else _sound(found, theirs[0], letter, theirs[1])
            )
            made.append(
                Goal(f"{name}: Millstream exactly once ÷ {title}", wanted, paired_ratio(ours, peer))
            )
        made.append(
            Goal(
                f"{name}: own CPU an event, all but the model, µs",
                1.7,
                overhead_us(found.steps.get(letter, [])),
                at_most=True,
            )
        )
    ours = _sound(found, "millstream", "b", EXACTLY)
    echo = _sound(found, "echo", "b", EXACTLY)
    two = _sound(found, "millstream-2", "b", EXACTLY)
    mixed = _sound(found, "millstream", "m", EXACTLY)
    made.append(Goal("B: Millstream ÷ echo that scores nothing", 0.8, paired_ratio(ours, echo)))
    made.append(Goal("B: two processes ÷ one", 1.0, paired_ratio(two, ours)))
    made.append(Goal("34 mixed fields ÷ 30 doubles (B)", 0.6, paired_ratio(mixed, ours)))
    made += _latency_goals(found)
    memory = [run.peak_mib for run in found.runs if run.trial.contender == "millstream"]
    highest = max(memory) if memory else None
    made.append(Goal("memory of the scorer, MiB", 600.0, highest or None, at_most=True))
    sink = found.sink if found.sink is not None and found.sink.failure is None else None
    made.append(Goal("sink, prediction rows/s", 400_000.0, sink.rate if sink else None))
    made.append(
        Goal("memory of the sink, MiB", 1_000.0, sink.peak_mib if sink else None, at_most=True)
    )
    return made


def _sound(found: Found, contender: str, subject: str, guarantee: str) -> list[Run]:
    return [run for run in found.good(contender, subject, guarantee) if run.is_sound]


def _best(found: Found, names: Sequence[str], subject: str, guarantee: str) -> list[Run]:
    """The runs of the fastest of several."""
    options = [_sound(found, name, subject, guarantee) for name in names]
    return max(options, key=lambda runs: median([run.rate for run in runs]) if runs else 0.0)


def _latency_goals(found: Found) -> list[Goal]:
    rate = 10_000
    made = []
    streams = ("streams-1", "streams-2")
    for name, wanted, take in (
        ("p50", 0.25, lambda each: each.p50),
        ("p99", 0.5, lambda each: each.p99),
    ):
        ours = latency_median(found.latencies, "millstream", EXACTLY, rate, take)
        if any(_fell_behind(each, rate) for each in found.latencies):
            ours = inf
        options = [latency_median(found.latencies, s, EXACTLY, rate, take) for s in streams]
        theirs = min((value for value in options if value is not None), default=None)
        share = ours / theirs if ours is not None and theirs else None
        made.append(
            Goal(f"{name} at 10,000/s ÷ Kafka Streams exactly once", wanted, share, at_most=True)
        )
    ours = latency_median(found.latencies, "millstream", AT_LEAST, rate, lambda each: each.p50)
    floor = latency_median(found.latencies, "floor", AT_LEAST, rate, lambda each: each.p50)
    above = ours - floor if ours is not None and floor is not None else None
    if above is not None and above < -NOISE_MS:
        above = None  # nothing is faster than nothing: the machine was too busy to say
    made.append(Goal("p50 at least once at 10,000/s above the floor, ms", 5.0, above, at_most=True))
    return made


def _fell_behind(each: Latency, rate: int) -> bool:
    """Whether Millstream left answers out: its percentiles would be those of the rest."""
    trial = each.trial
    ours = trial.contender == "millstream" and trial.guarantee == EXACTLY
    return ours and each.rate == rate and each.share < KEPT_UP


def latency_median(
    latencies: Iterable[Latency],
    contender: str,
    guarantee: str,
    rate: int,
    take: Callable[[Any], float],
) -> float | None:
    """The median over the rounds of one percentile; None where it was not measured."""
    values = [
        take(each.found)
        for each in latencies
        if each.found is not None
        and (each.trial.contender, each.trial.guarantee, each.rate) == (contender, guarantee, rate)
    ]
    return median(values) if values else None
