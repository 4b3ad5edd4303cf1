"""The input watch: windows of exact events, silence where nothing drifts, and restarts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from millstream.drift.findings import InputWindow
from millstream.drift.inputs import InputMonitor, InputRules
from millstream.drift.profile import Profile, make_profile
from tests.millstream.drift.faults import CATEGORIES, DATA, ORDER, Columns, events

ROWS = 9_000


def _profile(columns: Columns, rows: int = 3_000) -> Profile:
    first = {name: column[:rows] for name, column in columns.items()}
    return make_profile("loans", ORDER, first, CATEGORIES)


def _times(count: int) -> Any:
    return np.arange(count) * 10_000


def _part(columns: Columns, start: int, end: int) -> Columns:
    return {name: column[start:end] for name, column in columns.items()}


def said(windows: list[InputWindow]) -> list[Any]:
    """Everything in them, comparable."""
    return [
        (w.first, w.last, w.events, w.psi.tolist(), w.js.tolist(), str(w.ks.tolist()),
         w.nulls.tolist(), w.unseen.tolist(), w.moved, w.signs, w.judged)
        for w in windows
    ]  # fmt: skip


def _faulty() -> Columns:
    columns = events(ROWS, 3)
    columns["age"][6_000:7_500] += 20
    columns["loan"][7_000:7_400] = np.nan
    columns["score"][7_200:7_700] = 600.0
    return columns


def test_neither_batches_nor_restarts_change_what_is_said() -> None:
    """Killed at random offsets and restored through JSON, it says what an unbroken run says."""
    columns = _faulty()
    profile, times, offsets = _profile(columns), _times(ROWS), np.arange(ROWS) * 2
    schemas = np.where(np.arange(ROWS) < 5_123, 7, 9)
    unbroken = InputMonitor(profile)
    wanted = said(unbroken.add(columns, offsets, times, schemas))
    assert any(window[8] for window in wanted)
    assert any(window[9] for window in wanted)
    rng = np.random.default_rng(8)
    monitor, found, start = InputMonitor(profile), [], 0
    for end in [*sorted(rng.choice(ROWS, 60, replace=False).tolist()), ROWS]:
        rows = slice(start, end)
        found += monitor.add(_part(columns, start, end), offsets[rows], times[rows], schemas[rows])
        state = json.loads(json.dumps(monitor.state()))
        monitor = InputMonitor(profile)
        monitor.restore(state)
        start = end
    assert said(found) == wanted
    assert monitor.state() == unbroken.state()


def test_a_window_spans_events_and_time() -> None:
    """A fast stream is judged once a second of its own time, not every 500 events."""
    columns = events(3_000, 1)
    rules = InputRules(window_events=500, window_us=8_000_000)
    monitor = InputMonitor(_profile(columns), 3, rules)
    windows = monitor.add(columns, np.arange(3_000) + 50, _times(3_000))
    assert [window.events for window in windows] == [801, 801, 801]
    assert (windows[0].first.partition, windows[0].first.offset) == (3, 50)
    assert windows[1].first.offset == windows[0].last.offset + 1


def test_a_new_schema_and_a_new_producer_are_signs_once() -> None:
    """With the first offset; those of the first window are the known ones."""
    columns = events(3_000, 1)
    schemas = np.where(np.arange(3_000) < 1_700, 7, 8)
    producers = ["a"] * 2_100 + ["b"] * 900
    windows = InputMonitor(_profile(columns)).add(
        columns, np.arange(3_000), _times(3_000), schemas, producers
    )
    signs = [(s.kind, s.detail, s.first.offset) for window in windows for s in window.signs]
    assert signs == [("schema_change", "8", 1_700), ("producer_change", "b", 2_100)]


def test_a_column_that_comes_alive_is_named_and_no_alarm() -> None:
    """It was constant in the reference: no model has learned anything from it."""
    columns = events(8_000, 2)
    alive = columns["age"].copy()
    columns["age"][:6_000] = 40.0
    windows = InputMonitor(_profile(columns)).add(columns, np.arange(8_000), _times(8_000))
    assert alive[6_000:].std() > 1
    assert windows[-1].came_alive == ("age",)
    assert not any(window.moved or window.signs for window in windows)


def test_the_context_names_the_column() -> None:
    """PSI, distance and KS stand out among the independent columns; a category has no KS."""
    columns = events(8_000, 2)
    columns["age"][7_000:] += 20
    last = InputMonitor(_profile(columns)).add(columns, np.arange(8_000), _times(8_000))[-1]
    place = ORDER.index("age")
    independent = [ORDER.index(name) for name in ORDER if name != "tempo"]
    for values in (last.psi, last.js, last.ks):
        assert np.nanmax(values[independent]) == values[place]
    assert last.psi[place] > 0.25
    assert np.isnan(last.ks[ORDER.index("region")])


def _real(name: str, left_out: list[str], categories: tuple[str, ...] = ()) -> tuple[Any, Any]:
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"{name} is not at ../shared/data: get it to run this test")
    frame = pd.read_csv(next(folder.glob("*.csv.gz")))
    kept = frame.drop(columns=left_out)
    return frame, {n: kept[n].to_numpy() for n in kept}


@pytest.mark.parametrize("reference", [2_000, 9_062])
@pytest.mark.parametrize("events_each", [200, 500, 1_000])
def test_elec2_in_its_own_order_raises_nothing(reference: int, events_each: int) -> None:
    """Season and dependence are not drift, though PSI is large in most windows."""
    frame, columns = _real("elec2", ["event_time", "date", "label"])
    times = pd.to_datetime(frame["event_time"]).astype("datetime64[us]").astype("int64").to_numpy()
    first = {name: column[:reference] for name, column in columns.items()}
    profile = make_profile("elec2", list(columns), first)
    monitor = InputMonitor(profile, rules=InputRules(window_events=events_each))
    windows = monitor.add(columns, np.arange(len(times)), times)
    assert len(windows) == len(times) // events_each
    assert [w.first.offset for w in windows if w.moved or w.signs] == []
    assert np.mean([(w.psi > 0.25).any() for w in windows]) > 0.5


def test_loans_raises_nothing() -> None:
    """Only the rule changes in it: inputs must stay silent."""
    frame, columns = _real("loans", ["event_time", "label", "concept"])
    times = pd.to_datetime(frame["event_time"], format="ISO8601")
    profile = make_profile("loans", list(columns), {n: c[:5_000] for n, c in columns.items()})
    microseconds = times.astype("datetime64[us]").astype("int64").to_numpy()
    windows = InputMonitor(profile).add(columns, np.arange(len(frame)), microseconds)
    assert len(windows) > 50
    assert [w.first.offset for w in windows if w.moved or w.signs] == []


def test_the_change_in_nsl_kdd_is_found_and_nothing_else() -> None:
    """New kinds of attack from row 25,192 on: within three windows, and no broken pipe."""
    frame, columns = _real("nsl_kdd", ["attack", "difficulty", "part", "label"])
    columns.pop("concept", None)
    categories = ("protocol_type", "service", "flag")
    first = {name: column[:5_000] for name, column in columns.items()}
    profile = make_profile("nsl", list(columns), first, categories)
    times = np.arange(len(frame)) * 1_000_000
    windows = InputMonitor(profile).add(columns, np.arange(len(frame)), times)
    ends = [window.last.offset for window in windows if window.moved]
    assert 25_192 <= ends[0] < 25_192 + 1_500
    assert not any(window.signs for window in windows)
