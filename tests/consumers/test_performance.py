"""Answers and outcomes as they are read from a real ClickHouse, and the report made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from consumers.performance import Range, read
from consumers.warehouse import Warehouse, migrate
from millstream.errors import OperatorNeeded
from millstream.performance.answers import LABELLED, NEVER, WAITING, Asked
from millstream.performance.report import report
from millstream.stream import Stream
from tests.consumers.answers import START_US, card_of, label, make, refuse, store

_CARDS = [card_of()]
HOUR_US = 3_600_000_000


@pytest.fixture
def warehouse(over_http: Warehouse) -> Warehouse:
    """Over HTTP alone."""
    return over_http


@pytest.fixture
def stream(by_region: Stream) -> Stream:
    """With slices and groups by region."""
    return by_region


def test_a_stream_without_tables_is_the_operators(warehouse: Warehouse, stream: Stream) -> None:
    """The remedy is to migrate."""
    with pytest.raises(OperatorNeeded, match="millstream migrate"):
        read(stream, warehouse, _CARDS, Range())


def test_an_empty_stream_has_an_empty_report(warehouse: Warehouse, stream: Stream) -> None:
    """No versions, no alarms."""
    migrate(warehouse, stream)
    loaded = read(stream, warehouse, _CARDS, Range())
    made = report(loaded.answers, loaded.refused, Asked(START_US, 3_600_000_000))
    assert (loaded.answers, loaded.notes, made.versions, made.alarms) == ([], (), [], [])


def test_predictions_meet_their_newest_label(warehouse: Warehouse, stream: Stream) -> None:
    """Late, repeated and corrected ones: the newest version counts, once; the rest wait."""
    made = make(100)
    store(warehouse, stream, made)
    label(warehouse, stream, made, list(range(50)))
    label(warehouse, stream, made, list(range(20)), first=50)  # a repeated record
    wrong: list[str | None] = ["no" if t else "yes" for t in np.asarray(made.truth)[:10]]
    label(
        warehouse, stream, made, list(range(10)), first=70, version=2, status="corrected",
        truth=wrong, delay_s=500,
    )  # fmt: skip
    nothing: list[str | None] = [None] * 10
    label(
        warehouse, stream, made, list(range(50, 60)), first=80, status="never_labelled",
        truth=nothing,
    )  # fmt: skip
    (answers,) = read(stream, warehouse, _CARDS, Range()).answers
    assert answers.version == "m 1"
    assert answers.status.tolist() == [LABELLED] * 50 + [NEVER] * 10 + [WAITING] * 40
    truth = np.asarray(made.truth).astype(int)
    truth[:10] = 1 - truth[:10]
    assert answers.truth[:50].tolist() == truth[:50].tolist()
    assert (answers.known_us - answers.event_us)[:50].tolist() == [10_000_000] * 50
    np.testing.assert_array_equal(answers.raw[:, 1], made.chances)
    assert answers.slices["region"].tolist() == made.region


def test_the_report_is_scikit_learns_on_the_same_rows(warehouse: Warehouse, stream: Stream) -> None:
    """Of the version, and of each slice; with error rate and latency beside them."""
    made = make(1_000, seed=2)
    store(warehouse, stream, made)
    label(warehouse, stream, made, list(range(1_000)))
    refuse(warehouse, stream, [3, 4, 5])
    loaded = read(stream, warehouse, _CARDS, Range())
    asked = Asked(START_US + 100 * HOUR_US, HOUR_US, HOUR_US, fairness=stream.fairness)
    (cell,) = (made_report := report(loaded.answers, loaded.refused, asked)).versions
    truth, chances = np.asarray(made.truth), np.asarray(made.chances)
    assert cell.realised is not None
    assert cell.realised.rows == 1_000
    assert cell.realised.accuracy == pytest.approx(accuracy_score(truth, chances >= 0.5))
    assert cell.realised.auc == pytest.approx(roc_auc_score(truth, chances))
    pairs = np.column_stack((1 - chances, chances))
    assert cell.realised.log_loss == pytest.approx(log_loss(truth, pairs))
    assert cell.latency_ms == (20.0, 20.0)
    assert (cell.refused, cell.error_rate) == (3, 3 / 1_003)
    north = np.array(made.region) == "north"
    (found,) = [c for c in made_report.slices if c.slice == ("region", "north")]
    assert found.realised is not None
    assert found.realised.accuracy == pytest.approx(
        accuracy_score(truth[north], chances[north] >= 0.5)
    )
    compared = {name for gap in made_report.gaps for name in (gap.group, gap.against)}
    assert compared == {"north", "south"}
    assert made_report.alarms == []


def test_a_range_of_event_time_is_cut_out(warehouse: Warehouse, stream: Stream) -> None:
    """From its beginning up to but not including its end; and no more rows than asked, and said."""
    store(warehouse, stream, make(100))
    start = datetime.fromtimestamp(START_US / 1e6, UTC)
    which = Range(start + timedelta(seconds=10), start + timedelta(seconds=30))
    (answers,) = read(stream, warehouse, _CARDS, which).answers
    assert ((answers.event_us - START_US) // 1_000_000).tolist() == list(range(10, 30))
    loaded = read(stream, warehouse, _CARDS, Range(rows_max=7))
    assert len(loaded.answers[0]) == 7
    assert loaded.answers[0].event_us.min() == START_US + 93_000_000
    assert loaded.notes == ("only the newest 7 predictions were read",)


def test_answers_in_other_labels_are_left_out_and_said(
    warehouse: Warehouse, stream: Stream
) -> None:
    """The bundle that gave them was not named."""
    store(warehouse, stream, make(20))
    loaded = read(stream, warehouse, [card_of(labels=("0", "1"))], Range())
    assert loaded.answers == []
    assert "m 1 answers in other labels than bundle m 1" in loaded.notes[0]


def test_an_outcome_in_an_unknown_label_is_a_wrong_answer(
    warehouse: Warehouse, stream: Stream
) -> None:
    """And it is said how many."""
    made = make(20)
    store(warehouse, stream, made)
    odd: list[str | None] = ["maybe"] * 5
    label(warehouse, stream, made, list(range(5)), truth=odd)
    loaded = read(stream, warehouse, _CARDS, Range())
    assert loaded.answers[0].truth[:5].tolist() == [2] * 5
    assert loaded.notes == ("5 outcomes of m 1 name a label that it does not know: wrong answers",)
