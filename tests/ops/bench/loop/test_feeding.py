"""What is sent next, and which outcomes with it."""

from __future__ import annotations

import pytest

from ops.bench.loop.feeding import Feeding


@pytest.mark.parametrize("delay", [0, 7, 500])
def test_no_outcome_is_told_before_the_event_so_much_later_was_sent(delay: int) -> None:
    """Behind the warm-up; and one more with each event."""
    feeding = Feeding(rows=2_000, first=300, delay=delay, step=10)
    known = [feeding.known(sent) for sent in range(300, 2_001)]
    assert known[0] == 300
    assert all(known[n] == max(300, 300 + n - delay) for n in range(len(known)))


def test_all_outcomes_of_the_warm_up_are_known_with_their_events() -> None:
    """However late the others are."""
    feeding = Feeding(rows=2_000, first=300, delay=500, step=10)
    assert [feeding.known(sent) for sent in (1, 299, 300, 301)] == [1, 299, 300, 300]


@pytest.mark.parametrize("delay", [0, 130])
def test_feeding_stops_exactly_where_a_retraining_is_due(delay: int) -> None:
    """Whatever single events came between; and it comes to the end."""
    feeding = Feeding(rows=1_000, first=200, delay=delay, step=30)
    sent, ended, ends = 200, 200, []
    while sent < feeding.rows:
        count = feeding.following(sent, ended + 100)
        assert 1 <= count <= 30
        sent += count
        if feeding.known(sent) - ended >= 100:
            ended = feeding.known(sent)
            ends.append(ended)
            sent += feeding.following(sent, ended + 100, switching=True)
    assert ends == list(range(300, 1_000 - delay + 1, 100))
    assert sent == feeding.rows


def test_a_rate_counts_from_the_warm_up_and_ends_with_the_stream() -> None:
    """Not above what there is."""
    feeding = Feeding(rows=1_000, first=200, delay=0, step=30)
    assert [feeding.paced(s, 100.0) for s in (0.0, 1.0, 60.0)] == [200, 300, 1_000]
