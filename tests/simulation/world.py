"""Virtual time, and one program at a time: whoever runs decides, by the seed, who runs next.

Each program has a thread, so that production code runs as it is; but exactly one thread ever runs,
and the order is the seed's alone. A program can lose its turn, be stopped or die wherever it calls
a client.
"""

from __future__ import annotations

import heapq
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from millstream.doubles.broker import Kafka
from millstream.doubles.consumer import MemoryConsumer
from millstream.doubles.tables import MemoryTables

NEW_MONTH = 1_701_388_800.0
"""2023-12-01: every world begins shortly before, so that its rows fall into two table partitions.
"""
CALLS_MAX = 60_000
"""Client calls of one seed; above it a program spins."""
LATENCIES_S = (0.0, 0.0, 0.01, 0.1, 0.5)
"""Of a call during which others run."""

log = logging.getLogger("simulation")


class Killed(BaseException):
    """The process is dead. Not an Exception: nothing of it may survive."""


@dataclass(slots=True)
class Odds:
    """Of what may happen at one client call; drawn for each seed, all 0 in its calm end."""

    kill: float = 0.0
    freeze: float = 0.0
    stop: float = 0.0
    error: float = 0.0
    swallow: float = 0.0
    switch: float = 0.2


class Process:
    """One life of a program."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.stop = VirtualStop(world, self)
        self.consumers: list[MemoryConsumer] = []

    def freeze(self) -> None:
        for consumer in self.consumers:
            consumer.freeze()

    def thaw(self) -> None:
        for consumer in self.consumers:
            consumer.thaw()


class VirtualStop(threading.Event):
    """A stop event whose waiting passes virtual time."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__()
        self._world = world
        self._process = process

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._world.sleep(timeout or 0.0)
        return self.is_set()

    def is_set(self) -> bool:
        if self._process.dead or self._world.over:
            raise Killed
        return super().is_set()


@dataclass(eq=False, slots=True)
class Actor:
    """A slot that some process fills. replaced: another actor has taken its slot over."""

    name: str
    main: Callable[[Actor], None] | None = None
    wake: float = 0.0
    replaced: bool = False
    process: Process | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None


class World:
    """One seed's Kafka, ClickHouse, programs and faults."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.began = self.now = NEW_MONTH - self.rng.uniform(0, 15)
        self.odds = Odds()
        self.over = False
        self.ending = False
        self.failure: BaseException | None = None
        self.calls = 0
        self.told: dict[str, int] = {}
        self.kafka = Kafka(lambda: self.now, self.sleep)
        self.tables = MemoryTables()
        self.tables_down_until = 0.0
        self.server_life = 0
        self.late_ends: dict[str, int] = {}
        self.twin: Callable[[Actor], None] | None = None
        self._script: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._actors: list[Actor] = []
        self.current = Actor("main")
        self._main = self.current
        self._actors.append(self._main)
        self._main.turn.acquire()

    # -- what the main thread does

    def spawn(self, name: str, main: Callable[[Actor], None]) -> Actor:
        """A program that begins when its turn comes."""
        actor = Actor(name, main, wake=self.now)
        actor.turn.acquire()
        actor.thread = threading.Thread(target=self._run, args=(actor,), name=name, daemon=True)
        actor.thread.start()
        self._actors.append(actor)
        return actor

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something without any program's help, so many seconds from now."""
        heapq.heappush(self._script, (self.now + seconds, next(self._numbers), what))

    def programs(self) -> list[Actor]:
        """Those that still run."""
        return [actor for actor in self._actors if actor is not self._main]

    def stop_all(self) -> None:
        """Ask every program to drain and leave."""
        self.ending = True
        for actor in self.programs():
            if actor.process is not None:
                threading.Event.set(actor.process.stop)

    def close(self) -> None:
        """End every program, however it stands."""
        self.over = True
        while self.programs():
            for actor in self.programs():
                actor.wake = self.now
            self.sleep(0.0)

    # -- what programs do

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass for this program; others run."""
        me = self.current
        me.wake = self.now + max(seconds, 0.0)
        self._hand_over(me)

    def step(self, call: str, freezes: float = 1.0) -> None:
        """A program is about to call a client, or has just called it: here it can lose its turn,
        be frozen, told to stop, or die. freezes: how much likelier than elsewhere that is."""
        self.calls += 1
        process = self.current.process
        assert process is not None, call
        if self.over or process.dead:
            raise Killed
        if self.calls > CALLS_MAX:
            self.fail(AssertionError(f"{process.name} spins: {self.calls} calls, now {call}"))
            raise Killed
        self.tell("%s", call)
        odds, dice = self.odds, self.rng.random()
        if dice < odds.kill:
            self.tell("dies before %s", call)
            self.count("kill")
            process.dead = True
            process.freeze()
            raise Killed
        dice -= odds.kill
        if dice < odds.freeze * freezes:
            self._freeze(process, call)
        elif dice - odds.freeze * freezes < odds.stop:
            self.tell("is told to stop")
            self.count("stop")
            process.stop.set()
        if self.rng.random() < odds.switch:
            self.sleep(self.rng.choice(LATENCIES_S))

    def errs(self, times: float = 1.0) -> bool:
        """Whether a call goes wrong; times: how much more likely than usual."""
        return self.rng.random() < self.odds.error * times

    def tell(self, text: str, *values: object) -> None:
        """A line of the trace."""
        if log.isEnabledFor(logging.DEBUG):
            process = self.current.process
            name = process.name if process else self.current.name
            log.debug("%8.3f %-10s " + text, self.now - self.began, name, *values)

    def count(self, fault: str) -> None:
        """One more of this fault."""
        self.told[fault] = self.told.get(fault, 0) + 1

    def fail(self, why: BaseException) -> None:
        """A program did what none may: the seed has failed."""
        if self.failure is None:
            self.failure = why
        self.over = True

    # -- turns

    def _freeze(self, process: Process, call: str) -> None:
        """SIGSTOP, mostly for longer than a session; sometimes a new process takes the slot."""
        seconds = self.rng.uniform(0.2, 6.0)
        self.tell("is frozen for %.1f s before %s", seconds, call)
        self.count("freeze")
        process.freeze()
        actor = self.current
        if self.twin is not None and not actor.replaced and self.rng.random() < 0.25:
            self.tell("is replaced meanwhile")
            self.count("twin")
            actor.replaced = True
            self.twin(actor)
        self.sleep(seconds)
        process.thaw()
        self.tell("runs again")

    def _run(self, actor: Actor) -> None:
        actor.turn.acquire()
        assert actor.main is not None
        try:
            if not self.over:
                actor.main(actor)
        except Killed:
            pass
        except BaseException as why:  # noqa: BLE001 - the main thread reports it
            self.fail(why)
        self._actors.remove(actor)
        self._give(self._next())

    def _hand_over(self, me: Actor) -> None:
        chosen = self._next()
        if chosen is not me:
            self._give(chosen)
            me.turn.acquire()
        if self.over and me is not self._main:
            raise Killed

    def _give(self, chosen: Actor) -> None:
        self.current = chosen
        chosen.turn.release()

    def _next(self) -> Actor:
        if self.over:
            self._main.wake = self.now
        ready = [actor for actor in self._actors if actor.wake <= self.now]
        while not ready:
            self.now = min(actor.wake for actor in self._actors)
            while self._script and self._script[0][0] <= self.now:
                heapq.heappop(self._script)[2]()
            ready = [actor for actor in self._actors if actor.wake <= self.now]
        return ready[0] if len(ready) == 1 else self.rng.choice(ready)
