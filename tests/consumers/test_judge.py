"""Pairs of answers as they are read from a real ClickHouse, and what is decided of them."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.judge import (
    STALE_S,
    Contest,
    Judge,
    Known,
    contests,
    count,
    decide,
    read_pairs,
    require_contest,
)
from consumers.warehouse import Warehouse, migrate
from millstream.errors import ContractMismatch, OperatorNeeded
from millstream.judging.evidence import Role, Verdict
from millstream.models.reference import ModelReference
from millstream.stream import Stream
from tests.consumers.answers import START_US, card_of, label, make, store
from tests.consumers.contests import OTHER, OWN, shadow, switch, unlike

CARDS = [card_of()]
ROWS = 1_200
THIRD = ModelReference("m", "3", "sha256:" + "c" * 64)
CONTEST = Contest(OWN, OTHER, Role.CHALLENGER, {0: 0})


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
        contests(stream, warehouse)


def test_without_a_release_nothing_is_compared(warehouse: Warehouse, stream: Stream) -> None:
    """Nor with one that has a champion alone; and the operator is told what to do."""
    migrate(warehouse, stream)
    assert contests(stream, warehouse) == []
    switch(warehouse, stream, 1, OWN)
    assert contests(stream, warehouse) == []
    with pytest.raises(OperatorNeeded, match="no challenger"):
        require_contest(stream, [], None)
    with pytest.raises(OperatorNeeded, match="m@9 is not compared"):
        require_contest(stream, [CONTEST], "m@9")
    assert require_contest(stream, [CONTEST], "m@2") == [CONTEST]


def test_a_contest_goes_on_through_releases(warehouse: Warehouse, stream: Stream) -> None:
    """From the first release of an unbroken row with both models: shadow, then canary."""
    migrate(warehouse, stream)
    switch(warehouse, stream, 1, OWN, shadows=[OTHER], first=5)
    switch(warehouse, stream, 2, OWN, first=20)
    switch(warehouse, stream, 3, OWN, shadows=[OTHER], first=30)
    switch(warehouse, stream, 4, OWN, challenger=OTHER, first=50)
    (found,) = contests(stream, warehouse)
    assert found == Contest(OWN, OTHER, Role.CHALLENGER, {0: 30})


def test_who_answered_before_is_the_predecessor(warehouse: Warehouse, stream: Stream) -> None:
    """Only events since the promotion count: the contest before it is over."""
    migrate(warehouse, stream)
    switch(warehouse, stream, 1, OWN, challenger=OTHER, first=0)
    switch(warehouse, stream, 2, OTHER, shadows=[OWN], first=700, before=OWN.digest)
    (found,) = contests(stream, warehouse)
    assert found == Contest(OTHER, OWN, Role.PREDECESSOR, {0: 700})


def test_the_predecessor_stays_one_through_releases(warehouse: Warehouse, stream: Stream) -> None:
    """It scores beside the new champion only from a later release on, and a canary comes and goes:
    events count from the first that both score. On trial itself, it is a challenger."""
    migrate(warehouse, stream)
    switch(warehouse, stream, 1, OTHER, first=10, before=OWN.digest)
    switch(warehouse, stream, 2, OTHER, shadows=[OWN], first=30, before=OTHER.digest)
    switch(warehouse, stream, 3, OTHER, challenger=THIRD, shadows=[OWN], first=50)
    third, own = contests(stream, warehouse)
    assert own == Contest(OTHER, OWN, Role.PREDECESSOR, {0: 30})
    assert third == Contest(OTHER, THIRD, Role.CHALLENGER, {0: 50})
    switch(warehouse, stream, 4, OTHER, challenger=OWN, first=90, before=OTHER.digest)
    (found,) = contests(stream, warehouse)
    assert found == Contest(OTHER, OWN, Role.CHALLENGER, {0: 30})


def test_who_was_rolled_back_is_nobodys_predecessor(warehouse: Warehouse, stream: Stream) -> None:
    """A shadow that the champion came back from would have to be better to be a champion again."""
    migrate(warehouse, stream)
    switch(warehouse, stream, 1, OTHER, first=10, before=OWN.digest)
    switch(warehouse, stream, 2, OWN, first=30, before=OTHER.digest, kind="rollback")
    switch(warehouse, stream, 3, OWN, shadows=[OTHER], first=50, before=OWN.digest)
    (found,) = contests(stream, warehouse)
    assert found == Contest(OWN, OTHER, Role.CHALLENGER, {0: 50})


def test_both_answers_meet_their_newest_label(warehouse: Warehouse, stream: Stream) -> None:
    """Repeats count once, corrections hold, what has no label or one answer only is left out."""
    made = make(100)
    store(warehouse, stream, made)
    said = unlike(made, 0.2)
    shadow(warehouse, stream, said[:80], refused=(3,))
    label(warehouse, stream, made, list(range(60)))
    label(warehouse, stream, made, list(range(20)), first=60)  # a repeated record
    wrong: list[str | None] = ["no" if t else "yes" for t in np.asarray(made.truth)[:10]]
    label(
        warehouse, stream, made, list(range(10)), first=80, version=2, status="corrected",
        truth=wrong,
    )  # fmt: skip
    nothing: list[str | None] = [None] * 10
    label(
        warehouse, stream, made, list(range(60, 70)), first=90, status="never_labelled",
        truth=nothing,
    )  # fmt: skip
    label(warehouse, stream, made, list(range(80, 100)), first=100)
    pairs, notes = read_pairs(stream, warehouse, CARDS, CONTEST)
    kept = [i for i in range(60) if i != 3]
    truth = np.asarray(made.truth).astype(int)
    truth[:10] = 1 - truth[:10]
    for side, chances in ((pairs.champion, np.asarray(made.chances)), (pairs.challenger, said)):
        assert ((side.event_us - START_US) // 1_000_000).tolist() == kept
        assert side.truth.tolist() == truth[kept].tolist()
        np.testing.assert_allclose(side.raw[:, 1], chances[kept])
        assert side.slices["region"].tolist() == [made.region[i] for i in kept]
    assert (pairs.refused, pairs.scored, notes) == (1, 79, ())
    assert (pairs.challenger.scored_us - pairs.champion.scored_us).tolist() == [1_000] * 59


def test_a_canary_is_the_other_way_round(warehouse: Warehouse, stream: Stream) -> None:
    """Where the challenger answered, the champion's answer is among the shadows: still a pair."""
    made = make(100)
    store(warehouse, stream, made)  # OWN answered all of them
    shadow(warehouse, stream, unlike(made, 0.2))
    label(warehouse, stream, made, list(range(100)))
    turned = Contest(OTHER, OWN, Role.CHALLENGER, {0: 40})
    pairs, _ = read_pairs(stream, warehouse, CARDS, turned)
    assert len(pairs) == 60
    np.testing.assert_allclose(pairs.challenger.raw[:, 1], np.asarray(made.chances)[40:])
    none, _ = read_pairs(stream, warehouse, CARDS, Contest(OWN, OTHER, Role.CHALLENGER, {7: 0}))
    assert len(none) == 0


def test_a_better_challenger_is_promoted(warehouse: Warehouse, stream: Stream) -> None:
    """From the rows to the verdict, all gates passed; and no more rows than the stream's judge
    takes."""
    made = make(ROWS, seed=3)
    store(warehouse, stream, made)
    shadow(warehouse, stream, unlike(made, 0.1))
    label(warehouse, stream, made, list(range(ROWS)))
    found = decide(stream, warehouse, CARDS, CONTEST)
    assert (found.verdict, found.failed) == (Verdict.PROMOTE, ()), found.table()
    assert found.evidence.finding.rows == ROWS
    assert {part.slice for part in found.evidence.slices} == {"region=north", "region=south"}
    text = stream.path.read_text() + "[judge]\nrows_min = 100\nrows_max = 104\n"
    stream.path.write_text(text)
    short = decide(Stream.load(stream.path), warehouse, CARDS, CONTEST)
    assert short.evidence.finding.rows == 104


def test_a_regression_comes_to_its_end_too(warehouse: Warehouse, stream: Stream) -> None:
    """The rows that set its scale are read on top of rows_max, and a row whose value is missing is
    none: so what is not proven by rows_max is rejected, and does not wait for ever."""
    text = stream.path.read_text().replace('kind = "binary"', 'kind = "regression"')
    stream.path.write_text(text + "[judge]\nrows_min = 8\nrows_max = 104\n")
    stream = Stream.load(stream.path)
    made = make(240)
    store(warehouse, stream, made)
    shadow(warehouse, stream, np.asarray(made.chances))
    label(warehouse, stream, made, list(range(10)), truth=[None] * 10)
    label(warehouse, stream, made, list(range(10, 210)), first=10, values=[0.5] * 200)
    assert count(stream, warehouse, CONTEST) == Known(200, 210)
    cards = [card_of("regression", ())]
    held = decide(stream, warehouse, cards, CONTEST)
    assert (held.verdict, held.evidence.finding.rows) == (Verdict.HOLD, 100)
    label(warehouse, stream, made, list(range(210, 240)), first=210, values=[0.5] * 30)
    over = decide(stream, warehouse, cards, CONTEST)
    assert (over.verdict, over.evidence.finding.rows) == (Verdict.REJECT, 104)


def test_a_private_event_time_is_not_asked_for(warehouse: Warehouse, stream: Stream) -> None:
    """When the event was published stands for it."""
    stream.path.write_text(stream.path.read_text() + '[privacy]\nprivate = ["at"]\n')
    stream = Stream.load(stream.path)
    migrate(warehouse, stream)
    made = make(20)
    for model in (OWN, OTHER):
        shadow(warehouse, stream, np.asarray(made.chances), model)
    label(warehouse, stream, made, list(range(20)), without=["event_time"])
    pairs, _ = read_pairs(stream, warehouse, CARDS, CONTEST)
    assert len(pairs) == 20
    assert pairs.champion.event_us.tolist() == pairs.champion.published_us.tolist()
    assert pairs.champion.event_us.min() == START_US


def test_pairs_are_counted_without_reading_them(warehouse: Warehouse, stream: Stream) -> None:
    """Each labelled event that both answered, once; and labelled records, so that a correction
    shows. It is the number of rows that are read, but for rows_max."""
    made = make(100)
    store(warehouse, stream, made)
    shadow(warehouse, stream, unlike(made, 0.2)[:80], refused=(3,))
    label(warehouse, stream, made, list(range(50, 100)))
    label(warehouse, stream, made, list(range(5)), first=50)
    label(warehouse, stream, made, list(range(5)), first=55)  # repeated records
    none: list[str | None] = [None] * 10
    label(warehouse, stream, made, list(range(10, 20)), first=60, status="never_labelled",
          truth=none)  # fmt: skip
    known = count(stream, warehouse, CONTEST)
    assert known == Known(30 + 4, 70)
    assert known.pairs == len(read_pairs(stream, warehouse, CARDS, CONTEST)[0])
    assert count(stream, warehouse, Contest(OWN, OTHER, Role.CHALLENGER, {0: 60})).pairs == 20


def test_a_judge_reads_again_only_what_has_changed(warehouse: Warehouse, stream: Stream) -> None:
    """The very same decision while there are few new labels; another one when there are a fiftieth
    more, or when a few, or a correction, have waited long enough."""
    made = make(400)
    store(warehouse, stream, made)
    shadow(warehouse, stream, unlike(made, 0.2))
    label(warehouse, stream, made, list(range(300)))
    now = [0.0]
    judge = Judge(stream, warehouse, lambda: now[0])
    first = judge.decide(CARDS, CONTEST)
    assert judge.decide(CARDS, CONTEST) is first
    label(warehouse, stream, made, [300, 301], first=300)
    assert judge.decide(CARDS, CONTEST) is first
    now[0] += STALE_S
    second = judge.decide(CARDS, CONTEST)
    assert second.evidence.finding.rows == 302
    label(warehouse, stream, made, list(range(302, 310)), first=302)
    third = judge.decide(CARDS, CONTEST)
    assert third.evidence.finding.rows == 310
    wrong: list[str | None] = ["no" if t else "yes" for t in np.asarray(made.truth)[:1]]
    label(warehouse, stream, made, [0], first=310, version=2, status="corrected", truth=wrong)
    assert judge.decide(CARDS, CONTEST) is third
    now[0] += STALE_S
    assert judge.decide(CARDS, CONTEST) is not third
    other = Contest(OWN, OTHER, Role.CHALLENGER, {0: 100})
    assert judge.decide(CARDS, other).evidence.finding.rows == 210


def test_a_worse_champion_is_rolled_back(warehouse: Warehouse, stream: Stream) -> None:
    """The same rows, from the point of view of a champion that came after the better model."""
    made = make(ROWS, seed=3)
    store(warehouse, stream, made)
    shadow(warehouse, stream, unlike(made, 0.1))
    label(warehouse, stream, made, list(range(ROWS)))
    turned = Contest(OWN, OTHER, Role.PREDECESSOR, {0: 0})
    assert decide(stream, warehouse, CARDS, turned).verdict is Verdict.ROLL_BACK


def test_before_the_first_label_it_holds(warehouse: Warehouse, stream: Stream) -> None:
    """With all the evidence there is: none."""
    made = make(50)
    store(warehouse, stream, made)
    shadow(warehouse, stream, unlike(made, 0.1))
    found = decide(stream, warehouse, CARDS, CONTEST)
    assert (found.verdict, found.evidence.finding.rows) == (Verdict.HOLD, 0)
    assert "rows" in found.failed


def test_models_of_other_labels_cannot_be_compared(warehouse: Warehouse, stream: Stream) -> None:
    """The bundle that was given does not explain the answers."""
    made = make(50)
    store(warehouse, stream, made)
    shadow(warehouse, stream, unlike(made, 0.1))
    label(warehouse, stream, made, list(range(50)))
    with pytest.raises(ContractMismatch, match="other labels"):
        read_pairs(stream, warehouse, [card_of(labels=("0", "1"))], CONTEST)
