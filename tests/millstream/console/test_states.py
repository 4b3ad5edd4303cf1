"""What a program does, from its offsets."""

from __future__ import annotations

from collections.abc import Iterable

from millstream.console.states import STUCK_S, Look, Progress, State, programs, waiting_of
from millstream.contracts import topic_table


def _states(looks: Iterable[tuple[float, int | None, int]]) -> list[State]:
    progress = Progress()
    return [progress.add(Look(*look)) for look in looks]


def test_a_program_that_has_read_everything_is_up_to_date() -> None:
    """However long nothing comes."""
    assert _states((float(t), 100, 0) for t in range(0, 60, 2)) == [State.IDLE] * 30


def test_a_group_that_never_committed_has_not_started() -> None:
    """Whether records wait or not."""
    assert _states([(0.0, None, 0), (2.0, None, 5_000)]) == [State.NEVER] * 2


def test_a_program_is_stuck_when_records_wait_and_nothing_is_read() -> None:
    """After STUCK_S, not before: a scorer that is started again takes a few seconds."""
    found = _states((float(t), 100, 50) for t in range(0, 30))
    assert found[int(STUCK_S) - 1] is State.WORKING
    assert found[int(STUCK_S) :] == [State.STUCK] * (30 - int(STUCK_S))


def test_it_counts_from_when_records_began_to_wait() -> None:
    """A program that was up to date for minutes is not stuck at the first record."""
    looks = [(float(t), 100, 0) for t in range(0, 120, 2)] + [(120.0, 100, 3)]
    assert _states(looks)[-1] is State.WORKING


def test_a_pause_in_which_nobody_looked_proves_nothing() -> None:
    """What was then says nothing of now."""
    assert _states([(0.0, 100, 50), (600.0, 100, 50)])[-1] is State.WORKING


def test_a_program_that_reads_less_than_comes_falls_behind() -> None:
    """1,000 a second are read, 3,000 come."""
    found = _states((float(t), 1_000 * t, 2_000 * t + 1) for t in range(0, 30, 2))
    assert found[0] is State.WORKING
    assert found[-1] is State.BEHIND


def test_a_program_that_catches_up_works() -> None:
    """3,000 a second are read, 1,000 come."""
    found = _states((float(t), 3_000 * t, 90_000 - 2_000 * t) for t in range(0, 30, 2))
    assert found == [State.WORKING] * 15


def test_the_rate_is_of_the_last_seconds() -> None:
    """Not of the whole past."""
    progress = Progress()
    for t in range(0, 60, 2):
        progress.add(Look(float(t), 10 * t if t <= 30 else 300 + 500 * (t - 30), 1))
    assert progress.rate == 500.0


def test_records_before_the_first_commit_wait_from_where_the_log_begins() -> None:
    """Retention removed offsets 0 to 39: 60 wait, not 100."""
    assert waiting_of({0: 100}, {0: None}, {0: 40}, in_transactions=False) == 60


def test_a_transactions_marker_is_no_record() -> None:
    """The last offset of each partition; and less than nothing never waits."""
    assert waiting_of({0: 10, 1: 10}, {0: 9, 1: 8}, {0: 0, 1: 0}, in_transactions=True) == 1


def test_every_program_reads_topics_that_there_are() -> None:
    """And the sink reads every topic that has a table."""
    table = topic_table()
    assert all(kind in table for reads in programs() for kind in reads.kinds)
    (sink,) = [reads for reads in programs() if reads.program == "sink"]
    assert set(sink.kinds) == {kind for kind, topic in table.items() if topic.table}
