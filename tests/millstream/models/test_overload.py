"""What answers at each step of the ladder, and how it is marked."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.errors import BundleInvalid
from millstream.ladder import Ladder
from millstream.models.cache import CachedSession
from millstream.models.features import FeatureReader, Rows
from millstream.models.overload import LadderSession
from millstream.models.session import Session
from tests.millstream.models.graphs import BINARY, batch, bundle, identity

STEPS = ("full", "cheaper", "cached", "abstained")
FULL = bundle(identity(width=2), ("a", "b"), **BINARY)


def at(step: str) -> LadderSession:
    """A session that stands at this step, having answered a=0.25 before."""
    names = STEPS[: STEPS.index(step) + 1]
    cheaper = bundle(identity(width=2), ("b", "a"), version="cheap", **BINARY)
    full = CachedSession(Session(FULL), 1 << 20, lambda: 0.0)
    made = LadderSession(full, Session(cheaper), Ladder(names, 100, 1, 1_000))
    made.score(batch(a=[0.25], b=[0.75]))
    for now in range(len(names)):
        made.observe(now, 200)
    return made


def rows() -> Any:
    """One that was answered before, a new one, and one that the model may not see."""
    return batch(a=[0.25, 0.5, float("nan")], b=[0.75, 0.5, 0.5])


def marks(answered_by: Any) -> list[str] | str:
    """One for all, or each."""
    return answered_by if isinstance(answered_by, str) else answered_by.to_pylist()


def test_the_first_step_is_the_whole_model() -> None:
    """As if there were no ladder."""
    scored = at("full").score(rows())
    assert marks(scored.answered_by) == ["cached", "full"]
    assert scored.bundle is None


def test_the_cheaper_model_answers_under_its_own_name() -> None:
    """Its scores, its bundle, one mark for all."""
    scored = at("cheaper").score(rows())
    assert (marks(scored.answered_by), scored.rows.tolist()) == ("cheaper", [0, 1])
    assert scored.bundle is not None
    assert scored.bundle.version == "cheap"
    assert scored.scores.tolist() == [[0.75, 0.25], [0.5, 0.5]]


def test_only_what_the_cache_knows_is_answered() -> None:
    """The rest is abstained from, what is refused stays refused."""
    scored = at("cached").score(rows())
    assert marks(scored.answered_by) == ["cached", "abstained"]
    assert scored.label.to_pylist() == ["yes", None]
    assert scored.scores[0].tolist() == [0.25, 0.75]
    assert np.isnan(scored.scores[1]).all()
    assert np.isnan(scored.score[1])
    assert [refusal.row for refusal in scored.refusals] == [2]


def test_abstaining_answers_nothing() -> None:
    """Every row that the model may see has a prediction that says so."""
    scored = at("abstained").score(rows())
    assert marks(scored.answered_by) == ["abstained", "abstained"]
    assert np.isnan(scored.score).all()
    assert [refusal.row for refusal in scored.refusals] == [2]


def test_each_step_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """One line where it moves, none where it stays."""
    with caplog.at_level(logging.WARNING):
        made = at("cheaper")
        made.observe(5, 200)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "answers are cheaper now, no longer full" in line


def test_a_cheaper_model_with_other_labels_is_refused() -> None:
    """It would answer another question."""
    other = bundle(identity())
    with pytest.raises(BundleInvalid, match="kind is 'regression'"):
        LadderSession(Session(FULL), Session(other), Ladder(STEPS, 1, 1, 1))


def test_rows_are_read_once_where_only_the_cache_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """While events wait, nothing is done twice."""
    session = at("cached")
    read, seen = FeatureReader.read, []

    def counted(self: FeatureReader, columns: pa.RecordBatch) -> Rows:
        seen.append(columns.num_rows)
        return read(self, columns)

    monkeypatch.setattr(FeatureReader, "read", counted)
    session.score(batch(a=[0.25, 0.5], b=[0.75, 0.5]))
    assert seen == [2]
    session.close()
