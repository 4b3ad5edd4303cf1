"""Scoring with a real bundle: every row of a batch is answered once, whatever its bytes."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.decoding import ID_BYTES_MAX
from millstream.errors import DependencyUnavailable, RecordRefused, Stage
from millstream.models.session import Session
from millstream.records import TIME_US_MAX, TIME_US_MIN, Records
from millstream.scoring import Answers, ScoringPlan
from millstream.stream import Stream
from tests.streams import LOANS, Loans, applications, bundle_of, framed, make_loans, matrix

NOW_US = 1_704_067_260_000_000
PUBLISHED_US, PREDICTION_ID = NOW_US - 100_000, 9
_EVENT: dict[str, Any] = json.loads((LOANS / "event.v1.avsc").read_text("utf-8"))
_OURS, _WIDER, _NULLABLE, _FOREIGN, _MILLIS, _UNKNOWN, _DOWN = 1, 2, 3, 4, 5, 77, 78


def _changed(name: str, kind: Any) -> dict[str, Any]:
    fields = [f | {"type": kind} if f["name"] == name else f for f in _EVENT["fields"]]
    return _EVENT | {"fields": fields}


_SCHEMAS = {
    _OURS: _EVENT,
    # a later producer: a field more, in front, and a number that is promoted
    _WIDER: _EVENT
    | {
        "fields": [
            {"name": "channel", "type": "string"},
            *_changed("salary", "int")["fields"],
        ]
    },
    _NULLABLE: _changed("salary", ["null", "double"]),
    _MILLIS: _changed("applied_at", {"type": "long", "logicalType": "timestamp-millis"}),
    _FOREIGN: {"type": "record", "name": "Order", "fields": [{"name": "n", "type": "int"}]},
}


def schema_of(schema_id: int) -> str:
    """The registry of these tests."""
    if schema_id == _DOWN:
        raise DependencyUnavailable("schema registry", "it sleeps")
    if schema_id not in _SCHEMAS:
        raise RecordRefused(Stage.FRAME, "unknown_schema_id", f"schema id {schema_id} is unknown")
    return json.dumps(_SCHEMAS[schema_id])


@dataclass(frozen=True)
class Scoring:
    """A plan, and what it was made of."""

    loans: Loans
    plan: ScoringPlan

    def run(self, values: Sequence[bytes | None], **others: Any) -> Answers:
        """Score these values."""
        return self.plan.run(records(values, **others))


def records(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    timestamps_us: int = PUBLISHED_US,
) -> Records:
    """As if consumed: two partitions in turn, offsets from 100."""
    numbers = np.arange(len(values), dtype=np.int64)
    return Records(
        "loans.events",
        list(values),
        list(keys) if keys is not None else [b"A"] * len(values),
        (numbers % 2).astype(np.int32),
        100 + numbers // 2,
        np.full(len(values), timestamps_us, np.int64),
        {},
    )


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """The example stream with a model."""
    return make_loans(tmp_path_factory.mktemp("loans"))


def _scoring(loans: Loans, stream: Stream) -> Scoring:
    bundle = bundle_of(loans)
    plan = ScoringPlan(stream, bundle, Session(bundle), schema_of, PREDICTION_ID, lambda: NOW_US)
    return Scoring(Loans(stream, loans.model), plan)


@pytest.fixture(scope="module")
def scoring(loans: Loans) -> Scoring:
    """A plan for it."""
    return _scoring(loans, loans.stream)


def _read(prediction: bytes) -> dict[str, Any]:
    """A prediction as fastavro, which is not ours, reads it; times stay numbers."""
    schema = json.loads(contract("prediction").text)
    for field in schema["fields"]:
        if isinstance(field["type"], dict) and field["type"]["type"] == "long":
            field["type"] = "long"
    assert prediction[:5] == frame(PREDICTION_ID)
    stream = io.BytesIO(prediction[5:])
    values: dict[str, Any] = fastavro.schemaless_reader(stream, schema, None)  # type: ignore[assignment]
    assert stream.read() == b""
    return values


def _value(**changes: Any) -> bytes:
    """One application with these fields changed."""
    row = applications(1, seed=3).to_pylist()[0] | changes
    schema = arrow_schema(json.dumps(_EVENT))
    if isinstance(row["applied_at"], int):
        batch = applications(1, seed=3)
        index = batch.schema.get_field_index("applied_at")
        times = pa.array([row.pop("applied_at")], pa.int64()).cast(schema.field("applied_at").type)
        return framed(batch.set_column(index, schema.field("applied_at"), times), _OURS)[0]
    return framed(pa.RecordBatch.from_pylist([row], schema=schema), _OURS)[0]


def _wider(row: int) -> bytes:
    event = applications(1, seed=3, first=row).to_pylist()[0]
    event |= {"channel": "web", "salary": 50_000}
    schema = json.dumps(_SCHEMAS[_WIDER])
    batch = pa.RecordBatch.from_pylist([event], schema=arrow_schema(schema))
    return Encoder(schema, frame(_WIDER)).encode(batch)[0]


def _null_salary() -> bytes:
    event = applications(1, seed=3).to_pylist()[0] | {"salary": None}
    schema = json.dumps(_SCHEMAS[_NULLABLE])
    batch = pa.RecordBatch.from_pylist([event], schema=arrow_schema(schema))
    return Encoder(schema, frame(_NULLABLE)).encode(batch)[0]


POISON: dict[str, tuple[Callable[[], bytes | None], Stage, str]] = {
    "no value": (lambda: None, Stage.FRAME, "empty_value"),
    "empty": (lambda: b"", Stage.FRAME, "empty_value"),
    "json": (lambda: b'{"salary": 1}', Stage.FRAME, "not_framed"),
    "short": (lambda: b"\x00\x00", Stage.FRAME, "not_framed"),
    "unknown id": (lambda: frame(_UNKNOWN) + _value()[5:], Stage.FRAME, "unknown_schema_id"),
    "no id": (lambda: b"\x00\xff\xff\xff\xff" + _value()[5:], Stage.FRAME, "unknown_schema_id"),
    "foreign": (lambda: frame(_FOREIGN) + b"\x02", Stage.FRAME, "incompatible_schema"),
    "only a frame": (lambda: _value()[:5], Stage.DECODE, "truncated"),
    "truncated": (lambda: _value()[:-1], Stage.DECODE, "truncated"),
    "trailing": (lambda: _value() + b"\x00", Stage.DECODE, "trailing_bytes"),
    "null": (_null_salary, Stage.DECODE, "null_for_non_null"),
    "nan": (lambda: _value(salary=float("nan")), Stage.VALIDATE, "nan_feature"),
    "infinite": (lambda: _value(loan=float("-inf")), Stage.VALIDATE, "infinite_feature"),
    "empty id": (lambda: _value(application_id=""), Stage.VALIDATE, "bad_id"),
    "long id": (lambda: _value(application_id="é" * 513), Stage.VALIDATE, "bad_id"),
    "long key": (lambda: _value(applicant="k" * (ID_BYTES_MAX + 1)), Stage.VALIDATE, "bad_id"),
    "late": (lambda: _value(applied_at=TIME_US_MAX + 1), Stage.VALIDATE, "bad_time"),
    "early": (lambda: _value(applied_at=TIME_US_MIN - 1), Stage.VALIDATE, "bad_time"),
    "never": (lambda: _value(applied_at=-(2**63)), Stage.VALIDATE, "bad_time"),
    "large": (lambda: _value(applicant="k" * 1_100_000), Stage.FRAME, "too_large"),
}


def test_a_batch_gets_the_models_own_scores(scoring: Scoring) -> None:
    """In record order, to the training library's last digits."""
    batch = applications(500, seed=11)
    answers = scoring.run(framed(batch, _OURS))
    assert answers.refusals == ()
    assert answers.rows.tolist() == list(range(500))
    wanted = scoring.loans.model.predict_proba(matrix(batch))
    found = np.array([_read(prediction)["scores"] for prediction in answers.predictions])
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_prediction_says_where_it_comes_from(scoring: Scoring) -> None:
    """Every field of the contract, read by a library that is not ours."""
    batch = applications(4, seed=11)
    answers = scoring.run(framed(batch, _OURS))
    bundle = bundle_of(scoring.loans)
    for row, (event, value) in enumerate(zip(batch.to_pylist(), answers.predictions, strict=True)):
        made = _read(value)
        score = made.pop("score")
        scores = made.pop("scores")
        assert scores == pytest.approx([1 - score, score])
        assert made == {
            "event_id": event["application_id"],
            "key": event["applicant"],
            "event_time": int(event["applied_at"].timestamp() * 1e6),
            "published_at": PUBLISHED_US,
            "scored_at": NOW_US,
            "in_budget": True,
            "label": "1" if score >= 0.5 else "0",
            "confidence": max(score, 1 - score),
            "model": "loans",
            "model_version": "1",
            "model_digest": bundle.digest,
            "source_topic": "loans.events",
            "source_partition": row % 2,
            "source_offset": 100 + row // 2,
            "event_schema_id": _OURS,
            "answered_by": "full",
        }


@pytest.mark.parametrize(("age_ms", "kept"), [(0, True), (250, True), (251, False), (-5_000, True)])
def test_the_latency_budget_is_judged_by_published_to_scored(
    scoring: Scoring, age_ms: int, kept: bool
) -> None:
    """250 ms in this stream; a producer's clock that runs ahead keeps it."""
    answers = scoring.run([_value()], timestamps_us=NOW_US - age_ms * 1000)
    assert _read(answers.predictions[0])["in_budget"] is kept


def test_an_event_without_a_timestamp_is_in_time(scoring: Scoring) -> None:
    """Its published_at is the beginning of 1970, as its row's Kafka time."""
    answers = scoring.run([_value()], timestamps_us=-1)
    made = _read(answers.predictions[0])
    assert (made["published_at"], made["in_budget"]) == (0, True)


@pytest.mark.parametrize("kind", POISON)
@pytest.mark.parametrize("neighbours", [0, 40], ids=["alone", "among good ones"])
def test_a_bad_row_is_refused_and_its_neighbours_are_scored(
    scoring: Scoring, kind: str, neighbours: int
) -> None:
    """Once, with its stage and name, wherever it stands."""
    make, stage, name = POISON[kind]
    good = framed(applications(neighbours, seed=5), _OURS) if neighbours else []
    at = neighbours // 2
    answers = scoring.run([*good[:at], make(), *good[at:]])
    assert [(r.row, r.stage, r.name) for r in answers.refusals] == [(at, stage, name)]
    assert answers.rows.tolist() == [row for row in range(neighbours + 1) if row != at]
    ids = [_read(prediction)["event_id"] for prediction in answers.predictions]
    assert ids == [f"L-{row}" for row in range(neighbours)]


def test_a_reason_never_quotes_the_event(scoring: Scoring) -> None:
    """Dead letters are read by more people than events are."""
    secret = "Agnes-4711"
    for value in (_value(applicant=secret * 200), _value(applicant=secret)[:-3]):
        (refusal,) = scoring.run([value]).refusals
        assert secret not in refusal.reason


@pytest.mark.parametrize(("spare", "refused"), [(0, False), (-1, True)])
def test_size_is_counted_with_the_key(scoring: Scoring, spare: int, refused: bool) -> None:
    """event.bytes_max holds for both together: the prediction repeats the key."""
    value = _value()
    bytes_max = scoring.loans.stream.event.bytes_max
    answers = scoring.run([value], keys=[b"k" * (bytes_max - len(value) - spare)])
    assert bool(answers.refusals) is refused
    if refused:
        assert answers.refusals[0].name == "too_large"
        assert str(bytes_max + 1) in answers.refusals[0].reason


def test_the_longest_id_is_accepted(scoring: Scoring) -> None:
    """The bound itself, counted in bytes."""
    name = "é" * (ID_BYTES_MAX // 2)
    answers = scoring.run([_value(application_id=name)])
    assert _read(answers.predictions[0])["event_id"] == name


@pytest.mark.parametrize("time_us", [TIME_US_MIN, -1, 0, TIME_US_MAX])
def test_every_time_that_a_table_holds_is_accepted(scoring: Scoring, time_us: int) -> None:
    """From 1900 to 2299, both ends included."""
    answers = scoring.run([_value(applied_at=time_us)])
    assert _read(answers.predictions[0])["event_time"] == time_us


def test_milliseconds_beyond_microseconds_are_refused(loans: Loans, tmp_path: Path) -> None:
    """A timestamp-millis schema can say times that do not fit 64 bits of microseconds."""
    (tmp_path / "event.v1.avsc").write_text(schema_of(_MILLIS))
    (tmp_path / "stream.toml").write_text((LOANS / "stream.toml").read_text("utf-8"))
    scoring = _scoring(loans, Stream.load(tmp_path / "stream.toml"))
    schema = arrow_schema(schema_of(_MILLIS))
    index = schema.get_field_index("applied_at")
    latest = TIME_US_MAX // 1000
    times = pa.array([latest, latest + 1, 2**62, -(2**63)]).cast(schema.field(index).type)
    batch = applications(4).set_column(index, schema.field(index), times)
    answers = scoring.run(Encoder(schema_of(_MILLIS), frame(_MILLIS)).encode(batch))
    assert [(r.row, r.name) for r in answers.refusals] == [(n, "bad_time") for n in (1, 2, 3)]
    assert _read(answers.predictions[0])["event_time"] == latest * 1000


def test_several_schemas_in_one_batch_keep_the_records_order(scoring: Scoring) -> None:
    """Rows of each go through their own decoder and come back to their places."""
    ours = framed(applications(60, seed=5), _OURS)
    values: list[bytes | None] = [
        _wider(1_000 + row) if row % 3 == 1 else ours[row] for row in range(60)
    ]
    answers = scoring.run(values)
    assert answers.refusals == ()
    made = [_read(prediction) for prediction in answers.predictions]
    assert [m["event_id"] for m in made] == [
        f"L-{1_000 + row}" if row % 3 == 1 else f"L-{row}" for row in range(60)
    ]
    assert [m["event_schema_id"] for m in made] == [
        _WIDER if row % 3 == 1 else _OURS for row in range(60)
    ]
    assert [m["source_offset"] for m in made] == [100 + row // 2 for row in range(60)]
    assert answers.schema_ids.tolist() == [m["event_schema_id"] for m in made]


def test_a_batch_of_nothing_but_poison_has_no_predictions(scoring: Scoring) -> None:
    """And every row its refusal."""
    answers = scoring.run([make() for make, _, _ in POISON.values()])
    assert answers.predictions == []
    assert sorted(r.row for r in answers.refusals) == list(range(len(POISON)))


def test_unreadable_values_of_several_schemas_are_refused(scoring: Scoring) -> None:
    """Also where no schema of the batch gives a single row."""
    answers = scoring.run([_value()[:-1], _wider(0)[:-1], _null_salary()])
    assert [r.name for r in sorted(answers.refusals, key=lambda r: r.row)] == [
        "truncated", "truncated", "null_for_non_null",
    ]  # fmt: skip
    assert answers.predictions == []


def test_a_registry_that_sleeps_refuses_nothing(scoring: Scoring) -> None:
    """Not the records' fault: the whole batch is tried again later."""
    with pytest.raises(DependencyUnavailable):
        scoring.run([_value(), frame(_DOWN) + _value()[5:]])


def test_an_unknown_schema_id_may_become_known(loans: Loans) -> None:
    """It is asked for again with the next batch; a bad schema is remembered as little."""
    known: set[int] = set()

    def registry(schema_id: int) -> str:
        if schema_id not in known:
            raise RecordRefused(Stage.FRAME, "unknown_schema_id", "not yet")
        return schema_of(schema_id)

    bundle = bundle_of(loans)
    plan = ScoringPlan(loans.stream, bundle, Session(bundle), registry, 1, lambda: NOW_US)
    assert plan.run(records([_value()])).refusals[0].name == "unknown_schema_id"
    known.add(_OURS)
    assert plan.run(records([_value()])).refusals == ()


def test_a_schema_id_that_no_registry_can_give_is_none(scoring: Scoring) -> None:
    """Ids are Java ints; a dead letter could not say a larger one."""
    answers = scoring.run([struct.pack(">BI", 0, 2**31), frame(_UNKNOWN) + b"x", _value()])
    assert answers.schema_ids.tolist() == [-1, _UNKNOWN, _OURS]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kinds=st.lists(
        st.sampled_from(["good", "good", "good", "wider", *(k for k in POISON if k != "large")])
        | st.binary(max_size=40),
        max_size=80,
    )
)
def test_every_row_is_answered_exactly_once(scoring: Scoring, kinds: list[str | bytes]) -> None:
    """However good and bad ones are mixed: scored or refused, never both, in the records' order."""
    made: list[bytes | None] = []
    for row, kind in enumerate(kinds):
        if isinstance(kind, bytes):
            made.append(kind)
        elif kind == "wider":
            made.append(_wider(row))
        else:
            made.append(POISON[kind][0]() if kind in POISON else _value(application_id=f"L-{row}"))
    answers = scoring.run(made)
    refused = {r.row: r.name for r in answers.refusals}
    assert len(refused) == len(answers.refusals)
    assert sorted([*answers.rows.tolist(), *refused]) == list(range(len(kinds)))
    assert answers.rows.tolist() == sorted(answers.rows.tolist())
    predictions = [_read(prediction) for prediction in answers.predictions]
    for row, prediction in zip(answers.rows.tolist(), predictions, strict=True):
        assert kinds[row] in ("good", "wider")
        assert prediction["event_id"] == f"L-{row}"
        assert (prediction["source_partition"], prediction["source_offset"]) == (
            row % 2,
            100 + row // 2,
        )
    for row, kind in enumerate(kinds):
        if isinstance(kind, str) and kind in POISON:
            assert refused[row] == POISON[kind][2]
