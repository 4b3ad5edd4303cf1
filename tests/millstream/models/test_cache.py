"""The prediction cache: the same answers, marked; bounded; off where it does not pay."""

from __future__ import annotations

import logging
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.models import cache as caching
from millstream.models.cache import AnswerCache, CachedSession, keys_of
from millstream.models.features import Rows
from millstream.models.session import Session
from tests.millstream.models.graphs import BINARY, batch, bundle, identity, lookup

NAN = float("nan")


def ticking() -> float:
    """A clock that is never asked how long anything took: all take no time."""
    return 0.0


def cached(bytes_max: int = 1 << 20) -> CachedSession:
    """A binary model whose scores are its features."""
    model = Session(bundle(identity(width=2), ("a", "b"), **BINARY))
    return CachedSession(model, bytes_max, ticking)


def marks(session: CachedSession, a: list[float]) -> list[str]:
    """How each of these rows was answered."""
    found = session.score(batch(a=a, b=[1 - each for each in a])).answered_by
    return [found] * len(a) if isinstance(found, str) else found.to_pylist()


def test_a_row_seen_before_is_answered_and_marked() -> None:
    """Its neighbours are scored; all of them in order, decided alike."""
    session = cached()
    assert marks(session, [0.25, 0.75]) == ["full", "full"]
    again = session.score(batch(a=[0.5, 0.75, 0.1, 0.25], b=[0.5, 0.25, 0.9, 0.75]))
    assert list(map(str, again.answered_by)) == ["full", "cached", "full", "cached"]
    assert again.rows.tolist() == [0, 1, 2, 3]
    assert again.scores.tolist() == [[0.5, 0.5], [0.75, 0.25], [0.1, 0.9], [0.25, 0.75]]
    assert again.label.to_pylist() == ["yes", "no", "yes", "yes"]
    assert marks(session, [0.25, 0.75]) == ["cached", "cached"]
    assert session.hits == 4


def test_refused_rows_stay_refused() -> None:
    """A row that the model may not see, or whose answer is no probability, is never kept."""
    session = cached()
    for _ in range(2):
        scored = session.score(batch(a=[NAN, 2.0, 0.5], b=[0.5, 0.5, 0.5]))
        assert scored.rows.tolist() == [2]
        assert [(r.row, r.name) for r in scored.refusals] == [
            (0, "nan_feature"),
            (1, "not_a_probability"),
        ]
    failing = CachedSession(Session(bundle(lookup())), 1 << 20, ticking)
    for _ in range(2):
        scored = failing.score(batch(a=[1.0, 9.0]))
        assert (scored.rows.tolist(), [r.row for r in scored.refusals]) == ([0], [1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0]), max_size=12), max_size=8))
def test_the_answers_are_those_of_the_model(batches: list[list[float]]) -> None:
    """Whatever was asked before, and however small the cache: the same bits."""
    plain = Session(bundle(identity()))
    with_cache = CachedSession(Session(bundle(identity())), 600, ticking)
    for rows in batches:
        one, two = plain.score(batch(a=rows)), with_cache.score(batch(a=rows))
        assert one.scores.tobytes() == two.scores.tobytes()
        assert one.rows.tolist() == two.rows.tolist()


def test_the_cache_is_bounded_by_bytes() -> None:
    """The oldest entries go first."""
    cache = AnswerCache(1_000)
    cache.find("m", [])
    keys = [bytes([n]) * 16 for n in range(20)]
    cache.keep(keys, [b"12345678"] * 20)
    assert cache.size_bytes <= 1_000
    kept = [answer is not None for answer in cache.find("m", keys)]
    assert 0 < sum(kept) < 20
    assert kept == sorted(kept)


def test_another_model_knows_nothing() -> None:
    """Entries are of one digest."""
    cache = AnswerCache(1_000)
    cache.find("one", [])
    cache.keep([b"k"], [b"a"])
    assert cache.find("one", [b"k"]) == [b"a"]
    assert cache.find("two", [b"k"]) == [None]
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_texts_that_join_alike_are_different_keys() -> None:
    """("ab", "c") is not ("a", "bc")."""
    texts = {"p": np.array([["ab"], ["a"]], object), "q": np.array([["c"], ["bc"]], object)}
    one, two = keys_of(Rows(np.arange(2), texts | {"n": np.ones((2, 1))}, ()))
    assert one != two


def test_it_turns_itself_off_where_looking_up_costs_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Judged after a trial, said once; afterwards rows are scored as if it were not there."""
    monkeypatch.setattr(caching, "TRIAL_ROWS", 8)
    ticks = count()
    model = Session(bundle(identity()))
    session = CachedSession(model, 1 << 20, lambda: float(next(ticks)))
    rows = batch(a=[1.0, 2.0, 3.0, 4.0])
    with caplog.at_level(logging.WARNING):
        for _ in range(4):  # each look-up takes two ticks; scoring four rows takes one
            session.score(rows)
    assert not session.on
    assert len(caplog.records) == 1
    assert session.score(rows).answered_by == "full"


def test_it_stays_on_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring that takes long is worth a look."""
    monkeypatch.setattr(caching, "TRIAL_ROWS", 8)
    now = iter([0.0, 0.1, 10.0, 10.1, *(10.1 + 0.1 * n for n in range(100))])
    session = CachedSession(Session(bundle(identity())), 1 << 20, lambda: next(now))
    for _ in range(6):
        session.score(batch(a=[1.0, 2.0, 3.0, 4.0]))
    assert session.on
    assert session.hits == 20
