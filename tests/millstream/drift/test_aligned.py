"""Labelled records of all partitions by their events' time, as far as a bounded wait allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from millstream.drift.aligned import Aligned
from millstream.drift.lanes import BEFORE_ALL, Lanes
from millstream.offsets import Partition

A, B, C = ("labelled", 0), ("labelled", 1), ("labelled", 2)
RANKS = {A: 0, B: 1, C: 2}
SECOND = 1_000_000
Row = tuple[int, int]
"""Kafka time and event time, seconds."""
RUNS: dict[Partition, list[Row]] = {
    A: [(100, 10), (100, 13), (100, 16), (103, 40), (103, 43)],
    B: [(101, 11), (101, 14), (101, 17), (104, 41), (104, 44)],
    C: [(102, 12), (102, 15), (102, 18), (105, 42), (105, 45)],
}
"""Two batches of a join: each partition's labels in a run."""


class Log:
    """Both orders, over logs that are only read, from what one that died left."""

    def __init__(self, logs: dict[Partition, list[Row]], wait_s: int, held_max: int = 99) -> None:
        self.logs = logs
        self.lanes = Lanes(list(RANKS))
        self.aligned = Aligned(RANKS, wait_s * SECOND, held_max)
        self.places = dict.fromkeys(logs, 0)

    def read(self, lane: Partition, count: int) -> None:
        """The next rows of a partition."""
        start = self.places[lane]
        rows = self.logs[lane][start : start + count]
        if not rows:
            return
        times = np.array(rows, np.int64) * SECOND
        offsets = np.arange(start, start + len(rows), dtype=np.int64)
        columns = pa.record_batch(
            {"event_time": pa.array(times[:, 1], pa.timestamp("us")), "row": times[:, 1] // SECOND}
        )
        self.places[lane] = start + len(rows)
        self.lanes.add(lane, offsets, times[:, 0], columns, self.places[lane])

    def taken(self, *, settled: bool = True) -> list[tuple[int, tuple[int, ...]]]:
        """What may go now: event times in seconds, with the keys of their order."""
        silent = [lane for lane, at in self.places.items() if at == len(self.logs[lane])]
        pieces = self.lanes.release(silent)
        settled = settled and len(silent) == len(RANKS)
        gone = self.aligned.take(pieces, self.lanes.reached(silent), settled=settled)
        if gone is None:
            return []
        keys = [tuple(key) for key in gone[1].tolist()]
        assert keys == sorted(keys)
        return list(zip(gone[0]["row"].to_pylist(), keys, strict=True))

    def again(self) -> Log:
        """One that goes on from the state of this one."""
        made = Log(self.logs, 0, self.aligned._held_max)
        made.aligned._wait_us = self.aligned._wait_us
        clocks = self.aligned.pinned(self.lanes.state())
        offsets = self.lanes.offsets() | self.aligned.begun()
        made.lanes.restore(offsets, clocks)
        made.aligned.restore(self.aligned.state(), clocks)
        made.places |= offsets
        return made


def whole(log: Log, parts: Sequence[int] | None = None) -> list[int]:
    """Everything, each partition in pieces of so many rows in turn."""
    made = []
    while any(at < len(log.logs[lane]) for lane, at in log.places.items()):
        for lane, count in zip(RANKS, parts or (99, 99, 99), strict=True):
            log.read(lane, count)
        made += [row for row, _ in log.taken()]
    return made


def test_runs_of_the_partitions_come_in_the_order_of_their_events() -> None:
    """A batch that the join wrote partition by partition is one stretch of time again."""
    assert whole(Log(RUNS, wait_s=60)) == sorted(row for rows in RUNS.values() for _, row in rows)


def test_a_partition_without_labels_holds_the_others_up_for_the_wait_alone() -> None:
    """The wait is Kafka time: at 106 s what was written before 101 s has waited for 5 s."""
    log = Log(RUNS | {A: [*RUNS[A], (106, 50)], C: []}, wait_s=5)
    log.read(A, 99)
    log.read(B, 99)
    assert [row for row, _ in log.taken(settled=False)] == [10, 11, 13, 14, 16]
    assert log.aligned.held == 6


def test_no_more_rows_wait_than_may() -> None:
    """The first row of a partition goes when so many younger ones are there."""
    log = Log({A: [(1, at) for at in range(9)], B: [(9, 9)], C: [(9, 9)]}, wait_s=60, held_max=4)
    log.read(A, 9)
    log.read(B, 1)
    silent = [lane for lane in RANKS if lane != A]
    log.aligned.take(log.lanes.release(silent), log.lanes.reached(silent))
    assert log.aligned.held <= 4 + 1


def test_a_late_row_goes_when_it_comes() -> None:
    """What is behind the frontier waits for nobody."""
    late: dict[Partition, list[Row]] = RUNS | {A: [*RUNS[A][:4], (110, 3)]}
    made = whole(Log(late, wait_s=60))
    assert made.index(3) > made.index(40)
    assert [row for row in made if row != 3] == sorted(row for row in made if row != 3)


def test_the_order_and_the_moments_do_not_depend_on_batches_or_restarts() -> None:
    """Cut at random and restored from its state at random: the same rows with the same keys."""
    random = np.random.default_rng(3)
    for _ in range(60):
        logs = {lane: _random_log(random) for lane in RANKS}
        wait_s, held_max = int(random.integers(1, 12)), int(random.integers(3, 30))
        plain = Log(logs, wait_s, held_max)
        for lane in RANKS:
            plain.read(lane, 999)
        wanted, said, log = plain.taken(), [], Log(logs, wait_s, held_max)
        while any(at < len(logs[lane]) for lane, at in log.places.items()):
            for lane in RANKS:
                log.read(lane, int(random.integers(0, 9)))
            said += log.taken()
            if random.random() < 0.3:
                log = log.again()
        said += log.taken()
        assert said == wanted
        assert log.aligned.held == 0


def _random_log(random: np.random.Generator) -> list[Row]:
    count = int(random.integers(5, 60))
    kafka = np.sort(random.integers(100, 160, count))
    events = kafka - random.integers(-2, 20, count)
    return list(zip(kafka.tolist(), events.tolist(), strict=True))


def test_the_frontier_begins_before_everything() -> None:
    """A state that has seen nothing is one to go on from."""
    aligned = Aligned(RANKS)
    again = Aligned(RANKS)
    again.restore(aligned.state(), {})
    assert again.state() == aligned.state()
    assert aligned.state()["frontier"] == BEFORE_ALL
