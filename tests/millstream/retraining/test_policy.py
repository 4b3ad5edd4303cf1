"""Which model the policy wants, on streams whose losses are known."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from millstream.retraining.challenge import Candidate, Decision, Losses
from millstream.retraining.policy import Policy
from millstream.retraining.track import PolicySettings

WARM_UP = 1_000
FIRST = Candidate("the first", "champion", ((0, WARM_UP),))


class World:
    """A stream of concepts: a model does as well on a row as it has seen rows of its concept."""

    def __init__(self, ends: list[int], delay: int = 0) -> None:
        self.concepts = np.concatenate(
            [np.full(b - a, n % 2) for n, (a, b) in enumerate(pairwise([0, *ends]))]
        )
        self.noise = np.random.default_rng(3).random(len(self.concepts))
        self.delay = delay
        self.answered: list[Candidate] = []

    def losses(self, candidate: Candidate, begin: int, end: int) -> Losses:
        """0 or 1: wrong with a chance of 0.1 where only this concept was seen, 0.5 where half."""
        seen = np.concatenate([self.concepts[a:b] for a, b in candidate.ranges])
        share = np.array([np.mean(seen == 0), np.mean(seen == 1)])
        few = 0.2 / np.sqrt(len(seen) / 50.0)
        chance = 0.9 - 0.8 * share[self.concepts[begin:end]] + few
        wrong: Losses = (self.noise[begin:end] < chance).astype(np.float64)
        return wrong

    def follow(self, policy: Policy, first: int = WARM_UP) -> float:
        """The share of events that are answered rightly; labels come `delay` events later."""
        wrong = []
        for at in range(first, len(self.concepts), 10):
            wrong.append(self.losses(policy.wanted, at, at + 10))
            self.answered.append(policy.wanted)
            labelled = at + 10 - self.delay
            if labelled > WARM_UP:
                known = policy.rows.count
                policy.take(np.arange(known, labelled))
                policy.look(self.losses, at + 10, self.delay)
        return 1.0 - float(np.concatenate(wrong).mean())

    @property
    def swaps(self) -> int:
        """How often another model came to answer."""
        return sum(a.ranges != b.ranges for a, b in pairwise(self.answered))


def started() -> Policy:
    """A policy whose first model has seen the warm-up."""
    policy = Policy(FIRST)
    policy.take(np.arange(WARM_UP))
    return policy


def test_nothing_is_swapped_where_nothing_changes() -> None:
    """All models are as good as each other, each wrong on other rows: the gate lets few in."""
    policy = started()

    def losses(candidate: Candidate, begin: int, end: int) -> Losses:
        noise = np.random.default_rng([candidate.end, len(candidate.name)]).random(12_000)
        return (noise[begin:end] < 0.2).astype(np.float64)

    swaps, challenges = 0, 0
    for at in range(WARM_UP, 12_000, 10):
        before = policy.wanted
        policy.take(np.arange(at, at + 10))
        challenges += len(policy.look(losses, at + 10, 0))
        swaps += policy.wanted != before
    assert challenges >= 20
    assert swaps <= 4


def test_a_change_cuts_the_window_and_what_is_new_takes_over() -> None:
    """Within a few hundred labels; the cut lies close to the change."""
    world, policy = World([4_000, 8_000]), started()
    assert world.follow(policy) > 0.8
    assert policy.cut is not None and abs(policy.cut - 4_000) < 40
    assert all(begin >= 3_950 for begin, _ in policy.wanted.ranges)


def test_a_former_champion_comes_back_with_its_concept() -> None:
    """Sooner than anything could be fitted, by the ranges that it had."""
    world, policy = World([4_000, 8_000, 8_300]), started()
    world.follow(policy)
    assert policy.wanted.ranges[-1][1] <= 4_000


def test_a_monitors_alarm_brings_the_next_challenge_forward() -> None:
    """Where none was due, one is made, with the cut that the alarm told."""
    policy, world = started(), World([4_000])
    policy.take(np.arange(WARM_UP, 1_100), cut=1_050)
    (decision,) = policy.look(world.losses, 1_100, 0)
    assert (decision.challenge.why, policy.cut) == ("cut", 1_050)


def test_a_cut_that_no_row_lies_behind_changes_nothing_yet() -> None:
    """An alarm that is dated ahead of all labels (a producer's clock, say): challenges stay as far
    apart, as strict and on as many rows as without it."""
    world, policy = World([5_000]), started()
    policy.take([], cut=10**12)
    decisions: list[Decision] = []
    for first in range(WARM_UP, 5_000, 10):
        policy.take(np.arange(first, first + 10))
        decisions += policy.look(world.losses, first + 10, 0)
    assert len(decisions) <= 9
    assert {(one.challenge.rows, one.challenge.gain_z) for one in decisions[1:]} == {(500, 2.0)}


@pytest.mark.parametrize("asked", [False, True])
def test_a_challenge_is_due_every_500_labels_or_when_asked(asked: bool) -> None:
    """Not before."""
    policy, world = started(), World([4_000])
    policy.take(np.arange(WARM_UP, 1_400))
    decisions = policy.look(world.losses, 1_400, 0, "asked" if asked else None)
    assert len(decisions) == asked
    policy.take(np.arange(1_400, 2_000))
    assert len(policy.look(world.losses, 2_000, 0)) == 1


def test_challenges_on_the_same_held_back_rows_ask_more_of_a_winner() -> None:
    """Where a challenge comes each 100 labels, 500 rows are held back for five of them: chance gets
    in no more often than with one."""
    asked = [PolicySettings(every_labels=every).often_gain_z for every in (1_000, 500, 250, 100)]
    assert asked[:2] == [2.0, 2.0] and asked == sorted(asked)
    chances = [0.5 * math.erfc(z / math.sqrt(2.0)) for z in asked]
    assert chances[1] == pytest.approx(5.0 * chances[3]) == pytest.approx(2.0 * chances[2])
    world, policy = World([4_000]), Policy(FIRST, PolicySettings(every_labels=100))
    policy.take(np.arange(WARM_UP))
    policy.look(world.losses, WARM_UP, 0)
    policy.take(np.arange(WARM_UP, 1_100))
    (decision,) = policy.look(world.losses, 1_100, 0)
    assert decision.challenge.gain_z == asked[3]


def test_the_first_challenge_is_due_wherever_the_champions_rows_end() -> None:
    """Their times need not be the stream's: a model may be said to have seen what is still to
    come."""
    policy, world = Policy(Candidate("ahead", "champion", ((0, 9_000),))), World([4_000])
    policy.take(np.arange(WARM_UP))
    assert (len(policy.look(world.losses, WARM_UP, 0)), policy.due_in(0)) == (0, 500)
    policy.take(np.arange(WARM_UP, 1_500))
    assert (len(policy.look(world.losses, 1_500, 0)), policy.due_in(0)) == (1, 500)


def test_labels_count_from_the_last_challenge_whoever_goes_on_and_with_which_rows() -> None:
    """A state with the rows of its time, or with newer ones, of which the oldest are gone."""
    policy, world = started(), World([4_000])
    policy.take(np.arange(WARM_UP, 1_600))
    policy.look(world.losses, 1_600, 0, "asked")
    state = json.loads(json.dumps(policy.state()))
    found = []
    for newer in (499, 500):
        restored = Policy.from_state(state, range(900, 1_600 + newer))
        restored.passed(newer)
        due_in = restored.due_in(0)
        found.append((due_in, len(restored.look(world.losses, 1_600 + newer, 0))))
    assert found == [(1, 0), (0, 1)]
    sooner = Policy.from_state(state, range(1_600), every_labels=200)
    assert sooner.due_in(0) == 200


def test_heard_between_two_looks_a_change_is_the_one_that_the_next_look_hears() -> None:
    """In small pieces or at once; and it brings the challenge forward."""
    world, pieces, whole = World([2_000, 3_000]), started(), started()
    state = pieces.state()
    found = None
    for at in range(WARM_UP, 2_600, 37):
        pieces.take(np.arange(at, at + 37))
        found = pieces.listen(world.losses)
        if found is not None:
            break
    assert found is not None and abs(found - 2_000) < 40
    assert (pieces.due_in(0), pieces.cut) == (0, found)
    whole = Policy.from_state(state, range(pieces.rows.count))
    (decision,) = whole.look(world.losses, pieces.rows.count, 0)
    assert (decision.challenge.why, whole.cut) == ("cut", found)


def test_rows_of_one_place_are_heard_once_at_most() -> None:
    """Event times of whole seconds, of which a look may see the first half."""
    policy, heard = started(), []

    def losses(candidate: Candidate, begin: int, end: int) -> Losses:
        heard.append((begin, end))
        return np.zeros((end - begin) * 25)

    for second in range(WARM_UP, WARM_UP + 20):
        for part in (15, 10):
            policy.take([second] * part)
            policy.listen(losses)
    assert [begin for begin, _ in heard[1:]] == [end for _, end in heard[:-1]]
    assert (heard[0][0], heard[-1][1]) == (WARM_UP, WARM_UP + 20)


def test_no_candidate_is_compared_on_rows_that_it_was_fitted_on() -> None:
    """Nor on any row on which the champion was."""
    world = World([3_000, 5_000, 7_000])
    policy = started()
    seen = []

    def losses(candidate: Candidate, begin: int, end: int) -> Losses:
        seen.append((candidate, begin))
        return world.losses(candidate, begin, end)

    for at in range(WARM_UP, 7_000, 10):
        policy.take(np.arange(at, at + 10))
        for decision in policy.look(losses, at + 10, 0):
            for one in decision.compared:
                assert one.trial.trial.end <= one.trial.begin
                assert decision.challenge.champion.end <= one.trial.begin
    assert len(seen) > 100


def test_where_labels_take_as_long_as_a_concept_the_wide_track_answers() -> None:
    """What it answers spans the concepts, and is right more often than the narrow one alone."""
    ends = list(range(2_000, 22_001, 2_000))
    guarded, world = started(), World(ends, delay=2_000)
    with_guard = world.follow(guarded)
    assert guarded.wanted.ranges[-1][1] - guarded.wanted.ranges[0][0] >= 4_000
    alone = Policy(FIRST, PolicySettings(guard_z=1e9))
    alone.take(np.arange(WARM_UP))
    assert with_guard > World(ends, delay=2_000).follow(alone) + 0.05


def test_a_state_does_not_grow_with_every_swap() -> None:
    """It is in each attempt's record: who answered events long since labelled is forgotten."""
    world, policy = World(list(range(3_000, 15_001, 2_000))), started()
    world.follow(policy)
    assert world.swaps > 10
    assert all(len(track["history"]) <= 3 for track in policy.state()["tracks"])


def test_what_could_not_be_released_is_not_wanted() -> None:
    """The one before it goes on."""
    world, policy = World([4_000, 5_000]), started()
    world.follow(policy)
    before, refused = policy.formers[-1].ranges, policy.wanted.ranges
    policy.refuse(5_000)
    assert policy.wanted.ranges == before != refused


def test_rolled_back_to_a_former_champion_it_goes_on_from_that_one() -> None:
    """What was refused is no candidate; the others, the cut, and the labels until the next
    challenge stay as they were."""
    world, policy = World([4_000, 5_000, 8_000]), started()
    world.follow(policy)
    formers, cut, due_in = policy.formers, policy.cut, policy.due_in(0)
    refused, back = policy.wanted, formers[-2]
    policy.refuse(8_000, back.name)
    assert policy.wanted.ranges == back.ranges
    assert policy.formers == tuple(one for one in formers if one != back)
    assert refused.ranges not in {one.ranges for one in policy.formers}
    assert (policy.cut, policy.due_in(0)) == (cut, due_in)


@pytest.mark.parametrize("delay", [0, 1_500])
def test_it_goes_on_from_its_state_as_if_nothing_had_been(delay: int) -> None:
    """Through JSON, with the guard's and the detector's memory."""
    whole, parts = World([3_000, 5_000, 7_000, 9_000], delay), World([3_000, 5_000, 7_000], delay)
    straight = started()
    whole.follow(straight)
    policy = started()
    parts.follow(policy)
    state = json.loads(json.dumps(policy.state()))
    restored = Policy.from_state(state, range(policy.rows.count))
    assert restored.state() == policy.state()
    whole.answered = []
    whole.follow(restored, 7_000)
    assert restored.state() == straight.state()


def test_a_state_of_another_format_is_refused() -> None:
    """It names the format."""
    with pytest.raises(ValueError, match="format 99"):
        Policy.from_state({"format": 99}, [])


def test_places_never_fall() -> None:
    """Labelled rows come in order."""
    policy = started()
    with pytest.raises(ValueError, match="fall"):
        policy.take([5])
