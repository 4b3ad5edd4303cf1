"""Champion, challenger and shadows on the same decoded batch."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from millstream.contracts import contract
from millstream.errors import BundleInvalid, Refusal, Stage
from millstream.ladder import Ladder
from millstream.lineup import BESIDE_US_MAX, Lineup, only
from millstream.models.bundle import Bundle
from millstream.models.overload import LadderSession
from millstream.models.session import Scored, Session
from millstream.releases.routing import route
from millstream.scoring import Answers, ScoringPlan
from tests.millstream.test_scoring import _OURS, NOW_US, PREDICTION_ID, _read, records, schema_of
from tests.streams import Loans, applications, bundle_of, framed, make_loans

SHADOW_ID = 78
COUNT = 60


class Sour(Session):
    """A model that refuses every third row, or raises, or takes its time."""

    how = ""
    clock: Iterator[int]

    def score(self, columns: pa.RecordBatch) -> Scored:
        if self.how == "raises":
            raise RuntimeError("sour")
        scored = super().score(columns)
        if self.how != "refuses":
            return scored
        bad = np.arange(columns.num_rows) % 3 == 0
        kept = only(scored, ~bad)
        refusals = tuple(
            Refusal(int(row), Stage.SCORE, "sour", "it is sour") for row in np.flatnonzero(bad)
        )
        return replace(kept, refusals=refusals)


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """The example stream with a model."""
    return make_loans(tmp_path_factory.mktemp("loans"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another model of the same stream, version 2."""
    bundle = bundle_of(make_loans(tmp_path_factory.mktemp("other"), trees=3))
    return Bundle(
        bundle.folder, bundle.card.model_copy(update={"version": "2"}), bundle.model_bytes
    )


def sour(bundle: Bundle, how: str) -> Sour:
    """A session that behaves so."""
    made = Sour(bundle)
    made.how = how
    return made


def answers(loans: Loans, lineup: Lineup, clock: Any = lambda: NOW_US) -> Answers:
    """Of COUNT applications with a key each; the last one cannot be read."""
    champion = lineup.champion
    plan = ScoringPlan(
        loans.stream, champion.bundle, champion, schema_of, PREDICTION_ID, clock, SHADOW_ID
    )
    values: list[bytes | None] = [*framed(applications(COUNT, seed=11), _OURS), b"damaged"]
    return plan.run(records(values, [f"k{n}".encode() for n in range(COUNT + 1)]), lineup)


def shadows(of: Answers) -> list[dict[str, Any]]:
    """As fastavro reads them; times stay numbers."""
    schema = json.loads(contract("shadow").text)
    for field in schema["fields"]:
        if isinstance(field["type"], dict) and field["type"]["type"] == "long":
            field["type"] = "long"
    found = []
    for row, value in zip(of.shadow_rows.tolist(), of.shadows, strict=True):
        read: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        found.append(read | {"row": row})
    return found


def keys_of_challenger(bundle: Bundle, share: float) -> list[bool]:
    """Which of the COUNT events a canary answers."""
    keys: list[bytes | None] = [f"k{n}".encode() for n in range(COUNT)]
    return [bool(inside) for inside in route(keys, share, bundle.digest)]


def test_a_canary_answers_its_keys_and_the_other_side_is_kept(loans: Loans, other: Bundle) -> None:
    """Every event has one prediction, in order, of its key's model; what the other said is a
    shadow with the same coordinates, and its scores are the other's own."""
    lineup = Lineup(Session(bundle_of(loans)), Session(other), 0.4, (), 7)
    made = answers(loans, lineup)
    assert made.rows.tolist() == list(range(COUNT)) and len(made.refusals) == 1
    inside = keys_of_challenger(other, 0.4)
    assert 5 < sum(inside) < COUNT - 5
    predictions = [_read(value) for value in made.predictions]
    assert [p["model_version"] == "2" for p in predictions] == inside
    assert made.model_of is not None and (made.model_of == np.array(inside)).all()
    said = {each["row"]: each for each in shadows(made)}
    assert sorted(said) == list(range(COUNT))
    alone = [_read(v) for v in answers(loans, Lineup(Session(other))).predictions]
    for row, prediction in enumerate(predictions):
        shadow = said[row]
        same = ("event_id", "event_time", "source_partition", "source_offset", "source_topic")
        assert [shadow[n] for n in same] == [prediction[n] for n in same]
        assert shadow["role"] == ("champion" if inside[row] else "challenger")
        assert (shadow["release"], shadow["refused"]) == (7, "")
        theirs = prediction if inside[row] else shadow
        assert (theirs["score"], theirs["label"]) == (alone[row]["score"], alone[row]["label"])


def test_a_share_of_none_only_scores(loans: Loans, other: Bundle) -> None:
    """The champion answers every event; challenger and shadow score every one."""
    lineup = Lineup(Session(bundle_of(loans)), Session(other), 0.0, (sour(other, ""),), 1)
    made = answers(loans, lineup)
    assert {_read(value)["model_version"] for value in made.predictions} == {"1"}
    roles = [each["role"] for each in shadows(made)]
    assert (roles.count("challenger"), roles.count("shadow")) == (COUNT, COUNT)


def test_what_a_shadow_refuses_is_told_and_costs_nothing(loans: Loans, other: Bundle) -> None:
    """No letter, no missing prediction: a record that says why."""
    made = answers(loans, Lineup(Session(bundle_of(loans)), shadows=(sour(other, "refuses"),)))
    assert made.rows.tolist() == list(range(COUNT))
    refused = {each["row"]: each for each in shadows(made) if each["refused"]}
    assert sorted(refused) == list(range(0, COUNT, 3))
    assert all(math.isnan(each["score"]) and each["scores"] == [] for each in refused.values())
    assert len(shadows(made)) == COUNT


def test_what_a_canary_refuses_the_champion_answers(loans: Loans, other: Bundle) -> None:
    """A challenger never makes a letter of an event that the champion can answer."""
    lineup = Lineup(Session(bundle_of(loans)), sour(other, "refuses"), 1.0)
    made = answers(loans, lineup)
    versions = [_read(value)["model_version"] for value in made.predictions]
    assert versions == ["1" if row % 3 == 0 else "2" for row in range(COUNT)]
    assert [r.row for r in made.refusals] == [COUNT]


def test_what_the_champion_refuses_a_canary_may_answer(loans: Loans, other: Bundle) -> None:
    """Letters are of events that nobody answered."""
    lineup = Lineup(sour(bundle_of(loans), "refuses"), Session(other), 0.5)
    made = answers(loans, lineup)
    inside = keys_of_challenger(other, 0.5)
    lost = [row for row in range(0, COUNT, 3) if not inside[row]]
    assert sorted(r.row for r in made.refusals) == [*lost, COUNT]
    assert made.rows.tolist() == [row for row in range(COUNT) if row not in lost]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_model_beside_that_raises_is_sent_away(loans: Loans, other: Bundle, share: float) -> None:
    """The champion answers everything, also the challenger's keys."""
    broken = sour(other, "raises")
    made = answers(loans, Lineup(Session(bundle_of(loans)), broken, share, (broken,)))
    assert {_read(value)["model_version"] for value in made.predictions} == {"1"}
    assert len(made.predictions) == COUNT and made.shadows == []


def test_a_slow_one_is_sent_away_after_its_first_batch(loans: Loans, other: Bundle) -> None:
    """It may hold the answers up once."""
    now = iter(range(0, 10**12, BESIDE_US_MAX + 1))
    lineup = Lineup(Session(bundle_of(loans)), shadows=(Session(other),))
    plan = ScoringPlan(
        loans.stream, lineup.champion.bundle, lineup.champion, schema_of, 77,
        lambda: next(now), SHADOW_ID,
    )  # fmt: skip
    batch = records(framed(applications(4), _OURS))
    assert [len(plan.run(batch, lineup).shadows) for _ in range(2)] == [4, 0]


def test_under_overload_the_others_rest(loans: Loans, other: Bundle) -> None:
    """What the ladder says, goes: the champion's step answers, and nobody scores beside."""
    ladder = Ladder(("full", "abstained"), 1, 1, 10**9)
    champion = LadderSession(Session(bundle_of(loans)), None, ladder)
    for now in (0, 10, 20):
        champion.observe(now, 10**6)
    made = answers(loans, Lineup(champion, Session(other), 0.5, (sour(other, ""),)))
    assert made.answered == {"abstained": COUNT} and made.shadows == []


def test_models_of_one_release_answer_the_same_question(loans: Loans, other: Bundle) -> None:
    """With the same labels: otherwise nothing could be compared."""
    card = other.card.model_copy(update={"labels": ("no", "yes"), "positive": "yes"})
    strange = Session(Bundle(other.folder, card, other.model_bytes))
    with pytest.raises(BundleInvalid, match="labels"):
        Lineup(Session(bundle_of(loans)), strange)
