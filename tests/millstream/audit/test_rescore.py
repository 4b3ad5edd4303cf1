"""The auditor's own scoring against the scorer's, on the same bundle and the same events."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from millstream.audit.rescore import EventReader, Rescorer
from millstream.errors import BundleInvalid
from millstream.models.session import Session
from tests.streams import Loans, applications, bundle_of, framed, make_loans


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    return make_loans(tmp_path_factory.mktemp("loans"))


def test_scores_are_the_scorers_to_the_last_bit(loans: Loans) -> None:
    """Event bytes through fastavro, rows one by one: the same scores, score and label."""
    text = loans.stream.schema_of_event.text
    events = applications(100, seed=5)
    reader = EventReader(text)
    reader.learn(7, text)
    rescorer = Rescorer(loans.stream.bundle_path)
    bundle = bundle_of(loans)
    session = Session(bundle)
    scored = session.score(events)
    session.close()
    assert rescorer.digest == bundle.digest
    for row, value in enumerate(framed(events, 7)):
        answer = rescorer.score(reader.read(value))
        assert answer.scores == tuple(scored.scores[row].tolist())
        assert (answer.score, answer.label) == (scored.score[row], scored.label[row].as_py())


def test_a_null_that_the_model_refuses_has_no_score(loans: Loans) -> None:
    """As the scorer, it gives no answer to such an event."""
    event = applications(1).to_pylist()[0] | {"salary": None}
    with pytest.raises(ValueError, match="salary is null"):
        Rescorer(loans.stream.bundle_path).score(event)


def test_events_of_an_older_schema_are_resolved(loans: Loans) -> None:
    """A field that the writer did not have takes the reader's default; times stay numbers."""
    schema = json.loads(loans.stream.schema_of_event.text)
    older = dict(schema, fields=[f for f in schema["fields"] if f["name"] != "loan"])
    field = next(f for f in schema["fields"] if f["name"] == "loan")
    newer = dict(schema, fields=[*older["fields"], dict(field, default=1.5)])
    from millstream.columnar import Encoder, frame

    batch = applications(1).drop_columns(["loan"])
    (value,) = Encoder(json.dumps(older), frame(3)).encode(
        pa.RecordBatch.from_struct_array(batch.to_struct_array())
    )
    reader = EventReader(json.dumps(newer))
    assert not reader.knows(3)
    reader.learn(3, json.dumps(older))
    event = reader.read(value)
    assert event["loan"] == 1.5
    assert isinstance(event["applied_at"], int)


def test_what_is_no_event_or_no_bundle_is_refused(loans: Loans, tmp_path: Path) -> None:
    """Bytes cut short, and a folder without a model."""
    text = loans.stream.schema_of_event.text
    reader = EventReader(text)
    reader.learn(7, text)
    with pytest.raises(ValueError, match="cannot be read"):
        reader.read(framed(applications(1), 7)[0][:-9])
    with pytest.raises(BundleInvalid):
        Rescorer(tmp_path)
