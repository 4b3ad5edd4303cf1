"""Values in, labelled records and chunks out; and a state that follows from its chunks."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.columnar import frame
from millstream.errors import DependencyUnavailable, InvariantBroken
from millstream.matching import Joined, Matcher, chunks
from millstream.matching.chunks import AvroChunks, Chunk, Side, pieces
from millstream.records import Records
from tests.millstream.matching.logs import (
    CHUNK,
    LABELLED,
    Label,
    matcher,
    outcome_values,
    prediction_values,
    read,
    records,
    schema_of,
)

Store = dict[tuple[int, bytes], bytes]


def apply(store: Store, joined: Joined) -> None:
    """As the compacted topic does."""
    for partition, key, value in joined.state:
        if value is None:
            del store[(partition, key)]
        else:
            store[(partition, key)] = value


def restored(store: Store, wait_us: int = 100, partition: int = 0) -> Matcher:
    """The next worker; it reads the chunks in no order."""
    made = matcher(wait_us, partitions=0)
    values = [value for (number, _), value in store.items() if number == partition]
    random.Random(1).shuffle(values)
    assert made.restore(partition, values) == len(values)
    return made


def predictions(ids: list[str], times: list[int], first: int = 0) -> Records:
    """Of one partition."""
    return records("s.predictions", prediction_values(ids, 0, first), times, first)


def outcomes(ids: list[str], labels: str, times: list[int], first: int = 0) -> Records:
    """With a label each, known at the time of their record."""
    return records("s.outcomes", outcome_values(ids, list(labels), times), times, first)


def test_a_prediction_and_its_outcome_become_a_labelled_record() -> None:
    """With the prediction's key, its fields, and a name made of its coordinates."""
    made = matcher()
    joined = made.take(predictions(["a", "b"], [10, 11], 7), outcomes(["b"], "0", [12]))
    assert joined.partitions == [0]
    assert joined.keys == [b"kb"]
    assert read(joined) == [Label("0/8/1", "b", 1, "labelled", "0", 12)]
    later = made.take(None, outcomes(["b", "z"], "11", [13, 120], 1))
    assert read(later) == [
        Label("0/8/2", "b", 2, "corrected", "1", 13),
        Label("0/7/1", "a", 1, "never_labelled", None, None),
    ]
    assert (joined.counts.labelled, later.counts.corrected, later.counts.never_labelled) == (
        1,
        1,
        1,
    )


def test_a_value_of_a_regression_is_its_truth() -> None:
    """A label beside it says nothing, and what is no number is refused."""
    made = Matcher("regression", 100, schema_of, LABELLED, CHUNK)
    made.restore(0, [])
    values = outcome_values(
        ["a", "a", "a", "a"], ["x", "y", None, "z"], [1, 2, 3, 4], [0.5, 0.5, float("nan"), None]
    )
    joined = made.take(predictions(["a"], [10]), records("o", values, [11] * 4))
    assert [(label.id, label.label) for label in read(joined)] == [("0/0/1", None)]
    assert (joined.counts.same, joined.counts.outcomes_refused) == (1, 2)


def test_what_cannot_be_read_is_counted_and_costs_no_neighbour() -> None:
    """A null, a foreign schema, half a record, a label that is missing or too long."""
    made = matcher()
    (good,) = prediction_values(["a"])
    bad = [None, b"", b"x", frame(9) + b"x", good[:-1]]
    given = records("p", [*bad, good], [1] * 6)
    fine = outcome_values(["a", "b", "c", "d"], ["1", None, "l" * 1_025, "1"], [1, 1, 1, -(2**62)])
    joined = made.take(given, records("o", [*fine, None], [1] * 5))
    assert [label.event_id for label in read(joined)] == ["a"]
    assert (joined.counts.predictions_refused, joined.counts.outcomes_refused) == (5, 4)
    assert made.offsets(0) == (6, 5)


def test_records_that_were_taken_are_passed_over() -> None:
    """So a batch that comes again changes nothing."""
    made = matcher()
    batch = predictions(["a", "b"], [1, 2]), outcomes(["a"], "1", [3])
    assert len(made.take(*batch).values) == 1
    again = made.take(*batch)
    assert (again.values, again.state) == ([], [])
    assert again.counts.predictions == 0
    more = made.take(predictions(["b", "c"], [2, 3], 1), None)
    assert more.counts.predictions == 1
    assert made.offsets(0) == (3, 1)


def test_partitions_do_not_meet() -> None:
    """An outcome that was published to another partition than its event is an orphan."""
    made = matcher(partitions=2)
    made.take(predictions(["a"], [1]), None)
    stray = records("o", outcome_values(["a"], ["1"], [1]), [1], partition=1)
    assert made.take(None, stray).values == []
    assert made.held == 2
    made.forget(1)
    assert (set(made.partitions), made.held) == ({0}, 1)


def test_a_topic_that_was_read_to_its_end_lets_time_go_on() -> None:
    """Predictions are never labelled though no outcome comes at all; the next worker knows."""
    made, store = matcher(), Store()
    apply(store, made.take(predictions(["a", "b"], [10, 111]), None))
    silent = made.take(None, None, outcomes_silent=[0])
    assert [label.id for label in read(silent)] == ["0/0/1"]
    apply(store, silent)
    assert made.take(None, None, outcomes_silent=[0]).state == []
    for worker in (made, restored(store)):
        assert worker.take(None, outcomes(["a"], "1", [20])).values == []
        assert worker.held == 2
        gone = worker.take(None, None, predictions_silent=[0])
        assert (gone.state, worker.held) == ([], 2)


def test_a_registry_that_sleeps_takes_nothing() -> None:
    """The batch is read again later."""

    def sleeps(schema_id: int) -> str:
        raise DependencyUnavailable("schema registry", "it sleeps")

    made = Matcher("binary", 100, sleeps, LABELLED, CHUNK)
    made.restore(0, [])
    with pytest.raises(DependencyUnavailable):
        made.take(predictions(["a"], [1]), None)
    assert (made.held, made.offsets(0)) == (0, (-1, -1))


def test_chunks_that_matter_no_more_are_deleted() -> None:
    """The state's topic does not grow with the stream."""
    made, store = matcher(wait_us=10), Store()
    for n in range(200):
        apply(store, made.take(predictions([f"{n}"], [n], n), outcomes([f"{n}"], "1", [n], n)))
        assert len(store) <= 32
    assert made.held <= 11
    assert restored(store, 10).held == made.held


def test_a_chunk_that_is_missing_is_told() -> None:
    """Whether in the middle or at the front: a log that lost its beginning is not a short one."""
    made, store = matcher(wait_us=10), Store()
    for n in range(40):
        apply(store, made.take(predictions([f"{n}"], [n], n), outcomes([f"{n}"], "1", [n], n)))
    values = {int(key): value for (_, key), value in store.items()}
    for gone in (min(values), sorted(values)[3]):
        left = [value for sequence, value in values.items() if sequence != gone]
        with pytest.raises(InvariantBroken, match=f"partition 0 lacks chunk {gone}:"):
            matcher(10).restore(0, left)


@pytest.mark.parametrize("value", [b"", b"x", frame(CHUNK), frame(CHUNK + 1) + b"x"])
def test_what_is_no_chunk_stops_the_join(value: bytes) -> None:
    """It would go on with half of its state."""
    with pytest.raises(InvariantBroken, match="no chunk"):
        matcher().restore(0, [value])


def test_a_large_batch_becomes_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of Kafka is bounded; the state is the same."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES_MAX", 1_000)
    made, store = matcher(), Store()
    ids = [f"{n}" for n in range(30)]
    apply(store, made.take(predictions(ids, [1] * 30), outcomes(ids[:20], "1" * 20, [2] * 20)))
    assert len(store) > 5
    assert max(map(len, store.values())) < 1_500
    other = restored(store)
    assert (other.held, other.offsets(0)) == (30, (30, 20))
    assert other.take(None, outcomes(ids[:20], "1" * 20, [3] * 20, 20)).counts.same == 20


def test_chunks_are_what_was_put_in() -> None:
    """Also empty ones."""
    codec = AvroChunks(CHUNK)
    some = Chunk(3, 1, Side([b"a", b"", b"ccc"], [1, 2, -5], 9), Side([], [], -1), 5, -(2**62))
    none = Chunk(0, 0, Side([], [], -1), Side([], [], -1), -(2**62), 2**61)
    assert codec.decode(codec.encode([some, none])) == [some, none]
    assert list(pieces(none)) == [none]
    assert codec.encode([]) == []


_STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30)), max_size=4),
        st.lists(
            st.tuples(st.sampled_from("abcdef"), st.sampled_from("01"), st.integers(0, 30)),
            max_size=4,
        ),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(_STEPS, st.integers(0, 2**32))
def test_a_worker_that_is_killed_between_any_two_batches_changes_nothing(
    steps: list[tuple[list[tuple[str, int]], list[tuple[str, str, int]], bool, bool]], seed: int
) -> None:
    """What the unbroken run says, record for record, counts too."""
    dice = random.Random(seed)
    unbroken = _run(steps, lambda made, store: made)
    killed = _run(steps, lambda made, store: restored(store, 10) if dice.random() < 0.5 else made)
    assert killed == unbroken


def _run(
    steps: list[tuple[list[tuple[str, int]], list[tuple[str, str, int]], bool, bool]],
    between: Callable[[Matcher, Store], Matcher],
) -> tuple[list[bytes], list[object]]:
    """The labelled values and the counts of each step, the time of steps going on."""
    made, store, values, counts = matcher(wait_us=10), Store(), list[bytes](), list[object]()
    places = [0, 0]
    for number, (left, right, p_silent, o_silent) in enumerate(steps):
        start = 5 * number
        p = predictions([i for i, _ in left], [start + t for _, t in left], places[0])
        o = outcomes(
            [i for i, _, _ in right],
            "".join(label for _, label, _ in right),
            [start + t for _, _, t in right],
            places[1],
        )
        places = [places[0] + len(left), places[1] + len(right)]
        joined = made.take(
            p if left else None,
            o if right else None,
            [0] if p_silent else [],
            [0] if o_silent else [],
        )
        apply(store, joined)
        values += joined.values
        counts.append(joined.counts)
        made = between(made, store)
    return values, counts
