"""Several logs read as one, in an order that does not depend on how they came."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from millstream.drift.lanes import Lanes, merged
from millstream.offsets import Partition

A, B = ("a", 0), ("b", 0)
TIMES = {A: [10, 20, 15, 40, 41], B: [12, 20, 21, 39, 90]}


def add(lanes: Lanes, lane: Partition, start: int, stop: int) -> None:
    """These records of the lane; each says where it is from."""
    offsets = np.arange(start, stop, dtype=np.int64)
    columns = pa.record_batch({"name": [f"{lane[0]}{at}" for at in offsets]})
    lanes.add(lane, offsets, np.array(TIMES[lane][start:stop], np.int64), columns, stop)


def names(lanes: Lanes, *silent: Partition) -> list[str]:
    """What is released, in order."""
    pieces = lanes.release(silent)
    found: list[str] = merged(pieces)[0].column("name").to_pylist() if pieces else []
    return found


def test_nothing_goes_before_every_lane_has_spoken_or_ended() -> None:
    """A lane of which nothing came could still have the oldest record."""
    lanes = Lanes([A, B])
    add(lanes, A, 0, 5)
    assert names(lanes) == []
    assert names(lanes, B) == ["a0", "a1", "a2", "a3", "a4"]


def test_the_order_is_the_same_however_the_records_came() -> None:
    """By clock, lane and offset; a time that goes back counts as the one before it."""
    wanted = ["a0", "b0", "a1", "a2", "b1", "b2", "b3", "a3", "a4", "b4"]
    random = np.random.default_rng(1)
    for _ in range(50):
        lanes, said, places = Lanes([A, B]), list[str](), {A: 0, B: 0}
        while any(at < 5 for at in places.values()):
            lane = (A, B)[random.integers(2)]
            stop = min(places[lane] + int(random.integers(3)), 5)
            if stop > places[lane]:
                add(lanes, lane, places[lane], stop)
            places[lane] = stop
            said += names(lanes, *(lane for lane, at in places.items() if at == 5))
        assert said == wanted


def test_what_waits_is_read_again_after_a_restart() -> None:
    """Offsets are those of the first record that was not released; the clock goes on."""
    lanes = Lanes([A, B])
    add(lanes, A, 0, 3)
    add(lanes, B, 0, 1)
    assert names(lanes) == ["a0", "b0"]
    assert lanes.offsets() == {A: 1, B: 1}
    again = Lanes([A, B])
    again.restore(lanes.offsets(), lanes.state())
    add(again, A, 1, 5)
    add(again, B, 1, 5)
    assert names(again, A, B) == ["a1", "a2", "b1", "b2", "b3", "a3", "a4", "b4"]


def test_unreadable_records_move_the_offset() -> None:
    """A batch without a good row is behind us all the same."""
    lanes = Lanes([A])
    none = np.empty(0, np.int64)
    lanes.add(A, none, none, pa.record_batch({"name": pa.array([], pa.string())}), 7)
    assert lanes.release([A]) == []
    assert lanes.offsets() == {A: 7}
