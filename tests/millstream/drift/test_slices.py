"""Which slice a labelled prediction is of, by the fields of its event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.drift.lanes import Piece
from millstream.drift.slices import EVENTS_HELD, SPAN, VALUES_MAX, Slices
from tests.millstream.drift.watchlogs import stream_in


def slices(folder: Path, held: int = 100) -> Slices:
    """By two fields of the event and by its key."""
    return Slices(stream_in(folder, 'slices = ["zipcode", "applicant", "car"]'), held)


def events(start: int, cars: Sequence[str | None], partition: int = 0) -> Piece:
    """From this offset on, a second apart; the zipcode is the offset modulo 3."""
    count = len(cars)
    offsets = np.arange(start, start + count)
    columns = pa.record_batch({"zipcode": offsets % 3, "car": pa.array(cars, pa.string())})
    return Piece(("loans.events", partition), partition, offsets * 1_000, offsets, columns)


def named(made: Slices, offsets: list[int], at: list[int], partition: int = 0) -> Any:
    """Names of labels of these events that come at these times."""
    count = len(offsets)
    columns = pa.record_batch(
        {
            "source_partition": np.full(count, partition),
            "source_offset": np.array(offsets, np.int64),
            "key": ["k"] * count,
        }
    )
    return made.names(columns, np.array(at, np.int64))


def test_each_label_is_of_its_events_slices(tmp_path: Path) -> None:
    """A name for each field; null is none, and another partition's events are others."""
    made = slices(tmp_path)
    made.learn([events(5, ["a", None, "b"]), events(5, ["c"], partition=1)])
    assert named(made, [7, 6], [9_000, 9_000]) == [
        ["applicant=k", "applicant=k"],
        ["zipcode=1", "zipcode=0"],
        ["car=b", ""],
    ]
    assert named(made, [5], [9_000], partition=1)[2] == ["car=c"]
    assert named(made, [5], [9_000], partition=2)[2] == [""]


def test_what_is_older_than_what_is_held_or_not_yet_there_is_of_no_slice(tmp_path: Path) -> None:
    """By the clock of the label, whatever else the batch brought."""
    made = slices(tmp_path, held=4)
    made.learn([events(0, list("abcdefgh"))])
    cars = [names[0] for names in (named(made, [2], [at])[2] for at in (1_999, 2_000, 5_999))]
    assert cars == ["", "car=c", "car=c"]
    assert named(made, [2], [6_000])[2] == [""]


def test_a_gap_of_offsets_costs_no_memory(tmp_path: Path) -> None:
    """Behind what retention removed, the newest events have their slices and the oldest none."""
    made = slices(tmp_path)
    made.learn([events(0, ["a", "b"])])
    far = 2**40
    made.learn([events(far, ["c", "d"])])
    assert made._partitions[0].codes.shape[1] <= SPAN + EVENTS_HELD
    late = [(far + 5) * 1_000] * 3
    assert named(made, [1, far, far + 1], late)[2] == ["", "car=c", "car=d"]


def test_batches_and_restarts_change_nothing(tmp_path: Path) -> None:
    """The state is the same to the bit, and so are the names."""
    cars = [f"c{n % 7}" for n in range(500)]
    whole = slices(tmp_path)
    whole.learn([events(0, cars)])
    random, parts, start = np.random.default_rng(2), slices(tmp_path), 0
    while start < len(cars):
        end = start + int(random.integers(1, 60))
        parts.learn([events(start, cars[start:end])])
        start = end
        if random.random() < 0.4:
            state = parts.state()
            parts = slices(tmp_path)
            parts.restore(state)
    assert parts.state() == whole.state()
    asked = [350, 420, 499], [499_000, 499_000, 500_000]
    assert named(parts, *asked) == named(whole, *asked)


def test_events_that_are_read_again_are_the_same(tmp_path: Path) -> None:
    """As while a profile is learnt."""
    made, again = slices(tmp_path), slices(tmp_path)
    for one in (made, again):
        one.learn([events(0, list("abcdef"))])
    again.learn([events(2, list("cd"))])
    again.learn([events(4, list("ef"))])
    assert again.state() == made.state()


def test_values_beyond_the_bound_are_not_told_apart(tmp_path: Path) -> None:
    """Each is a slice, and there are no more of them than can be judged."""
    made = slices(tmp_path, held=2_000)
    made.learn([events(0, [f"c{n}" for n in range(VALUES_MAX + 1)])])
    last = VALUES_MAX
    assert named(made, [last - 1, last], [10**9] * 2)[2] == [f"car=c{last - 1}", ""]


def test_a_stream_without_slices_has_no_names(tmp_path: Path) -> None:
    """Nothing is remembered."""
    made = Slices(stream_in(tmp_path))
    made.learn([events(0, ["a"])])
    assert not made
    assert named(made, [0], [5_000]) is None
