"""What a soak does to the system, and when: drawn from a seed, so that it can be repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

KILL_EVERY_S = 5.0
BROKER_EVERY_S = 60.0
NETWORK_PAUSE_S = 4.0
CALM_S = 3.0
"""Before the first fault, so that something is under way."""
LATENCY_S, RESETS_S, PARTITION_S = 8.0, 3.0, 20.0


class Fault(StrEnum):
    """KILL: kill -9 of `target`. BROKER_*: of the broker, started again at once. The others: of
    every connection to the broker, for a while."""

    KILL = "kill -9"
    BROKER_KILL = "broker kill -9"
    BROKER_RESTART = "broker restart"
    LATENCY = "latency"
    RESETS = "resets"
    PARTITION = "partition"


LASTS_S = {
    Fault.LATENCY: LATENCY_S,
    Fault.RESETS: RESETS_S,
    Fault.PARTITION: PARTITION_S,
}


@dataclass(frozen=True, slots=True)
class Deed:
    """One fault. at_s: seconds after the load began. target: the program, for a kill."""

    at_s: float
    fault: Fault
    target: str = ""


def plan(seed: int, seconds: float, programs: Sequence[str]) -> list[Deed]:
    """The deeds of a soak in order of time; the same arguments give the same ones.

    Network faults come with a pause between, latency, resets and partition by turns, and end
    before the load does.
    """
    dice = random.Random(seed)  # noqa: S311
    deeds = []
    at = CALM_S
    while at < seconds:
        deeds.append(Deed(at, Fault.KILL, dice.choice(list(programs))))
        at += KILL_EVERY_S
    at, number = CALM_S + BROKER_EVERY_S / 4, 0
    while at < seconds:
        fault = (Fault.BROKER_KILL, Fault.BROKER_RESTART)[number % 2]
        deeds.append(Deed(at + dice.uniform(0, BROKER_EVERY_S / 8), fault))
        at, number = at + BROKER_EVERY_S, number + 1
    at, number = CALM_S, 0
    while at < seconds:
        fault = (Fault.LATENCY, Fault.RESETS, Fault.PARTITION)[number % 3]
        if at + LASTS_S[fault] <= seconds:
            deeds.append(Deed(at, fault))
        at, number = at + LASTS_S[fault] + NETWORK_PAUSE_S, number + 1
    return sorted(deeds, key=lambda deed: deed.at_s)


def counted(deeds: Sequence[Deed]) -> dict[str, int]:
    """Fault -> how often, in the order of Fault."""
    found = Counter(deed.fault for deed in deeds)
    return {fault.value: found[fault] for fault in Fault if found[fault]}
