"""What processes and the machine used, from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far: of processes with their children, by thread, of the whole machine.

    threads: (thread id, its name) -> seconds.
    """

    at_s: float
    program_s: float
    broker_s: float
    machine_s: float
    threads: dict[tuple[int, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spent:
    """Between two looks, in cores: a core that was busy all the time is 1."""

    seconds: float
    program: float
    broker: float
    others: float
    idle: float
    busiest_thread: str
    busiest: float


def look(programs: Iterable[int], broker: int) -> Usage:
    """Now. programs: process ids, which may have ended."""
    found = [pid for program in programs for pid in family(program)]
    threads: dict[tuple[int, str], float] = {}
    for pid in found:
        threads |= _threads(pid)
    return Usage(
        time.monotonic(),
        sum(cpu_s(pid) for pid in found),
        cpu_s(broker),
        _machine_s(),
        threads,
    )


def between(first: Usage, last: Usage) -> Spent:
    """What was used from one look to the next."""
    seconds = last.at_s - first.at_s
    program = (last.program_s - first.program_s) / seconds
    broker = (last.broker_s - first.broker_s) / seconds
    machine = (last.machine_s - first.machine_s) / seconds
    grown = {
        thread: (spent - first.threads.get(thread, 0.0)) / seconds
        for thread, spent in last.threads.items()
    }
    busiest = max(grown, key=lambda thread: grown[thread], default=(0, "none"))
    return Spent(
        seconds,
        program,
        broker,
        max(machine - program - broker, 0.0),
        max(cores() - machine, 0.0),
        busiest[1],
        grown.get(busiest, 0.0),
    )


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in (_PROC / str(each) / "task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of those of its children that have ended; 0 when gone."""
    try:
        fields = _stat(_PROC / str(pid) / "stat")
    except OSError:
        return 0.0
    return sum(int(value) for value in fields[11:15]) / _TICKS


def peak_mib(programs: Iterable[int]) -> float:
    """Highest resident memory of each process since its start, added up, in MiB."""
    total = 0.0
    for program in programs:
        for pid in family(program):
            with contextlib.suppress(OSError):
                text = (_PROC / str(pid) / "status").read_text()
                line = next((row for row in text.splitlines() if row.startswith("VmHWM")), "0 0")
                total += int(line.split()[1]) / 1024
    return total


def _stat(path: Path) -> list[str]:
    """The fields behind the name, which may hold spaces and brackets."""
    return path.read_text().rpartition(")")[2].split()


def _threads(pid: int) -> dict[tuple[int, str], float]:
    found: dict[tuple[int, str], float] = {}
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                name = (task / "comm").read_text().strip()
                fields = _stat(task / "stat")
                found[(int(task.name), name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _machine_s() -> float:
    """Busy seconds of all cores: user, nice, system, irq, softirq, stolen."""
    first = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, soft, stolen = (int(value) for value in first[:8])
    return (user + nice + system + irq + soft + stolen) / _TICKS
