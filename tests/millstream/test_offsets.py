"""The offset rule: by hand, and against a model that only remembers what happened."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millstream.offsets import Partition, Positions, Verdict

P: Partition = ("events", 0)


def _placed(at: int | None = 10) -> Positions:
    positions = Positions()
    positions.place(P, at)
    return positions


@pytest.mark.parametrize(
    ("first", "last", "count", "verdict"),
    [
        (10, 10, 1, Verdict.ADMIT),
        (10, 19, 10, Verdict.ADMIT),
        (9, 12, 4, Verdict.REPEATED),
        (0, 0, 1, Verdict.REPEATED),
        (11, 12, 2, Verdict.GAP),
        (10, 14, 4, Verdict.GAP),
    ],
)
def test_a_run_is_judged_by_what_is_expected(
    first: int, last: int, count: int, verdict: Verdict
) -> None:
    """Offset 10 comes next: exactly there is right, below is a repeat, a hole is a gap."""
    assert _placed().judge(P, first, last, count) is verdict


def test_where_nothing_is_expected_any_beginning_is_right() -> None:
    """But a hole inside of the run is one all the same."""
    positions = _placed(None)
    assert positions.judge(P, 812, 815, 4) is Verdict.ADMIT
    assert positions.judge(P, 812, 815, 3) is Verdict.GAP


def test_judging_changes_nothing() -> None:
    """Only `admit` moves a position."""
    positions = _placed()
    positions.judge(P, 10, 19, 10)
    assert positions.expected(P) == 10


def test_a_partition_that_was_never_placed_is_fenced() -> None:
    """As is one that was given up."""
    positions = Positions()
    assert positions.judge(P, 0, 0, 1) is Verdict.FENCED
    positions.place(P, 0)
    positions.fence(P)
    assert positions.judge(P, 0, 0, 1) is Verdict.FENCED
    assert positions.expected(P) is None
    assert positions.owned == frozenset()


def test_fencing_what_is_not_ours_is_harmless() -> None:
    """A revocation may name more than was placed."""
    Positions().fence(P)


def test_a_fenced_partition_finishes_nothing() -> None:
    """What was in flight when it left is silent, also when it ends later."""
    positions = _placed()
    positions.admit(P, 19)
    positions.fence(P)
    assert positions.finish(P, 20) is False


def test_a_partition_that_comes_back_starts_anew() -> None:
    """What its former life had in flight is not taken for the new one's."""
    positions = _placed()
    positions.admit(P, 19)
    positions.fence(P)
    positions.place(P, 15)
    assert positions.expected(P) == 15
    with pytest.raises(AssertionError):
        positions.finish(P, 20)


def test_what_is_finished_never_goes_back_nor_ahead_of_what_was_admitted() -> None:
    """Both would be bugs of ours, so they are asserted."""
    positions = _placed()
    positions.admit(P, 19)
    assert positions.finish(P, 15)
    with pytest.raises(AssertionError):
        positions.finish(P, 14)
    with pytest.raises(AssertionError):
        positions.finish(P, 21)
    assert positions.finish(P, 20)


def test_admitting_below_the_expected_offset_is_a_bug() -> None:
    """The loop has judged first."""
    positions = _placed()
    with pytest.raises(AssertionError):
        positions.admit(P, 9)


def test_an_impossible_run_is_a_bug() -> None:
    """More records than offsets, or none."""
    for first, last, count in ((3, 4, 3), (3, 3, 0)):
        with pytest.raises(AssertionError):
            _placed().judge(P, first, last, count)


class Remembered(RuleBasedStateMachine):
    """Positions beside a plain memory: of each owned partition, every offset that was admitted."""

    partitions = st.sampled_from([("a", 0), ("a", 1), ("b", 0)])

    def __init__(self) -> None:
        super().__init__()
        self.positions = Positions()
        self.starts: dict[Partition, int | None] = {}
        self.admitted: dict[Partition, list[int]] = {}
        self.finished: dict[Partition, int] = {}

    @rule(partition=partitions, at=st.none() | st.integers(0, 30))
    def place(self, partition: Partition, at: int | None) -> None:
        self.positions.place(partition, at)
        self.starts[partition] = at
        self.admitted[partition] = []
        self.finished.pop(partition, None)

    @rule(partition=partitions)
    def fence(self, partition: Partition) -> None:
        self.positions.fence(partition)
        for memory in (self.starts, self.admitted, self.finished):
            memory.pop(partition, None)

    def _next(self, partition: Partition) -> int | None:
        seen = self.admitted[partition]
        return seen[-1] + 1 if seen else self.starts[partition]

    @rule(
        partition=partitions,
        first=st.integers(0, 60),
        holes=st.lists(st.booleans(), min_size=0, max_size=6),
        believe=st.booleans(),
    )
    def records(self, partition: Partition, first: int, holes: list[bool], believe: bool) -> None:
        run = [first]
        for hole in holes:
            run.append(run[-1] + (2 if hole else 1))
        verdict = self.positions.judge(partition, run[0], run[-1], len(run))
        if partition not in self.starts:
            assert verdict is Verdict.FENCED
            return
        expected = self._next(partition)
        if expected is not None and first < expected:
            assert verdict is Verdict.REPEATED
            return
        whole = not any(holes) and expected in (None, first)
        assert verdict is (Verdict.ADMIT if whole else Verdict.GAP)
        if whole or believe:  # a hole that stayed when read again is believed
            self.positions.admit(partition, run[-1])
            self.admitted[partition] += run

    @precondition(lambda self: any(self.admitted.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        partition = data.draw(st.sampled_from([p for p, seen in self.admitted.items() if seen]))
        floor = self.finished.get(partition, self.starts[partition] or 0)
        offset = data.draw(st.sampled_from(self.admitted[partition])) + 1
        if offset >= floor:
            assert self.positions.finish(partition, offset) is True
            self.finished[partition] = offset

    @rule(partition=partitions, offset=st.integers(0, 60))
    def finish_after_the_fence(self, partition: Partition, offset: int) -> None:
        if partition not in self.starts:
            assert self.positions.finish(partition, offset) is False

    @invariant()
    def expects_what_follows_the_last_admitted(self) -> None:
        assert self.positions.owned == set(self.starts)
        for partition in self.starts:
            assert self.positions.expected(partition) == self._next(partition)

    @invariant()
    def nothing_is_admitted_twice(self) -> None:
        for seen in self.admitted.values():
            assert len(set(seen)) == len(seen)
            assert seen == sorted(seen)


Remembered.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRemembered = Remembered.TestCase
