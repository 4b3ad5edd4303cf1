"""A soak's plan: the same seed, the same faults; every kind of them, in time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ops.soak.plan import CALM_S, KILL_EVERY_S, LASTS_S, PARTITION_S, Fault, counted, plan

PROGRAMS = ["scorer-0", "scorer-1", "sink", "warehouse"]


def test_a_seed_always_gives_the_same_plan() -> None:
    """And another one another."""
    assert plan(7, 600, PROGRAMS) == plan(7, 600, PROGRAMS)
    assert plan(7, 600, PROGRAMS) != plan(8, 600, PROGRAMS)


@pytest.mark.parametrize("seconds", [60.0, 600.0])
def test_every_kind_of_fault_is_in_it(seconds: float) -> None:
    """Also in the short version, but for the broker's second kind."""
    kinds = set(counted(plan(1, seconds, PROGRAMS)))
    wanted = set(Fault) if seconds > 60 else set(Fault) - {Fault.BROKER_RESTART}
    assert kinds == {fault.value for fault in wanted}


def test_a_program_is_killed_every_five_seconds_and_each_has_its_turn() -> None:
    """From the calm on to the end."""
    kills = [deed for deed in plan(3, 600, PROGRAMS) if deed.fault is Fault.KILL]
    assert kills[0].at_s == CALM_S
    assert all(b.at_s - a.at_s == pytest.approx(KILL_EVERY_S) for a, b in pairwise(kills))
    assert kills[-1].at_s > 600 - 2 * KILL_EVERY_S
    assert {deed.target for deed in kills} == set(PROGRAMS)


def test_network_faults_do_not_overlap_and_end_before_the_load() -> None:
    """So that each is seen as what it is, and the drain is not disturbed."""
    deeds = [deed for deed in plan(5, 600, PROGRAMS) if deed.fault in LASTS_S]
    for one, other in pairwise(deeds):
        assert one.at_s + LASTS_S[one.fault] < other.at_s
    assert deeds[-1].at_s + LASTS_S[deeds[-1].fault] <= 600
    assert max(LASTS_S.values()) == PARTITION_S == 20
    assert deeds == sorted(deeds, key=lambda deed: deed.at_s)
