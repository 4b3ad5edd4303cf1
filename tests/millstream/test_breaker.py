"""When the scorer stops, and when it must not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.breaker import SHARES_MAX, Breaker, Limits
from millstream.errors import Refusal, SettingsInvalid, Stage, TooManyRefusals
from millstream.settings import ScorerSettings, from_environment

_SETTINGS = ScorerSettings()
DEFAULTS = Limits(
    _SETTINGS.breaker_ratio_max,
    _SETTINGS.breaker_window_events,
    _SETTINGS.breaker_events_min,
    _SETTINGS.breaker_run_max,
)
RATIO_ALONE = Limits(ratio_max=0.5, window_events=1_000, events_min=100, run_max=0)
RUN_ALONE = Limits(ratio_max=1, window_events=1_000, events_min=100, run_max=5)


def refused(bad: npt.NDArray[np.bool_] | list[int], name: str = "truncated") -> list[Refusal]:
    """A refusal for each row."""
    rows = np.flatnonzero(bad) if isinstance(bad, np.ndarray) else bad
    return [Refusal(int(row), Stage.DECODE, name, "a reason") for row in rows]


def feed(breaker: Breaker, bad: npt.NDArray[np.bool_], batch: int, partitions: int = 4) -> int:
    """Events kept until it opened, or all; event i is of partition i modulo `partitions`."""
    for start in range(0, len(bad), batch):
        part = bad[start : start + batch]
        numbers = (np.arange(start, start + len(part)) % partitions).astype(np.int32)
        try:
            breaker.keep(breaker.weigh(numbers, refused(part)))
        except TooManyRefusals:
            return start
    return len(bad)


@pytest.mark.parametrize("batch", [1, 100, 20_000])
@pytest.mark.parametrize("seed", range(3))
def test_one_bad_event_in_a_hundred_never_stops_it(seed: int, batch: int) -> None:
    """By its default limits, wherever they fall."""
    events = 20_000 if batch == 1 else 200_000
    bad = np.random.default_rng(seed).random(events) < 0.01
    assert feed(Breaker("s.events", DEFAULTS), bad, batch) == events


@pytest.mark.parametrize("batch", [50, 1_000, 20_000])
def test_three_bad_events_in_ten_stop_it(batch: int) -> None:
    """Within the events that must be seen, and a batch."""
    bad = np.random.default_rng(0).random(60_000) < 0.3
    kept = feed(Breaker("s.events", DEFAULTS), bad, batch)
    assert kept < DEFAULTS.events_min + batch


@pytest.mark.parametrize(
    "bad",
    [
        np.ones(10, bool),
        np.ones(999, bool),
        np.r_[np.ones(100, bool), np.zeros(10_000, bool)],
        np.r_[np.zeros(10_000, bool), np.ones(100, bool)],
    ],
    ids=["ten", "all of a small one", "a hundred first", "a hundred last"],
)
@pytest.mark.parametrize("batch", [1, 64, 20_000])
def test_a_small_stream_does_not_stop_by_accident(bad: npt.NDArray[np.bool_], batch: int) -> None:
    """Too few events are no share."""
    assert feed(Breaker("s.events", DEFAULTS), bad, batch) == len(bad)


def test_a_stream_that_turns_bad_after_a_long_good_time_stops_it() -> None:
    """The good hours before do not count: at most a fifth of a window is diverted, and a batch."""
    bad = np.r_[np.zeros(500_000, bool), np.ones(100_000, bool)]
    spread = Breaker("s.events", Limits(0.2, 10_000, 1_000, run_max=0))
    kept = feed(spread, bad, 500) - 500_000
    assert 0 <= kept <= 0.2 * (10_000 + 10_000 / SHARES_MAX + 500)


def test_after_a_bad_time_the_window_moves_on() -> None:
    """What lies a window back has no say."""
    breaker = Breaker("s.events", RATIO_ALONE)
    bad = np.r_[np.ones(49, bool), np.zeros(5_000, bool), np.ones(400, bool)]
    assert feed(breaker, bad, 50) == len(bad)
    assert feed(breaker, np.ones(200, bool), 50) < 200


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60),
    batch=st.integers(1, 20),
    run_max=st.integers(1, 6),
)
def test_runs_are_those_of_a_plain_count(
    rows: list[tuple[int, bool]], batch: int, run_max: int
) -> None:
    """For each partition, over the borders of batches: it opens in the batch with the first run
    that is too long, and never without one."""
    breaker = Breaker("s.events", Limits(1, 1_000, 1, run_max))
    runs = [0, 0, 0]
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        too_long = False
        for partition, bad in part:
            runs[partition] = runs[partition] + 1 if bad else 0
            too_long |= runs[partition] > run_max
        numbers = np.array([partition for partition, _ in part], np.int32)
        refusals = refused(np.array([bad for _, bad in part], bool))
        if too_long:
            with pytest.raises(TooManyRefusals, match="in a row"):
                breaker.weigh(numbers, refusals)
            return
        breaker.keep(breaker.weigh(numbers, refusals))


def test_a_batch_that_was_not_published_is_not_counted() -> None:
    """An aborted transaction's batch comes again; it is one batch."""
    breaker = Breaker("s.events", RATIO_ALONE)
    numbers = np.zeros(60, np.int32)
    for _ in range(50):
        weighed = breaker.weigh(numbers, refused(list(range(60))))
    breaker.keep(weighed)
    with pytest.raises(TooManyRefusals):
        breaker.weigh(numbers, refused(list(range(60))))


def test_replays_are_not_judged() -> None:
    """Neither for the share nor for the run."""
    breaker = Breaker("s.events", Limits(0.5, 100, 10, 5))
    rows = list(range(50))
    numbers = np.zeros(50, np.int32)
    breaker.keep(breaker.weigh(numbers, refused(rows), replays=rows))
    with pytest.raises(TooManyRefusals):
        breaker.weigh(numbers, refused(rows), replays=rows[:40])


def test_a_partition_that_left_begins_anew() -> None:
    """Another scorer may have answered what came between."""
    breaker = Breaker("s.events", RUN_ALONE)
    numbers = np.full(5, 3, np.int32)
    breaker.keep(breaker.weigh(numbers, refused(list(range(5)))))
    breaker.forget([3])
    breaker.keep(breaker.weigh(numbers, refused(list(range(5)))))
    with pytest.raises(TooManyRefusals):
        breaker.weigh(numbers[:1], refused([0]))


def test_off_means_off() -> None:
    """A ratio of 1 and a run of 0 let everything pass."""
    off = Limits(ratio_max=1, window_events=1_000, events_min=1, run_max=0)
    assert feed(Breaker("s.events", off), np.ones(50_000, bool), 1_000) == 50_000


def test_the_error_names_the_main_cause_and_the_way_out() -> None:
    """For the ratio and for the run; each says its own switch."""
    numbers = np.zeros(200, np.int32)
    refusals = refused(list(range(150))) + refused(list(range(150, 200)), "bad_utf8")
    with pytest.raises(TooManyRefusals) as ratio:
        Breaker("s.events", RATIO_ALONE).weigh(numbers, refusals)
    assert "200 of the newest 200 events of s.events are refused" in ratio.value.problem
    assert "150 of 200 because of decode: truncated" in ratio.value.problem
    assert "MILLSTREAM_SCORER_BREAKER_RATIO_MAX=1" in ratio.value.remedy
    with pytest.raises(TooManyRefusals) as run:
        Breaker("s.events", RUN_ALONE).weigh(numbers, refusals)
    assert "200 events in a row of s.events-0 are refused" in run.value.problem
    assert "MILLSTREAM_SCORER_BREAKER_RUN_MAX=0" in run.value.remedy
    assert run.value.exit_code == 4


def test_the_window_is_held_in_a_bounded_number_of_parts() -> None:
    """However small the batches."""
    breaker = Breaker("s.events", Limits(0.5, 1_000, 1, 0))
    feed(breaker, np.zeros(20_000, bool), 1)
    assert len(breaker._window) <= SHARES_MAX + 1


def test_a_window_below_the_events_that_must_be_seen_is_refused() -> None:
    """It would never judge."""
    environ = {"MILLSTREAM_SCORER_BREAKER_WINDOW_EVENTS": "10"}
    with pytest.raises(SettingsInvalid, match="breaker_events_min is above"):
        from_environment(ScorerSettings, environ)
