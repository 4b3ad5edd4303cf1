"""Coverage, order and rows of one partition, against what was planted."""

from __future__ import annotations

import random

import numpy as np
import pytest

from millstream.audit.ledger import Kind, Ledger
from millstream.audit.offsets import PAGE
from millstream.audit.partition import Coverage, Names, TableRows

NAMES = Names("s.events", "s.predictions", "s.dead-letters")


def offsets(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def told(ledger: Ledger) -> dict[Kind, tuple[int, ...]]:
    return {each.kind: each.offsets for each in ledger.findings()}


def fresh(low: int = 0, *, compacted: bool = False) -> tuple[Coverage, Ledger]:
    ledger = Ledger()
    return Coverage(NAMES, 0, ledger, low, compacted=compacted), ledger


def test_each_event_with_one_answer_is_clean() -> None:
    """Predictions and dead letters together; holes are transaction markers."""
    coverage, ledger = fresh()
    coverage.saw_events(offsets(0, 1, 3, 4))
    coverage.saw_answers(NAMES.predictions, offsets(0, 1, 4))
    coverage.saw_answers(NAMES.dead_letters, offsets(3))
    coverage.judge(5, 5, {})
    coverage.judge_rest(5)
    assert told(ledger) == {}
    assert coverage.waiting(5) == 0


def test_above_the_committed_offset_an_event_waits_below_it_is_lost() -> None:
    """The same two events, before and after the group has committed past them."""
    coverage, ledger = fresh()
    coverage.saw_events(np.arange(6))
    coverage.saw_answers(NAMES.predictions, offsets(0, 1, 2, 3))
    coverage.judge(4, 6, {})
    assert told(ledger) == {}
    assert coverage.waiting(6) == 2
    coverage.judge(6, 6, {})
    assert told(ledger) == {Kind.LOST: (4, 5)}
    assert coverage.waiting(6) == 0


def test_a_second_answer_is_doubled_whenever_it_comes() -> None:
    """In one batch, by a letter, and after the event was judged."""
    coverage, ledger = fresh()
    coverage.saw_events(np.arange(4))
    coverage.saw_answers(NAMES.predictions, offsets(0, 1, 1, 2, 3))
    coverage.saw_answers(NAMES.dead_letters, offsets(2))
    coverage.judge(4, 4, {})
    coverage.forget_judged()
    coverage.saw_answers(NAMES.predictions, offsets(3))
    assert told(ledger) == {Kind.DOUBLED: (1, 2, 3)}


def test_an_answer_to_no_event_is_alien() -> None:
    """A marker's offset, judged or not yet; below the log's head nothing can be said of it."""
    coverage, ledger = fresh()
    coverage.saw_events(offsets(0, 2, 4))
    coverage.saw_answers(NAMES.predictions, offsets(0, 1, 2, 4, 5))
    coverage.judge(3, 6, {})
    coverage.saw_answers(NAMES.dead_letters, offsets(3))
    coverage.judge_rest(6)
    assert told(ledger) == {Kind.ALIEN: (1, 3, 5)}


def test_late_strangers_of_what_is_judged_are_alien() -> None:
    """An answer to a judged marker comes afterwards."""
    coverage, ledger = fresh()
    coverage.saw_events(offsets(0, 2))
    coverage.saw_answers(NAMES.predictions, offsets(0, 2))
    coverage.judge(3, 3, {})
    coverage.saw_answers(NAMES.predictions, offsets(1))
    assert told(ledger)[Kind.ALIEN] == (1,)


def test_predictions_follow_their_events_order() -> None:
    """Over two batches; a repeated answer is doubled, not out of order."""
    coverage, ledger = fresh()
    coverage.saw_answers(NAMES.predictions, offsets(0, 2, 1, 3))
    coverage.saw_answers(NAMES.predictions, offsets(5, 4, 3))
    assert told(ledger) == {Kind.ORDER: (1, 4), Kind.DOUBLED: (3,)}


def test_an_expired_head_is_judged_by_its_rows() -> None:
    """Events and answers that only ClickHouse still has count; what it lacks cannot be told."""
    coverage, ledger = fresh(low=10)
    coverage.saw_expired_events([(0, 6, 1), (8, 9, 1)])
    coverage.saw_answers(NAMES.predictions, offsets(0, 1, 2, 3, 5, 6, 8, 9), retained=False)
    coverage.saw_events(np.arange(10, 14))
    coverage.saw_answers(NAMES.predictions, offsets(10, 11, 13))
    coverage.judge(14, 14, {NAMES.predictions: 9, NAMES.dead_letters: 0})
    assert told(ledger) == {
        Kind.LOST: (12,),  # behind the first prediction that Kafka still has
        Kind.EVENT_EXPIRED: (7,),
        Kind.ANSWER_EXPIRED: (4,),
    }


def test_without_any_retained_answer_nothing_is_called_lost() -> None:
    """The whole topic of predictions has expired."""
    coverage, ledger = fresh()
    coverage.saw_events(np.arange(3))
    coverage.judge(3, 3, {NAMES.predictions: 7})
    assert told(ledger) == {Kind.ANSWER_EXPIRED: (0, 1, 2)}


def test_a_compacted_topic_proves_neither_loss_nor_strangers() -> None:
    """What compaction removed may have been there."""
    coverage, ledger = fresh(compacted=True)
    coverage.saw_events(offsets(0, 2))
    coverage.saw_answers(NAMES.predictions, offsets(1, 2))
    coverage.judge(3, 3, {})
    assert told(ledger) == {Kind.EVENT_EXPIRED: (1,), Kind.ANSWER_EXPIRED: (0,)}


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_is_found_exactly(seed: int) -> None:
    """Lost, doubled and alien offsets of random answers in random batches, over three pages."""
    dice = random.Random(seed)
    end = 2 * PAGE + 1_000
    edges = [page * PAGE + step for page in (1, 2) for step in (-1, 0, 1)]
    places = [*sorted({*dice.sample(range(end), 300), *edges})]
    events = set(dice.sample(places, 250))
    copies = {offset: dice.choice([0, 1, 1, 1, 2, 3]) for offset in places}
    answers = [offset for offset, count in copies.items() for _ in range(count)]
    dice.shuffle(answers)
    coverage, ledger = fresh()
    coverage.saw_events(np.array(sorted(events)))
    for start in range(0, len(answers), 100):
        batch = np.array(answers[start : start + 100], np.int64)
        coverage.saw_answers(NAMES.dead_letters, batch)
    coverage.judge(end, end, {})
    found = {each.kind: each.total for each in ledger.findings()}
    assert found.get(Kind.LOST, 0) == sum(not copies[o] for o in events)
    assert found.get(Kind.DOUBLED, 0) == sum(n > 1 for n in copies.values())
    assert found.get(Kind.ALIEN, 0) == sum(n > 0 for o, n in copies.items() if o not in events)


def table(low: int = 0) -> tuple[TableRows, Ledger]:
    ledger = Ledger()
    return TableRows("events", "s.events", 0, ledger, low, compacted=False), ledger


def test_rows_missing_doubled_and_extra_are_found() -> None:
    """Runs of rows against records, over a page's edge."""
    rows, ledger = table()
    rows.saw_records(np.array([0, 1, 3, PAGE - 1, PAGE, PAGE + 1]))
    rows.compare([(0, 0, 1), (2, 2, 1), (3, 3, 2), (PAGE - 1, PAGE, 1)], PAGE + 2)
    assert told(ledger) == {
        Kind.ROW_MISSING: (1, PAGE + 1),
        Kind.ROW_DOUBLED: (3,),
        Kind.ROW_EXTRA: (2,),
    }
    assert rows.rows == 6


def test_records_above_what_was_compared_are_behind() -> None:
    """They wait; nothing is said of them."""
    rows, ledger = table()
    rows.saw_records(np.arange(10))
    rows.compare([(0, 5, 1)], 6)
    assert rows.behind(10) == 4
    assert told(ledger) == {}


def test_rows_of_an_expired_head_are_not_extra_but_may_be_doubled() -> None:
    """Kafka has offsets from 5 on."""
    rows, ledger = table(low=5)
    rows.saw_records(np.arange(5, 8))
    rows.compare([(0, 2, 1), (3, 3, 2), (4, 7, 1)], 8)
    assert told(ledger) == {Kind.ROW_DOUBLED: (3,)}
