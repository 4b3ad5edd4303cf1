"""What the scorer would make of records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millstream.columnar import frame
from millstream.contract.checker import Checker, own_schema
from millstream.contract.kit import cases_of
from millstream.contract.partition import partition_of
from millstream.models.session import Session
from millstream.records import Records
from millstream.scoring import ScoringPlan
from millstream.stream import Stream
from tests.millstream.contract.schemas import shop
from tests.streams import LOANS, Loans, applications, bundle_of, framed, make_loans


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """The example with a model."""
    return make_loans(tmp_path_factory.mktemp("loans"))


def test_a_good_event_is_told_its_key_and_partition() -> None:
    """And its id; no model is needed."""
    stream = Stream.load(LOANS / "stream.toml")
    batch = applications(3)
    verdicts = Checker(stream, own_schema(stream)).check([*framed(batch, 7)])
    assert [verdict.event_id for verdict in verdicts] == ["L-0", "L-1", "L-2"]
    keys = [key.encode() for key in batch.column("applicant").to_pylist()]
    assert [verdict.key for verdict in verdicts] == keys
    assert [verdict.partition for verdict in verdicts] == [partition_of(key, 4) for key in keys]
    assert all(verdict.refusal is None and verdict.score is None for verdict in verdicts)


def test_the_verdicts_are_the_scorers(loans: Loans) -> None:
    """On every case of the kit: same rows scored, same stage, name and reason of the others."""
    stream, bundle = loans.stream, bundle_of(loans)
    values = [case.value for case in cases_of(stream)]
    schema_of = own_schema(stream, 1)
    plan = ScoringPlan(stream, bundle, Session(bundle), schema_of, 9, lambda: 0)
    count = len(values)
    zeros = np.zeros(count, np.int32)
    records = Records(
        "loans.events",
        values,
        [b"k"] * count,
        zeros,
        np.arange(count),
        np.zeros(count, np.int64),
        {},
    )
    answers = plan.run(records)
    verdicts = Checker(stream, schema_of, bundle).check(values)
    refused = {refusal.row: refusal for refusal in answers.refusals}
    assert len(refused) > 8
    assert {row: v.refusal for row, v in enumerate(verdicts) if v.refusal} == refused
    assert [row for row, v in enumerate(verdicts) if v.refusal is None] == answers.rows.tolist()


def test_with_a_bundle_the_score_is_told(loans: Loans) -> None:
    """The model's own."""
    checker = Checker(loans.stream, own_schema(loans.stream), bundle_of(loans))
    batch = applications(2)
    found = [verdict.score for verdict in checker.check([*framed(batch, 1)])]
    from tests.streams import matrix

    expected = loans.model.predict_proba(matrix(batch))[:, 1]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_an_id_that_is_not_the_streams_is_refused_where_one_is_named() -> None:
    """And taken for the stream's where none is."""
    stream = Stream.load(LOANS / "stream.toml")
    (value,) = framed(applications(1), 5)
    (known,) = Checker(stream, own_schema(stream, 5)).check([value])
    (unknown,) = Checker(stream, own_schema(stream, 6)).check([value])
    assert known.refusal is None
    assert unknown.refusal is not None
    assert unknown.refusal.name == "unknown_schema_id"


def test_features_are_judged_as_if_nothing_may_be_missing(tmp_path: Path) -> None:
    """Where no bundle says otherwise; categories and booleans too."""
    stream = shop(tmp_path)
    verdicts = {
        case.name: verdict.refusal.name if verdict.refusal else "scored"
        for case, verdict in zip(
            cases_of(stream),
            Checker(stream, own_schema(stream)).check([c.value for c in cases_of(stream)]),
            strict=True,
        )
    }
    assert verdicts["ordinary"] == verdicts["nulls"] == "scored"
    assert verdicts["feature_null"] == "null_feature"
    assert verdicts["feature_nan"] == "nan_feature"
    assert verdicts["feature_infinite"] == "infinite_feature"


def test_nothing_is_checked_of_nothing() -> None:
    """An empty list, and a record without a value."""
    stream = Stream.load(LOANS / "stream.toml")
    checker = Checker(stream, own_schema(stream))
    assert checker.check([]) == []
    (empty,) = checker.check([None])
    assert empty.refusal is not None
    assert empty.refusal.name == "empty_value"
    (short,) = checker.check([frame(1)])
    assert short.refusal is not None
    assert short.refusal.name == "truncated"
