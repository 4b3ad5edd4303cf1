"""The store: numbers under declared names, from any thread, bounded."""

from __future__ import annotations

import doctest
import threading

import numpy as np
import pytest

from millstream.metrics import store as module
from millstream.metrics.store import DROPPED, SERIES_MAX, Key, Store
from millstream.metrics.vocabulary import RUNNING, VOCABULARY, Kind


@pytest.fixture
def store() -> Store:
    """A scorer's."""
    return Store("scorer")


def test_the_examples_hold() -> None:
    """As the docstrings say them."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("program", RUNNING)
def test_known_series_are_there_at_zero(program: str) -> None:
    """An alert on a growth needs the value before the first."""
    for reading in Store(program).readings():
        known = set(reading.metric.known())
        found = reading.buckets if reading.metric.kind is Kind.HISTOGRAM else reading.values
        assert set(found) == known
        assert not any(reading.values.values())
        assert not any(any(each.counts) for each in reading.buckets.values())


def test_a_counter_adds_up_and_a_gauge_stands(store: Store) -> None:
    """Each label value by itself."""
    store.add("millstream_rebalances_total", 2, change="assigned")
    store.add("millstream_rebalances_total", change="assigned")
    store.set("millstream_watched_call_seconds", 4.5)
    store.set("millstream_watched_call_seconds", 1.5)
    assert store.value("millstream_rebalances_total", change="assigned") == 3
    assert store.value("millstream_rebalances_total", change="revoked") == 0
    assert store.value("millstream_watched_call_seconds") == 1.5


def test_a_total_never_goes_back() -> None:
    """A tally that is read while it changes, or twice, makes no counter shrink."""
    store = Store("sink")
    for value in (5, 3, 7):
        store.total("millstream_sink_blocks_total", value)
    assert store.value("millstream_sink_blocks_total") == 7


@pytest.mark.parametrize(
    ("value", "place"), [(0.0, 0), (0.001, 0), (0.0011, 1), (30.0, 13), (30.1, 14), (1e9, 14)]
)
def test_a_value_falls_into_the_bucket_that_holds_it(
    store: Store, value: float, place: int
) -> None:
    """A bound belongs to the bucket below it, as Prometheus's `le` says; one at a time or all."""
    store.observe("millstream_batch_seconds", value)
    store.observe_all("millstream_batch_seconds", np.array([value, value]))
    reading = next(r for r in store.readings() if r.metric.name == "millstream_batch_seconds")
    buckets = reading.buckets[()]
    assert [i for i, count in enumerate(buckets.counts) if count] == [place]
    assert buckets.counts[place] == 3
    assert buckets.total == pytest.approx(3 * value)
    assert buckets.cumulated() == [0] * place + [3] * (len(buckets.counts) - place)


def test_many_values_are_counted_as_one_by_one(store: Store) -> None:
    """Whatever they are."""
    values = np.random.default_rng(3).exponential(0.5, 2_000)
    other = Store("scorer")
    store.observe_all("millstream_batch_seconds", values)
    for value in values:
        other.observe("millstream_batch_seconds", float(value))
    found, wanted = (
        next(r for r in each.readings() if r.metric.name == "millstream_batch_seconds").buckets[()]
        for each in (store, other)
    )
    assert found.counts == wanted.counts
    assert found.total == pytest.approx(wanted.total)


def test_only_these_series_are_left(store: Store) -> None:
    """A partition that went has no lag any more; known series fall to 0."""
    store.only("millstream_lag_records", {("events", "0"): 5.0, ("events", "1"): 6.0})
    store.only("millstream_lag_records", {("events", "1"): 7.0})
    values = {r.metric.name: r.values for r in store.readings()}
    assert values["millstream_lag_records"] == {("events", "1"): 7.0}


def test_too_many_series_are_dropped_and_counted(store: Store) -> None:
    """A label with ever new values fills nobody's memory; what was there goes on counting."""
    for number in range(SERIES_MAX + 5):
        store.add("millstream_model_answers_total", model="m", version=str(number))
    store.add("millstream_model_answers_total", model="m", version="0")
    values = {r.metric.name: r.values for r in store.readings()}
    assert len(values["millstream_model_answers_total"]) == SERIES_MAX
    assert store.value("millstream_model_answers_total", model="m", version="0") == 2
    assert store.value(DROPPED) == 5


def test_series_that_a_gauge_has_too_many_of_are_counted(store: Store) -> None:
    """Those that are shown and those that are not, at each look."""
    lags: dict[Key, float] = {("events", str(number)): 1.0 for number in range(SERIES_MAX + 3)}
    for _ in range(2):
        store.only("millstream_lag_records", lags)
    values = {r.metric.name: r.values for r in store.readings()}
    assert len(values["millstream_lag_records"]) == SERIES_MAX
    assert store.value(DROPPED) == 6


def test_what_was_not_declared_is_a_mistake_of_ours(store: Store) -> None:
    """Another program's metric, another kind, other labels, a counter that shrinks."""
    with pytest.raises(AssertionError, match="not declared"):
        store.add("millstream_sink_blocks_total")
    with pytest.raises(AssertionError, match="is a counter"):
        store.set("millstream_batches_total", 1.0)
    with pytest.raises(AssertionError, match="has labels"):
        store.add("millstream_batches_total", slot="0")
    with pytest.raises(KeyError):
        store.add("millstream_rebalances_total", direction="assigned")
    with pytest.raises(AssertionError):
        store.add("millstream_batches_total", -1)
    with pytest.raises(AssertionError, match="no metric"):
        Store("nobody")


def test_threads_lose_no_count(store: Store) -> None:
    """The sink's inserts and the watchdog write beside the loop, the server reads."""

    def work() -> None:
        for _ in range(2_000):
            store.add("millstream_batches_total")
            store.observe("millstream_batch_records", 3.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        list(store.readings())
    for thread in threads:
        thread.join()
    assert store.value("millstream_batches_total") == 8_000
    assert store.value("millstream_batch_records") == 8_000


def test_every_metric_is_of_some_program() -> None:
    """Nothing is declared that nobody could have."""
    shown = {r.metric.name for program in RUNNING for r in Store(program).readings()}
    assert shown == set(VOCABULARY)
