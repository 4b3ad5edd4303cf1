"""The rule by which predictions and outcomes meet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.matching.state import BEFORE_ALL, Counts, Emitted, PartitionState

WAIT = 10
Prediction = tuple[str, int]
"""id, timestamp."""
Outcome = tuple[str, str, int, int]
"""id, label, known_at, timestamp."""


def state(held_max: int = 1_000) -> PartitionState:
    """One that waits 10 for an outcome."""
    return PartitionState(WAIT, held_max)


def predict(at: PartitionState, *predictions: Prediction) -> None:
    """Their values name id and timestamp."""
    ids, times = [p[0] for p in predictions], [p[1] for p in predictions]
    at.predict(ids, [f"{i}@{t}".encode() for i, t in predictions], times)
    at.settle()


def learn(at: PartitionState, *outcomes: Outcome) -> None:
    """Outcomes with a label."""
    ids, labels, known, times = ([o[place] for o in outcomes] for place in range(4))
    at.learn(ids, [(str(label), None) for label in labels], known, times)  # type: ignore[arg-type]
    at.settle()


def came(at: PartitionState) -> list[tuple[str, int, str | None]]:
    """Prediction, version and label of what came of it since the last look."""
    found = [(value.decode(), version, truth[0]) for value, version, truth, _ in at.emitted]
    at.emitted.clear()
    return found


def test_an_outcome_labels_its_prediction() -> None:
    """Whichever comes first, if both are at most the wait apart."""
    for gap in (0, WAIT):
        after, before = state(), state()
        predict(after, ("a", 100))
        learn(after, ("a", "1", 5, 100 + gap))
        assert came(after) == [("a@100", 1, "1")]
        learn(before, ("a", "1", 5, 100))
        assert came(before) == []
        predict(before, ("a", 100 + gap))
        assert came(before) == [(f"a@{100 + gap}", 1, "1")]
        assert before.waiting == 0


def test_the_same_label_again_is_nothing() -> None:
    """But it confirms: an older one that comes after it is stale."""
    at = state()
    predict(at, ("a", 100))
    learn(at, ("a", "1", 5, 101), ("a", "1", 7, 102), ("a", "0", 6, 103))
    assert came(at) == [("a@100", 1, "1")]
    assert (at.counts.same, at.counts.stale) == (1, 1)


def test_a_different_label_known_later_corrects() -> None:
    """As often as it changes, back to the first one too."""
    at = state()
    predict(at, ("a", 100))
    learn(at, ("a", "1", 5, 101), ("a", "0", 6, 102), ("a", "1", 7, 103))
    assert came(at) == [("a@100", 1, "1"), ("a@100", 2, "0"), ("a@100", 3, "1")]
    assert at.counts.corrected == 2


def test_a_different_label_that_is_not_known_later_is_stale() -> None:
    """Nor is one known at the same time."""
    at = state()
    predict(at, ("a", 100))
    learn(at, ("a", "1", 5, 101), ("a", "0", 5, 102), ("a", "0", 4, 103))
    assert came(at) == [("a@100", 1, "1")]
    assert at.counts.stale == 2


def test_outcomes_that_waited_are_taken_in_their_order() -> None:
    """As if the prediction had come first."""
    at = state()
    learn(at, ("a", "1", 5, 95), ("a", "0", 6, 96), ("a", "0", 7, 97))
    predict(at, ("a", 100))
    assert came(at) == [("a@100", 1, "1"), ("a@100", 2, "0")]
    assert (at.counts.same, at.held, at.waiting) == (1, 1, 0)


def test_a_prediction_without_an_outcome_is_never_labelled_once_the_wait_is_over() -> None:
    """By the outcomes' clock; the predictions' own does not end it."""
    at = state()
    predict(at, ("a", 100), ("b", 105), ("c", 1_000))
    assert came(at) == []
    learn(at, ("b", "1", 1, 110))
    assert came(at) == [("b@105", 1, "1")]
    learn(at, ("x", "1", 1, 111))
    assert came(at) == [("a@100", 1, None)]
    assert (at.counts.never_labelled, at.held) == (1, 2)


def test_a_label_after_the_wait_is_late() -> None:
    """Counted once the predictions are past it; it corrects nothing."""
    at = state()
    predict(at, ("a", 100), ("b", 100))
    learn(at, ("a", "1", 1, 105), ("a", "0", 2, 111), ("b", "0", 2, 112))
    assert came(at) == [("a@100", 1, "1"), ("b@100", 1, None)]
    predict(at, ("c", 123))
    assert (at.counts.late, at.counts.orphans, at.waiting) == (2, 0, 0)


def test_an_outcome_without_a_prediction_is_kept_then_counted() -> None:
    """It is an orphan once no prediction could still be in time for it."""
    at = state()
    learn(at, ("a", "1", 1, 100))
    predict(at, ("b", 110))
    assert (at.waiting, at.counts.orphans) == (1, 0)
    predict(at, ("c", 111))
    assert (at.waiting, at.counts.orphans) == (0, 1)
    predict(at, ("a", 111))
    assert came(at) == []


def test_a_repeated_prediction_is_ignored() -> None:
    """Its event was published twice, or its scorer is at least once: the first one counts."""
    at = state()
    predict(at, ("a", 100), ("a", 100), ("a", 120))
    learn(at, ("a", "1", 1, 101))
    predict(at, ("a", 110))
    assert came(at) == [("a@100", 1, "1")]
    assert (at.counts.repeated, at.held) == (3, 1)


def test_an_id_may_be_used_again_when_the_first_is_forgotten() -> None:
    """Each outcome labels the prediction that it is in time for, the older one first."""
    at = state()
    predict(at, ("a", 100), ("a", 121))
    learn(at, ("a", "1", 1, 110), ("a", "0", 2, 120))
    assert came(at) == [("a@100", 1, "1"), ("a@121", 1, "0")]


def test_a_record_without_a_timestamp_is_of_the_time_that_it_is() -> None:
    """And an older one too: a clock never goes back."""
    at = state()
    predict(at, ("a", 100), ("b", -1), ("c", 3))
    learn(at, ("x", "1", 1, 110), ("b", "1", 1, -1))
    assert came(at) == [("b@-1", 1, "1")]
    learn(at, ("y", "1", 1, 111))
    assert came(at) == [("a@100", 1, None), ("c@3", 1, None)]


def test_a_clock_that_is_moved_ends_waits() -> None:
    """For a log that was read to its end and says nothing; it never goes back."""
    at = state()
    predict(at, ("a", 100))
    at.move_clocks(BEFORE_ALL, 111)
    at.move_clocks(BEFORE_ALL, 50)
    at.settle()
    assert came(at) == [("a@100", 1, None)]
    learn(at, ("a", "1", 1, 101))
    at.move_clocks(200, BEFORE_ALL)
    at.settle()
    assert (at.counts.late, at.counts.orphans) == (1, 0)


def test_above_the_bound_the_oldest_are_given_up() -> None:
    """A prediction without a label is never labelled then; outcomes are orphans; both are told."""
    at = state(held_max=2)
    predict(at, ("a", 1), ("b", 2), ("c", 3), ("d", 4))
    assert came(at) == [("a@1", 1, None), ("b@2", 1, None)]
    assert (at.held, at.counts.given_up, at.counts.never_labelled) == (2, 2, 2)
    learn(at, ("x", "1", 1, 5), ("y", "1", 1, 5), ("z", "1", 1, 5), ("c", "1", 1, 5))
    assert came(at) == [("c@3", 1, "1")]
    assert (at.waiting, at.counts.outcomes_given_up, at.counts.orphans) == (2, 1, 1)


def test_what_is_held_is_bounded_by_the_wait() -> None:
    """A long stream leaves nothing behind: not ids, not outcomes that met theirs."""
    at = state()
    for n in range(5_000):
        learn(at, (f"{n}", "1", n, n))
        predict(at, (f"{n}", n))
    assert at.held <= WAIT + 1
    assert len(at._over) <= 2 * WAIT + 2
    assert len(at._waiting) == 0
    assert len(at._waiting_order) <= 1_000
    assert at.counts.labelled == 5_000


_IDS = st.sampled_from("abcdefgh")
_PREDICTIONS = st.lists(st.tuples(_IDS, st.integers(0, 120)), max_size=25)
_OUTCOMES = st.lists(
    st.tuples(_IDS, st.sampled_from("012"), st.integers(0, 8), st.integers(0, 120)), max_size=25
)


def _outputs(
    predictions: Sequence[Prediction], outcomes: Sequence[Outcome], dice: random.Random
) -> tuple[set[Emitted], Counts]:
    """What comes of the two logs, read in an order and in batches that the dice say; at the end
    both clocks are far ahead."""
    at, read = state(), [0, 0]
    logs = (
        [*predictions, ("end", 1_000)],
        [*outcomes, ("none", "0", 0, 1_000)],
    )
    while read[0] < len(logs[0]) or read[1] < len(logs[1]):
        side = dice.randrange(2)
        batch = logs[side][read[side] : read[side] + dice.randint(1, 5)]
        if side:
            learn(at, *batch)
        else:
            names = [f"{read[0] + n}".encode() for n in range(len(batch))]
            at.predict([p[0] for p in batch], names, [p[1] for p in batch])  # type: ignore[misc]
            at.settle()
        read[side] += len(batch)
    assert len(at.emitted) == len(set(at.emitted)), "an id came twice"
    return set(at.emitted), replace(at.counts)


@settings(max_examples=400, deadline=None)
@given(_PREDICTIONS, _OUTCOMES, st.integers(0, 2**32))
def test_any_interleaving_gives_the_same_outputs(
    predictions: list[Prediction], outcomes: list[Outcome], seed: int
) -> None:
    """And the same counts: both are a function of the two logs."""
    dice = random.Random(seed)
    first = _outputs(predictions, outcomes, dice)
    for _ in range(3):
        assert _outputs(predictions, outcomes, dice) == first


@settings(max_examples=200, deadline=None)
@given(_PREDICTIONS, _OUTCOMES, st.integers(0, 2**32))
def test_every_record_is_counted_once(
    predictions: list[Prediction], outcomes: list[Outcome], seed: int
) -> None:
    """What went in is what is labelled, ignored, given up or still held."""
    _, counts = _outputs(predictions, outcomes, random.Random(seed))
    ended = counts.labelled + counts.never_labelled + counts.repeated
    assert counts.predictions == len(predictions) + 1 == ended + 1  # `end` is held
    met = counts.labelled + counts.corrected + counts.same + counts.stale
    assert counts.outcomes == len(outcomes) + 1 == met + counts.late + counts.orphans + 1
