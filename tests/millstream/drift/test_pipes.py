"""Signs of a broken pipe: sharp, and silent where the stream was always like that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from millstream.drift.inputs import InputMonitor
from millstream.drift.profile import make_profile
from tests.millstream.drift.faults import CATEGORIES, ORDER, Columns, events

ROWS, FAULT = 9_000, 6_123


def signs(columns: Columns, reference: int = 3_000) -> list[Any]:
    """(kind, feature, first offset) of every sign, each once."""
    first = {name: column[:reference] for name, column in columns.items()}
    monitor = InputMonitor(make_profile("loans", ORDER, first, CATEGORIES))
    rows = np.arange(len(columns["age"]))
    windows = monitor.add(columns, rows, rows * 10_000)
    found = [(s.kind, s.feature, s.first.offset) for window in windows for s in window.signs]
    return list(dict.fromkeys(found))


def _broken(inject: Callable[[Columns], None]) -> Columns:
    columns = events(ROWS, 5)
    inject(columns)
    return columns


def _nulls(columns: Columns) -> None:
    columns["age"][FAULT::10] = np.nan


def _stuck(columns: Columns) -> None:
    columns["tempo"][FAULT:] = columns["tempo"][FAULT]


def _thousand(columns: Columns) -> None:
    columns["salary"][FAULT:] *= 1_000


def _minutes(columns: Columns) -> None:
    columns["score"][FAULT:] /= 60


def _gone(columns: Columns) -> None:
    columns["region"][columns["region"] == "south"] = np.where(
        np.flatnonzero(columns["region"] == "south") >= FAULT, "north", "south"
    )


@pytest.mark.parametrize(
    ("inject", "wanted"),
    [
        (_nulls, ("nulls", "age", FAULT)),
        (_stuck, ("stuck_value", "tempo", FAULT)),
        (_thousand, ("unit_change", "salary", FAULT)),
        (_minutes, ("unit_change", "score", FAULT)),
        (_gone, ("vanished_category", "region", 6_500)),
    ],
)
def test_each_sign_names_kind_feature_and_first_offset(
    inject: Callable[[Columns], None], wanted: tuple[str, str, int]
) -> None:
    """And nothing else is a sign. What is gone is gone from the window's beginning on."""
    assert signs(_broken(inject)) == [wanted]


def test_a_stream_as_it_is_has_no_sign() -> None:
    """Twenty streams."""
    assert [signs(events(6_000, seed)) for seed in range(20)] == [[]] * 20


def test_what_the_stream_always_did_is_no_sign() -> None:
    """Nulls, runs and gaps in the reference are the stream's own."""
    columns = events(ROWS, 5)
    columns["age"][::5] = np.nan
    columns["loan"] = np.repeat(columns["loan"][::300], 300)[:ROWS]
    columns["region"] = np.where(np.arange(ROWS) // 700 % 2 == 0, "north", "south")
    assert signs(columns) == []


def test_a_wide_shift_is_no_unit_change() -> None:
    """A factor of three is a shift; a unit is eight or more with the shape kept."""
    columns = events(ROWS, 5)
    columns["salary"][FAULT:] *= 3
    columns["loan"][FAULT:] = np.random.default_rng(1).lognormal(2, 6, ROWS - FAULT)
    assert [sign for sign in signs(columns) if sign[0] == "unit_change"] == []


def test_a_sign_says_by_how_much() -> None:
    """The factor of the unit, the share of nulls."""
    columns = _broken(_thousand)
    _nulls(columns)
    first = {name: column[:3_000] for name, column in columns.items()}
    monitor = InputMonitor(make_profile("loans", ORDER, first, CATEGORIES))
    rows = np.arange(ROWS)
    last = monitor.add(columns, rows, rows * 10_000)[-1]
    values = {sign.kind: sign.value for sign in last.signs}
    assert values["unit_change"] == pytest.approx(1_000, rel=0.15)
    assert values["nulls"] == pytest.approx(0.1, abs=0.01)
