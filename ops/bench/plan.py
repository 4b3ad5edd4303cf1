"""What is run in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one contender. subject: the letter of the stream; round: from 1."""

    contender: str
    subject: str
    guarantee: str
    round: int


def alternate(entries: Sequence[T], rounds: int) -> list[tuple[int, T]]:
    """(round, entry), each entry once a round; every second round goes backwards.

    What drifts (a clock speed, a page cache, somebody else's load) then falls on all alike.

    >>> alternate("abc", 2)
    [(1, 'a'), (1, 'b'), (1, 'c'), (2, 'c'), (2, 'b'), (2, 'a')]
    """
    made: list[tuple[int, T]] = []
    for number in range(1, rounds + 1):
        order = entries if number % 2 else entries[::-1]
        made += [(number, entry) for entry in order]
    return made


def trials(entries: Sequence[tuple[str, str]], subjects: Sequence[str], rounds: int) -> list[Trial]:
    """entries: (contender, guarantee). One subject after the other, alternating within it."""
    return [
        Trial(contender, subject, guarantee, number)
        for subject in subjects
        for number, (contender, guarantee) in alternate(entries, rounds)
    ]


def reachable(rates: Sequence[int], throughput: float | None) -> list[int]:
    """The rates that a contender of this throughput can hold: asking for more measures a queue.

    None: not known, all are tried.

    >>> reachable([1_000, 10_000, 50_000], 27_000.0)
    [1000, 10000]
    """
    return [rate for rate in rates if throughput is None or rate <= 0.9 * throughput]
