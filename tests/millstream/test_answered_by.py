"""Every prediction says what answered, all the way to its bytes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from millstream.ladder import Ladder
from millstream.models.bundle import Bundle
from millstream.models.cache import CachedSession
from millstream.models.overload import LadderSession
from millstream.models.session import Session
from millstream.scoring import ScoringPlan
from tests.millstream.test_scoring import (
    NOW_US,
    PREDICTION_ID,
    PUBLISHED_US,
    _read,
    _value,
    records,
    schema_of,
)
from tests.streams import Loans, bundle_of, make_loans


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """A stream with a trained model."""
    return make_loans(tmp_path_factory.mktemp("loans") / "loans")


def test_a_prediction_says_whether_the_cache_answered(loans: Loans) -> None:
    """Rows that were asked before are marked and counted; nothing else of them is different."""
    bundle = bundle_of(loans)
    cached = CachedSession(Session(bundle), 1 << 20, lambda: 0.0)
    plan = ScoringPlan(loans.stream, bundle, cached, schema_of, PREDICTION_ID, lambda: NOW_US)
    first = plan.run(records([_value(salary=30_000.0)]))
    both = plan.run(records([_value(salary=40_000.0), _value(salary=30_000.0)]))
    again = plan.run(records([_value(salary=30_000.0)]))
    assert (first.answered, both.answered) == ({"full": 1}, {"full": 1, "cached": 1})
    made = [_read(prediction) for prediction in both.predictions]
    assert [each["answered_by"] for each in made] == ["full", "cached"]
    once, cached_once = _read(first.predictions[0]), _read(again.predictions[0])
    assert cached_once == once | {"answered_by": "cached"}


@pytest.mark.parametrize("steps", [("full", "cheaper"), ("full", "abstained")])
def test_a_prediction_says_which_step_of_the_ladder_answered(
    loans: Loans, steps: tuple[str, str]
) -> None:
    """The plan tells the ladder how long events waited; the bundle that answered is named."""
    bundle = bundle_of(loans)
    card = bundle.card.model_copy(update={"version": "cheap"})
    other = Bundle(bundle.folder, card, bundle.model_bytes)
    late_us = NOW_US - PUBLISHED_US - 1
    ladder = LadderSession(Session(bundle), Session(other), Ladder(steps, late_us, 1, 10**9))
    now = iter(range(NOW_US, NOW_US + 100))
    plan = ScoringPlan(loans.stream, bundle, ladder, schema_of, PREDICTION_ID, lambda: next(now))
    first = plan.run(records([_value()]))
    second = plan.run(records([_value(), b"", _value()]))
    assert (first.answered, second.answered) == ({"full": 1}, {steps[1]: 2})
    assert [each.version for each in first.models] == [bundle.version]
    cheap = steps[1] == "cheaper"
    assert [each.version for each in second.models] == ["cheap" if cheap else bundle.version]
    assert [refusal.row for refusal in second.refusals] == [1]
    made = _read(second.predictions[1])
    assert made["answered_by"] == steps[1]
    if steps[1] == "cheaper":
        assert made["model_version"] == "cheap"
        assert made["score"] == _read(first.predictions[0])["score"]
    else:
        assert made["model_version"] == bundle.version
        assert math.isnan(made["score"])
        assert (made["label"], made["confidence"]) == (None, None)


def test_an_event_without_a_time_has_not_waited(loans: Loans) -> None:
    """Kafka knows no timestamp of some records: they take no step."""
    bundle = bundle_of(loans)
    ladder = LadderSession(Session(bundle), None, Ladder(("full", "abstained"), 1, 1, 1))
    plan = ScoringPlan(loans.stream, bundle, ladder, schema_of, PREDICTION_ID, lambda: NOW_US)
    for _ in range(3):
        unknown = replace(records([_value()]), timestamps_us=records([b""]).timestamps_us * 0 - 1)
        assert plan.run(unknown).answered == {"full": 1}
