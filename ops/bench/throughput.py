"""How many events a second a contender scores and commits, when all are there from the start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from millstream.errors import DependencyUnavailable
from ops.bench.arena import Arena, Course
from ops.bench.contenders import CONTENDERS
from ops.bench.figures import Point, Window, is_warm
from ops.bench.plan import Trial
from ops.bench.usage import Spent, Usage, between, look, peak_mib
from ops.process import Child

LOOK_S = 0.025
SETTLED_S = 1.0
FIRST_S_MAX = 60.0
STALLED_S_MAX = 15.0
SOUND_S = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """One trial's result. failure: why there is none, with the end of the log.

    rate: events a second in the steady window, from a fifth of the events to the last commit.
    start_s: from the start of the process to the first committed answer. cut: whether it was
    stopped before it had all, and rated on what it had. program_us, broker_us: CPU time an event.
    """

    trial: Trial
    rate: float = 0.0
    start_s: float = 0.0
    window_s: float = 0.0
    window_events: int = 0
    cut: bool = False
    program_us: float = 0.0
    broker_us: float = 0.0
    peak_mib: float = 0.0
    spent: Spent | None = None
    answers: int = 0
    failure: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether a goal may be judged by it: not cut, or watched long enough before."""
        return self.failure is None and (not self.cut or self.window_s >= SOUND_S)


@dataclass(slots=True)
class _Watch:
    """What was seen of one run."""

    first: Point | None = None
    warm: tuple[Point, Usage] | None = None
    last: tuple[Point, Usage] | None = None
    whole: bool = False
    memory: float = 0.0


def throughput(
    arena: Arena,
    course: Course,
    trial: Trial,
    events: int,
    seconds_max: float,
    said: Callable[[int], None] = lambda committed: None,
) -> Run:
    """One trial. seconds_max: from the first answer on; then it is stopped and rated.

    said: is told the answers committed so far. Never raises for what a contender does.
    """
    try:
        with arena.running(course, trial) as (children, topic):
            seen = _watch(arena, children, topic, events, seconds_max, said)
        found = _result(trial, seen)
        answers, wrong = arena.count(course, trial, topic)
        arena.ground.delete(topic)
    except DependencyUnavailable as why:
        return Run(trial, failure=why.reason)
    except Exception as why:  # noqa: BLE001 - one contender's end is not the benchmark's
        return Run(trial, failure=f"{type(why).__name__}: {why}")
    if wrong is None and seen.whole and answers != events:
        wrong = f"{answers:,} answers to {events:,} events"
    return replace(found, answers=answers, failure=wrong)


def _watch(
    arena: Arena,
    children: list[Child],
    topic: str,
    events: int,
    seconds_max: float,
    said: Callable[[int], None],
) -> _Watch:
    began = time.monotonic()
    pids = [child.pid for child in children]
    broker = arena.ground.broker_pid
    seen = _Watch()
    latest = Point(0.0, 0)
    while True:
        for child in children:
            if not child.alive():
                raise DependencyUnavailable(child.name, f"it ended\n{child.tail(8)}")
        now = Point(time.monotonic() - began, arena.ground.committed(topic))
        said(now.committed)
        if now.committed > latest.committed:
            latest = now
            seen.first = seen.first or now
            if seen.warm is None and is_warm(seen.first, now, events):
                seen.warm = (now, look(pids, broker))
            if now.committed >= events:
                seen.last = (now, look(pids, broker))
                seen.memory = peak_mib(pids)
        elif now.committed >= events and now.at_s - latest.at_s >= SETTLED_S:
            seen.whole = True
            return seen
        if _is_over(seen, latest, now, children[0], seconds_max) and now.committed < events:
            # the last movement, not now: a wait for the next commit is no work
            seen.last = (latest, look(pids, broker))
            seen.memory = peak_mib(pids)
            return seen
        time.sleep(LOOK_S)


def _is_over(seen: _Watch, latest: Point, now: Point, child: Child, seconds_max: float) -> bool:
    """Whether its time is up. Raises DependencyUnavailable where it has come to a halt."""
    if seen.first is None:
        if now.at_s > FIRST_S_MAX:
            why = f"no answer in {FIRST_S_MAX:.0f} s"
            raise DependencyUnavailable(child.name, f"{why}\n{child.tail(8)}")
        return False
    if now.at_s - latest.at_s > STALLED_S_MAX:
        why = f"stopped at {latest.committed:,} answers for {STALLED_S_MAX:.0f} s"
        raise DependencyUnavailable(child.name, f"{why}\n{child.tail(8)}")
    # only right after a commit, so that the window ends where its events do
    return now.at_s - seen.first.at_s > seconds_max and now is latest


def _result(trial: Trial, seen: _Watch) -> Run:
    title = CONTENDERS[trial.contender].title
    if seen.first is None or seen.warm is None or seen.last is None:
        raise DependencyUnavailable(title, "it was over before it was warm: take more events")
    window = Window(seen.warm[0], seen.last[0])
    if window.seconds <= 0 or window.events <= 0:
        raise DependencyUnavailable(title, "it was over before it was warm: take more events")
    spent = between(seen.warm[1], seen.last[1])
    each = 1e6 * spent.seconds / window.events
    return Run(
        trial,
        rate=window.rate,
        start_s=seen.first.at_s,
        window_s=window.seconds,
        window_events=window.events,
        cut=not seen.whole,
        program_us=spent.program * each,
        broker_us=spent.broker * each,
        peak_mib=seen.memory,
        spent=spent,
    )
