"""Partitions move between scorers under load: at most twice in a rolling restart, nothing lost."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from tests.faults.trial import Trial

DRAIN_S_MAX = 15.0
"""From SIGTERM to the exit of a scorer that is in the middle of its load."""
MOVES_MAX = 2
PROTOCOLS = ["consumer", "classic"]


@pytest.fixture
def one_scorer(trial: Trial, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """The group begins anew with this protocol; at the end it is as it was."""
    stack = trial.bed.stack
    before = dict(stack.environment)
    leave(trial)
    stack.environment |= {
        "MILLSTREAM_KAFKA_GROUP_PROTOCOL": request.param,
        # a session should outlast a restart, and a machine may be busy
        "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "20000",
    }
    stack.scale(1)
    yield trial
    if request.param == PROTOCOLS[-1]:  # the protocol of all other tests
        stack.scale(0)
    else:
        leave(trial)
    stack.environment = before
    stack.scale(1)


def leave(trial: Trial) -> None:
    """No scorer, and no member of their group: a static one stays until its session ends, and a
    group that has members cannot change its protocol."""
    trial.bed.stack.scale(0)
    group = f"{trial.bed.stream.name}-scorer"
    admin = AdminClient({"bootstrap.servers": trial.bed.bootstrap})

    def is_empty() -> bool:
        described: Any = admin.describe_consumer_groups([group])  # the stubs are wrong
        found = described[group].result(30)
        return bool(found.state is ConsumerGroupState.EMPTY)

    trial.tend(is_empty, "the group is empty")


def owners(trial: Trial) -> dict[str, list[str]]:
    """Partition -> the scorers that were assigned it since `begin`, in order of time."""
    found: list[tuple[str, str, str]] = []
    for name in sorted(trial.logged):
        for line in trial.since(name).splitlines():
            said = re.match(r"(\S+ \S+) INFO consumers.loop: assigned (.+)", line)
            if said:
                found += [(said[1], partition, name) for partition in said[2].split()]
    by_partition: dict[str, list[str]] = {}
    for _, partition, name in sorted(found):
        by_partition.setdefault(partition, []).append(name)
    return by_partition


def moves(owned: list[str]) -> int:
    """How often the owner became another one."""
    return sum(one != other for one, other in pairwise(owned))


def held(trial: Trial) -> dict[str, int]:
    """Scorer -> how many partitions it has now, as its log has it."""
    now = {partition: names[-1] for partition, names in owners(trial).items()}
    return {name: list(now.values()).count(name) for name in trial.bed.stack.programs}


@pytest.mark.parametrize("one_scorer", PROTOCOLS, indirect=True)
def test_scorers_come_go_and_restart_in_turn(one_scorer: Trial) -> None:
    """1 -> 3 scorers, each restarted in turn, -> 2: each partition moves at most twice in the
    restarts, each exit takes less than its bound, and every event has one answer."""
    trial = one_scorer
    stack = trial.bed.stack
    with trial.under_load():
        trial.tend_for(1)
        stack.scale(3)
        trial.tend(lambda: all(held(trial)[f"scorer-{n}"] for n in range(3)), "each has some")
        trial.tend_for(2)
        start = owners(trial)
        for slot in range(3):
            child = trial.bed.child(f"scorer-{slot}")
            began = time.monotonic()
            child.stop(timeout_s=60)
            assert time.monotonic() - began < DRAIN_S_MAX
            assert child.exit_code == 0, child.tail()
            ready = stack.programs[f"scorer-{slot}"].ready
            ready.unlink()
            trial.tend(ready.exists, "it is started again")
            trial.tend_for(2)
        moved = {p: moves(names[len(start[p]) - 1 :]) for p, names in owners(trial).items()}
        assert max(moved.values()) <= MOVES_MAX, owners(trial)
        stack.scale(2)
        trial.tend_for(1)
    trial.audit()


@pytest.mark.parametrize("one_scorer", PROTOCOLS, indirect=True)
def test_a_killed_scorers_successor_answers_what_it_left(one_scorer: Trial) -> None:
    """kill -9. Its successor has the same name in the group: with the classic protocol it has the
    partitions at once, with KIP-848 it leaves (exit code 3) until the dead one's session ends."""
    trial = one_scorer
    program = trial.bed.stack.programs["scorer-0"]
    starts = program.starts
    with trial.under_load(2_000):
        trial.tend_for(1)
        trial.bed.child("scorer-0").kill()
        trial.tend(lambda: program.starts > starts, "it is started again")
    trial.audit()
    said = trial.since("scorer-0")
    if trial.bed.stack.environment["MILLSTREAM_KAFKA_GROUP_PROTOCOL"] == "classic":
        assert program.starts == starts + 1, said
    else:
        assert "must be started again" in said, said
