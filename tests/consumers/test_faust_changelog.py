"""The keys of the Faust join's table: what of several workers' chunks holds."""

from __future__ import annotations

import pytest

from millstream.errors import InvariantBroken
from streams.changelog import Chunks, StateRecord, holding


def applied(table: dict[bytes, bytes], records: list[StateRecord]) -> None:
    for _, key, value in records:
        if value is None:
            table.pop(key)
        else:
            table[key] = value


def test_a_chunk_is_found_again_under_its_partition_until_it_is_deleted() -> None:
    """The next worker gets what was written and not deleted, whoever wrote it."""
    table: dict[bytes, bytes] = {}
    first = Chunks()
    assert first.of_table(table.items(), 1_000) == {}
    applied(table, first.to_table([(0, b"0", b"a"), (0, b"1", b"b"), (1, b"0", b"c")]))
    second = Chunks()
    assert second.of_table(table.items(), 2_000) == {0: [b"a", b"b"], 1: [b"c"]}
    applied(table, second.to_table([(0, b"2", b"d"), (0, b"0", None)]))
    assert Chunks().of_table(table.items(), 3_000) == {0: [b"b", b"d"], 1: [b"c"]}


def test_what_a_worker_that_was_taken_for_dead_writes_is_left_out_and_deleted() -> None:
    """Another went on from its state: its chunks hold, though a sequence is there twice."""
    table: dict[bytes, bytes] = {}
    dead, alive = Chunks(), Chunks()
    dead.of_table(table.items(), 1_000)
    applied(table, dead.to_table([(0, b"0", b"a")]))
    alive.of_table(table.items(), 900)  # its clock is behind
    applied(table, alive.to_table([(0, b"1", b"good")]))
    applied(table, dead.to_table([(0, b"1", b"bad"), (0, b"2", b"worse")]))
    third = Chunks()
    assert third.of_table(table.items(), 2_000) == {0: [b"a", b"good"]}
    applied(table, third.to_table([(0, b"2", b"next")]))
    assert sorted(table.values()) == [b"a", b"good", b"next"]


def test_an_epoch_ends_where_a_later_one_begins() -> None:
    """Of two epochs that overlap the later one holds, in the order of the sequence."""
    assert holding([(5, 3), (5, 4), (5, 5), (7, 4)]) == [(5, 3), (7, 4)]
    assert holding([]) == []


def test_a_key_that_the_join_never_writes_is_told() -> None:
    """Another writer of the topic is a person's matter."""
    with pytest.raises(InvariantBroken, match="never writes"):
        Chunks().of_table([(b"x", b"")], 1)
