"""A batch in numbers: every record is counted as what it became."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from millstream.metrics.answers import count_answers
from millstream.metrics.store import Store
from millstream.models.session import Session
from millstream.records import Records
from millstream.scoring import ScoringPlan
from tests.streams import LOANS, applications, bundle_of, framed, make_loans

NOW_US = 1_704_067_260_000_000
BUDGET_US = 100_000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ScoringPlan:
    """Of a real bundle."""
    loans = make_loans(tmp_path_factory.mktemp("loans"), trees=5)
    text = (LOANS / "event.v1.avsc").read_text("utf-8")
    return ScoringPlan(
        loans.stream, bundle_of(loans), Session(bundle_of(loans)), lambda _: text, 9, lambda: NOW_US
    )


def _records(values: list[bytes | None], waited_us: list[int]) -> Records:
    count = len(values)
    return Records(
        "loans.events",
        values,
        [b"k"] * count,
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int64),
        np.array([NOW_US - waited if waited >= 0 else -1 for waited in waited_us], np.int64),
        {},
    )


def _counted(store: Store, name: str) -> dict[tuple[str, ...], float]:
    (found,) = [reading.values for reading in store.readings() if reading.metric.name == name]
    return {key: value for key, value in found.items() if value}


def test_each_record_is_counted_as_what_it_became(plan: ScoringPlan) -> None:
    """Answered, refused by stage and cause, late by the budget, and by the model that answered."""
    values: list[bytes | None] = [*framed(applications(4), 1), b"not framed", None]
    records = _records(values, [50_000, 100_000, 100_001, 2_000_000, 0, -1])
    made = plan.run(records)
    store = Store("scorer")
    for _ in range(2):
        count_answers(store, records, [made], NOW_US, BUDGET_US)
    assert _counted(store, "millstream_events_scored_total") == {("full",): 8}
    refused = _counted(store, "millstream_events_refused_total")
    assert sum(refused.values()) == 4
    assert refused["frame", made.refusals[0].name] >= 2
    assert store.value("millstream_events_late_total") == 4
    assert store.value("millstream_event_latency_seconds") == 10  # one has no timestamp
    assert _counted(store, "millstream_model_answers_total") == {("loans", "1"): 8}
    ((key, one),) = _counted(store, "millstream_model_info").items()
    assert key[:2] == ("loans", "1")
    assert key[2] == made.models[0].digest
    assert one == 1


def test_the_models_of_the_last_batch_are_shown(plan: ScoringPlan, tmp_path: Path) -> None:
    """A canary's two at once, each with its share; the one that answers no more is gone."""
    records = _records(list(framed(applications(4), 1)), [0] * 4)
    made = plan.run(records)
    other = bundle_of(make_loans(tmp_path, trees=3, version="2"))
    models = (made.models[0], other)
    canary = replace(made, models=models, model_of=np.array([0, 1, 1, 1]))
    store = Store("scorer")
    count_answers(store, records, [canary], NOW_US, BUDGET_US)
    answers = _counted(store, "millstream_model_answers_total")
    assert answers == {("loans", "1"): 1, ("loans", "2"): 3}
    assert {key[1] for key in _counted(store, "millstream_model_info")} == {"1", "2"}
    count_answers(store, records, [made], NOW_US, BUDGET_US)
    assert {key[1] for key in _counted(store, "millstream_model_info")} == {"1"}


def test_a_clock_that_is_behind_makes_no_negative_latency(plan: ScoringPlan) -> None:
    """An event from the future took no time."""
    records = _records(list(framed(applications(2), 1)), [0, 0])
    store = Store("scorer")
    count_answers(store, records, [plan.run(records)], NOW_US - 5_000_000, BUDGET_US)
    (reading,) = [
        r for r in store.readings() if r.metric.name == "millstream_event_latency_seconds"
    ]
    assert reading.buckets[()].total == 0.0
